using Boxer.Images;
using Boxer.Images.Layers;
using Boxer.Networking;

namespace Boxer.Validation;

/// <summary>
/// The one table of limits and options. A new one needs its property and a row here. Tests check that both exist and that the property's
/// documentation agrees with the row.
/// </summary>
internal sealed record SettingTable
{
    /// <summary>The built-in table.</summary>
    internal static SettingTable BuiltIn { get; } = new();

    /// <summary>Settings of <see cref="ResourceLimits"/>.</summary>
    public IReadOnlyList<Setting> Limits { get; init; } =
    [
        Setting.Of<ResourceLimits, double?>("CpuCores", limits => limits.CpuCores, (limits, value) => limits.CpuCores = value, "Processor time per wall-clock time.") with
        {
            Default = LimitDefaults.Values.CpuCores, Least = 0.01, Most = 1_024.0, Unit = "cores", HttpKey = "cpu_cores", CliOption = "--cpus",
        },
        Setting.Of<ResourceLimits, long?>("MemoryBytes", limits => limits.MemoryBytes, (limits, value) => limits.MemoryBytes = value, "Memory of the whole sandbox.") with
        {
            Default = LimitDefaults.Values.MemoryBytes, Least = 32 * ByteSize.MiB, Most = ByteSize.TiB, HttpKey = "memory_mb", CliOption = "--memory-mb",
        },
        Setting.Of<ResourceLimits, int?>("Pids", limits => limits.Pids, (limits, value) => limits.Pids = value, "Processes and threads of each user.") with
        {
            Default = LimitDefaults.Values.Pids, Least = 1, Most = 32_768, Unit = "processes", HttpKey = "pids_limit", CliOption = "--pids",
        },
        Setting.Of<ResourceLimits, TimeSpan?>("WallClock", limits => limits.WallClock, (limits, value) => limits.WallClock = value, "Time from the start of the command to its end.") with
        {
            Default = LimitDefaults.Values.WallClock, Least = TimeSpan.FromMilliseconds(1), Most = TimeSpan.FromHours(24), HttpKey = "wall_clock_secs", CliOption = "--timeout",
        },
        Setting.Of<ResourceLimits, TimeSpan?>("CpuTime", limits => limits.CpuTime, (limits, value) => limits.CpuTime = value, "Processor time of the whole sandbox, on all cores together.") with
        {
            DefaultText = "as much as `MaxLimits` allows, else no limit", Least = TimeSpan.FromMilliseconds(10), Most = TimeSpan.FromHours(24), HttpKey = "cpu_time_secs", CliOption = "--cpu-time",
        },
        Setting.Of<ResourceLimits, int?>("OpenFiles", limits => limits.OpenFiles, (limits, value) => limits.OpenFiles = value, "Open descriptors of one process.") with
        {
            Default = LimitDefaults.Values.OpenFiles, Least = 8, Most = 1_048_576, Unit = "descriptors", HttpKey = "nofile", CliOption = "--open-files",
        },
        Setting.Of<ResourceLimits, long?>("DiskBytes", limits => limits.DiskBytes, (limits, value) => limits.DiskBytes = value, "Size of /tmp, $HOME, /dev/shm, the workspace and /output together; they are in memory.") with
        {
            Default = LimitDefaults.Values.DiskBytes, Least = ByteSize.MiB, Most = ByteSize.TiB, HttpKey = "disk_mb", CliOption = "--disk-mb",
        },
        Setting.Of<ResourceLimits, long?>("StandardOutputBytes", limits => limits.StandardOutputBytes, (limits, value) => limits.StandardOutputBytes = value, "Size of standard output, and of standard error.") with
        {
            Default = LimitDefaults.Values.StandardOutputBytes, Least = 1L, Most = ByteSize.GiB, HostKey = "output_limit_bytes",
        },
        Setting.Of<ResourceLimits, long?>("OutputFilesBytes", limits => limits.OutputFilesBytes, (limits, value) => limits.OutputFilesBytes = value, "Size of all files under /output that are taken.") with
        {
            Default = LimitDefaults.Values.OutputFilesBytes, Least = 1L, Most = 64 * ByteSize.GiB, HostKey = "outputs_limit_bytes",
        },
        Setting.Of<ResourceLimits, int?>("OutputFilesCount", limits => limits.OutputFilesCount, (limits, value) => limits.OutputFilesCount = value, "Files and directories under /output that are taken.") with
        {
            Default = LimitDefaults.Values.OutputFilesCount, Least = 1, Most = 1_000_000, Unit = "files", HostKey = "outputs_limit_files",
        },
    ];

