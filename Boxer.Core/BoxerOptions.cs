using Boxer.Networking;

namespace Boxer;

/// <summary>
/// Options of a runner. The runner copies them when it is created; later changes have no effect. Invalid options make the constructor throw an
/// <see cref="ArgumentException"/> that lists every fault.
/// </summary>
public sealed class BoxerOptions
{
    internal static readonly string[] DefaultDnsServers = ["8.8.8.8", "8.8.4.4"];
    internal static readonly string[] DefaultNetworkBlocks = ["10.231.0.0/16", "172.30.0.0/16", "192.168.208.0/20"];

    /// <summary>
    /// Absolute path of the directory for images and for Boxer's PID 1 (<c>bin/</c>). It is created with mode 0700 if it does not exist. An
    /// existing directory must belong to this process's user and be closed to all others. Several processes may share it. It is kept when the
    /// runner is disposed.
    /// <value>Default <c>~/.boxer</c>.</value>
    /// </summary>
    public string Home { get; set; } = DefaultHome();

    /// <summary>
    /// Path of the runsc program, or a name that is looked up in PATH.
    /// <value>Default <c>runsc</c>.</value>
    /// </summary>
    public string RunscPath { get; set; } = "runsc";

    /// <summary>
    /// The gVisor platform: <c>systrap</c>, <c>kvm</c> or <c>ptrace</c>.
    /// <value>Default <c>systrap</c>.</value>
    /// </summary>
    public string Platform { get; set; } = "systrap";

    /// <summary>
    /// Limits of runs that do not set their own. A <see langword="null"/> limit here has its documented default.
    /// <value>Default: the defaults documented in <see cref="ResourceLimits"/>.</value>
    /// </summary>
    public ResourceLimits DefaultLimits { get; set; } = LimitDefaults.Values;

    /// <summary>
    /// Highest value that a request may set for each limit. A request with a higher value is rejected. <see cref="DefaultLimits"/> must not be
    /// higher.
    /// <value>Default: all <see langword="null"/>. A null limit is bounded by its documented range, memory also by <see cref="MaxMemoryBytes"/>.</value>
    /// </summary>
    public ResourceLimits MaxLimits { get; set; } = new();

    /// <summary>
    /// Whether to run without cgroups. CPU and memory limits are then not enforced, nor is a limit on the processes of all users that user 0 can
    /// become. Every result lists them in <see cref="SandboxResult.UnenforcedLimits"/>. <see cref="ResourceLimits.CpuTime"/> then limits only the
    /// command's own process.
    /// <value>Default <see langword="false"/>: the runner does not start on a host that cannot enforce them.</value>
    /// </summary>
    public bool IgnoreCgroups { get; set; }

    /// <summary>
    /// Parent of Boxer's cgroups, as a path relative to the cgroup mount.
    /// <value>Default <see langword="null"/>: this process's own cgroup on cgroup v1, the root of the hierarchy on v2.</value>
    /// </summary>
    public string? CgroupParent { get; set; }

    /// <summary>
    /// DNS resolvers of sandboxes that have a network, as IP addresses; at most 3. Assign a list to replace the default. An empty list means the
    /// default too.
    /// <value>Default 8.8.8.8 and 8.8.4.4.</value>
    /// </summary>
    public IList<string> DnsServers { get; set; } = [.. DefaultDnsServers];

    /// <summary>
    /// Access to registries: mirrors, certificates, and insecure registries. At most one entry for each registry.
    /// <value>Default empty: each registry is contacted directly over https, with the certificate authorities of this machine.</value>
    /// </summary>
    public IList<RegistryOptions> Registries { get; set; } = [];

    /// <summary>
    /// Registries that images may come from, as <c>host</c> or <c>host:port</c>. Loopback, private and link-local addresses are contacted only if
    /// listed here or configured as a mirror.
    /// <value>Default empty: every registry that is reached over https at a public address. The address is checked when the connection is made.</value>
    /// </summary>
    public IList<string> AllowedRegistries { get; set; } = [];

    /// <summary>
    /// Absolute path of the file with registry credentials, as <c>docker login</c> writes it; see
    /// <see cref="Images.Registry.DockerConfigCredentials"/>. Anyone who may run images can then run every image that these credentials give access
    /// to.
    /// <value>Default <see langword="null"/>: anonymous access.</value>
    /// </summary>
    public string? DockerConfigPath { get; set; }

