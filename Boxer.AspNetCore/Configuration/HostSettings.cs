using Boxer.Validation;

namespace Boxer.AspNetCore.Configuration;

/// <summary>The host's configuration, complete and checked. <see cref="HostKeys"/> and <see cref="SettingTable"/> have the keys, ranges and defaults.</summary>
internal sealed record HostSettings
{
    /// <summary>The options of the sandboxes.</summary>
    public BoxerOptions Sandboxes { get; } = new();

    public required ListenAddress ListenAddress { get; set; }

    /// <summary>Limits of the endpoints.</summary>
    public BoxerHttpOptions Http { get; } = new();

    /// <summary>Keys that clients must show one of; empty: open to everybody who reaches the port.</summary>
    public IReadOnlyList<string> ApiKeys { get; set; } = [];

    /// <summary>Names that the Host header may have where there are no keys, beside the addresses and names of this machine.</summary>
    public IReadOnlyList<string> HostNames { get; set; } = [];

    /// <summary>Whether allowed_networks was left to its default.</summary>
    public bool NetworksByDefault { get; set; }

    /// <summary>Whether the default omits "host" because other users than this machine's can send requests.</summary>
    public bool HostNetworkLeftOut { get; set; }

    /// <summary>Copies what is configured to the options of the endpoints. The runner's own networks are those of requests.</summary>
    public void CopyTo(BoxerHttpOptions options)
    {
        foreach (string key in ApiKeys)
        {
            options.ApiKeys.Add(new BoxerApiKey(key));
        }

        foreach (string name in HostNames)
        {
            options.HostNames.Add(name);
        }

        foreach (string network in Sandboxes.AllowedNetworks)
        {
            options.AllowedNetworks.Add(network);
        }

        foreach (Setting setting in HostKeys.Http)
        {
            setting.Set(options, setting.Get(Http));
        }
    }

    /// <summary>Copies what is configured to the options that the container makes.</summary>
    /// <param name="options">The options.</param>
    /// <param name="modes">The network modes that are registered. The default of allowed_networks is cut down to them; what was
    /// configured is not, and a mode that does not exist is a fault.</param>
    public void CopyTo(BoxerOptions options, IReadOnlyCollection<string> modes)
    {
        BoxerOptions copy = Sandboxes.Copy();
        foreach (Setting setting in SettingTable.BuiltIn.Options)
        {
            setting.Set(options, setting.Get(copy));
        }

        options.AllowedNetworks = [.. copy.AllowedNetworks.Where(name => !NetworksByDefault || modes.Contains(name))];
    }
}
