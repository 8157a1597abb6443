namespace Boxer;

/// <summary>
/// A process that <see cref="ISandboxSession.StartAsync"/> started. Members are safe for concurrent use. Disposing it kills it and every process of
/// its POSIX session (setsid(2)), and ends its events. Disposing one that has ended changes nothing: what it left behind lives on.
/// </summary>
public interface ISandboxProcess : IAsyncDisposable
{
    /// <summary>The identifier within the session. It is not the process id inside the sandbox, and is never reused in the session.</summary>
    int Id { get; }

    /// <summary>The command: program and arguments. One with more than 16,384 characters is cut there, and ends with <c>...</c>.</summary>
    IReadOnlyList<string> Command { get; }

    /// <summary>Whether the process has a terminal.</summary>
    bool IsTerminal { get; }

    /// <summary>The time when the process was started.</summary>
    DateTimeOffset StartedAt { get; }

    /// <summary>How the process ended; <see langword="null"/> while it is alive.</summary>
    SandboxProcessEnd? End { get; }

    /// <summary>
    /// Standard input of the process. Writing waits while the process does not read. Disposing the stream is end of file; for a terminal, it is
    /// what Ctrl+D sends. Writing to a process that has ended throws an <see cref="IOException"/>, as a broken pipe does; bytes that it did not read
    /// are lost. One writer at a time. Cancelling a write of at most 16 KiB leaves all of its bytes unwritten.
    /// </summary>
    Stream Input { get; }

    /// <summary>
    /// Yields the output of the process as it is printed, and last <see cref="SandboxProcessEnded"/>. Any number of readers can attach at any time,
    /// also after the end. Each reads at its own pace; none delays the process.
    /// </summary>
    /// <remarks>
    /// The last <see cref="SessionOptions.ProcessHistoryBytes"/> of output are kept. A reader that asks for older output, or that falls behind by
    /// more, misses the part in between: the next <see cref="SandboxProcessOutput.Offset"/> is then larger than the end of the event before it. An
    /// open enumeration keeps the session from its idle timeout. Leaving it does not end the process.
    /// </remarks>
    /// <param name="fromOffset">
    /// Number of output bytes to skip, of all streams together: 0 for all that is kept, or the end of the last event that was read. An offset beyond
    /// the output so far skips the output up to it.
    /// </param>
    /// <param name="cancellationToken">Ends the enumeration; the process goes on.</param>
    /// <exception cref="ArgumentOutOfRangeException">The offset is negative.</exception>
    /// <exception cref="SandboxSessionPausedException">The session is paused, and the process has not ended. A reader that was there before stays.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    IAsyncEnumerable<SandboxProcessEvent> EventsAsync(long fromOffset = 0, CancellationToken cancellationToken = default);

    /// <summary>Sends a signal to the process group of the process. Does nothing if the process ended.</summary>
    /// <param name="signal">The number of the signal (signal(7)), 1 to 64.</param>
    /// <param name="cancellationToken">Cancels the wait; the signal may have been sent.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number is out of range.</exception>
    /// <exception cref="SandboxSessionPausedException">The session is paused.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    Task SignalAsync(int signal, CancellationToken cancellationToken = default);

    /// <summary>Changes the size of the terminal and sends SIGWINCH. Does nothing if the process ended.</summary>
    /// <param name="size">The new size.</param>
    /// <param name="cancellationToken">Cancels the wait; the size may have been changed.</param>
    /// <exception cref="InvalidOperationException">The process has no terminal.</exception>
    /// <exception cref="InvalidSandboxRequestException">The size is out of range.</exception>
    /// <exception cref="SandboxSessionPausedException">The session is paused.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    Task ResizeAsync(SandboxTerminal size, CancellationToken cancellationToken = default);

    /// <summary>Waits for the end of the process. Meanwhile, the session is not idle.</summary>
    /// <param name="cancellationToken">Cancels the wait; the process goes on.</param>
    /// <returns>How the process ended; also if the session ended, as <see cref="TerminationKind.SandboxDied"/> or <see cref="TerminationKind.MemoryLimit"/>.</returns>
    /// <exception cref="SandboxSessionPausedException">The session is paused, and the process has not ended.</exception>
    /// <exception cref="OperationCanceledException"><paramref name="cancellationToken"/> was cancelled.</exception>
    Task<SandboxProcessEnd> WaitAsync(CancellationToken cancellationToken = default);
}
