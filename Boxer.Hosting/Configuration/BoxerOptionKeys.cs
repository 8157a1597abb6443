using Boxer.Images;
using static Boxer.Validation.OptionText;

namespace Boxer.Hosting.Configuration;

/// <summary>The keys of <see cref="BoxerOptions"/> in configuration. A test finds every property here.</summary>
internal static class BoxerOptionKeys
{
    private static readonly OptionKeys<ResourceLimits> Limits = MakeLimits();
    private static readonly OptionKeys<EgressPolicy> Egress = MakeEgress();
    private static readonly OptionKeys<PoolOptions> Pool = MakePool();

    internal static OptionKeys<BoxerOptions> All { get; } = MakeAll();

    private static OptionKeys<BoxerOptions> MakeAll()
    {
        var keys = new OptionKeys<BoxerOptions>();
        keys.Add(nameof(BoxerOptions.Home), ReadText, (options, value) => options.Home = value);
        keys.Add(nameof(BoxerOptions.RunscPath), ReadText, (options, value) => options.RunscPath = value);
        keys.Add(nameof(BoxerOptions.Platform), ReadText, (options, value) => options.Platform = value);
        keys.AddGroup(nameof(BoxerOptions.DefaultLimits), options => options.DefaultLimits, Limits);
        keys.AddGroup(nameof(BoxerOptions.MaxLimits), options => options.MaxLimits, Limits);
        keys.Add(nameof(BoxerOptions.IgnoreCgroups), ReadBoolean, (options, value) => options.IgnoreCgroups = value);
        keys.AddText(nameof(BoxerOptions.CgroupParent), (options, value) => options.CgroupParent = value);
        keys.AddList(nameof(BoxerOptions.DnsServers), (options, list) => options.DnsServers = list);
        keys.AddDictionary<IList<string>>(nameof(BoxerOptions.RegistryMirrors), (section, faults) => OptionKeys<BoxerOptions>.ReadList(section, faults, OptionKeys<BoxerOptions>.ReadText), options => options.RegistryMirrors);
        keys.AddList(nameof(BoxerOptions.AllowedRegistries), (options, list) => options.AllowedRegistries = list);
        keys.AddText(nameof(BoxerOptions.DockerConfigPath), (options, value) => options.DockerConfigPath = value);
        keys.AddDictionary(nameof(BoxerOptions.RegistryCertificates), OptionKeys<BoxerOptions>.ReadText, options => options.RegistryCertificates);
        keys.AddList(nameof(BoxerOptions.InsecureRegistries), (options, list) => options.InsecureRegistries = list);
        keys.Add(nameof(BoxerOptions.PullPolicy), ReadEnum<PullPolicy>, (options, value) => options.PullPolicy = value);
        keys.AddNullable(nameof(BoxerOptions.MaxImageStoreBytes), ReadInt64, (options, value) => options.MaxImageStoreBytes = value);
        keys.Add(nameof(BoxerOptions.MinFreeDiskBytes), ReadInt64, (options, value) => options.MinFreeDiskBytes = value);
        keys.AddNullable(nameof(BoxerOptions.PullMemoryBytes), ReadInt64, (options, value) => options.PullMemoryBytes = value);
        keys.AddList(nameof(BoxerOptions.AllowedNetworks), (options, list) => options.AllowedNetworks = list);
        keys.AddList(nameof(BoxerOptions.NetworkBlocks), (options, list) => options.NetworkBlocks = list);
        keys.Add(nameof(BoxerOptions.EnableIPv6), ReadBoolean, (options, value) => options.EnableIPv6 = value);
        keys.AddGroup(nameof(BoxerOptions.Egress), options => options.Egress, Egress);
        keys.Add(nameof(BoxerOptions.AllowWiderEgress), ReadBoolean, (options, value) => options.AllowWiderEgress = value);
        keys.AddNullable(nameof(BoxerOptions.MaxConcurrentRuns), ReadInt32, (options, value) => options.MaxConcurrentRuns = value);
        keys.Add(nameof(BoxerOptions.CpuOvercommit), ReadDouble, (options, value) => options.CpuOvercommit = value);
        keys.AddNullable(nameof(BoxerOptions.MaxConcurrentRunsPerKey), ReadInt32, (options, value) => options.MaxConcurrentRunsPerKey = value);
        keys.AddNullable(nameof(BoxerOptions.MaxMemoryBytes), ReadInt64, (options, value) => options.MaxMemoryBytes = value);
        keys.Add(nameof(BoxerOptions.MaxQueuedRuns), ReadInt32, (options, value) => options.MaxQueuedRuns = value);
        keys.AddNullable(nameof(BoxerOptions.MaxQueuedRunsPerKey), ReadInt32, (options, value) => options.MaxQueuedRunsPerKey = value);
        keys.Add(nameof(BoxerOptions.QueueTimeout), ReadTime, (options, value) => options.QueueTimeout = value);
        keys.Add(nameof(BoxerOptions.PullTimeout), ReadTime, (options, value) => options.PullTimeout = value);
        keys.Add(nameof(BoxerOptions.BootTimeout), ReadTime, (options, value) => options.BootTimeout = value);
        keys.AddGroup(nameof(BoxerOptions.Pool), options => options.Pool, Pool);
        return keys;
    }