    /// <summary>
    /// When images are pulled. <see cref="SandboxRequest.PullPolicy"/> overrides it, except for <see cref="Images.PullPolicy.Never"/>.
    /// <value>Default <see cref="Images.PullPolicy.Missing"/>.</value>
    /// </summary>
    public Images.PullPolicy PullPolicy { get; set; }

    /// <summary>
    /// Maximum disk space in bytes for all images together; at least 1 byte. See <see cref="Images.Store.ImageStoreOptions.MaxImageStoreBytes"/>.
    /// <value>Default <see langword="null"/>: the whole disk, less <see cref="MinFreeDiskBytes"/>.</value>
    /// </summary>
    public long? MaxImageStoreBytes { get; set; }

    /// <summary>
    /// Disk space in bytes that stays free on the disk of <see cref="Home"/>; 0 bytes to 1 PiB; 0 allows filling it. See
    /// <see cref="Images.Store.ImageStoreOptions.MinFreeDiskBytes"/>.
    /// <value>Default 256 MiB.</value>
    /// </summary>
    public long MinFreeDiskBytes { get; set; } = 256 * ByteSize.MiB;

    /// <summary>
    /// Maximum memory in bytes of this process for all pulls together; 64 MiB to 64 GiB. It is subtracted from <see cref="MaxMemoryBytes"/>. See
    /// <see cref="Images.Store.ImageStoreOptions.PullMemoryBytes"/>.
    /// <value>Default <see langword="null"/>: a sixteenth of <see cref="MaxMemoryBytes"/>, at least 64 MiB and at most 512 MiB.</value>
    /// </summary>
    public long? PullMemoryBytes { get; set; }

    /// <summary>
    /// Names of the network modes that requests may use.
    /// <value>Default empty: all registered modes.</value>
    /// </summary>
    public IList<string> AllowedNetworks { get; set; } = [];

    /// <summary>
    /// Private IPv4 blocks for the addresses of sandboxes in the network mode <c>sandbox</c>, in order of preference; /16 to /30. Parts that
    /// overlap an address or a route of this host are skipped. Assign a list to replace the default. An empty list means the default too.
    /// <value>Default 10.231.0.0/16, 172.30.0.0/16 and 192.168.208.0/20.</value>
    /// </summary>
    public IList<string> NetworkBlocks { get; set; } = [.. DefaultNetworkBlocks];

    /// <summary>
    /// Whether sandboxes of the network mode <c>sandbox</c> also have a unique local IPv6 address (RFC 4193) with NAT to the outside. The value is
    /// read when the first such sandbox starts. This host forwards IPv6 while such sandboxes run; its handling of router advertisements does not
    /// change.
    /// <value>Default <see langword="false"/>: no IPv6 packet leaves a sandbox.</value>
    /// </summary>
    public bool EnableIPv6 { get; set; }

    /// <summary>
    /// Destinations that sandboxes of the network mode <c>sandbox</c> may reach. <see cref="SandboxRequest.Egress"/> can restrict it further.
    /// <value>Default: the empty policy, which allows the public internet.</value>
    /// </summary>
    public EgressPolicy Egress { get; set; } = new();

    /// <summary>
    /// Whether <see cref="SandboxRequest.Egress"/> replaces <see cref="Egress"/>, including for private addresses.
    /// <value>Default <see langword="false"/>: a request can only restrict it further.</value>
    /// </summary>
    public bool AllowWiderEgress { get; set; }

    /// <summary>
    /// Maximum number of concurrent runs, including those that wait for processors (<see cref="CpuOvercommit"/>); 1 to 10,000.
    /// <value>Default <see langword="null"/>: four for each processor.</value>
    /// </summary>
    public int? MaxConcurrentRuns { get; set; }

    /// <summary>
    /// Processors that may be promised to commands for each processor of this machine; 1 to 100. A command is promised its
    /// <see cref="ResourceLimits.CpuCores"/> from its hand-over to its end. Until they are available the run waits with its sandbox ready. Values
    /// above 1 suit commands that mostly wait: they share the processors, and each may be slower than its limit allows. While a run with a CPU-time
    /// limit holds processors, promises do not exceed the processors of this machine.
    /// <value>Default 1: each command gets the processors it was promised.</value>
    /// </summary>
    public double CpuOvercommit { get; set; } = 1;

