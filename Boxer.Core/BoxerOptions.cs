using Boxer.Images.Store;
using Boxer.Networking;

namespace Boxer;

/// <summary>Options of a runner. They are read once, when the runner is made.</summary>
public sealed class BoxerOptions
{
    internal static readonly string[] DefaultDnsServers = ["8.8.8.8", "8.8.4.4"];
    internal static readonly string[] DefaultNetworkBlocks = ["10.231.0.0/16", "172.30.0.0/16", "192.168.208.0/20"];

    /// <summary>
    /// Directory of the images and of Boxer's PID 1 (<c>bin/</c>): an absolute path, made when missing with mode 0700; if it exists it must be a
    /// directory of this process's user that nobody else may enter. Several processes may share it. It stays when the runner is disposed.
    /// <value>Default <c>~/.boxer</c>.</value>
    /// </summary>
    public string Home { get; set; } = DefaultHome();

    /// <summary>
    /// The runsc program: a path, or a name that is looked up in PATH.
    /// <value>Default <c>runsc</c>.</value>
    /// </summary>
    public string RunscPath { get; set; } = "runsc";

    /// <summary>
    /// The gVisor platform: <c>systrap</c>, <c>kvm</c> or <c>ptrace</c>.
    /// <value>Default <c>systrap</c>.</value>
    /// </summary>
    public string Platform { get; set; } = "systrap";

    /// <summary>
    /// Limits of runs that do not set their own. A limit that is <see langword="null"/> here is what it is by default.
    /// <value>Default: what <see cref="ResourceLimits"/> documents for each limit.</value>
    /// </summary>
    public ResourceLimits DefaultLimits { get; set; } = ResourceLimits.Defaults;

    /// <summary>
    /// The most that a request may ask of each limit; one that asks for more is refused. The defaults must be within it.
    /// <value>Default: what <see cref="ResourceLimits"/> documents for what is <see langword="null"/>, and for memory what
    /// <see cref="MaxMemoryBytes"/> says.</value>
    /// </summary>
    public ResourceLimits MaxLimits { get; set; } = new();

    /// <summary>
    /// Run without cgroups: cpu and memory limits are not held, nor is a limit of processes for all users that user 0 becomes together, and every result
    /// names them in <see cref="SandboxResult.UnenforcedLimits"/>. <see cref="ResourceLimits.CpuTime"/> then limits only the command's own process.
    /// <value>Default <see langword="false"/>: a host where they cannot be held is refused.</value>
    /// </summary>
    public bool IgnoreCgroups { get; set; }

    /// <summary>
    /// Where Boxer makes its cgroups, relative to the cgroup mount.
    /// <value>Default <see langword="null"/>: on v1 below this process's own cgroup, on v2 at the root of the hierarchy.</value>
    /// </summary>
    public string? CgroupParent { get; set; }

    /// <summary>
    /// Resolvers of sandboxes that have a network, as IP addresses; at most 3. Assign a list to replace the default; empty is the default too.
    /// <value>Default 8.8.8.8 and 8.8.4.4.</value>
    /// </summary>
    public IList<string> DnsServers { get; set; } = [.. DefaultDnsServers];

    /// <summary>
    /// How registries are reached: mirrors, certificates, insecure ones. One entry for each registry.
    /// <value>Default empty: each registry itself, by https, with this machine's authorities.</value>
    /// </summary>
    public IList<RegistryOptions> Registries { get; set; } = [];

    /// <summary>
    /// Registries that images may come from, as <c>host</c> or <c>host:port</c>.
    /// <value>
    /// Default empty: every registry that is reached over https at a public address, checked at the address that is connected to.
    /// Loopback, private and link-local addresses only if listed here or a mirror.
    /// </value>
    /// </summary>
    public IList<string> AllowedRegistries { get; set; } = [];

