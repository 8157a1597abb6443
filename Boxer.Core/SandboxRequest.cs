using System.IO.Pipelines;
using System.Text;
using Boxer.Common;
using Boxer.Networking;

namespace Boxer;

/// <summary>One command to run in one sandbox.</summary>
public sealed class SandboxRequest
{
    /// <summary>Makes a request for <paramref name="command"/> in <paramref name="image"/>.</summary>
    /// <param name="image">An image reference as Docker writes it, for example <c>python:3.12-slim</c>.</param>
    /// <param name="command">
    /// The whole command: program and arguments. The image's Entrypoint and Cmd are not used, unless <see cref="UseImageCommand"/> says
    /// so. A program without a slash is looked up in the PATH of the run.
    /// </param>
    public SandboxRequest(string image, params IEnumerable<string> command)
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentNullException.ThrowIfNull(command);
        Image = image;
        Command = [.. command];
    }

    /// <summary>Creates a copy, for example to change some properties of it. Contents of files and of standard input are shared.</summary>
    /// <param name="other">The request to copy.</param>
    public SandboxRequest(SandboxRequest other)
    {
        ArgumentNullException.ThrowIfNull(other);
        Image = other.Image;
        Command = [.. other.Command];
        UseImageCommand = other.UseImageCommand;
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
        StandardInput = other.StandardInput;
        StandardInputStream = other.StandardInputStream;
        MergeStandardError = other.MergeStandardError;
        KeepStandardOutput = other.KeepStandardOutput;
        StopGrace = other.StopGrace;
        OutputFiles = other.OutputFiles;
    }

    /// <summary>The image reference.</summary>
    public string Image { get; init; }

    /// <summary>The whole command: program and arguments; at least one, unless <see cref="UseImageCommand"/> is set.</summary>
    public IList<string> Command { get; }

    /// <summary>
    /// Whether the image's own command is run, as <c>docker run</c> does: its Entrypoint, followed by <see cref="Command"/> or, where
    /// that is empty, by its Cmd.
    /// <value>Default <see langword="false"/>.</value>
    /// </summary>
    public bool UseImageCommand { get; set; }

    /// <summary>
    /// When the registry is asked for the image.
    /// <value>Default <see langword="null"/>: as <see cref="BoxerOptions.PullPolicy"/> says.</value>
    /// </summary>
    public Images.PullPolicy? PullPolicy { get; set; }

    /// <summary>
    /// Variables added to those of the image's config and to those that Boxer sets (<c>PATH</c>, <c>HOME</c>, <c>HOSTNAME</c>, <c>LANG</c>); these win over both.
    /// </summary>
    public IDictionary<string, string> Environment { get; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>
    /// The absolute directory that the command starts in, made when it is missing.
    /// <value>Default <see langword="null"/>: <see cref="Workspace"/>, else the image's WorkingDir, else <c>/</c>.</value>
    /// </summary>
    public string? WorkingDirectory { get; set; }

    /// <summary>
    /// Who the command runs as: a name from the image's passwd, a uid, or either with <c>:group</c>.
    /// Only user 0 has capabilities: those that installing packages takes, in a user namespace of its own inside the sandbox.
    /// <value>Default <see langword="null"/>: the image's User, else 65534.</value>
    /// </summary>
    public string? User { get; set; }

    /// <summary>
    /// The name of the network mode.
    /// <value>Default <c>none</c>: loopback only.</value>
    /// </summary>
    public string Network { get; set; } = "none";

    /// <summary>
    /// What the run may reach with a network mode that holds it, which is <c>sandbox</c>. It tightens <see cref="BoxerOptions.Egress"/>.
    /// <value>Default <see langword="null"/>: what the options say.</value>
    /// </summary>
    public EgressPolicy? Egress { get; set; }

    /// <summary>Limits of this run; what is left <see langword="null"/> comes from <see cref="BoxerOptions.DefaultLimits"/>.</summary>
    public ResourceLimits Limits { get; set; } = new();

    /// <summary>
    /// On whose behalf the run is, such as the name of a tenant; at most 1,024 characters. While runs wait, keys are served in turn, whatever each
    /// has waiting; see also <see cref="BoxerOptions.MaxQueuedRunsPerKey"/> and <see cref="BoxerOptions.MaxConcurrentRunsPerKey"/>. The
    /// sandbox does not see it.
    /// <value>Default <see langword="null"/>: all runs without one, and those whose key is empty, are as one key.</value>
    /// </summary>
    public string? FairnessKey { get; set; }

    /// <summary>Files put into the sandbox before the command starts, at most 10,000. Each is owned by root; only user 0 can write it.</summary>
    public IList<SandboxFile> Files { get; init; } = [];

    /// <summary>
    /// A directory that the command can write, with files in it.
    /// <value>Default <see langword="null"/>: none.</value>
    /// </summary>
    public SandboxWorkspace? Workspace { get; set; }

    /// <summary>What the command reads from its standard input, then end of file; at most 256 MiB.</summary>
    public ReadOnlyMemory<byte> StandardInput { get; set; }

    /// <summary>
    /// What the command reads from its standard input, in place of <see cref="StandardInput"/>: read from when the command has started, 64 KiB beyond what its pipe
    /// (64 KiB too) holds, and not after its end. A stream that never ends does not hold the run; one that throws ends it with an
    /// <see cref="InvalidSandboxRequestException"/>. It is not disposed, and its request can be sent once.
    /// <value>Default <see langword="null"/>.</value>
    /// </summary>
    public Stream? StandardInputStream { get; set; }

    /// <summary>
    /// Whether the command's standard error goes into its standard output, as <c>2&gt;&amp;1</c> in a shell: in the order in which it is written, which two
    /// streams do not keep. <see cref="SandboxResult.StandardErrorBytes"/> is then empty, and <see cref="ResourceLimits.StandardOutputBytes"/> bounds both together.
    /// <value>Default <see langword="false"/>.</value>
    /// </summary>
    public bool MergeStandardError { get; set; }

    /// <summary>
    /// Whether the result has what the command printed. With <see langword="false"/>, <see cref="SandboxResult.StandardOutputBytes"/> and
    /// <see cref="SandboxResult.StandardErrorBytes"/> are empty and no memory is kept for them: for callers of
    /// <see cref="ISandboxRunner.StreamAsync"/>, who have had the bytes already. <see cref="ResourceLimits.StandardOutputBytes"/> bounds what is printed
    /// all the same.
    /// <value>Default <see langword="true"/>.</value>
    /// </summary>
    public bool KeepStandardOutput { get; set; } = true;

    /// <summary>
    /// How long a command may still run after it was asked to end, where its wall clock is over or the caller cancels: 0 to 60 s. The image's StopSignal,
    /// else SIGTERM, goes to the command's process group. When the command's own process ends, or after this time, everything else is killed. The
    /// other limits are enforced meanwhile, the running slot is kept, and a cancelled run throws when it is over. With
    /// <see cref="ResourceLimits.WallClock"/> it is at most what <see cref="BoxerOptions.MaxLimits"/> has for that. Where another limit is reached, or the runner is disposed,
    /// everything is killed at once.
    /// <value>Default 0: everything is killed at once.</value>
    /// </summary>
    public TimeSpan StopGrace { get; set; }

    /// <summary>
    /// What becomes of the files that the command writes under <c>/output</c>.
    /// <value>Default <see cref="OutputFilePolicy.InMemory"/>.</value>
    /// </summary>
    public OutputFilePolicy OutputFiles { get; set; } = OutputFilePolicy.InMemory;

    /// <summary>Sets <see cref="StandardInputStream"/> to what a pipe gives.</summary>
    /// <param name="reader">The pipe; it is not completed.</param>
    /// <returns>This request.</returns>
    public SandboxRequest WithStandardInput(PipeReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        StandardInputStream = reader.AsStream(leaveOpen: true);
        return this;
    }

    /// <summary>Sets <see cref="StandardInput"/> to text, as UTF-8.</summary>
    /// <param name="text">The text.</param>
    /// <returns>This request.</returns>
    public SandboxRequest WithStandardInput(string text)
    {
        StandardInput = Encoding.UTF8.GetBytes(text);
        return this;
    }

    /// <summary>
    /// Returns the image, the command and the network, printable and shortened, and how many variables and files there are: neither values of
    /// variables nor contents.
    /// </summary>
    public override string ToString() =>
        $"{UntrustedText.Show(Image)}: {UntrustedText.Show(string.Join(' ', Command.Take(20)))} (network {UntrustedText.Show(Network)}, {Environment.Count} variables, {Files.Count} files{(Workspace is null ? "" : $", workspace {Workspace}")})";
}