    /// <summary>Settings of <see cref="BoxerOptions"/>.</summary>
    public IReadOnlyList<Setting> Options { get; init; } =
    [
        Setting.Of<BoxerOptions, string>("Home", options => options.Home ?? "", (options, value) => options.Home = value, "Directory of images and of what runs need on the disk.") with
        {
            Kind = SettingKind.Path, DefaultText = "~/.boxer", HostKey = "home", Check = SettingChecks.Home,
        },
        Setting.Of<BoxerOptions, string>("RunscPath", options => options.RunscPath ?? "", (options, value) => options.RunscPath = value, "Program of gVisor: a path, or a name that is looked up in PATH.") with
        {
            Default = "runsc", HostKey = "runsc_path", Check = SettingChecks.Program,
        },
        Setting.Of<BoxerOptions, string>("Platform", options => options.Platform ?? "", (options, value) => options.Platform = value, "Platform of gVisor.") with
        {
            Kind = SettingKind.Choice, Default = "systrap", Choices = Names("systrap", "kvm", "ptrace"), HostKey = "platform",
        },
        Setting.Of<BoxerOptions, ResourceLimits>("DefaultLimits", options => options.DefaultLimits, (options, value) => options.DefaultLimits = value, "Limits of runs that do not set their own.") with
        {
            DefaultText = "the defaults of the limits", HostKey = "defaults", Members = table => table.Limits,
        },
        Setting.Of<BoxerOptions, ResourceLimits>("MaxLimits", options => options.MaxLimits, (options, value) => options.MaxLimits = value, "Highest value that a request may set for each limit.") with
        {
            DefaultText = "the range of each limit", HostKey = "max_limits", Members = table => table.Limits,
        },
        Setting.Of<BoxerOptions, bool>("IgnoreCgroups", options => options.IgnoreCgroups, (options, value) => options.IgnoreCgroups = value, "Whether to run without cgroups: limits of processors and memory are not enforced then.") with
        {
            Default = false, HostKey = "ignore_cgroups",
        },
        Setting.Of<BoxerOptions, string?>("CgroupParent", options => options.CgroupParent, (options, value) => options.CgroupParent = value, "Parent of Boxer's cgroups, relative to the cgroup mount.") with
        {
            IsOptional = true, DefaultText = "on v1 this process's own cgroup, on v2 the root", HostKey = "cgroup_parent", Check = SettingChecks.CgroupParent,
        },
        Setting.Of<BoxerOptions, IList<string>>("DnsServers", options => options.DnsServers, (options, value) => options.DnsServers = value, "DNS resolvers of sandboxes with a network, as IP addresses; at most 3.") with
        {
            Default = BoxerOptions.DefaultDnsServers, HostKey = "dns_servers", Check = SettingChecks.DnsServers,
        },
        Setting.Of<BoxerOptions, IList<RegistryOptions>>("Registries", options => options.Registries, (options, value) => options.Registries = value, "Mirrors, certificates and access of registries.") with
        {
            Kind = SettingKind.Groups, DefaultText = "none", HostKey = "registries", Members = table => table.Registries,
            CreateItem = () => new RegistryOptions(), CreateList = items => items.Cast<RegistryOptions>().ToList(), Check = SettingChecks.Registries,
        },
        Setting.Of<BoxerOptions, IList<string>>("AllowedRegistries", options => options.AllowedRegistries, (options, value) => options.AllowedRegistries = value, "Registries that images may come from, as host or host:port.") with
        {
            Default = Array.Empty<string>(), DefaultText = "every public one", HostKey = "allowed_registries", Check = SettingChecks.RegistryNames,
        },
        Setting.Of<BoxerOptions, string?>("DockerConfigPath", options => options.DockerConfigPath, (options, value) => options.DockerConfigPath = value, "File with credentials of registries, as `docker login` writes it.") with
        {
            Kind = SettingKind.Path, IsOptional = true, DefaultText = "none: anonymous access", HostKey = "docker_config", Check = SettingChecks.DockerConfigPath,
        },
        Setting.Of<BoxerOptions, PullPolicy>("PullPolicy", options => options.PullPolicy, (options, value) => options.PullPolicy = value, "When images are pulled.") with
        {
            Default = PullPolicy.Missing, HostKey = "pull_policy",
            Choices = new Dictionary<string, object>(StringComparer.Ordinal) { ["Missing"] = PullPolicy.Missing, ["Always"] = PullPolicy.Always, ["Never"] = PullPolicy.Never },
        },
        Setting.Of<BoxerOptions, long?>("MaxImageStoreBytes", options => options.MaxImageStoreBytes, (options, value) => options.MaxImageStoreBytes = value, "Maximum disk space of all images; beyond it the least recently used image is evicted.") with
        {
            DefaultText = "the whole disk, less MinFreeDiskBytes", Least = 1L, HostKey = "image_quota_bytes",
        },
        Setting.Of<BoxerOptions, long>("MinFreeDiskBytes", options => options.MinFreeDiskBytes, (options, value) => options.MinFreeDiskBytes = value, "Disk that stays free: a pull that would leave less fails.") with
        {
            Default = 256 * ByteSize.MiB, Least = 0L, Most = 1_024 * ByteSize.TiB, HostKey = "image_min_free_bytes",
        },
        Setting.Of<BoxerOptions, long?>("PullMemoryBytes", options => options.PullMemoryBytes, (options, value) => options.PullMemoryBytes = value, "Maximum memory of this process for all pulls; a part of MaxMemoryBytes.") with
        {
            DefaultText = "a sixteenth of MaxMemoryBytes, 64 MiB to 512 MiB", Least = PullMemory.LeastBytes, Most = PullMemory.MostBytes, HostKey = "pull_memory_mb",
        },
        Setting.Of<BoxerOptions, IList<string>>("AllowedNetworks", options => options.AllowedNetworks, (options, value) => options.AllowedNetworks = value, "Network modes that requests may use.") with
        {
            Default = Array.Empty<string>(), DefaultText = "all that are registered", HostKey = "allowed_networks",
        },
        Setting.Of<BoxerOptions, IList<string>>("NetworkBlocks", options => options.NetworkBlocks, (options, value) => options.NetworkBlocks = value, "Private IPv4 blocks, /16 to /30, for addresses of sandboxes in the mode `sandbox`.") with
        {
            Default = BoxerOptions.DefaultNetworkBlocks, HostKey = "network_blocks", Check = SettingChecks.NetworkBlocks,
        },
        Setting.Of<BoxerOptions, bool>("EnableIPv6", options => options.EnableIPv6, (options, value) => options.EnableIPv6 = value, "Whether sandboxes of the mode `sandbox` also have IPv6.") with
        {
            Default = false, HostKey = "enable_ipv6",
        },
        Setting.Of<BoxerOptions, EgressPolicy>("Egress", options => options.Egress, (options, value) => options.Egress = value, "Destinations that sandboxes of the mode `sandbox` may reach.") with
        {
            DefaultText = "the public internet", HostKey = "egress", Members = table => table.Egress,
        },
        Setting.Of<BoxerOptions, bool>("AllowWiderEgress", options => options.AllowWiderEgress, (options, value) => options.AllowWiderEgress = value, "Whether the policy of a request replaces Egress; otherwise it can only tighten it.") with
        {
            Default = false, HostKey = "allow_wider_egress",
        },
        Setting.Of<BoxerOptions, int?>("MaxConcurrentRuns", options => options.MaxConcurrentRuns, (options, value) => options.MaxConcurrentRuns = value, "Maximum number of concurrent runs.") with
        {
            DefaultText = "4 for each processor", Least = 1, Most = 10_000, Unit = "runs", HostKey = "max_concurrent_runs",
        },
        Setting.Of<BoxerOptions, double>("CpuOvercommit", options => options.CpuOvercommit, (options, value) => options.CpuOvercommit = value, "Processors promised to commands for each processor of this machine.") with
        {
            Default = 1.0, HostDefault = 4.0, Least = 1.0, Most = 100.0, HostKey = "cpu_overcommit",
        },
        Setting.Of<BoxerOptions, int?>("MaxConcurrentRunsPerKey", options => options.MaxConcurrentRunsPerKey, (options, value) => options.MaxConcurrentRunsPerKey = value, "Maximum number of concurrent runs of one fairness key.") with
        {
            DefaultText = "all", Least = 1, Most = 10_000, Unit = "runs", HostKey = "max_concurrent_runs_per_key",
        },
        Setting.Of<BoxerOptions, long?>("MaxMemoryBytes", options => options.MaxMemoryBytes, (options, value) => options.MaxMemoryBytes = value, "Maximum memory of all sandboxes, of the pool and of pulls together.") with
        {
            DefaultText = "three quarters of the machine's memory", Least = 32 * ByteSize.MiB, Most = 1_024 * ByteSize.TiB, HostKey = "max_memory_mb",
        },
        Setting.Of<BoxerOptions, int>("MaxQueuedRuns", options => options.MaxQueuedRuns, (options, value) => options.MaxQueuedRuns = value, "Maximum number of queued runs; further runs are rejected.") with
        {
            Default = 256, Least = 0, Most = 1_000_000, Unit = "runs", HostKey = "max_queued_runs",
        },
        Setting.Of<BoxerOptions, int?>("MaxQueuedRunsPerKey", options => options.MaxQueuedRunsPerKey, (options, value) => options.MaxQueuedRunsPerKey = value, "Maximum number of queued runs of one fairness key.") with
        {
            DefaultText = "all", Least = 0, Most = 1_000_000, Unit = "runs", HostKey = "max_queued_runs_per_key",
        },
        Setting.Of<BoxerOptions, TimeSpan>("QueueTimeout", options => options.QueueTimeout, (options, value) => options.QueueTimeout = value, "Maximum time that a run waits for a running slot, and again for its processors.") with
        {
            Default = TimeSpan.FromSeconds(60), Least = TimeSpan.Zero, Most = TimeSpan.FromHours(1), HostKey = "queue_timeout_secs",
        },
        Setting.Of<BoxerOptions, TimeSpan>("PullTimeout", options => options.PullTimeout, (options, value) => options.PullTimeout = value, "Maximum time of the pull of one image.") with
        {
            Default = TimeSpan.FromMinutes(10), Least = TimeSpan.FromSeconds(1), Most = TimeSpan.FromHours(24), HostKey = "pull_timeout_secs",
        },
        Setting.Of<BoxerOptions, TimeSpan>("BootTimeout", options => options.BootTimeout, (options, value) => options.BootTimeout = value, "Maximum time of the boot of a sandbox.") with
        {
            Default = TimeSpan.FromSeconds(30), Least = TimeSpan.FromSeconds(1), Most = TimeSpan.FromMinutes(10), HostKey = "boot_timeout_secs",
        },
        Setting.Of<BoxerOptions, PoolOptions>("Pool", options => options.Pool, (options, value) => options.Pool = value, "Sandboxes that are booted ahead.") with
        {
            DefaultText = "for images in use", HostKey = "pool", Members = table => table.Pool,
        },
        Setting.Of<BoxerOptions, SessionOptions>("Sessions", options => options.Sessions, (options, value) => options.Sessions = value, "Sandboxes that are kept for many commands.") with
        {
            DefaultText = "the defaults of sessions", HostKey = "sessions", Members = table => table.Sessions,
        },
    ];