    /// <summary>
    /// The file with the credentials of registries, as <c>docker login</c> writes it; see <see cref="Images.Registry.DockerConfigCredentials"/>.
    /// Whoever may run an image can then run what these credentials show.
    /// <value>Default <see langword="null"/>: registries are asked as anybody.</value>
    /// </summary>
    public string? DockerConfigPath { get; set; }

    /// <summary>
    /// When registries are asked for images; <see cref="SandboxRequest.PullPolicy"/> stands in for it, except for
    /// <see cref="Images.PullPolicy.Never"/>.
    /// <value>Default <see cref="Images.PullPolicy.Missing"/>.</value>
    /// </summary>
    public Images.PullPolicy PullPolicy { get; set; }

    /// <summary>
    /// Bytes on the disk that images may take together; see <see cref="Images.Store.ImageStoreOptions.MaxImageStoreBytes"/>; at least 1 byte.
    /// <value>Default <see langword="null"/>: as much as there is room.</value>
    /// </summary>
    public long? MaxImageStoreBytes { get; set; }

    /// <summary>
    /// Bytes that stay free on the disk of <see cref="Home"/>; see <see cref="Images.Store.ImageStoreOptions.MinFreeDiskBytes"/>; 0 bytes to 1 PiB; 0 to fill it.
    /// <value>Default 256 MiB.</value>
    /// </summary>
    public long MinFreeDiskBytes { get; set; } = 256 * ByteSize.MiB;

    /// <summary>
    /// Memory in bytes of this process that pulls together may take; see <see cref="Images.Store.ImageStoreOptions.PullMemoryBytes"/>; 64 MiB to 64 GiB. It is
    /// taken off <see cref="MaxMemoryBytes"/>.
    /// <value>Default <see langword="null"/>: a sixteenth of <see cref="MaxMemoryBytes"/>, at least 64 MiB and at most 512 MiB.</value>
    /// </summary>
    public long? PullMemoryBytes { get; set; }

    /// <summary>
    /// Names of the network modes that requests may use.
    /// <value>Default empty: all that are registered.</value>
    /// </summary>
    public IList<string> AllowedNetworks { get; set; } = [];

    /// <summary>
    /// Private IPv4 blocks that sandboxes of the network mode <c>sandbox</c> get their addresses from, in the order in which they are
    /// tried; /16 to /30. Parts that overlap an address or a route of this host are passed over. Assign a list to replace the default;
    /// empty is the default too.
    /// <value>Default 10.231.0.0/16, 172.30.0.0/16 and 192.168.208.0/20.</value>
    /// </summary>
    public IList<string> NetworkBlocks { get; set; } = [.. DefaultNetworkBlocks];

    /// <summary>
    /// Whether sandboxes of the network mode <c>sandbox</c> also have a unique local IPv6 address (RFC 4193) with NAT to the outside. Read
    /// at the first such sandbox. While they run, this host forwards IPv6; what it does with router advertisements stays as it was.
    /// <value>Default <see langword="false"/>: no packet leaves them by IPv6.</value>
    /// </summary>
    public bool EnableIPv6 { get; set; }

    /// <summary>
    /// What sandboxes of the network mode <c>sandbox</c> may reach, where their request does not say less.
    /// <value>Default: the empty policy, which is the public internet.</value>
    /// </summary>
    public EgressPolicy Egress { get; set; } = new();

    /// <summary>
    /// Whether <see cref="SandboxRequest.Egress"/> stands in for <see cref="Egress"/>, private addresses included.
    /// <value>Default <see langword="false"/>: a request can only tighten it.</value>
    /// </summary>
    public bool AllowWiderEgress { get; set; }

    /// <summary>
    /// Maximum number of concurrent runs, including those that wait for processors (<see cref="CpuOvercommit"/>); 1 to 10,000.
    /// <value>Default <see langword="null"/>: four for each processor.</value>
    /// </summary>
    public int? MaxConcurrentRuns { get; set; }

