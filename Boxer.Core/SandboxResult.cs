using System.Globalization;
using System.Text;
using Boxer.Common;
using Boxer.Networking;

namespace Boxer;

/// <summary>
/// How a run ended and everything it left. Runners make them; tests and other runners can too:
/// <c>new SandboxResult(Termination.Exited(0)) { StandardOutput = "42\n" }</c>.
/// </summary>
public sealed class SandboxResult
{
    // Both are classes: of a result that is read by several threads, each text is decoded once.
    private readonly Printed _standardOutput = Printed.Nothing;
    private readonly Printed _standardError = Printed.Nothing;

    /// <summary>Creates a result of a run that printed nothing, left no files and used nothing; set what it has.</summary>
    /// <param name="termination">How the run ended.</param>
    public SandboxResult(Termination termination)
    {
        ArgumentNullException.ThrowIfNull(termination);
        Termination = termination;
        Id = $"boxer-{Guid.NewGuid()}";
    }

    /// <summary>Creates a copy, for example to change some properties of it.</summary>
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
        Usage = other.Usage;
        Timings = other.Timings;
        UnenforcedLimits = other.UnenforcedLimits;
    }

    /// <summary>
    /// The identifier of the run, <c>boxer-</c> and a UUID; it is in logs and traces too.
    /// <value>Default a new one.</value>
    /// </summary>
    public string Id { get; init; }

    /// <summary>How the run ended.</summary>
    public Termination Termination { get; init; }

    /// <summary>Whether the command exited by itself with code 0.</summary>
    public bool IsSuccess => Termination.IsSuccess;

    /// <summary>
    /// The exit code as a shell gives it: the command's own, also with <see cref="TerminationKind.DiskLimit"/>; 128 + n for signal n; 127 where the
    /// command did not start because something does not exist, 126 where it did not start for another reason; 137 for every other end.
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
    /// Standard output as bytes, up to <see cref="ResourceLimits.StandardOutputBytes"/>. Empty where
    /// <see cref="SandboxRequest.KeepStandardOutput"/> is <see langword="false"/>.
    /// <value>Default empty. Setting it sets <see cref="StandardOutput"/> too.</value>
    /// </summary>
    public ReadOnlyMemory<byte> StandardOutputBytes
    {
        get => _standardOutput.Bytes;
        init => _standardOutput = new Printed(value);
    }

    /// <summary>
    /// Standard error as bytes, as <see cref="StandardOutputBytes"/>. Empty where <see cref="SandboxRequest.MergeStandardError"/> is set.
    /// <value>Default empty. Setting it sets <see cref="StandardError"/> too.</value>
    /// </summary>
    public ReadOnlyMemory<byte> StandardErrorBytes
    {
        get => _standardError.Bytes;
        init => _standardError = new Printed(value);
    }

    /// <summary>
    /// Standard output as UTF-8 text; bytes that are not UTF-8 are U+FFFD. Decoded at the first call.
    /// <value>Default empty. Setting it sets <see cref="StandardOutputBytes"/> too.</value>
    /// </summary>
    public string StandardOutput
    {
        get => _standardOutput.Text;
        init => _standardOutput = new Printed(Encoding.UTF8.GetBytes(value));
    }

    /// <summary>
    /// Standard error as UTF-8 text; bytes that are not UTF-8 are U+FFFD. Decoded at the first call.
    /// <value>Default empty. Setting it sets <see cref="StandardErrorBytes"/> too.</value>
    /// </summary>
    public string StandardError
    {
        get => _standardError.Text;
        init => _standardError = new Printed(Encoding.UTF8.GetBytes(value));
    }

    /// <summary>
    /// The files the command left under <c>/output</c>, as <see cref="SandboxRequest.OutputFiles"/> asked for.
    /// <value>Default empty.</value>
    /// </summary>
    public IReadOnlyList<SandboxOutputFile> OutputFiles { get; init; } = [];

    /// <summary>
    /// Why <see cref="OutputFiles"/> is not everything that was under <c>/output</c>; <see langword="null"/> where it is.
    /// </summary>
    public string? OutputFilesIncomplete { get; init; }

    /// <summary>
    /// Minimum number of files that were under <c>/output</c> and dropped, with <see cref="OutputFilePolicy.Discard"/>; else 0. Links and directories that
    /// are nested too deep count too; entries after the first <see cref="ResourceLimits.OutputFilesCount"/> do not. 0 also where the sandbox was
    /// destroyed before they could be counted, as at the memory limit.
    /// </summary>
    public long OutputFilesDropped { get; init; }

    /// <summary>
    /// What the command changed or made in its workspace, as a tar archive (pax): files with modes and times, directories, and symbolic links whose
    /// target is inside. Empty where <see cref="SandboxWorkspace.MaxChangesBytes"/> is 0 and where nothing was changed. Deletions are not reported, nor are
    /// writes through a shared mapping (mmap(2)) alone to a file that was an input. The archive is untrusted: unpack it into an empty directory.
    /// </summary>
    public ReadOnlyMemory<byte> WorkspaceChanges { get; init; }

    /// <summary>Why <see cref="WorkspaceChanges"/> is not everything; <see langword="null"/> where it is.</summary>
    public string? WorkspaceIncomplete { get; init; }

    /// <summary>
    /// The digest of the image's manifest, <c>sha256:...</c>.
    /// <value>Default empty: not known.</value>
    /// </summary>
    public string ImageDigest { get; init; } = "";

    /// <summary>What the run did with its network.</summary>
    public NetworkReport Network { get; init; } = NetworkReport.None;

    /// <summary>Why <see cref="Network"/> does not tell what the run did with its network; <see langword="null"/> where it does.</summary>
    public string? NetworkIncomplete { get; init; }

    /// <summary>What the run used.</summary>
    public SandboxUsage Usage { get; init; } = new();

    /// <summary>How long each stage took.</summary>
    public SandboxTimings Timings { get; init; } = new();

    /// <summary>
    /// Limits that this host cannot enforce, or not as documented, by property name of <see cref="ResourceLimits"/>. Empty unless
    /// <see cref="BoxerOptions.IgnoreCgroups"/> is set, except for <see cref="ResourceLimits.CpuTime"/> on a host with cgroup v1 that has no cpuacct
    /// controller. <see cref="ResourceLimits.CpuTime"/> is named where the run has that limit, <see cref="ResourceLimits.Pids"/> where its user is 0.
    /// </summary>
    public IReadOnlyList<string> UnenforcedLimits { get; init; } = [];

    /// <summary>Throws unless the command exited by itself with code 0.</summary>
    /// <returns>This result.</returns>
    /// <exception cref="CommandFailedException">The run ended otherwise. The exception has this result and the last of what was printed.</exception>
    public SandboxResult EnsureSuccess() => IsSuccess ? this : throw new CommandFailedException(this);

    /// <summary>Returns the identifier, how the run ended and how much it left, without any of it.</summary>
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

    /// <summary>Its path relative to <c>/output</c>, with <c>/</c> between names.</summary>
    public required string Path { get; init; }

    /// <summary>
    /// Its size in bytes.
    /// <value>Default the length of <see cref="Content"/>.</value>
    /// </summary>
    public long Size
    {
        get => _size ?? Content.Length;
        init => _size = value;
    }

    /// <summary>
    /// Its permission bits, as the command set them: without set-user-ID, set-group-ID and sticky.
    /// <value>Default 0644.</value>
    /// </summary>
    public UnixFileMode Mode { get; init; } = DefaultMode;

    /// <summary>When it was modified, as the command says, which may have set any time.</summary>
    public DateTimeOffset ModifiedAt { get; init; }

    /// <summary>Its content, with <see cref="OutputFilePolicy.InMemory"/>; else empty.</summary>
    public ReadOnlyMemory<byte> Content { get; init; }

    /// <summary>Where it is on this host, with <see cref="OutputFilePolicy.ToDirectory"/>; else <see langword="null"/>.</summary>
    public string? HostPath { get; init; }

    /// <summary>Returns the path, printable and shortened to 200 characters, and the size.</summary>
    public override string ToString() => $"{UntrustedText.Show(Path)} ({Size} bytes)";
}