    /// <summary>Settings of <see cref="PoolOptions"/>.</summary>
    public IReadOnlyList<Setting> Pool { get; init; } =
    [
        Setting.Of<PoolOptions, bool?>("Enabled", pool => pool.Enabled, (pool, value) => pool.Enabled = value, "Whether sandboxes are booted ahead.") with
        {
            DefaultText = "if pooled sandboxes can be frozen", HostKey = "enabled",
        },
        Setting.Of<PoolOptions, int?>("MaxSandboxes", pool => pool.MaxSandboxes, (pool, value) => pool.MaxSandboxes = value, "Maximum number of pooled sandboxes of all images.") with
        {
            DefaultText = "4 for each processor", Least = 0, Most = 10_000, Unit = "sandboxes", HostKey = "max_sandboxes",
        },
        Setting.Of<PoolOptions, IList<PoolImageOptions>>("Images", pool => pool.Images, (pool, value) => pool.Images = value, "Images with a minimum number of pooled sandboxes or with a warm-up command; they are pulled when the runner starts.") with
        {
            Kind = SettingKind.Groups, DefaultText = "none", HostKey = "images", Members = table => table.PoolImages,
            CreateItem = () => new PoolImageOptions(), CreateList = items => items.Cast<PoolImageOptions>().ToList(), Check = SettingChecks.PoolImages,
        },
        Setting.Of<PoolOptions, TimeSpan>("IdleTimeout", pool => pool.IdleTimeout, (pool, value) => pool.IdleTimeout = value, "Time without a run after which pooled sandboxes of an image expire.") with
        {
            Default = TimeSpan.FromMinutes(5), Least = TimeSpan.FromSeconds(1), Most = TimeSpan.FromHours(24), HostKey = "idle_timeout_secs",
        },
        Setting.Of<PoolOptions, TimeSpan>("MaxAge", pool => pool.MaxAge, (pool, value) => pool.MaxAge = value, "Maximum time that a sandbox stays in the pool before a new one replaces it.") with
        {
            Default = TimeSpan.FromHours(1), Least = TimeSpan.FromSeconds(1), Most = TimeSpan.FromHours(24), HostKey = "max_age_secs",
        },
    ];

