using Boxer.Diagnostics;
using Boxer.Runtime.Kept;
using Microsoft.Extensions.Logging;

namespace Boxer.Sessions;

/// <summary>
/// Freezes and thaws the sandbox of one session. A freeze takes time, in which a thaw ends it at once. A freeze asks again whether it is still wanted, so
/// that a call that begins at the same moment finds the sandbox awake. Thread-safe.
/// </summary>
/// <param name="id">The identifier of the session.</param>
/// <param name="sandbox">The sandbox.</param>
/// <param name="time">The time.</param>
/// <param name="logger">Receives failures.</param>
internal sealed class SessionFreezer(string id, IKeptSandbox sandbox, TimeProvider time, ILogger logger)
{
    // On a host with much to do, the kernel takes a while to stop all processes.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan ShortPause = TimeSpan.FromMilliseconds(1);
    private static readonly TimeSpan LongPause = TimeSpan.FromMilliseconds(20);
    private readonly Lock _lock = new();
    private volatile bool _isFrozen;

    // The freeze under way, or one that failed and could not be undone.
    private TaskCompletionSource<Exception?>? _attempt;

    /// <summary>Whether the sandbox is frozen.</summary>
    internal bool IsFrozen => _isFrozen;

    /// <summary>Freezes the sandbox. Callers at the same time share one freeze.</summary>
    /// <param name="isWanted">Whether to freeze it; called while no thaw can happen.</param>
    /// <returns>
    /// <see langword="null"/> if it is frozen now, or the freeze was not wanted, or a thaw ended it; otherwise the reason why this host could not freeze
    /// it. It is awake then.
    /// </returns>
    internal Task<Exception?> FreezeAsync(Func<bool> isWanted)
    {
        TaskCompletionSource<Exception?> attempt;
        lock (_lock)
        {
            if (_isFrozen || !isWanted())
            {
                return Task.FromResult<Exception?>(null);
            }

            if (_attempt is { Task.IsCompleted: false })
            {
                return _attempt.Task;
            }

            _attempt = attempt = new(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        _ = FinishAsync(attempt);
        return attempt.Task;
    }

    /// <summary>Thaws the sandbox if it is frozen or about to be.</summary>
    /// <param name="isWanted">Whether to thaw it; called while no freeze can happen.</param>
    /// <exception cref="IOException">It cannot be thawed, or it is gone.</exception>
    internal void Thaw(Func<bool> isWanted)
    {
        // Also if it is awake: a freeze may be about to begin.
        lock (_lock)
        {
            if ((_isFrozen || _attempt is not null) && isWanted())
            {
                ThawNow();
            }
        }
    }

    private async Task FinishAsync(TaskCompletionSource<Exception?> attempt)
    {
        long start = time.GetTimestamp();
        while (true)
        {
            TimeSpan elapsed = time.GetElapsedTime(start);
            if (TryFinish(attempt, isLast: elapsed >= Patience))
            {
                return;
            }

            await Task.Delay(elapsed < Patience / 20 ? ShortPause : LongPause, time).ConfigureAwait(false);
        }
    }

    /// <returns>Whether the freeze is over.</returns>
    private bool TryFinish(TaskCompletionSource<Exception?> attempt, bool isLast)
    {
        Exception? fault;
        lock (_lock)
        {
            if (_attempt != attempt)
            {
                return true;
            }

            // A sandbox that was killed meanwhile dies when it is thawed.
            bool isOver = sandbox.Ended.IsCompleted;
            fault = isOver ? null : FreezeNow(isLast);
            if (!isOver && !_isFrozen && fault is null)
            {
                return false;
            }

            attempt.TrySetResult(fault);
            if (_isFrozen)
            {
                _attempt = null;
            }
            else
            {
                UndoNow();
            }
        }

        if (fault is not null)
        {
            Log.SessionNotFrozen(logger, id, fault);
        }

        return true;
    }

    // Called under the lock, like the next two.
    private Exception? FreezeNow(bool isLast)
    {
        try
        {
            _isFrozen = sandbox.TryFreeze();
            return _isFrozen || !isLast ? null : new IOException($"Its processes did not all stop within {Patience.TotalSeconds:0} s after its freeze had begun.");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return exception;
        }
    }

    private void UndoNow()
    {
        try
        {
            ThawNow();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // The next thaw tries again, and ends the session if that fails.
        }
    }

    private void ThawNow()
    {
        sandbox.Thaw();
        _isFrozen = false;
        _attempt?.TrySetResult(null);
        _attempt = null;
    }
}
