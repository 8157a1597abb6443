using System.IO.Pipelines;
using System.Text;
using Boxer.Common;
using Boxer.Networking;

namespace Boxer;

/// <summary>A command to run in a sandbox of its own.</summary>
public sealed class SandboxRequest : ISandboxDescription
{
    /// <summary>Creates a request to run <paramref name="command"/> in <paramref name="image"/>.</summary>
    /// <param name="image">An image reference as in Docker, for example <c>python:3.12-slim</c>.</param>
    /// <param name="command">
    /// The whole command: program and arguments. The image's Entrypoint and Cmd are ignored unless <see cref="UseImageCommand"/> is set. A program
    /// without a slash is looked up in the PATH of the run.
    /// </param>
    public SandboxRequest(string image, params IEnumerable<string> command)
    {
        ArgumentNullException.ThrowIfNull(image);
        ArgumentNullException.ThrowIfNull(command);
        Image = image;
        Command = [.. command];
    }

    /// <summary>Creates a copy, for example to change some properties. Contents of files and of standard input are shared.</summary>
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
        Terminal = other.Terminal;
        KeepStandardOutput = other.KeepStandardOutput;
        StopGrace = other.StopGrace;
        OutputFiles = other.OutputFiles;
    }

    /// <summary>The image reference.</summary>
    public string Image { get; init; }

    /// <summary>The whole command: program and arguments; at least one entry, unless <see cref="UseImageCommand"/> is set.</summary>
    public IList<string> Command { get; }

    /// <summary>
    /// Whether to run the image's own command, as <c>docker run</c> does: its Entrypoint, followed by <see cref="Command"/> or, if that is empty,
    /// by its Cmd.
    /// <value>Default <see langword="false"/>.</value>
    /// </summary>
    public bool UseImageCommand { get; set; }

    /// <summary>
    /// When the image is pulled.
    /// <value>Default <see langword="null"/>: <see cref="BoxerOptions.PullPolicy"/>.</value>
    /// </summary>
    public Images.PullPolicy? PullPolicy { get; set; }

    /// <summary>
    /// Environment variables of the command. They override those of the image's config and those that Boxer sets (<c>PATH</c>, <c>HOME</c>,
    /// <c>HOSTNAME</c>, <c>LANG</c>).
    /// </summary>
    public IDictionary<string, string> Environment { get; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>
    /// Absolute path of the directory that the command starts in. It is created if it does not exist.
    /// <value>Default <see langword="null"/>: <see cref="Workspace"/>, else the image's WorkingDir, else <c>/</c>.</value>
    /// </summary>
    public string? WorkingDirectory { get; set; }

    /// <summary>
    /// User of the command: a name from the image's passwd, a uid, or either with <c>:group</c>. Only user 0 has capabilities: those needed to
    /// install packages, in a user namespace of its own inside the sandbox.
    /// <value>Default <see langword="null"/>: the image's User, else 65534.</value>
    /// </summary>
    public string? User { get; set; }

    /// <summary>
    /// Name of the network mode.
    /// <value>Default <c>none</c>: loopback only.</value>
    /// </summary>
    public string Network { get; set; } = "none";

    /// <summary>
    /// Destinations that the run may reach, for network modes with egress policies, such as <c>sandbox</c>. It restricts
    /// <see cref="BoxerOptions.Egress"/> further, or replaces it if <see cref="BoxerOptions.AllowWiderEgress"/> is set.
    /// <value>Default <see langword="null"/>: <see cref="BoxerOptions.Egress"/>.</value>
    /// </summary>
    public EgressPolicy? Egress { get; set; }

    /// <summary>Limits of this run. A <see langword="null"/> limit has the value of <see cref="BoxerOptions.DefaultLimits"/>.</summary>
    public ResourceLimits Limits { get; set; } = new();

    /// <summary>
    /// Key for fair queueing, such as the name of a tenant; at most 1,024 characters. Keys take turns while runs are queued, however many runs each
    /// has queued. See also <see cref="BoxerOptions.MaxQueuedRunsPerKey"/> and <see cref="BoxerOptions.MaxConcurrentRunsPerKey"/>. The sandbox does
    /// not see it.
    /// <value>Default <see langword="null"/>: all runs without a key, and those with an empty one, share one key.</value>
    /// </summary>
    public string? FairnessKey { get; set; }

    /// <summary>Files put into the sandbox before the command starts, at most 10,000. Each is owned by root; only user 0 can write it.</summary>
    public IList<SandboxFile> Files { get; init; } = [];

    /// <summary>
    /// Directory that the command can write, with input files in it.
    /// <value>Default <see langword="null"/>: none.</value>
    /// </summary>
    public SandboxWorkspace? Workspace { get; set; }

    /// <summary>Standard input of the command, followed by end of file; at most 256 MiB.</summary>
    public ReadOnlyMemory<byte> StandardInput { get; set; }

    /// <summary>
    /// Stream that is copied to the command's standard input, instead of <see cref="StandardInput"/>. It is read while the command runs, at most 64
    /// KiB beyond the 64 KiB that the command's pipe holds, and not after the command's end. A stream that never ends does not delay the run. A
    /// stream that throws ends the run with an <see cref="InvalidSandboxRequestException"/>. The stream is not disposed, and a request with a
    /// stream can be sent only once.
    /// <value>Default <see langword="null"/>.</value>
    /// </summary>
    public Stream? StandardInputStream { get; set; }

    /// <summary>
    /// Whether the command's standard error goes into its standard output, like <c>2&gt;&amp;1</c> in a shell. The order of writes is kept, which
    /// two separate streams do not do. <see cref="SandboxResult.StandardErrorBytes"/> is then empty, and
    /// <see cref="ResourceLimits.StandardOutputBytes"/> bounds both together.
    /// <value>Default <see langword="false"/>.</value>
    /// </summary>
    public bool MergeStandardError { get; set; }

    /// <summary>
    /// Size of a terminal that the command has in place of separate streams, as with <c>docker run -t</c>. All output is standard output;
    /// <see cref="SandboxResult.StandardErrorBytes"/> is empty. Standard input is typed into the terminal, and its end is the end-of-file character
    /// (Ctrl-D). <c>TERM</c> is <c>xterm</c> unless a variable or the image sets it. The size does not change while the command runs: for that, use a
    /// process of a session.
    /// <value>Default <see langword="null"/>: no terminal.</value>
    /// </summary>
    public SandboxTerminal? Terminal { get; set; }

    /// <summary>
    /// Whether the result contains the command's output. With <see langword="false"/>, <see cref="SandboxResult.StandardOutputBytes"/> and
    /// <see cref="SandboxResult.StandardErrorBytes"/> are empty and take no memory: for callers of <see cref="ISandboxRunner.StreamAsync"/>, who
    /// have already received the bytes. <see cref="ResourceLimits.StandardOutputBytes"/> still bounds the output.
    /// <value>Default <see langword="true"/>.</value>
    /// </summary>
    public bool KeepStandardOutput { get; set; } = true;

    /// <summary>
    /// Time that the command gets to stop when its wall-clock limit is reached or the caller cancels: 0 to 60 s. The image's StopSignal, else
    /// SIGTERM, is sent to the command's process group. Everything is killed when the command's own process ends or this time is over. Meanwhile
    /// the other limits are enforced, the running slot is kept, and a cancelled run throws only at its end. If <see cref="BoxerOptions.MaxLimits"/>
    /// sets <see cref="ResourceLimits.WallClock"/>, wall clock and grace together must not exceed it. When another limit is reached or the runner
    /// is disposed, everything is killed at once.
    /// <value>Default 0: everything is killed at once.</value>
    /// </summary>
    public TimeSpan StopGrace { get; set; }

    /// <summary>
    /// Destination of the files that the command writes under <c>/output</c>.
    /// <value>Default <see cref="OutputFilePolicy.InMemory"/>.</value>
    /// </summary>
    public OutputFilePolicy OutputFiles { get; set; } = OutputFilePolicy.InMemory;

    /// <summary>Sets <see cref="StandardInputStream"/> to a stream that reads a pipe.</summary>
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
    /// Returns the image, the command and the network, printable and shortened, and the number of variables and files. Values of variables and
    /// contents are not included.
    /// </summary>
    public override string ToString() =>
        $"{UntrustedText.Show(Image)}: {UntrustedText.Show(string.Join(' ', Command.Take(20)))} (network {UntrustedText.Show(Network)}, {Environment.Count} variables, {Files.Count} files{(Workspace is null ? "" : $", workspace {Workspace}")})";
}