    /// <summary>Settings of <see cref="PoolImageOptions"/>.</summary>
    public IReadOnlyList<Setting> PoolImages { get; init; } =
    [
        Setting.Of<PoolImageOptions, string>("Image", image => image.Image, (image, value) => image.Image = value, "Reference of the image.") with
        {
            DefaultText = "required", HostKey = "image", Check = SettingChecks.Image,
        },
        Setting.Of<PoolImageOptions, int>("Count", image => image.Count, (image, value) => image.Count = value, "Minimum number of pooled sandboxes in the network mode `none`; 0: only while the image is in use.") with
        {
            Default = 1, Least = 0, Most = 1_000, Unit = "sandboxes", HostKey = "count",
        },
        Setting.Of<PoolImageOptions, IList<string>>("WarmUp", image => image.WarmUp, (image, value) => image.WarmUp = value, "Program and arguments that each sandbox of the image runs before it enters the pool; at most 1,024.") with
        {
            Default = Array.Empty<string>(), DefaultText = "none", HostKey = "warm_up", Check = SettingChecks.WarmUp,
        },
    ];

    /// <summary>Settings of <see cref="SessionOptions"/>.</summary>
    public IReadOnlyList<Setting> Sessions { get; init; } =
    [
        Setting.Of<SessionOptions, long?>("MaxMemoryBytes", sessions => sessions.MaxMemoryBytes, (sessions, value) => sessions.MaxMemoryBytes = value, "Memory that open sessions reserve together; a part of MaxMemoryBytes of the runner.") with
        {
            DefaultText = "half of the runner's", Least = 32 * ByteSize.MiB, Most = 1_024 * ByteSize.TiB, HostKey = "max_memory_mb",
        },
        Setting.Of<SessionOptions, long?>("MaxMemoryBytesPerKey", sessions => sessions.MaxMemoryBytesPerKey, (sessions, value) => sessions.MaxMemoryBytesPerKey = value, "Memory that open sessions of one fairness key reserve together.") with
        {
            DefaultText = "half of MaxMemoryBytes", Least = 32 * ByteSize.MiB, Most = 1_024 * ByteSize.TiB, HostKey = "max_memory_per_key_mb",
        },
        Setting.Of<SessionOptions, TimeSpan>("IdleTimeout", sessions => sessions.IdleTimeout, (sessions, value) => sessions.IdleTimeout = value, "Time after the last call after which a session ends, unless its request sets another.") with
        {
            Default = TimeSpan.FromMinutes(5), Least = TimeSpan.FromSeconds(1), Most = TimeSpan.FromDays(7), HostKey = "idle_timeout_secs",
        },
        Setting.Of<SessionOptions, TimeSpan>("Lifetime", sessions => sessions.Lifetime, (sessions, value) => sessions.Lifetime = value, "Time after the opening after which a session ends, unless its request sets another.") with
        {
            Default = TimeSpan.FromHours(1), Least = TimeSpan.FromSeconds(1), Most = TimeSpan.FromDays(7), HostKey = "lifetime_secs",
        },
        Setting.Of<SessionOptions, TimeSpan>("MaxLifetime", sessions => sessions.MaxLifetime, (sessions, value) => sessions.MaxLifetime = value, "Highest idle timeout and lifetime that a request may set.") with
        {
            Default = TimeSpan.FromDays(7), Least = TimeSpan.FromSeconds(1), Most = TimeSpan.FromDays(7), HostKey = "max_lifetime_secs",
        },
        Setting.Of<SessionOptions, int>("MaxParallelExecs", sessions => sessions.MaxParallelExecs, (sessions, value) => sessions.MaxParallelExecs = value, "Maximum number of commands that run in one session at the same time.") with
        {
            Default = 8, Least = 1, Most = 64, Unit = "commands", HostKey = "max_parallel_execs",
        },
        Setting.Of<SessionOptions, int>("MaxProcesses", sessions => sessions.MaxProcesses, (sessions, value) => sessions.MaxProcesses = value, "Maximum number of living processes that were started in one session.") with
        {
            Default = 32, Least = 1, Most = 256, Unit = "processes", HostKey = "max_processes",
        },
        Setting.Of<SessionOptions, long>("ProcessHistoryBytes", sessions => sessions.ProcessHistoryBytes, (sessions, value) => sessions.ProcessHistoryBytes = value, "Output that is kept in memory for each started process; older output is dropped.") with
        {
            Default = ByteSize.MiB, Least = 4 * ByteSize.KiB, Most = 64 * ByteSize.MiB, HostKey = "process_history_bytes",
        },
        Setting.Of<SessionOptions, int>("MaxConnections", sessions => sessions.MaxConnections, (sessions, value) => sessions.MaxConnections = value, "Maximum number of open connections to ports of one session.") with
        {
            Default = 64, Least = 1, Most = 1_024, Unit = "connections", HostKey = "max_connections",
        },
        Setting.Of<SessionOptions, int>("MaxListEntries", sessions => sessions.MaxListEntries, (sessions, value) => sessions.MaxListEntries = value, "Maximum number of entries in a list of files.") with
        {
            Default = 10_000, Least = 1, Most = 100_000, Unit = "entries", HostKey = "max_list_entries",
        },
        Setting.Of<SessionOptions, long>("MaxArchiveBytes", sessions => sessions.MaxArchiveBytes, (sessions, value) => sessions.MaxArchiveBytes = value, "Size of a tar archive that is read from a session or written to it.") with
        {
            Default = 64 * ByteSize.MiB, Least = 1L, Most = 64 * ByteSize.GiB, HostKey = "max_archive_bytes",
        },
    ];

