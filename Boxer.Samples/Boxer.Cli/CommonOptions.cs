using System.CommandLine;
using Boxer.Hosting;
using Boxer.Images.Registry;

namespace Boxer.Cli;

/// <summary>Options of all commands.</summary>
internal sealed class CommonOptions
{
    private readonly Option<string?> _home = new("--home") { Description = "Directory of the image store. Default: ~/.boxer.", Recursive = true };
    private readonly Option<string[]> _mirrors = new("--mirror") { Description = "A mirror of a registry, as REGISTRY=URL. May be repeated.", Recursive = true };
    private readonly Option<string[]> _allowed = new("--allow-registry") { Description = "A registry, as HOST[:PORT], that may have a private address. If given, no other registries are allowed. May be repeated.", Recursive = true };
    private readonly Option<string[]> _insecure = new("--insecure-registry") { Description = "A registry, as HOST[:PORT], whose certificate is not checked and that may use http. May be repeated.", Recursive = true };
    private readonly Option<string[]> _certificates = new("--registry-ca") { Description = "Certificate authorities (PEM) of a registry, as HOST=FILE. May be repeated.", Recursive = true };
    private readonly Option<string> _dockerConfig = new("--docker-config") { Description = "File with the credentials of registries.", DefaultValueFactory = _ => DockerConfigCredentials.DefaultPath, Recursive = true };

    internal void AddTo(Command root)
    {
        foreach (Option option in (Option[])[_home, _mirrors, _allowed, _insecure, _certificates, _dockerConfig])
        {
            root.Options.Add(option);
        }
    }

    /// <summary>Gets the options of the runner.</summary>
    /// <exception cref="FormatException">An option is malformed.</exception>
    internal BoxerOptions Read(ParseResult result)
    {
        var options = new BoxerOptions
        {
            AllowedRegistries = [.. result.GetValue(_allowed) ?? []],
            DockerConfigPath = Path.GetFullPath(result.GetRequiredValue(_dockerConfig)),
        };
        if (result.GetValue(_home) is { } home)
        {
            options.Home = Path.GetFullPath(home);
        }

        foreach (IGrouping<string, string> urls in Pairs(result, _mirrors).GroupBy(pair => pair.Name, pair => pair.Value))
        {
            RegistryOf(urls.Key).Mirrors = [.. urls];
        }

        foreach ((string name, string file) in Pairs(result, _certificates))
        {
            RegistryOf(name).Certificate = file;
        }

        foreach (string name in result.GetValue(_insecure) ?? [])
        {
            RegistryOf(name).Insecure = true;
        }

        return options;

        RegistryOptions RegistryOf(string name)
        {
            if (options.Registries.FirstOrDefault(registry => registry.Name == name) is not { } found)
            {
                options.Registries.Add(found = new() { Name = name });
            }

            return found;
        }
    }

    /// <summary>Creates a runner for commands on its image store.</summary>
    internal SandboxRunner CreateRunner(ParseResult result)
    {
        BoxerOptions options = Read(result);
        options.PullTimeout = TimeSpan.FromHours(24);
        return SandboxRunnerFactory.Create(options);
    }

    /// <summary>Reads values of the form NAME=VALUE.</summary>
    internal static IEnumerable<(string Name, string Value)> Pairs(ParseResult result, Option<string[]> option) =>
        (result.GetValue(option) ?? []).Select(text => text.Split('=', 2) is [{ Length: > 0 } name, var value]
            ? (name, value)
            : throw new FormatException($"{option.Name}: '{text}' must have the form NAME=VALUE."));
}
