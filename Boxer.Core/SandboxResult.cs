using System.Globalization;
using System.Text;
using Boxer.Common;
using Boxer.Networking;

namespace Boxer;

/// <summary>
/// Result of a run: how it ended and what it left. Runners create results; tests and other runners can too:
/// <c>new SandboxResult(Termination.Exited(0)) { StandardOutput = "42\n" }</c>.
/// </summary>
public sealed class SandboxResult
{
    // A class, so that copies of a result share the decoded text.
    private readonly Printed _standardOutput = Printed.Nothing;
    private readonly Printed _standardError = Printed.Nothing;

    /// <summary>Creates a result without output, files or usage. Set the properties that apply.</summary>
    /// <param name="termination">How the run ended.</param>
    public SandboxResult(Termination termination)
    {
        ArgumentNullException.ThrowIfNull(termination);
        Termination = termination;
        Id = $"boxer-{Guid.NewGuid()}";
    }

    /// <summary>Creates a copy, for example to change some properties.</summary>
    /// <param name="other">The result to copy. Contents of files are shared.</param>
    public SandboxResult(SandboxResult other)
    {
        ArgumentNullException.ThrowIfNull(other);
        Id = other.Id;
        Termination = other.Termination;
        _standardOutput = other._standardOutput;
        _standardError = other._standardError;
        OutputFiles = other.OutputFiles;
        OutputFilesIncomplete = other.OutputFilesIncomplete;
        OutputFilesDropped = other.OutputFilesDropped;
        WorkspaceChanges = other.WorkspaceChanges;
        WorkspaceIncomplete = other.WorkspaceIncomplete;
        ImageDigest = other.ImageDigest;
        Network = other.Network;
        NetworkIncomplete = other.NetworkIncomplete;
        LeftBehind = other.LeftBehind;
        Usage = other.Usage;
        Timings = other.Timings;
        UnenforcedLimits = other.UnenforcedLimits;
    }

    /// <summary>
    /// The identifier of the run, <c>boxer-</c> followed by a UUID, as in logs and traces.
    /// <value>Default a new one.</value>
    /// </summary>
    public string Id { get; init; }

    /// <summary>How the run ended.</summary>
    public Termination Termination { get; init; }

    /// <summary>Whether the command exited by itself with code 0.</summary>
    public bool IsSuccess => Termination.IsSuccess;

    /// <summary>
    /// The exit code as a shell reports it: the command's own, also with <see cref="TerminationKind.DiskLimit"/>; 128 + n for signal n; 127 if the
    /// command was not started because something does not exist; 126 if it was not started for another reason; 137 for every other end.
    /// </summary>
    public int ExitCode => Termination switch
    {
        { ExitCode: { } code } => code,
        { Signal: { } signal } => 128 + signal,
        { Kind: TerminationKind.NotStarted, Errno: 2 } => 127,
        { Kind: TerminationKind.NotStarted } => 126,
        _ => 137,
    };

    /// <summary>
    /// Standard output as bytes, at most <see cref="ResourceLimits.StandardOutputBytes"/>. Empty if <see cref="SandboxRequest.KeepStandardOutput"/>
    /// is <see langword="false"/>.
    /// <value>Default empty. Setting it also sets <see cref="StandardOutput"/>.</value>
    /// </summary>
    public ReadOnlyMemory<byte> StandardOutputBytes
    {
        get => _standardOutput.Bytes;
        init => _standardOutput = new Printed(value);
    }

    /// <summary>
    /// Standard error as bytes, like <see cref="StandardOutputBytes"/>. Empty if <see cref="SandboxRequest.MergeStandardError"/> is set.
    /// <value>Default empty. Setting it also sets <see cref="StandardError"/>.</value>
    /// </summary>
    public ReadOnlyMemory<byte> StandardErrorBytes
    {
        get => _standardError.Bytes;
        init => _standardError = new Printed(value);
    }

    /// <summary>
    /// Standard output as UTF-8 text. Bytes that are not UTF-8 are U+FFFD. Decoded on first access.
    /// <value>Default empty. Setting it also sets <see cref="StandardOutputBytes"/>.</value>
    /// </summary>
    public string StandardOutput
    {
        get => _standardOutput.Text;
        init => _standardOutput = new Printed(Encoding.UTF8.GetBytes(value));
    }