    /// <summary>Settings of <see cref="RegistryOptions"/>.</summary>
    public IReadOnlyList<Setting> Registries { get; init; } =
    [
        Setting.Of<RegistryOptions, string>("Name", registry => registry.Name, (registry, value) => registry.Name = value, "Registry, as host or host:port.") with
        {
            DefaultText = "required", HostKey = "name", Check = SettingChecks.RegistryName,
        },
        Setting.Of<RegistryOptions, IList<string>>("Mirrors", registry => registry.Mirrors, (registry, value) => registry.Mirrors = value, "Base URLs that images of the registry are pulled from, in order.") with
        {
            Default = Array.Empty<string>(), DefaultText = "the registry itself", HostKey = "mirrors", Check = SettingChecks.Mirrors,
        },
        Setting.Of<RegistryOptions, string?>("Certificate", registry => registry.Certificate, (registry, value) => registry.Certificate = value, "File with the registry's certificate authorities (PEM).") with
        {
            IsOptional = true, DefaultText = "this machine's", HostKey = "certificate", Check = SettingChecks.Certificate, LooksAtMachine = true,
        },
        Setting.Of<RegistryOptions, bool>("Insecure", registry => registry.Insecure, (registry, value) => registry.Insecure = value, "Whether the certificate is not verified and http is used where https gives no connection.") with
        {
            Default = false, HostKey = "insecure",
        },
    ];

