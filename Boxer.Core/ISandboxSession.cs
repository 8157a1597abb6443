using Boxer.Networking;

namespace Boxer;

/// <summary>
/// A sandbox that is kept: files, processes and the network stay between commands. Members are safe for concurrent use. The session ends by
/// <see cref="CloseAsync"/>, by its times, or when the <see cref="IOwnedSandboxSession"/> of its opener is disposed.
/// </summary>
/// <remarks>
/// A session is idle while no call is in progress, no stream of it is open, and no process of <see cref="StartAsync"/> is alive. An idle session is
/// frozen after <see cref="SandboxSessionRequest.FreezeAfter"/> and then uses no processor time; the next call thaws it. Calls on a session that
/// ended throw <see cref="SandboxSessionEndedException"/>, and calls on a paused one <see cref="SandboxSessionPausedException"/>.
/// </remarks>
public interface ISandboxSession
{
    /// <summary>The identifier: 20 to 57 characters, a to z and 0 to 9, that cannot be guessed.</summary>
    string Id { get; }

    /// <summary>The digest of the image's manifest, <c>sha256:...</c>.</summary>
    string ImageDigest { get; }

    /// <summary>The key of the request, <see cref="SandboxSessionRequest.FairnessKey"/>; <see langword="null"/> if it has none.</summary>
    string? FairnessKey { get; }

    /// <summary>The labels of the request. Empty if there are none.</summary>
    IReadOnlyDictionary<string, string> Labels { get; }

    /// <summary>Gets the state of the session, which may change at any time.</summary>
    SandboxSessionState State { get; }

    /// <summary>Reason why the session ended; <see langword="null"/> while it is open.</summary>
    SandboxSessionEnd? End { get; }

    /// <summary>The time when the session was opened.</summary>
    DateTimeOffset CreatedAt { get; }

    /// <summary>
    /// The time when the session ends if nothing happens: the earlier of its idle timeout and its lifetime. <see langword="null"/> while it is
    /// paused, and after its end.
    /// </summary>
    DateTimeOffset? ExpiresAt { get; }

    /// <summary>Time without a call after which the session ends. <see cref="ExtendAsync"/> changes it.</summary>
    TimeSpan IdleTimeout { get; }

    /// <summary>Time from the opening, without paused time, after which the session ends. <see cref="ExtendAsync"/> changes it.</summary>
    TimeSpan Lifetime { get; }

    /// <summary>The files of the sandbox.</summary>
    ISandboxFiles Files { get; }

    /// <summary>
    /// The living processes of <see cref="StartAsync"/>, and those that ended in the last 10 minutes, at most 100 of them; a copy that does not
    /// change.
    /// </summary>
    IReadOnlyList<ISandboxProcess> Processes { get; }

    /// <summary>Runs a command in the sandbox to the end of its first process and returns the result.</summary>
    /// <remarks>
    /// Processes that the command leaves behind go on, without its standard streams; <see cref="SandboxResult.LeftBehind"/> counts them. Time limits
    /// and the output limit end the command and its processes, not the session. The memory limit, and a sandbox that dies, end the session too; the
    /// result then has this <see cref="SandboxResult.Termination"/> and what was printed.
    /// </remarks>
    /// <param name="command">
    /// The command and its settings. It is copied before this method returns; standard input is not copied.
    /// </param>
    /// <param name="cancellationToken">
    /// Ends the command and its processes at once, or after <see cref="SandboxCommand.StopGrace"/>. The session stays open.
    /// </param>
    /// <returns>How the command ended and what it printed.</returns>
    /// <exception cref="InvalidSandboxRequestException">The command is invalid; every fault is listed.</exception>
    /// <exception cref="SandboxCapacityException">
    /// <see cref="SessionOptions.MaxParallelExecs"/> commands run in this session, or the command was queued too long for its processors.
    /// </exception>
    /// <exception cref="SandboxSessionEndedException">The session had ended, or was closed or expired while the command ran.</exception>
    /// <exception cref="SandboxSessionPausedException">The session is paused.</exception>
    /// <exception cref="SandboxRuntimeException">The sandbox failed.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    Task<SandboxResult> ExecAsync(SandboxCommand command, CancellationToken cancellationToken = default);

