namespace Boxer.AspNetCore.Configuration;

/// <summary>The host's configuration, complete and checked. <see cref="SettingsBinder"/> has the keys, ranges and defaults.</summary>
internal sealed record HostSettings
{
    /// <summary>The options of the sandboxes.</summary>
    public required BoxerOptions Sandboxes { get; init; }

    public required ListenAddress ListenAddress { get; init; }

    /// <summary>Bytes of one upload.</summary>
    public required long UploadLimitBytes { get; init; }

    /// <summary>Bytes and files of one file space: uploads and kept outputs.</summary>
    public required long UploadQuotaBytes { get; init; }

    public required int UploadQuotaFiles { get; init; }

    /// <summary>Bytes and files under /output that come with an answer, where a request wants them there.</summary>
    public required long InlineOutputsBytes { get; init; }

    public required int InlineOutputsFiles { get; init; }

    /// <summary>Bytes of the body of one run request.</summary>
    public required long RunBodyLimitBytes { get; init; }

    /// <summary>How long running work may go on after the host was told to stop.</summary>
    public required TimeSpan StopGrace { get; init; }

    /// <summary>Keys that clients must show one of; empty: open to everybody who reaches the port.</summary>
    public required IReadOnlyList<string> ApiKeys { get; init; }

    /// <summary>Names that the Host header may have where there are no keys, beside the addresses and names of this machine.</summary>
    public required IReadOnlyList<string> HostNames { get; init; }

    /// <summary>Whether allowed_networks was left to its default.</summary>
    public required bool NetworksByDefault { get; init; }

    /// <summary>Whether the default omits "host" because other users than this machine's can send requests.</summary>
    public required bool HostNetworkLeftOut { get; init; }

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

        options.MaxUploadBytes = UploadLimitBytes;
        options.MaxStoredBytes = UploadQuotaBytes;
        options.MaxStoredFiles = UploadQuotaFiles;
        options.MaxRequestBytes = RunBodyLimitBytes;
        options.MaxInlineOutputBytes = InlineOutputsBytes;
        options.MaxInlineOutputFiles = InlineOutputsFiles;
        options.StopGrace = StopGrace;
    }

    /// <summary>Copies what is configured to the options that the container makes.</summary>
    /// <param name="options">The options.</param>
    /// <param name="modes">The network modes that are registered. The default of allowed_networks is cut down to them; what was
    /// configured is not, and a mode that does not exist is a fault.</param>
    public void CopyTo(BoxerOptions options, IReadOnlyCollection<string> modes)
    {
        options.Home = Sandboxes.Home;
        options.RunscPath = Sandboxes.RunscPath;
        options.Platform = Sandboxes.Platform;
        options.DefaultLimits = Sandboxes.DefaultLimits with { };
        options.MaxLimits = Sandboxes.MaxLimits with { };
        options.IgnoreCgroups = Sandboxes.IgnoreCgroups;
        options.CgroupParent = Sandboxes.CgroupParent;
        options.DnsServers = [.. Sandboxes.DnsServers];
        options.NetworkBlocks = [.. Sandboxes.NetworkBlocks];
        options.EnableIPv6 = Sandboxes.EnableIPv6;
        options.Egress = Sandboxes.Egress;
        options.Pool = Sandboxes.Pool;
        options.AllowWiderEgress = Sandboxes.AllowWiderEgress;
        options.Registries = Sandboxes.Registries;
        options.AllowedRegistries = [.. Sandboxes.AllowedRegistries];
        options.DockerConfigPath = Sandboxes.DockerConfigPath;
        options.PullPolicy = Sandboxes.PullPolicy;
        options.MaxImageStoreBytes = Sandboxes.MaxImageStoreBytes;
        options.MinFreeDiskBytes = Sandboxes.MinFreeDiskBytes;
        options.PullMemoryBytes = Sandboxes.PullMemoryBytes;
        options.AllowedNetworks = [.. Sandboxes.AllowedNetworks.Where(name => !NetworksByDefault || modes.Contains(name))];
        options.MaxConcurrentRuns = Sandboxes.MaxConcurrentRuns;
        options.CpuOvercommit = Sandboxes.CpuOvercommit;
        options.MaxMemoryBytes = Sandboxes.MaxMemoryBytes;
        options.MaxQueuedRuns = Sandboxes.MaxQueuedRuns;
        options.MaxConcurrentRunsPerKey = Sandboxes.MaxConcurrentRunsPerKey;
        options.MaxQueuedRunsPerKey = Sandboxes.MaxQueuedRunsPerKey;
        options.QueueTimeout = Sandboxes.QueueTimeout;
        options.PullTimeout = Sandboxes.PullTimeout;
        options.BootTimeout = Sandboxes.BootTimeout;
    }
}
