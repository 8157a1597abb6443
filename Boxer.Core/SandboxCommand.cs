using System.IO.Pipelines;
using System.Text;
using Boxer.Common;

namespace Boxer;

/// <summary>
/// A command to run in a session, with <see cref="ISandboxSession.ExecAsync"/>, <see cref="ISandboxSession.StreamAsync"/> or
/// <see cref="ISandboxSession.StartAsync"/>.
/// </summary>
public sealed class SandboxCommand
{
    /// <summary>Creates a command.</summary>
    /// <param name="program">The program. Without a slash it is looked up in the PATH of the command.</param>
    /// <param name="arguments">The arguments, without the program.</param>
    public SandboxCommand(string program, params IEnumerable<string> arguments)
    {
        ArgumentNullException.ThrowIfNull(program);
        ArgumentNullException.ThrowIfNull(arguments);
        Command = [program, .. arguments];
    }

    /// <summary>Creates a copy, for example to change some properties. Standard input is shared.</summary>
    /// <param name="other">The command to copy.</param>
    public SandboxCommand(SandboxCommand other)
    {
        ArgumentNullException.ThrowIfNull(other);
        Command = [.. other.Command];
        Environment = new Dictionary<string, string>(other.Environment, StringComparer.Ordinal);
        WorkingDirectory = other.WorkingDirectory;
        User = other.User;
        Limits = other.Limits is null ? null! : other.Limits with { };
        StandardInput = other.StandardInput;
        StandardInputStream = other.StandardInputStream;
        MergeStandardError = other.MergeStandardError;
        KeepStandardOutput = other.KeepStandardOutput;
        StopGrace = other.StopGrace;
        Terminal = other.Terminal;
    }

    /// <summary>The whole command: program and arguments; at least one entry.</summary>
    public IList<string> Command { get; }

    /// <summary>
    /// Environment variables of this command only. They override those of <see cref="SandboxSessionRequest.Environment"/>.
    /// </summary>
    public IDictionary<string, string> Environment { get; } = new Dictionary<string, string>(StringComparer.Ordinal);

    /// <summary>
    /// Path of the directory that the command starts in: absolute, or relative to the session's working directory, without <c>..</c>. It must exist.
    /// <value>
    /// Default <see langword="null"/>: the session's working directory; <c>/</c> for another user than the session's and user 0 if that is the home of
    /// the session's user.
    /// </value>
    /// </summary>
    public string? WorkingDirectory { get; set; }

    /// <summary>
    /// User of the command, as in <see cref="SandboxSessionRequest.User"/>.
    /// <value>Default <see langword="null"/>: the session's user.</value>
    /// </summary>
    public string? User { get; set; }

    /// <summary>
    /// Limits of this command. Only <see cref="ResourceLimits.WallClock"/>, <see cref="ResourceLimits.CpuTime"/>,
    /// <see cref="ResourceLimits.StandardOutputBytes"/>, <see cref="ResourceLimits.OpenFiles"/> and <see cref="ResourceLimits.Pids"/> can be set;
    /// the others are those of the session. A <see langword="null"/> limit has the value of <see cref="SandboxSessionRequest.Limits"/>, except that
    /// a process of <see cref="ISandboxSession.StartAsync"/> has no wall-clock limit, and the CPU-time limit of <see cref="BoxerOptions.MaxLimits"/>.
    /// <see cref="ResourceLimits.CpuTime"/> counts the processes of the command, without the gVisor kernel.
    /// </summary>
    public ResourceLimits Limits { get; set; } = new();

    /// <summary>
    /// Standard input of the command, followed by end of file; at most 256 MiB. Not for <see cref="ISandboxSession.StartAsync"/>: write to
    /// <see cref="ISandboxProcess.Input"/>.
    /// </summary>
    public ReadOnlyMemory<byte> StandardInput { get; set; }

    /// <summary>
    /// Stream that is copied to the command's standard input, instead of <see cref="StandardInput"/>; see
    /// <see cref="SandboxRequest.StandardInputStream"/>. Not for <see cref="ISandboxSession.StartAsync"/>.
    /// <value>Default <see langword="null"/>.</value>
    /// </summary>
    public Stream? StandardInputStream { get; set; }

    /// <summary>
    /// Whether the command's standard error goes into its standard output, in the order of the writes, like <c>2&gt;&amp;1</c> in a shell.
    /// <value>Default <see langword="false"/>. A terminal has one stream in any case.</value>
    /// </summary>
    public bool MergeStandardError { get; set; }

    /// <summary>
    /// Whether the result contains the command's output; see <see cref="SandboxRequest.KeepStandardOutput"/>. Not for
    /// <see cref="ISandboxSession.StartAsync"/>, which keeps the last <see cref="SessionOptions.ProcessHistoryBytes"/> of the output.
    /// <value>Default <see langword="true"/>.</value>
    /// </summary>
    public bool KeepStandardOutput { get; set; } = true;

    /// <summary>
    /// Time that the command gets to stop when its wall-clock limit is reached or the caller cancels: 0 to 60 s. The image's StopSignal, else
    /// SIGTERM, is sent to the command's process group; its processes are killed when its first process ends or this time is over. Not for
    /// <see cref="ISandboxSession.StartAsync"/>: use <see cref="ISandboxProcess.SignalAsync"/>.
    /// <value>Default 0: its processes are killed at once.</value>
    /// </summary>
    public TimeSpan StopGrace { get; set; }

    /// <summary>
    /// Terminal of the process, for <see cref="ISandboxSession.StartAsync"/> only. Standard input, output and error are then one terminal.
    /// <c>TERM</c> is <c>xterm</c> unless a variable or the image sets it.
    /// <value>Default <see langword="null"/>: pipes.</value>
    /// </summary>
    public SandboxTerminal? Terminal { get; set; }

    /// <summary>Sets <see cref="StandardInputStream"/> to a stream that reads a pipe.</summary>
    /// <param name="reader">The pipe; it is not completed.</param>
    /// <returns>This command.</returns>
    public SandboxCommand WithStandardInput(PipeReader reader)
    {
        ArgumentNullException.ThrowIfNull(reader);
        StandardInputStream = reader.AsStream(leaveOpen: true);
        return this;
    }

    /// <summary>Sets <see cref="StandardInput"/> to text, as UTF-8.</summary>
    /// <param name="text">The text.</param>
    /// <returns>This command.</returns>
    public SandboxCommand WithStandardInput(string text)
    {
        StandardInput = Encoding.UTF8.GetBytes(text);
        return this;
    }

    /// <summary>Returns the command, printable and shortened, and the number of variables. Values of variables and contents are not included.</summary>
    public override string ToString() =>
        $"{UntrustedText.Show(string.Join(' ', Command.Take(20)))} ({Environment.Count} variables{(Terminal is null ? "" : $", terminal {Terminal}")})";
}

/// <summary>Size of a terminal.</summary>
/// <param name="Columns">Number of columns; 1 to 65,535.</param>
/// <param name="Rows">Number of rows; 1 to 65,535.</param>
public sealed record SandboxTerminal(int Columns, int Rows)
{
    /// <summary>Returns the columns and rows, for example <c>120x40</c>.</summary>
    public override string ToString() => $"{Columns}x{Rows}";
}
