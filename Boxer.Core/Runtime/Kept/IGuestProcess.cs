namespace Boxer.Runtime.Kept;

/// <summary>A process whose streams PID 1 relays. All members can be called from any thread.</summary>
internal interface IGuestProcess
{
    /// <summary>Number of the process, unique in the sandbox.</summary>
    int Id { get; }

    /// <summary>
    /// Standard input, or the terminal's. Writes wait until the sandbox has room. Disposing it is the end of the file. After the end of the process, writes
    /// are dropped.
    /// </summary>
    /// <remarks>A cancelled write may have written a part of the bytes. After the end of the sandbox, writes are dropped too.</remarks>
    Stream Input { get; }

    /// <summary>
    /// Completes when the first process has ended and its output was read with <see cref="ReadAllAsync"/>: a process whose output is not read does not
    /// end. Completes too when the sandbox ends. Never fails.
    /// </summary>
    Task<ExecEnd> Ended { get; }

    /// <summary>Reads the output to its end, also to that of the sandbox. The guest waits while nobody reads. Call it once.</summary>
    /// <param name="cancellationToken">Cancels the wait for more output.</param>
    /// <returns>The chunks; their bytes do not change.</returns>
    IAsyncEnumerable<GuestOutput> ReadAllAsync(CancellationToken cancellationToken);

    /// <summary>Sends a signal. Does nothing after the end of the process.</summary>
    /// <param name="signal">Number of the signal, 1 to 64.</param>
    /// <param name="wholeSession">Whether every process of its session gets it (setsid), instead of the process group of the first process.</param>
    /// <param name="cancellationToken">Cancels the wait for the channel.</param>
    Task SignalAsync(int signal, bool wholeSession, CancellationToken cancellationToken);

    /// <summary>Changes the size of the terminal. Does nothing after the end of the process.</summary>
    /// <param name="size">The size.</param>
    /// <param name="cancellationToken">Cancels the wait for the channel.</param>
    /// <exception cref="InvalidOperationException">The process has no terminal.</exception>
    Task ResizeAsync(SandboxTerminal size, CancellationToken cancellationToken);

    /// <summary>Kills every process of its session. Does nothing after the end of the first one.</summary>
    /// <param name="cancellationToken">Cancels the wait for the channel.</param>
    Task KillAsync(CancellationToken cancellationToken);
}

/// <summary>Output of a process.</summary>
/// <param name="Stream">The stream; that of a terminal is standard output.</param>
/// <param name="Data">The bytes, at least one.</param>
internal readonly record struct GuestOutput(SandboxStream Stream, ReadOnlyMemory<byte> Data);