    /// <summary>Settings of <see cref="EgressPolicy"/>.</summary>
    public IReadOnlyList<Setting> Egress { get; init; } =
    [
        Setting.Of<EgressPolicy, IList<string>?>("Allow", policy => policy.Allow, (policy, value) => policy.Allow = value, "Rules of destinations that may be reached, and no others; at most 256.") with
        {
            IsOptional = true, DefaultText = "all that is public", HttpKey = "allow", Check = SettingChecks.Rules,
        },
        Setting.Of<EgressPolicy, IList<string>>("Deny", policy => policy.Deny, (policy, value) => policy.Deny = value, "Rules of destinations that may not be reached, even if another rule allows them; at most 256.") with
        {
            Default = Array.Empty<string>(), DefaultText = "none", HttpKey = "deny", Check = SettingChecks.Rules,
        },
        Setting.Of<EgressPolicy, long?>("BandwidthBitsPerSecond", policy => policy.BandwidthBitsPerSecond, (policy, value) => policy.BandwidthBitsPerSecond = value, "Bandwidth in each direction.") with
        {
            Kind = SettingKind.Number, DefaultText = "no limit", Least = 8_000L, Most = 100_000_000_000L, Unit = "bits per second", HttpKey = "bandwidth_bps",
        },
        Setting.Of<EgressPolicy, long?>("QuotaBytes", policy => policy.QuotaBytes, (policy, value) => policy.QuotaBytes = value, "Bytes of one run, both directions together; packets after them are dropped.") with
        {
            DefaultText = "no limit", Least = 1L, Most = 1L << 60, HttpKey = "quota_bytes",
        },
    ];