    /// <summary>
    /// Standard error as UTF-8 text. Bytes that are not UTF-8 are U+FFFD. Decoded on first access.
    /// <value>Default empty. Setting it also sets <see cref="StandardErrorBytes"/>.</value>
    /// </summary>
    public string StandardError
    {
        get => _standardError.Text;
        init => _standardError = new Printed(Encoding.UTF8.GetBytes(value));
    }

    /// <summary>
    /// Files that the command left under <c>/output</c>, if <see cref="SandboxRequest.OutputFiles"/> collects them.
    /// <value>Default empty.</value>
    /// </summary>
    public IReadOnlyList<SandboxOutputFile> OutputFiles { get; init; } = [];

    /// <summary>Reason why <see cref="OutputFiles"/> does not contain everything under <c>/output</c>; <see langword="null"/> if it does.</summary>
    public string? OutputFilesIncomplete { get; init; }

    /// <summary>
    /// Minimum number of files under <c>/output</c> that were discarded, with <see cref="OutputFilePolicy.Discard"/>; otherwise 0. Links and
    /// directories that are nested too deep count too; entries after the first <see cref="ResourceLimits.OutputFilesCount"/> do not. Also 0 if the
    /// sandbox was destroyed before they could be counted, as at the memory limit.
    /// </summary>
    public long OutputFilesDropped { get; init; }

    /// <summary>
    /// Files that the command changed or created in its workspace, as a tar archive (pax): files with modes and times, directories, and symbolic
    /// links whose target is inside. Empty if <see cref="SandboxWorkspace.MaxChangesBytes"/> is 0 or nothing changed. Deletions are not reported,
    /// nor are changes to an input file made only through a shared mapping (mmap(2)). The archive is untrusted: unpack it into an empty directory.
    /// </summary>
    public ReadOnlyMemory<byte> WorkspaceChanges { get; init; }

    /// <summary>Reason why <see cref="WorkspaceChanges"/> does not contain every change; <see langword="null"/> if it does.</summary>
    public string? WorkspaceIncomplete { get; init; }

    /// <summary>
    /// The digest of the image's manifest, <c>sha256:...</c>.
    /// <value>Default empty: unknown.</value>
    /// </summary>
    public string ImageDigest { get; init; } = "";

    /// <summary>Network use of the run.</summary>
    public NetworkReport Network { get; init; } = NetworkReport.None;

    /// <summary>Reason why <see cref="Network"/> is missing or incomplete; <see langword="null"/> if it is complete.</summary>
    public string? NetworkIncomplete { get; init; }

    /// <summary>
    /// Number of processes that a command of <see cref="ISandboxSession.ExecAsync"/> left behind: those of its POSIX session (setsid(2)) that were
    /// alive when its first process ended. They go on. Always 0 for other runs, whose sandbox is destroyed.
    /// <value>Default 0.</value>
    /// </summary>
    public int LeftBehind { get; init; }

    /// <summary>Resource usage of the run.</summary>
    public SandboxUsage Usage { get; init; } = new();

    /// <summary>Duration of each stage of the run.</summary>
    public SandboxTimings Timings { get; init; } = new();

    /// <summary>
    /// Limits that this host cannot enforce, or not as documented, by property name of <see cref="ResourceLimits"/>. Empty unless
    /// <see cref="BoxerOptions.IgnoreCgroups"/> is set, except for <see cref="ResourceLimits.CpuTime"/> on a host with cgroup v1 and no cpuacct
    /// controller. <see cref="ResourceLimits.CpuTime"/> is listed if the run has that limit, <see cref="ResourceLimits.Pids"/> if its user is 0.
    /// </summary>
    public IReadOnlyList<string> UnenforcedLimits { get; init; } = [];

    /// <summary>Throws unless the command exited by itself with code 0.</summary>
    /// <returns>This result.</returns>
    /// <exception cref="CommandFailedException">The run ended differently. The exception has this result and the end of the output.</exception>
    public SandboxResult EnsureSuccess() => IsSuccess ? this : throw new CommandFailedException(this);

    /// <summary>Returns the identifier, how the run ended, and the sizes of its output, but none of the output itself.</summary>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{UntrustedText.Show(Id)}: {Termination} after {Timings.Run.TotalMilliseconds:0.###} ms, {StandardOutputBytes.Length} bytes of standard output, {StandardErrorBytes.Length} bytes of standard error, {OutputFiles.Count} output files");

