using Boxer.Runtime.Init;

namespace Boxer.Runtime.Kept;

/// <summary>
/// A booted sandbox that serves commands until it ends. All members can be called from any thread and at the same time. When the sandbox ends,
/// everything in flight ends too; a call afterwards fails with <see cref="KeptSandboxEndedException"/>. Disposing kills the sandbox and waits for the
/// calls in flight; its <see cref="SandboxResources"/> are disposed afterwards.
/// </summary>
internal interface IKeptSandbox : IAsyncDisposable
{
    /// <summary>Completes when the sandbox has ended, for whatever reason. Never fails.</summary>
    Task<KeptSandboxEnd> Ended { get; }

    /// <summary>
    /// Runs a command in the foreground, with its own wall clock, processor time, output limit and grace. It ends with its first process, also if children
    /// are left behind or hold its pipes. Limits, and the end of the sandbox, are terminations of the outcome.
    /// </summary>
    /// <param name="plan">The command, without a terminal.</param>
    /// <param name="onStarted">Called when the command has started, before any call of <paramref name="onOutput"/>.</param>
    /// <param name="onOutput">Receives what the command prints.</param>
    /// <param name="cancellationToken">Kills the processes of the command's session; a command with a grace has it first.</param>
    /// <exception cref="KeptSandboxEndedException">The sandbox ended before the command was handed over.</exception>
    /// <exception cref="InvalidSandboxRequestException">The input stream cannot be read. The command was killed.</exception>
    Task<ExecOutcome> ExecAsync(
        ExecPlan plan, Action onStarted, Action<SandboxStream, ReadOnlyMemory<byte>> onOutput, CancellationToken cancellationToken);

    /// <summary>Starts a command whose streams, or whose terminal, PID 1 relays. Its plan has no output limit, and its input comes later.</summary>
    /// <param name="plan">The command. Its wall clock and processor time hold for the process.</param>
    /// <param name="cancellationToken">Cancels the start; a command that starts nevertheless is killed.</param>
    /// <returns>The process. One that could not be started has ended with <see cref="TerminationKind.NotStarted"/>.</returns>
    /// <exception cref="KeptSandboxEndedException">The sandbox has ended.</exception>
    Task<IGuestProcess> StartAsync(ExecPlan plan, CancellationToken cancellationToken);

    /// <summary>Connects to a TCP port of the sandbox: 127.0.0.1, then ::1.</summary>
    /// <param name="port">The port, 1 to 65535.</param>
    /// <param name="cancellationToken">Cancels the attempt.</param>
    /// <returns>
    /// The connection, duplex; disposing closes it. A read returns 0 bytes when the other side has closed its direction. Failures are
    /// <see cref="IOException"/>s.
    /// </returns>
    /// <exception cref="IOException">Nothing listens there; the inner exception is a <see cref="System.Net.Sockets.SocketException"/>.</exception>
    /// <exception cref="KeptSandboxEndedException">The sandbox has ended.</exception>
    Task<SandboxConnection> ConnectAsync(int port, CancellationToken cancellationToken);

    /// <summary>Starts a file worker with the identity of a user.</summary>
    /// <param name="user">The user.</param>
    /// <param name="cancellationToken">Cancels the start.</param>
    /// <exception cref="IOException">The worker cannot be started.</exception>
    /// <exception cref="KeptSandboxEndedException">The sandbox has ended.</exception>
    Task<IFileWorker> OpenFilesAsync(InitIdentity user, CancellationToken cancellationToken);

    /// <summary>Reads the disk space in use: bytes of the changed files of the root and of the tmpfs together.</summary>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <exception cref="KeptSandboxEndedException">The sandbox has ended.</exception>
    Task<long> ReadDiskUseAsync(CancellationToken cancellationToken);

    /// <summary>Whether this host can freeze it.</summary>
    bool CanFreeze { get; }

    /// <summary>
    /// Begins to stop everything in it, or looks whether all stands still; then the clocks of its commands are stopped too. Repeat it until it is so,
    /// or call <see cref="Thaw"/>. Only if <see cref="CanFreeze"/>.
    /// </summary>
    /// <returns>Whether everything stands still, until <see cref="Thaw"/>.</returns>
    bool TryFreeze();

    /// <summary>Ends <see cref="TryFreeze"/>.</summary>
    void Thaw();

    /// <summary>Kills everything in it, without waiting. Also works while it is frozen.</summary>
    void Kill();
}

/// <summary>Ends of a kept sandbox.</summary>
internal enum KeptSandboxEnd
{
    /// <summary>It was killed, or broke from inside, or its PID 1 violated the protocol.</summary>
    Died,

    /// <summary>It reached its memory limit.</summary>
    MemoryLimit,
}

/// <summary>A kept sandbox has ended, so that a call or a stream cannot go on.</summary>
/// <param name="end">How the sandbox ended.</param>
internal sealed class KeptSandboxEndedException(KeptSandboxEnd end) : IOException($"The sandbox has ended ({end}).")
{
    /// <summary>How the sandbox ended.</summary>
    internal KeptSandboxEnd End { get; } = end;
}