    private static OptionKeys<ResourceLimits> MakeLimits()
    {
        var keys = new OptionKeys<ResourceLimits>();
        keys.AddNullable(nameof(ResourceLimits.CpuCores), ReadDouble, (limits, value) => limits.CpuCores = value);
        keys.AddNullable(nameof(ResourceLimits.MemoryBytes), ReadInt64, (limits, value) => limits.MemoryBytes = value);
        keys.AddNullable(nameof(ResourceLimits.Pids), ReadInt32, (limits, value) => limits.Pids = value);
        keys.AddNullable(nameof(ResourceLimits.WallClock), ReadTime, (limits, value) => limits.WallClock = value);
        keys.AddNullable(nameof(ResourceLimits.CpuTime), ReadTime, (limits, value) => limits.CpuTime = value);
        keys.AddNullable(nameof(ResourceLimits.OpenFiles), ReadInt32, (limits, value) => limits.OpenFiles = value);
        keys.AddNullable(nameof(ResourceLimits.DiskBytes), ReadInt64, (limits, value) => limits.DiskBytes = value);
        keys.AddNullable(nameof(ResourceLimits.StandardOutputBytes), ReadInt64, (limits, value) => limits.StandardOutputBytes = value);
        keys.AddNullable(nameof(ResourceLimits.OutputFilesBytes), ReadInt64, (limits, value) => limits.OutputFilesBytes = value);
        keys.AddNullable(nameof(ResourceLimits.OutputFilesCount), ReadInt32, (limits, value) => limits.OutputFilesCount = value);
        return keys;
    }

    private static OptionKeys<PoolOptions> MakePool()
    {
        var keys = new OptionKeys<PoolOptions>();
        keys.AddNullable(nameof(PoolOptions.Enabled), ReadBoolean, (pool, value) => pool.Enabled = value);
        keys.AddNullable(nameof(PoolOptions.MaxSandboxes), ReadInt32, (pool, value) => pool.MaxSandboxes = value);
        keys.AddDictionary(nameof(PoolOptions.Images), (section, faults) => ReadInt32(OptionKeys<PoolOptions>.ReadText(section, faults)), pool => pool.Images);
        keys.AddDictionary<IList<string>>(nameof(PoolOptions.WarmUps), (section, faults) => OptionKeys<PoolOptions>.ReadList(section, faults, OptionKeys<PoolOptions>.ReadText), pool => pool.WarmUps);
        keys.Add(nameof(PoolOptions.IdleTimeout), ReadTime, (pool, value) => pool.IdleTimeout = value);
        keys.Add(nameof(PoolOptions.MaxAge), ReadTime, (pool, value) => pool.MaxAge = value);
        return keys;
    }

    private static OptionKeys<EgressPolicy> MakeEgress()
    {
        var keys = new OptionKeys<EgressPolicy>();
        keys.AddList(nameof(EgressPolicy.Allow), (egress, list) => egress.Allow = list);
        keys.AddList(nameof(EgressPolicy.Deny), (egress, list) => egress.Deny = list);
        keys.AddNullable(nameof(EgressPolicy.BandwidthBitsPerSecond), ReadInt64, (egress, value) => egress.BandwidthBitsPerSecond = value);
        keys.AddNullable(nameof(EgressPolicy.QuotaBytes), ReadInt64, (egress, value) => egress.QuotaBytes = value);
        return keys;
    }
}
