using System.Diagnostics.CodeAnalysis;

namespace Boxer.Images;

/// <summary>
/// The rules of registry names in references, options and credentials: a host or host:port. Docker Hub is one registry with several names: its
/// references have <c>docker.io</c>, and its API has another host.
/// </summary>
internal static class RegistryName
{
    /// <summary>Host of Docker Hub's API.</summary>
    internal const string DockerHubHost = "registry-1.docker.io";
    private const string DockerHubIndex = "index.docker.io";

    /// <summary>Names under which a credential of Docker Hub may be stored, in the order of lookup. The first is the one that Docker itself writes.</summary>
    private static readonly string[] DockerHubCredentials = [$"https://{DockerHubIndex}/v1/", DockerHubIndex, DockerHubHost, ImageReference.DefaultRegistry];

    /// <summary>Gets whether a text is a host or host:port.</summary>
    /// <param name="text">The text.</param>
    internal static bool IsValid([NotNullWhen(true)] string? text) =>
        !string.IsNullOrEmpty(text) && !text.AsSpan().ContainsAny('/', '@') && !text.Any(char.IsWhiteSpace)
        && Uri.TryCreate($"https://{text}/", UriKind.Absolute, out Uri? address) && address is { Host.Length: > 0, UserInfo: "", PathAndQuery: "/", Fragment: "" };

    /// <summary>Gets the name of a registry in references.</summary>
    /// <param name="registry">Any of its names.</param>
    internal static string Canonical(string registry) => registry == DockerHubIndex ? ImageReference.DefaultRegistry : registry;

    /// <summary>Gets the host, or host:port, of a registry's API.</summary>
    /// <param name="registry">Any of its names.</param>
    internal static string HostOf(string registry) => Canonical(registry) == ImageReference.DefaultRegistry ? DockerHubHost : registry;

    /// <summary>Gets the names under which a credential of a registry may be stored.</summary>
    /// <param name="registry">Its canonical name.</param>
    internal static IReadOnlyList<string> CredentialNames(string registry) => registry == ImageReference.DefaultRegistry ? DockerHubCredentials : [registry];

    /// <summary>Parses the URL of a mirror: http or https, without user, query and fragment.</summary>
    /// <param name="text">The URL.</param>
    /// <param name="address">The address before <c>v2/</c>, with a slash at its end.</param>
    /// <returns>Whether the text is such a URL.</returns>
    internal static bool TryParseMirror(string? text, [NotNullWhen(true)] out Uri? address)
    {
        if (!Uri.TryCreate(text, UriKind.Absolute, out address) || address.Scheme is not ("http" or "https") || address is not { UserInfo: "", Query: "", Fragment: "" })
        {
            address = null;
            return false;
        }

        if (address is { Scheme: "https", IsDefaultPort: true } && HostOf(address.Host) == DockerHubHost)
        {
            address = new Uri($"https://{DockerHubHost}");
        }

        address = new Uri(address.AbsoluteUri.TrimEnd('/') + "/");
        return true;
    }
}
