using Boxer.Common;
using Boxer.Networking;

namespace Boxer;

/// <summary>A sandbox to keep: its image and settings. The defaults suit a session that runs commands of one tenant for some minutes.</summary>
public sealed class SandboxSessionRequest : ISandboxDescription
{
    /// <summary>Creates a request to open a session of <paramref name="image"/>.</summary>
    /// <param name="image">An image reference as in Docker, for example <c>python:3.12-slim</c>. Its Entrypoint and Cmd are not run.</param>
    public SandboxSessionRequest(string image)
    {
        ArgumentNullException.ThrowIfNull(image);
        Image = image;
    }

    /// <summary>Creates a copy, for example to change some properties. Contents of files are shared.</summary>
    /// <param name="other">The request to copy.</param>
    public SandboxSessionRequest(SandboxSessionRequest other)
    {
        ArgumentNullException.ThrowIfNull(other);
        Image = other.Image;
        PullPolicy = other.PullPolicy;
        Environment = new Dictionary<string, string>(other.Environment, StringComparer.Ordinal);
        WorkingDirectory = other.WorkingDirectory;
        User = other.User;
        Network = other.Network;
        Egress = other.Egress?.Copy();
        FairnessKey = other.FairnessKey;
        Limits = other.Limits is null ? null! : other.Limits with { };
        Files = [.. other.Files];
        Workspace = other.Workspace is null ? null : new SandboxWorkspace(other.Workspace);
        Labels = new Dictionary<string, string>(other.Labels, StringComparer.Ordinal);
        IdleTimeout = other.IdleTimeout;
        Lifetime = other.Lifetime;
        FreezeAfter = other.FreezeAfter;
        KeepAliveWhileRunning = other.KeepAliveWhileRunning;
    }

    /// <summary>The image reference.</summary>
    public string Image { get; init; }

    /// <summary>
    /// When the image is pulled.
    /// <value>Default <see langword="null"/>: <see cref="BoxerOptions.PullPolicy"/>.</value>
    /// </summary>
    public Images.PullPolicy? PullPolicy { get; set; }

    /// <summary>
    /// Environment variables of every command of the session. They override those of the image's config and those that Boxer sets;
    /// <see cref="SandboxCommand.Environment"/> overrides them for one command.
    /// </summary>
    public IDictionary<string, string> Environment { get; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>
    /// Absolute path of the directory that commands start in and that relative paths of <see cref="ISandboxFiles"/> start at. It is created if it
    /// does not exist.
    /// <value>Default <see langword="null"/>: <see cref="Workspace"/>, else the image's WorkingDir unless it is <c>/</c>, else the home of the user.</value>
    /// </summary>
    public string? WorkingDirectory { get; set; }

    /// <summary>
    /// User of the commands and of <see cref="ISandboxFiles"/>: a name from the image's passwd, a uid, or either with <c>:group</c>. See
    /// <see cref="SandboxRequest.User"/>.
    /// <value>Default <see langword="null"/>: the image's User, else 65534.</value>
    /// </summary>
    public string? User { get; set; }

    /// <summary>
    /// Name of the network mode.
    /// <value>Default <c>none</c>: loopback only.</value>
    /// </summary>
    public string Network { get; set; } = "none";

    /// <summary>
    /// Destinations that the session may reach; see <see cref="SandboxRequest.Egress"/>. The quota of bytes is that of the whole session.
    /// <value>Default <see langword="null"/>: <see cref="BoxerOptions.Egress"/>.</value>
    /// </summary>
    public EgressPolicy? Egress { get; set; }

    /// <summary>
    /// Key for fair queueing, such as the name of a tenant; at most 1,024 characters. <see cref="SessionOptions.MaxMemoryBytesPerKey"/> bounds the
    /// sessions of one key. The sandbox does not see it.
    /// <value>Default <see langword="null"/>: no key.</value>
    /// </summary>
    public string? FairnessKey { get; set; }

    /// <summary>
    /// Limits of the sandbox, and default limits of its commands. Processors, memory and disk are those of the whole session. Commands have their
    /// own <see cref="ResourceLimits.WallClock"/>, <see cref="ResourceLimits.CpuTime"/>, <see cref="ResourceLimits.StandardOutputBytes"/>,
    /// <see cref="ResourceLimits.OpenFiles"/> and <see cref="ResourceLimits.Pids"/>, and use the values here unless they set them. The
    /// limits of output files must not be set. A <see langword="null"/> limit has the value of <see cref="BoxerOptions.DefaultLimits"/>.
    /// </summary>
    public ResourceLimits Limits { get; set; } = new();

    /// <summary>Files put into the sandbox before it serves commands, at most 10,000. Each is owned by root; only user 0 can write it.</summary>
    public IList<SandboxFile> Files { get; init; } = [];

    /// <summary>
    /// Directory that the session's user can write, with input files in it. <see cref="SandboxWorkspace.MaxChangesBytes"/> must be 0: read the
    /// changes with <see cref="ISandboxFiles.ReadArchiveAsync"/>.
    /// <value>Default <see langword="null"/>: none.</value>
    /// </summary>
    public SandboxWorkspace? Workspace { get; set; }

    /// <summary>
    /// Labels for the application's own use, such as the name of a conversation; at most 16, with names of 1 to 64 bytes and values of at most 256
    /// bytes in UTF-8, without control characters. The sandbox does not see them.
    /// <value>Default empty.</value>
    /// </summary>
    public IDictionary<string, string> Labels { get; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>
    /// Time after the end of the last call after which the session ends as <see cref="SandboxSessionEnd.IdleTimeout"/>; 1 s to 168 h (7 days), and
    /// at most <see cref="SessionOptions.MaxLifetime"/>.
    /// <value>Default <see langword="null"/>: <see cref="SessionOptions.IdleTimeout"/>, 5 min.</value>
    /// </summary>
    public TimeSpan? IdleTimeout { get; set; }

    /// <summary>
    /// Time from the opening, without paused time, after which the session ends as <see cref="SandboxSessionEnd.Lifetime"/>; 1 s to 168 h (7 days),
    /// and at most <see cref="SessionOptions.MaxLifetime"/>.
    /// <value>Default <see langword="null"/>: <see cref="SessionOptions.Lifetime"/>, 1 h.</value>
    /// </summary>
    public TimeSpan? Lifetime { get; set; }

    /// <summary>
    /// Time that an idle session stays awake before it is frozen; 0 s to 168 h (7 days). Processes that commands left behind stand still while it is
    /// frozen.
    /// <value>Default 1 s. <see langword="null"/>: it is never frozen.</value>
    /// </summary>
    public TimeSpan? FreezeAfter { get; set; } = TimeSpan.FromSeconds(1);

    /// <summary>
    /// Whether a living process of <see cref="ISandboxSession.StartAsync"/> keeps the idle timeout from running. The lifetime runs nevertheless.
    /// <value>Default <see langword="false"/>: the idle timeout runs from the end of the last call, whatever processes do.</value>
    /// </summary>
    public bool KeepAliveWhileRunning { get; set; }

    /// <summary>
    /// Returns the image and the network, printable and shortened, and the number of variables, files and labels. Values of variables and contents
    /// are not included.
    /// </summary>
    public override string ToString() =>
        $"session of {UntrustedText.Show(Image)} (network {UntrustedText.Show(Network)}, {Environment.Count} variables, {Files.Count} files, {Labels.Count} labels{(Workspace is null ? "" : $", workspace {Workspace}")})";
}