    private sealed class Printed(ReadOnlyMemory<byte> bytes)
    {
        private string? _text;

        public static Printed Nothing { get; } = new(default);

        public ReadOnlyMemory<byte> Bytes => bytes;

        public string Text => _text ?? LazyInitializer.EnsureInitialized(ref _text, () => UntrustedText.Decode(bytes.Span));
    }
}

/// <summary>A file that a command left under <c>/output</c>.</summary>
public sealed class SandboxOutputFile
{
    private const UnixFileMode DefaultMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead;
    private readonly long? _size;

    /// <summary>Path relative to <c>/output</c>, with <c>/</c> between names.</summary>
    public required string Path { get; init; }

    /// <summary>
    /// Size in bytes.
    /// <value>Default the length of <see cref="Content"/>.</value>
    /// </summary>
    public long Size
    {
        get => _size ?? Content.Length;
        init => _size = value;
    }

    /// <summary>
    /// Permission bits as the command set them, without set-user-ID, set-group-ID and sticky.
    /// <value>Default 0644.</value>
    /// </summary>
    public UnixFileMode Mode { get; init; } = DefaultMode;

    /// <summary>Modification time as reported by the sandbox. The command may have set any time.</summary>
    public DateTimeOffset ModifiedAt { get; init; }

    /// <summary>Content of the file with <see cref="OutputFilePolicy.InMemory"/>; otherwise empty.</summary>
    public ReadOnlyMemory<byte> Content { get; init; }

    /// <summary>Path of the file on this host with <see cref="OutputFilePolicy.ToDirectory"/>; otherwise <see langword="null"/>.</summary>
    public string? HostPath { get; init; }

    /// <summary>Returns the path, printable and shortened to 200 characters, and the size.</summary>
    public override string ToString() => $"{UntrustedText.Show(Path)} ({Size} bytes)";
}

/// <summary>Resource usage of a run, however it ended. A value that this host cannot measure is <see langword="null"/>.</summary>
public sealed class SandboxUsage
{
    /// <summary>
    /// Processor time of the command and its children, user and system, as the sandbox's kernel counted it (getrusage(2)): in ticks of 10 ms,
    /// including ticks in which this host's processors ran something else. <see langword="null"/> if the sandbox ended before its PID 1 could
    /// report it.
    /// </summary>
    public TimeSpan? CommandCpu { get; init; }

    /// <summary>
    /// Processor time of the whole sandbox, user and system, from the start of the command to its end: the command and the gVisor kernel that
    /// served it. Measured by the cgroup and bounded by <see cref="ResourceLimits.CpuTime"/>. <see langword="null"/> without cgroups, and without
    /// the cpuacct controller of cgroup v1.
    /// </summary>
    public TimeSpan? SandboxCpu { get; init; }

    /// <summary>Processor time of the run: <see cref="SandboxCpu"/>, or <see cref="CommandCpu"/> without cgroups.</summary>
    public TimeSpan? Cpu => SandboxCpu ?? CommandCpu;

    /// <summary>
    /// Peak memory of the whole sandbox in bytes. It is sampled while the command runs (after 10 ms, later every 100 ms) and at its end, so the
    /// true peak may be higher. It counts anonymous and shared memory, including files in /tmp, $HOME, /dev/shm and /output and the gVisor kernel
    /// itself. It does not count files of the image in this host's page cache. <see langword="null"/> without cgroups.
    /// </summary>
    public long? PeakMemoryBytes { get; init; }

    /// <summary>
    /// Largest resident set in bytes of any one process of the command (ru_maxrss of getrusage(2)), including its mapped files.
    /// <see langword="null"/> if the sandbox ended before its PID 1 could report it.
    /// </summary>
    public long? MaxResidentBytes { get; init; }

    /// <summary>Returns the processor time and the memory; <c>?</c> for a value that was not measured.</summary>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{(Cpu is { } cpu ? cpu.TotalMilliseconds.ToString("0.###", CultureInfo.InvariantCulture) : "?")} ms of processor time, {PeakMemoryBytes?.ToString(CultureInfo.InvariantCulture) ?? "?"} bytes of memory");
}