    /// <summary>
    /// Maximum number of concurrent runs of one <see cref="SandboxRequest.FairnessKey"/>, as part of <see cref="MaxConcurrentRuns"/>; 1 to 10,000.
    /// <value>Default <see langword="null"/>: all of them, while no other key wants any.</value>
    /// </summary>
    public int? MaxConcurrentRunsPerKey { get; set; }

    /// <summary>
    /// Maximum memory in bytes (32 MiB to 1 PiB) for all sandboxes of this runner, including pooled ones, plus the memory of pulls
    /// (<see cref="PullMemoryBytes"/>). It must cover the pulls and one run with the default limits. It must not exceed the memory of the machine
    /// or of this process's cgroup, less one sixteenth (at least 128 MiB) for the host. Runners do not know of each other: divide a machine's
    /// memory among them.
    /// <value>Default <see langword="null"/>: three quarters of this machine's memory, or of the limit of this process's cgroup.</value>
    /// </summary>
    public long? MaxMemoryBytes { get; set; }

    /// <summary>
    /// Maximum number of queued runs beyond <see cref="MaxConcurrentRuns"/>; 0 to 1,000,000. Further runs are rejected. If memory allows fewer
    /// concurrent runs, more may be queued: the sum of both options bounds running and queued runs together. The same number of runs may
    /// additionally wait for their images. When the queue is full, a run of a key with few runs displaces the last queued run of the key with the
    /// most.
    /// <value>Default 256.</value>
    /// </summary>
    public int MaxQueuedRuns { get; set; } = 256;

    /// <summary>
    /// Maximum number of queued runs of one <see cref="SandboxRequest.FairnessKey"/>, as part of <see cref="MaxQueuedRuns"/>; 0 to 1,000,000.
    /// <value>Default <see langword="null"/>: all of them, while no other key wants any.</value>
    /// </summary>
    public int? MaxQueuedRunsPerKey { get; set; }

    /// <summary>
    /// Maximum time that a run waits for a running slot, and again for its processors; 0 s to 1 h. A run that waits longer is rejected with a
    /// <see cref="SandboxCapacityException"/>.
    /// <value>Default 60 s.</value>
    /// </summary>
    public TimeSpan QueueTimeout { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>
    /// Maximum time that the pull of one image may take, however many runs wait for it; 1 s to 24 h.
    /// <value>Default 10 min.</value>
    /// </summary>
    public TimeSpan PullTimeout { get; set; } = TimeSpan.FromMinutes(10);

    /// <summary>
    /// Maximum time that the boot of a sandbox may take; 1 s to 10 min.
    /// <value>Default 30 s.</value>
    /// </summary>
    public TimeSpan BootTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// Options of the pool of booted sandboxes.
    /// <value>Default: sandboxes are booted ahead for images in use, if this host can freeze them.</value>
    /// </summary>
    public PoolOptions Pool { get; set; } = new();

    /// <summary>
    /// Options of sessions.
    /// <value>Default: sessions may reserve half of <see cref="MaxMemoryBytes"/>, and end 5 min after their last call.</value>
    /// </summary>
    public SessionOptions Sessions { get; set; } = new();

    /// <summary>Returns a deep copy.</summary>
    internal BoxerOptions Copy()
    {
        var copy = (BoxerOptions)MemberwiseClone();
        copy.DefaultLimits = DefaultLimits with { };
        copy.MaxLimits = MaxLimits with { };
        copy.DnsServers = [.. DnsServers];
        copy.NetworkBlocks = [.. NetworkBlocks];
        copy.Egress = Egress.Copy();
        copy.Pool = Pool.Copy();
        copy.Sessions = Sessions.Copy();
        copy.AllowedRegistries = [.. AllowedRegistries];
        copy.AllowedNetworks = [.. AllowedNetworks];
        copy.Registries = [.. Registries.Select(registry => registry.Copy())];
        return copy;
    }

    internal static string DefaultHome() =>
        Path.Combine(System.Environment.GetFolderPath(System.Environment.SpecialFolder.UserProfile), ".boxer");
}
