using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Runtime.Kept;

namespace Boxer.Sessions;

/// <summary>Waits for the end of one session, ends what is in progress, and removes everything of it.</summary>
/// <param name="parts">The session.</param>
/// <param name="workers">The file workers.</param>
/// <param name="held">Everything that the session holds on this host, without the sandbox's commands.</param>
/// <param name="onEnded">Called once, right after the end.</param>
internal sealed class SessionEnds(SessionParts parts, SessionWorkers workers, CleanupStack held, Action<SandboxSessionEnd> onEnded)
{
    /// <summary>Time that calls have to end after the end of the session. They do so at once, unless the sandbox hangs.</summary>
    internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(2);

    /// <summary>
    /// The same for calls whose result tells how the sandbox ended: they wait for its processes to end, and then for the rest of the output; 3 s for all else.
    /// </summary>
    internal static readonly TimeSpan ResultPatience = KeptSandbox.ExitPatience + ForegroundCommand.DrainPatience + TimeSpan.FromSeconds(3);
    private readonly TaskCompletionSource _callsEnded = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Completes when no call is in progress after the end of the session. Never fails.</summary>
    internal Task CallsEnded => _callsEnded.Task;

    /// <summary>Translates the end of a sandbox.</summary>
    /// <param name="end">The end of the sandbox.</param>
    internal static SandboxSessionEnd From(KeptSandboxEnd end) => end == KeptSandboxEnd.MemoryLimit ? SandboxSessionEnd.MemoryLimit : SandboxSessionEnd.SandboxDied;

    /// <summary>Runs from the opening of the session until nothing of it is left. Never fails.</summary>
    /// <param name="stopping">Cancelled when the runner is disposed.</param>
    internal async Task RunAsync(CancellationToken stopping)
    {
        using CancellationTokenRegistration stop = stopping.UnsafeRegister(_ => parts.Life.TryEnd(SandboxSessionEnd.HostStopped), null);
        _ = EndWithSandboxAsync();
        SandboxSessionEnd end = await parts.Life.Ended.ConfigureAwait(false);
        parts.Sandbox.Kill();
        onEnded(end);
        Log.SessionEnded(parts.Logger, parts.Id, parts.ImageDigest, end, (long)(parts.Life.EndedAt - parts.Life.CreatedAt).TotalSeconds);
        await EndCallsAsync(end is SandboxSessionEnd.MemoryLimit or SandboxSessionEnd.SandboxDied ? ResultPatience : Patience).ConfigureAwait(false);
        await CleanUpAsync().ConfigureAwait(false);
    }

    private async Task EndWithSandboxAsync() => parts.Life.TryEnd(From(await parts.Sandbox.Ended.ConfigureAwait(false)));

    private async Task EndCallsAsync(TimeSpan patience)
    {
        Task gone = parts.Life.WhenNoCallAsync();
        if (!gone.IsCompleted)
        {
            using var decided = new CancellationTokenSource();
            await Task.WhenAny(gone, Task.Delay(patience, parts.Time, decided.Token)).ConfigureAwait(false);
            await decided.CancelAsync().ConfigureAwait(false);
        }

        parts.Abandoned.TrySetResult();
        _callsEnded.TrySetResult();
    }

    private async Task CleanUpAsync()
    {
        parts.Disk.Dispose();
        parts.Processors.Dispose();
        parts.Life.Dispose();
        await workers.CloseIdleAsync().ConfigureAwait(false);
        try
        {
            await held.DisposeAsync().ConfigureAwait(false);
        }
        catch (AggregateException exception)
        {
            Log.SessionCleanupFailed(parts.Logger, parts.Id, exception);
        }
    }
}