/// <summary>Resource usage of a run, for every end. A value that this host cannot measure is <see langword="null"/>.</summary>
public sealed class SandboxUsage
{
    /// <summary>
    /// Processor time of the command and its children, user and system, as the sandbox's kernel counted it (getrusage(2)): in ticks of 10 ms, also
    /// those in which this host's processors did something else. <see langword="null"/> where the sandbox ended before its PID 1 could tell.
    /// </summary>
    public TimeSpan? CommandCpu { get; init; }

    /// <summary>
    /// Processor time, user and system, of the whole sandbox from the start of the command to its end, from the cgroup: of the command and
    /// of the gVisor kernel that served it. This is what <see cref="ResourceLimits.CpuTime"/> bounds. <see langword="null"/> without cgroups, and without
    /// the cpuacct controller of cgroup v1.
    /// </summary>
    public TimeSpan? SandboxCpu { get; init; }

    /// <summary>Processor time of the run: <see cref="SandboxCpu"/>, and without cgroups <see cref="CommandCpu"/>.</summary>
    public TimeSpan? Cpu => SandboxCpu ?? CommandCpu;

    /// <summary>
    /// The most memory of the whole sandbox in bytes: at least this much, since it is looked at while the command runs (after 10 ms, and at last
    /// each 100 ms) and once at its end. Anonymous and shared memory, with the files in /tmp, $HOME, /dev/shm and /output and with the gVisor
    /// kernel itself; files of the image that this host keeps in its page cache are not counted. <see langword="null"/> without cgroups.
    /// </summary>
    public long? PeakMemoryBytes { get; init; }

    /// <summary>
    /// The largest resident set in bytes of any one process of the command (ru_maxrss of getrusage(2)), with the files that it has mapped.
    /// <see langword="null"/> where the sandbox ended before its PID 1 could tell.
    /// </summary>
    public long? MaxResidentBytes { get; init; }

    /// <summary>Returns the processor time and the memory; <c>?</c> where they were not measured.</summary>
    public override string ToString() => string.Create(
        CultureInfo.InvariantCulture,
        $"{(Cpu is { } cpu ? cpu.TotalMilliseconds.ToString("0.###", CultureInfo.InvariantCulture) : "?")} ms of processor time, {PeakMemoryBytes?.ToString(CultureInfo.InvariantCulture) ?? "?"} bytes of memory");
}