    /// <summary>
    /// Runs a command in the sandbox as <see cref="ExecAsync"/> does, and yields its events as they happen: <see cref="SandboxStarted"/>,
    /// <see cref="SandboxDataReceived"/> for each piece of output, and last <see cref="SandboxEnded"/> with the whole result.
    /// </summary>
    /// <remarks>
    /// Unread output is kept in memory, bounded by <see cref="ResourceLimits.StandardOutputBytes"/>. Leaving the enumeration early ends the command
    /// as <paramref name="cancellationToken"/> does. Enumerating throws the same exceptions as <see cref="ExecAsync"/>.
    /// </remarks>
    /// <param name="command">The command and its settings. It is copied before this method returns; standard input is not copied.</param>
    /// <param name="cancellationToken">
    /// Ends the command and its processes at once, or after <see cref="SandboxCommand.StopGrace"/>. The session stays open.
    /// </param>
    IAsyncEnumerable<SandboxEvent> StreamAsync(SandboxCommand command, CancellationToken cancellationToken = default);

    /// <summary>
    /// Starts a process that goes on while other commands run, such as a server or a shell in a terminal. The session is not frozen while it is
    /// alive.
    /// </summary>
    /// <param name="command">The command and its settings. It is copied before this method returns.</param>
    /// <param name="cancellationToken">Cancels the start; a process that was started is killed. It has no effect on a process that was returned.</param>
    /// <returns>
    /// The process. Disposing it kills it. A program that cannot be started gives a process that ended as <see cref="TerminationKind.NotStarted"/>.
    /// </returns>
    /// <exception cref="InvalidSandboxRequestException">The command is invalid; every fault is listed.</exception>
    /// <exception cref="SandboxCapacityException"><see cref="SessionOptions.MaxProcesses"/> processes are alive in this session.</exception>
    /// <exception cref="SandboxSessionEndedException">The session ended.</exception>
    /// <exception cref="SandboxSessionPausedException">The session is paused.</exception>
    /// <exception cref="SandboxRuntimeException">The sandbox failed.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    Task<ISandboxProcess> StartAsync(SandboxCommand command, CancellationToken cancellationToken = default);

    /// <summary>
    /// Connects to a TCP port of the sandbox, 127.0.0.1 or else [::1], in every network mode. Nothing listens on this host for it. The session is
    /// not idle while the connection is open.
    /// </summary>
    /// <param name="port">The port, 1 to 65535.</param>
    /// <param name="cancellationToken">Cancels the connection attempt.</param>
    /// <returns>The connection. Dispose it.</returns>
    /// <exception cref="ArgumentOutOfRangeException">The port is out of range.</exception>
    /// <exception cref="SandboxConnectionException">Nothing listens on the port.</exception>
    /// <exception cref="SandboxCapacityException"><see cref="SessionOptions.MaxConnections"/> connections are open in this session.</exception>
    /// <exception cref="SandboxSessionEndedException">The session ended.</exception>
    /// <exception cref="SandboxSessionPausedException">The session is paused.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    Task<SandboxConnection> ConnectAsync(int port, CancellationToken cancellationToken = default);

    /// <summary>
    /// Reads what the session did with its network since its opening: the bytes, and the denied destinations and names. The report of a command
    /// (<see cref="SandboxResult.Network"/>) is the difference between two such readings. It is no call on the sandbox: a paused session stays paused,
    /// and the idle timeout runs on.
    /// </summary>
    /// <remarks>
    /// In the mode <c>sandbox</c>, the report has the last 4,096 destinations and 1,000 names that were denied, of which the 100 most frequent are
    /// returned. Modes that count nothing return <see cref="NetworkReport.None"/>.
    /// </remarks>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="SandboxSessionEndedException">The session ended.</exception>
    /// <exception cref="SandboxRuntimeException">This host could not read its counters.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    Task<NetworkReport> ReadNetworkAsync(CancellationToken cancellationToken = default);

