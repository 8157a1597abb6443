using System.CommandLine;
using Boxer.Hosting;
using Boxer.Images.Registry;

namespace Boxer.Cli;

/// <summary>Options that every command takes.</summary>
internal sealed class CommonOptions
{
    private readonly Option<string?> _home = new("--home") { Description = "Where images are kept. Default: ~/.boxer.", Recursive = true };
    private readonly Option<string[]> _mirrors = new("--mirror") { Description = "A place that images of a registry come from, as REGISTRY=URL; may be given again.", Recursive = true };
    private readonly Option<string[]> _allowed = new("--allow-registry") { Description = "A registry, as HOST[:PORT], that may be at a private address; no other registries then.", Recursive = true };
    private readonly Option<string[]> _insecure = new("--insecure-registry") { Description = "A registry, as HOST[:PORT], that is asked without looking at its certificate, or over http.", Recursive = true };
    private readonly Option<string[]> _certificates = new("--registry-ca") { Description = "The authorities (PEM) of a registry, as HOST=FILE.", Recursive = true };
    private readonly Option<string> _dockerConfig = new("--docker-config") { Description = "The file with the credentials of registries.", DefaultValueFactory = _ => DockerConfigCredentials.DefaultPath, Recursive = true };

    internal void AddTo(Command root)
    {
        foreach (Option option in (Option[])[_home, _mirrors, _allowed, _insecure, _certificates, _dockerConfig])
        {
            root.Options.Add(option);
        }
    }

    /// <summary>The options of a runner.</summary>
    /// <exception cref="FormatException">One of them is malformed.</exception>
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

        foreach (IGrouping<string, string> places in Pairs(result, _mirrors).GroupBy(pair => pair.Name, pair => pair.Value))
        {
            RegistryOf(places.Key).Mirrors = [.. places];
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

    /// <summary>Creates a runner whose images the commands work on; nothing is run.</summary>
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
