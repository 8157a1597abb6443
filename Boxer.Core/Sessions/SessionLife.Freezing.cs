namespace Boxer.Sessions;

internal sealed partial class SessionLife
{
    /// <summary>Whether the sandbox is awake and the session open, so that guests can change something.</summary>
    internal bool IsAwake
    {
        get
        {
            lock (_lock)
            {
                return _end is null && !_isPaused && !_freezer.IsFrozen;
            }
        }
    }

    /// <summary>
    /// Stops the clocks and freezes the sandbox. New calls are rejected at once; calls in progress end first, because their time limits go on.
    /// </summary>
    /// <param name="cancellationToken">Undoes the pause while calls are in progress.</param>
    /// <exception cref="SandboxSessionEndedException">The session has ended.</exception>
    internal async Task PauseAsync(CancellationToken cancellationToken)
    {
        bool isFirst;
        lock (_lock)
        {
            ThrowIfEnded();
            cancellationToken.ThrowIfCancellationRequested();
            isFirst = !_isPaused;
            _isPaused = true;
        }

        try
        {
            await Task.WhenAny(WhenNoCallAsync(), Ended).WaitAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // The pause of another caller stays.
            if (isFirst)
            {
                Resume();
            }

            throw;
        }

        await FreezeForPauseAsync().ConfigureAwait(false);
        lock (_lock)
        {
            ThrowIfEnded();
        }
    }

    /// <summary>Starts the clocks again. The sandbox is thawed if something in it goes on; otherwise by the next call.</summary>
    /// <exception cref="SandboxSessionEndedException">The session has ended.</exception>
    internal void Resume()
    {
        bool isBusy;
        lock (_lock)
        {
            ThrowIfEnded();
            if (!_isPaused)
            {
                return;
            }

            _isPaused = false;
            _clock.Resume();
            isBusy = !_clock.IsIdle;
            SetTimer();
        }

        if (isBusy)
        {
            TryThaw(out _);
        }

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
                    return _end is null && (!_isPaused || _calls > 0);
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

    private async Task FreezeForPauseAsync()
    {
        if (Freezing is not null)
        {
            await Freezing().ConfigureAwait(false);
        }

        if (_canFreeze)
        {
            _freezer.Freeze(() => State == SandboxSessionState.Paused);
        }

        lock (_lock)
        {
            if (_isPaused)
            {
                _clock.Pause();
                SetTimer();
            }
        }

        BackgroundChanged?.Invoke();
    }

    private async Task FreezeIdleAsync()
    {
        if (Freezing is not null)
        {
            await Freezing().ConfigureAwait(false);
        }

        bool isWanted = false;
        bool isFrozen = _freezer.Freeze(() =>
        {
            lock (_lock)
            {
                return isWanted = _end is null && !_isPaused && _clock.MayFreeze;
            }
        });
        lock (_lock)
        {
            // A host that cannot freeze it is not asked again before the next call.
            _mayRetryFreeze = isFrozen || !isWanted;
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
}