    /// <summary>
    /// Freezes the sandbox and stops all clocks of the session until <see cref="ResumeAsync"/>: it neither expires nor uses processor time. Its
    /// memory stays reserved. Commands and file operations in progress end first, and further calls are rejected meanwhile; open streams and started
    /// processes stand still. Pausing a paused session changes nothing. The last of pauses and resumptions counts: a later <see cref="ResumeAsync"/>
    /// undoes a pause that still waits, which then returns.
    /// </summary>
    /// <param name="cancellationToken">Cancels the pause before it takes effect.</param>
    /// <exception cref="SandboxSessionEndedException">The session ended.</exception>
    /// <exception cref="SandboxRuntimeException">This host could not freeze the sandbox. The session is not paused, and its clocks go on.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    Task PauseAsync(CancellationToken cancellationToken = default);

    /// <summary>
    /// Starts the clocks of a paused session where they stopped, and thaws it unless it had been idle for <see cref="SandboxSessionRequest.FreezeAfter"/>. Resuming
    /// a session that is not paused changes nothing.
    /// </summary>
    /// <param name="cancellationToken">Cancels the resumption before it takes effect.</param>
    /// <exception cref="SandboxSessionEndedException">The session ended.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    Task ResumeAsync(CancellationToken cancellationToken = default);

    /// <summary>Changes the idle timeout or the lifetime, to a longer or a shorter time. A time that has already passed ends the session.</summary>
    /// <param name="idleTimeout">The new <see cref="IdleTimeout"/>; <see langword="null"/>: unchanged.</param>
    /// <param name="lifetime">The new <see cref="Lifetime"/>, from the opening and not from now; <see langword="null"/>: unchanged.</param>
    /// <param name="cancellationToken">Cancels the change before it takes effect.</param>
    /// <exception cref="InvalidSandboxRequestException">A time is out of range; nothing is changed.</exception>
    /// <exception cref="SandboxSessionEndedException">The session ended.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    Task ExtendAsync(TimeSpan? idleTimeout = null, TimeSpan? lifetime = null, CancellationToken cancellationToken = default);

    /// <summary>
    /// Closes the session: kills its processes, ends calls in progress with <see cref="SandboxSessionEndedException"/>, and removes the sandbox with
    /// its files. Closing a session that ended changes nothing.
    /// </summary>
    /// <param name="cancellationToken">Cancels the wait; the session is closed nevertheless.</param>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    Task CloseAsync(CancellationToken cancellationToken = default);
}

/// <summary>
/// A session as its opener has it: disposing it closes the session. Keep it undisposed if later callers find the session by its identifier; those
/// have no owner to dispose, so none of them closes it by accident.
/// </summary>
public interface IOwnedSandboxSession : ISandboxSession, IAsyncDisposable;

/// <summary>State of a session. Later versions may add states.</summary>
public enum SandboxSessionState
{
    /// <summary>A call is in progress, a stream is open, or a process of <see cref="ISandboxSession.StartAsync"/> is alive.</summary>
    Running,

    /// <summary>The session waits for a call. It is frozen, or will be after <see cref="SandboxSessionRequest.FreezeAfter"/>.</summary>
    Idle,

    /// <summary>The session is frozen by <see cref="ISandboxSession.PauseAsync"/>, and its clocks stand still.</summary>
    Paused,

    /// <summary>The session ended; <see cref="ISandboxSession.End"/> has the reason.</summary>
    Ended,
}

/// <summary>Reason why a session ended. Later versions may add reasons.</summary>
public enum SandboxSessionEnd
{
    /// <summary>The session was closed or disposed.</summary>
    Closed,

    /// <summary>No call came for <see cref="ISandboxSession.IdleTimeout"/>.</summary>
    IdleTimeout,

    /// <summary>The session reached <see cref="ISandboxSession.Lifetime"/>.</summary>
    Lifetime,

    /// <summary>The sandbox reached <see cref="ResourceLimits.MemoryBytes"/>.</summary>
    MemoryLimit,

    /// <summary>The sandbox ended by itself: a program broke it from inside, or this host killed it.</summary>
    SandboxDied,

    /// <summary>The runner was disposed, or its process ended.</summary>
    HostStopped,
}
