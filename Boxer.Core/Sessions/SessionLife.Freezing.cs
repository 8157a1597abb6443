namespace Boxer.Sessions;

internal sealed partial class SessionLife
{
    /// <summary>Whether the sandbox is awake and the session open, so that guests can change something. A pause that cannot freeze it leaves it awake.</summary>
    internal bool IsAwake
    {
        get
        {
            lock (_lock)
            {
                return _end is null && !_freezer.IsFrozen;
            }
        }
    }

    /// <summary>
    /// Stops the clocks and freezes the sandbox. New calls are rejected at once; calls in progress end first, because their time limits go on. The last of
    /// pauses and resumptions counts: a later <see cref="Resume"/> undoes the pause, which then returns. A pause that fails or is cancelled is withdrawn;
    /// that of another caller stays.
    /// </summary>
    /// <param name="cancellationToken">Cancels this pause before it takes effect.</param>
    /// <exception cref="SandboxSessionEndedException">The session has ended.</exception>
    /// <exception cref="SandboxRuntimeException">This host could not freeze the sandbox.</exception>
    internal async Task PauseAsync(CancellationToken cancellationToken)
    {
        Pause pause;
        lock (_lock)
        {
            ThrowIfEnded();
            cancellationToken.ThrowIfCancellationRequested();
            pause = _pause ??= new Pause();
            pause.Callers++;
        }

        try
        {
            await Task.WhenAny(WhenNoCallAsync(), pause.Resumed.Task, Ended).WaitAsync(cancellationToken).ConfigureAwait(false);
            await FreezeForPauseAsync(pause, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            Withdraw(pause);
            throw;
        }

        lock (_lock)
        {
            ThrowIfEnded();
        }
    }

    /// <summary>Starts the clocks again. The sandbox is thawed, unless it has been idle for long enough to be frozen.</summary>
    /// <exception cref="SandboxSessionEndedException">The session has ended.</exception>
    internal void Resume()
    {
        lock (_lock)
        {
            ThrowIfEnded();
        }

        EndPause(_ => true);
        lock (_lock)
        {
            // A sandbox that cannot be thawed.
            ThrowIfEnded();
        }
    }

    // Another caller may have paused the session before or since.
    private void Withdraw(Pause pause) => EndPause(current => current == pause && --pause.Callers == 0);

    private void EndPause(Func<Pause, bool> isOver)
    {
        Pause pause;
        bool mayStayFrozen;
        lock (_lock)
        {
            if (_end is not null || _pause is null || !isOver(_pause))
            {
                return;
            }

            pause = _pause;
            _pause = null;
            if (pause.HasTakenEffect)
            {
                _clock.Resume();
            }
            else
            {
                _clock.UndoPause();
            }

            mayStayFrozen = _clock.MayFreeze;
            SetTimer();
        }

        if (!mayStayFrozen && TryThaw(out _))
        {
            lock (_lock)
            {
                // An idle one is to be frozen later.
                SetTimer();
            }
        }

        pause.Resumed.TrySetResult();
        BackgroundChanged?.Invoke();
    }

    /// <returns>Whether it is awake. A sandbox that cannot be thawed is of no use to anybody: the session ends.</returns>
    private bool TryThaw(out Exception? fault)
    {
        fault = null;
        try
        {
            _freezer.Thaw(() =>
            {
                lock (_lock)
                {
                    // A pause waits for the calls that began before it.
                    return _end is null && (!IsPaused || _calls > 0);
                }
            });
            return true;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            fault = exception;
            TryEnd(SandboxSessionEnd.SandboxDied);
            return false;
        }
    }

    private async Task FreezeForPauseAsync(Pause pause, CancellationToken cancellationToken)
    {
        // First, so that the idle timeout does not end the session while its processes stop, which takes up to 10 s.
        StopClocks(pause);
        Task<Exception?> freeze = StopProcessesAsync(pause);
        await Task.WhenAny(freeze, pause.Resumed.Task, Ended).WaitAsync(cancellationToken).ConfigureAwait(false);
        if (!IsCurrent(pause))
        {
            return;
        }

        if (await freeze.ConfigureAwait(false) is { } fault && IsCurrent(pause))
        {
            throw new SandboxRuntimeException($"Session {_id} is not paused, because this host could not freeze its sandbox: {fault.Message}", fault);
        }

        lock (_lock)
        {
            pause.HasTakenEffect = true;
            _mayRetryFreeze = true;
        }

        BackgroundChanged?.Invoke();
    }

    // A pause never saves a session that is over already: the timer may be late.
    private void StopClocks(Pause pause)
    {
        SandboxSessionEnd? expired = null;
        lock (_lock)
        {
            if (_end is null && _pause == pause)
            {
                expired = _clock.FindEnd();
                if (expired is null)
                {
                    _clock.Pause();
                    SetTimer();
                }
            }
        }

        if (expired is { } end)
        {
            TryEnd(end);
        }
    }

    private async Task<Exception?> StopProcessesAsync(Pause pause)
    {
        if (Freezing is not null && IsCurrent(pause))
        {
            await Freezing().ConfigureAwait(false);
        }

        return _canFreeze ? await _freezer.FreezeAsync(() => IsWanted(pause)).ConfigureAwait(false) : null;
    }

    // Whether neither a resumption nor the end of the session has undone it.
    private bool IsCurrent(Pause pause)
    {
        lock (_lock)
        {
            return _end is null && _pause == pause;
        }
    }

    // Calls may have begun between a resumption and another pause, which waits for them.
    private bool IsWanted(Pause pause)
    {
        lock (_lock)
        {
            return _end is null && _pause == pause && _calls == 0;
        }
    }

    private async Task FreezeIdleAsync()
    {
        if (Freezing is not null)
        {
            await Freezing().ConfigureAwait(false);
        }

        Exception? fault = await _freezer.FreezeAsync(() =>
        {
            lock (_lock)
            {
                return _end is null && !IsPaused && _clock.MayFreeze;
            }
        }).ConfigureAwait(false);
        lock (_lock)
        {
            // A host that cannot freeze it is not asked again before the next call.
            _mayRetryFreeze = fault is null;
            SetTimer();
        }
    }

    private void OnTimer()
    {
        SandboxSessionEnd? end;
        bool mayFreeze;
        lock (_lock)
        {
            end = _end is null ? _clock.FindEnd() : null;
            mayFreeze = end is null && MayFreeze && _clock.MayFreeze;
            if (mayFreeze)
            {
                // Until the freeze is over, the timer is for the end only.
                _mayRetryFreeze = false;
            }

            SetTimer();
        }

        if (end is { } found)
        {
            TryEnd(found);
        }
        else if (mayFreeze)
        {
            _ = FreezeIdleAsync();
        }
    }

    private bool MayFreeze => _canFreeze && _mayRetryFreeze && !_freezer.IsFrozen;

    // Called under the lock.
    private void SetTimer()
    {
        if (!_hasTimer)
        {
            return;
        }

        TimeSpan? next = _end is not null ? null : _clock.TimeToEnd;
        if (next is not null && MayFreeze && _clock.TimeToFreeze is { } freeze && freeze < next)
        {
            next = freeze;
        }

        _timer.Change(next is { } due ? TimeSpan.FromTicks(Math.Clamp(due.Ticks, 1, MaxTimer.Ticks)) : Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>A pause, from the first caller to a resumption.</summary>
    private sealed class Pause
    {
        /// <summary>Callers that have not withdrawn.</summary>
        internal int Callers { get; set; }

        /// <summary>Whether the sandbox was frozen for it.</summary>
        internal bool HasTakenEffect { get; set; }

        /// <summary>Completes when it is over.</summary>
        internal TaskCompletionSource Resumed { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