    /// <summary>
    /// How many processors may be promised to commands for each processor of this machine; 1 to 100. A command is promised its
    /// <see cref="ResourceLimits.CpuCores"/> from its hand-over to its end, and waits with its sandbox ready until they can be promised.
    /// More than 1 suits commands that mostly wait: they then share the processors, and each may be slower than its limit says. While a run
    /// with a CPU-time limit has processors, no more are promised than this machine has.
    /// <value>Default 1: each command has what it was promised.</value>
    /// </summary>
    public double CpuOvercommit { get; set; } = 1;

    /// <summary>
    /// Of <see cref="MaxConcurrentRuns"/>, how many of one <see cref="SandboxRequest.FairnessKey"/>; 1 to 10,000.
    /// <value>Default <see langword="null"/>: all, where no other key wants one.</value>
    /// </summary>
    public int? MaxConcurrentRunsPerKey { get; set; }

    /// <summary>
    /// Maximum memory (32 MiB to 1 PiB) for all sandboxes of this runner, including pooled ones, plus the memory of pulls
    /// (<see cref="PullMemoryBytes"/>). Minimum: pulls plus one run with the default limits. Maximum: the memory of the machine or of this
    /// process's cgroup, less one sixteenth (at least 128 MiB) for the host. Runners do not know of each other: divide a machine's memory among
    /// them.
    /// <value>Default <see langword="null"/>: three quarters of this machine's memory, or of the limit of this process's cgroup.</value>
    /// </summary>
    public long? MaxMemoryBytes { get; set; }

    /// <summary>
    /// Maximum number of queued runs beyond <see cref="MaxConcurrentRuns"/>; 0 to 1,000,000. Where memory keeps fewer runs from running at once, more wait:
    /// the sum of both is the bound. As many runs as that sum may wait for their images besides. Further runs are rejected. Where all places are taken, the
    /// last run of the key that has most gives up its place to a key that has fewer.
    /// <value>Default 256.</value>
    /// </summary>
    public int MaxQueuedRuns { get; set; } = 256;

    /// <summary>
    /// Of <see cref="MaxQueuedRuns"/>, how many of one <see cref="SandboxRequest.FairnessKey"/>; 0 to 1,000,000.
    /// <value>Default <see langword="null"/>: all, where no other key wants one.</value>
    /// </summary>
    public int? MaxQueuedRunsPerKey { get; set; }

    /// <summary>
    /// How long a run may wait for a running slot, and as long again for its processors; 0 s to 1 h.
    /// <value>Default 60 s.</value>
    /// </summary>
    public TimeSpan QueueTimeout { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>
    /// How long one image may take to be pulled, however many runs wait for it; 1 s to 24 h.
    /// <value>Default 10 min.</value>
    /// </summary>
    public TimeSpan PullTimeout { get; set; } = TimeSpan.FromMinutes(10);

    /// <summary>
    /// How long a sandbox may take to boot; 1 s to 10 min.
    /// <value>Default 30 s.</value>
    /// </summary>
    public TimeSpan BootTimeout { get; set; } = TimeSpan.FromSeconds(30);

    /// <summary>
    /// Sandboxes that are booted ahead.
    /// <value>Default: for images in use, where this host can freeze what waits.</value>
    /// </summary>
    public PoolOptions Pool { get; set; } = new();

    /// <summary>A copy that nobody else changes.</summary>
    internal BoxerOptions Copy()
    {
        var copy = (BoxerOptions)MemberwiseClone();
        copy.DefaultLimits = DefaultLimits with { };
        copy.MaxLimits = MaxLimits with { };
        copy.DnsServers = [.. DnsServers];
        copy.NetworkBlocks = [.. NetworkBlocks];
        copy.Egress = Egress.Copy();
        copy.Pool = Pool.Copy();
        copy.AllowedRegistries = [.. AllowedRegistries];
        copy.AllowedNetworks = [.. AllowedNetworks];
        copy.Registries = [.. Registries.Select(registry => registry.Copy())];
        return copy;
    }

    internal static string DefaultHome() =>
        Path.Combine(System.Environment.GetFolderPath(System.Environment.SpecialFolder.UserProfile), ".boxer");
}
