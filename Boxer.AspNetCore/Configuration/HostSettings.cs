using Boxer.Validation;

namespace Boxer.AspNetCore.Configuration;

/// <summary>The complete, validated configuration of the host. <see cref="HostKeys"/> and <see cref="SettingTable"/> define the keys, ranges and defaults.</summary>
internal sealed record HostSettings
{
    /// <summary>The options of the runner.</summary>
    public BoxerOptions Sandboxes { get; } = new();

    public required ListenAddress ListenAddress { get; set; }

    /// <summary>Limits of the endpoints.</summary>
    public BoxerHttpOptions Http { get; } = new();

    /// <summary>API keys; empty if everyone who can reach the port may send requests.</summary>
    public IReadOnlyList<string> ApiKeys { get; set; } = [];

    /// <summary>Further names that the Host header may contain if there are no API keys.</summary>
    public IReadOnlyList<string> HostNames { get; set; } = [];

    /// <summary>Whether allowed_networks has its default.</summary>
    public bool HasDefaultNetworks { get; set; }

    /// <summary>Whether the default omits "host", because not only users of this machine can send requests.</summary>
    public bool OmitsHostNetwork { get; set; }

    /// <summary>Copies the configuration to the options of the endpoints. Requests may use the networks that the runner allows.</summary>
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

    /// <summary>Copies the configuration to the options of the runner.</summary>
    /// <param name="options">The options.</param>
    /// <param name="modes">The registered network modes. The default of allowed_networks omits modes that are not registered; a configured mode
    /// that is not registered is a fault.</param>
    public void CopyTo(BoxerOptions options, IReadOnlyCollection<string> modes)
    {
        BoxerOptions copy = Sandboxes.Copy();
        foreach (Setting setting in SettingTable.BuiltIn.Options)
        {
            setting.Set(options, setting.Get(copy));
        }

        options.AllowedNetworks = [.. copy.AllowedNetworks.Where(name => !HasDefaultNetworks || modes.Contains(name))];
    }
}