    /// <summary>Finds the paths of the settings in which two options differ. Changes after a runner was created need a restart to take effect.</summary>
    internal IEnumerable<string> FindDifferences(BoxerOptions first, BoxerOptions second) => FindDifferences(Options, first, second, "");

    /// <summary>Finds the faults of each value of an object by itself.</summary>
    /// <param name="settings">The settings of the object.</param>
    /// <param name="owner">The object.</param>
    /// <param name="prefix">Path of the object with a dot at its end, or empty.</param>
    internal IEnumerable<SandboxFault> Validate(IReadOnlyList<Setting> settings, object owner, string prefix)
    {
        foreach (Setting setting in settings)
        {
            string field = prefix + setting.Name;
            if (setting.Get(owner) is not { } value)
            {
                if (!setting.IsOptional)
                {
                    yield return new(field, "must not be null.");
                }

                continue;
            }

            if (setting.FindFault(value) is { } message)
            {
                yield return new(field, message);
            }

            foreach (SandboxFault fault in ValidateMembers(setting, value, field))
            {
                yield return fault;
            }

            foreach ((string suffix, string reason) in setting.Check?.Invoke(value) ?? [])
            {
                yield return new(field + suffix, reason);
            }
        }
    }

    private IEnumerable<SandboxFault> ValidateMembers(Setting setting, object value, string field) => setting.Kind switch
    {
        SettingKind.Group => Validate(setting.Members(this), value, field + "."),
        SettingKind.Groups => ((IEnumerable<object?>)value).Index().SelectMany(item => item.Item is null
            ? [new SandboxFault($"{field}[{item.Index}]", "must not be null.")]
            : Validate(setting.Members(this), item.Item, $"{field}[{item.Index}].")),
        _ => [],
    };

    private IEnumerable<string> FindDifferences(IReadOnlyList<Setting> settings, object first, object second, string prefix)
    {
        foreach (Setting setting in settings)
        {
            object? one = setting.Get(first);
            object? other = setting.Get(second);
            if (setting.Kind == SettingKind.Group && one is not null && other is not null)
            {
                foreach (string path in FindDifferences(setting.Members(this), one, other, $"{prefix}{setting.Name}."))
                {
                    yield return path;
                }
            }
            else if (!AreSame(setting, one, other))
            {
                yield return prefix + setting.Name;
            }
        }
    }

    private bool AreSame(Setting setting, object? one, object? other) => (setting.Kind, one, other) switch
    {
        (SettingKind.Texts, IList<string> texts, IList<string> others) => texts.SequenceEqual(others, StringComparer.Ordinal),
        (SettingKind.Groups, IEnumerable<object> items, IEnumerable<object> others) =>
            items.Count() == others.Count() && items.Zip(others).All(pair => !FindDifferences(setting.Members(this), pair.First, pair.Second, "").Any()),
        _ => Equals(one, other),
    };

    private static Dictionary<string, object> Names(params string[] names) => names.ToDictionary(name => name, name => (object)name, StringComparer.Ordinal);
}
