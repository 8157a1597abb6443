using System.Runtime.Versioning;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Boxer.Common;
using Boxer.Images.Manifests;
using Boxer.Linux;
using Boxer.Processes;

namespace Boxer.Images.Registry;

/// <summary>
/// Reads the credentials of <c>docker login</c>, <c>podman login</c> and <c>skopeo login</c>: passwords and identity tokens in Docker's config.json,
/// or in the credential helpers that it names (Docker's documentation of <c>docker login</c>, "Credential stores" and "Credential helpers"). The
/// file is read at each pull, so changes take effect at the next pull.
/// </summary>
[SupportedOSPlatform("linux")]
public sealed class DockerConfigCredentials : IRegistryCredentials
{
    private const int MaxBytes = 1024 * 1024;
    private const string IdentityTokenUser = "<token>";
    private static readonly TimeSpan HelperTimeout = TimeSpan.FromSeconds(30);
    private readonly string _path;

    /// <summary>Creates a source of the credentials in a file.</summary>
    /// <param name="path">Path of the file. If it is missing, access is anonymous.</param>
    public DockerConfigCredentials(string path)
    {
        ArgumentException.ThrowIfNullOrEmpty(path);
        _path = path;
    }

    /// <summary>Path of Docker's own file: <c>$DOCKER_CONFIG/config.json</c>, or <c>~/.docker/config.json</c> if the variable is not set.</summary>
    public static string DefaultPath { get; } = Path.Combine(
        Environment.GetEnvironmentVariable("DOCKER_CONFIG") is { Length: > 0 } directory
            ? directory
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".docker"),
        "config.json");

    /// <inheritdoc/>
    public async ValueTask<RegistryCredential?> FindAsync(string registry, CancellationToken cancellationToken)
    {
        ArgumentException.ThrowIfNullOrEmpty(registry);
        if (await ReadAsync(cancellationToken).ConfigureAwait(false) is not { } config)
        {
            return null;
        }

        IReadOnlyList<string> names = RegistryName.CredentialNames(registry);
        foreach (string name in names)
        {
            if (config.CredentialHelpers?.GetValueOrDefault(name) is { Length: > 0 } helper)
            {
                return await AskHelperAsync(helper, name, cancellationToken).ConfigureAwait(false);
            }
        }

        if (config.CredentialStore is { Length: > 0 } store
            && await AskHelperAsync(store, names[0], cancellationToken).ConfigureAwait(false) is { } stored)
        {
            return stored;
        }

        // Old versions wrote URLs. An entry with another path is for a part of a registry, and not for the registry (containers-auth.json(5)).
        return (names.Select(name => config.Entries?.GetValueOrDefault(name)).FirstOrDefault(entry => entry is not null)
            ?? (config.Entries ?? []).FirstOrDefault(entry => names.Contains(HostOf(entry.Key), StringComparer.OrdinalIgnoreCase)).Value) is { } found ? Read(found, registry) : null;
    }

    private static string HostOf(string key)
    {
        int scheme = key.IndexOf("://", StringComparison.Ordinal);
        string[] parts = (scheme < 0 ? key : key[(scheme + 3)..]).TrimEnd('/').Split('/');
        return parts.Length == 1 || (parts.Length == 2 && parts[1] is "v1" or "v2") ? parts[0] : "";
    }

    private async Task<DockerConfigJson?> ReadAsync(CancellationToken cancellationToken)
    {
        try
        {
            var file = new FileInfo(_path);
            if (!file.Exists)
            {
                return null;
            }

            return file.Length > MaxBytes
                ? throw new InvalidDataException($"{_path} has {file.Length} bytes; {MaxBytes} are allowed")
                : JsonSerializer.Deserialize(await File.ReadAllBytesAsync(_path, cancellationToken).ConfigureAwait(false), DockerConfigContext.Default.DockerConfigJson);
        }
        catch (JsonException fault)
        {
            throw new InvalidDataException($"{_path} is malformed at {RegistryJson.Position(fault)}", fault);
        }
        catch (Exception fault) when (fault is IOException or UnauthorizedAccessException)
        {
            throw new InvalidDataException($"{_path} cannot be read: {fault.Message}", fault);
        }
    }

    private RegistryCredential? Read(DockerEntryJson entry, string registry)
    {
        if (!string.IsNullOrEmpty(entry.IdentityToken))
        {
            return RegistryCredential.FromIdentityToken(entry.IdentityToken);
        }

        if (string.IsNullOrEmpty(entry.Auth))
        {
            return null;
        }

        try
        {
            string pair = Encoding.UTF8.GetString(Convert.FromBase64String(entry.Auth));
            int colon = pair.IndexOf(':', StringComparison.Ordinal);
            if (colon > 0)
            {
                return RegistryCredential.FromPassword(pair[..colon], pair[(colon + 1)..].TrimEnd('\0'));
            }
        }
        catch (FormatException)
        {
            // Handled as a missing colon.
        }

        throw new InvalidDataException($"{_path}: the entry of {registry} is no user name and password; log in again");
    }

    // The protocol of docker/docker-credential-helpers: the server on standard input, JSON on standard output.
    private async Task<RegistryCredential?> AskHelperAsync(string helper, string server, CancellationToken cancellationToken)
    {
        string name = "docker-credential-" + helper;
        if (!helper.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_' or '.') || ProgramPath.Find(name) is not { } path)
        {
            throw new InvalidDataException($"{_path} names the credential helper '{UntrustedText.Show(helper)}', but {UntrustedText.Show(name)} is not in PATH");
        }

        HostCommand.Result result;
        try
        {
            using var poller = new DescriptorPoller();
            result = await HostCommand.RunAsync(
                poller, path, ["get"], HelperTimeout, TimeProvider.System, cancellationToken, Encoding.UTF8.GetBytes(server), HelperEnvironment()).ConfigureAwait(false);
        }
        catch (SandboxRuntimeException fault)
        {
            throw new InvalidDataException($"the credential helper failed: {fault.Message}", fault);
        }

        if (result.ExitCode != 0)
        {
            // The only message that the protocol defines.
            return result.Stdout.Contains("credentials not found", StringComparison.OrdinalIgnoreCase)
                ? null
                : throw new InvalidDataException($"{name} failed for {server}: {UntrustedText.Show((result.Stdout + result.Stderr).Trim())}");
        }

        try
        {
            HelperAnswerJson? answer = JsonSerializer.Deserialize(result.Stdout, DockerConfigContext.Default.HelperAnswerJson);
            return string.IsNullOrEmpty(answer?.Secret) ? null
                : answer.UserName is IdentityTokenUser ? RegistryCredential.FromIdentityToken(answer.Secret)
                : RegistryCredential.FromPassword(answer.UserName ?? "", answer.Secret);
        }
        catch (Exception fault) when (fault is JsonException or ArgumentException)
        {
            throw new InvalidDataException($"{name} returned a malformed response for {server}", fault);
        }
    }

    // A helper is the operator's own program, and finds its secrets through the environment (HOME, AWS_PROFILE and the like).
    private static List<string> HelperEnvironment()
    {
        var environment = new List<string>();
        foreach (System.Collections.DictionaryEntry variable in Environment.GetEnvironmentVariables())
        {
            environment.Add($"{variable.Key}={variable.Value}");
        }

        return environment;
    }
}

/// <summary>The part of Docker's config.json about credentials.</summary>
internal sealed record DockerConfigJson
{
    [JsonPropertyName("auths")]
    public Dictionary<string, DockerEntryJson?>? Entries { get; init; }

    [JsonPropertyName("credHelpers")]
    public Dictionary<string, string?>? CredentialHelpers { get; init; }

    [JsonPropertyName("credsStore")]
    public string? CredentialStore { get; init; }
}

/// <summary>The credentials of one registry.</summary>
internal sealed record DockerEntryJson
{
    [JsonPropertyName("auth")]
    public string? Auth { get; init; }

    [JsonPropertyName("identitytoken")]
    public string? IdentityToken { get; init; }
}

/// <summary>The output of a credential helper.</summary>
internal sealed record HelperAnswerJson
{
    [JsonPropertyName("Username")]
    public string? UserName { get; init; }

    [JsonPropertyName("Secret")]
    public string? Secret { get; init; }
}

/// <summary>Readers of JSON.</summary>
[JsonSerializable(typeof(DockerConfigJson))]
[JsonSerializable(typeof(HelperAnswerJson))]
internal sealed partial class DockerConfigContext : JsonSerializerContext;
