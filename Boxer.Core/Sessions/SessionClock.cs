namespace Boxer.Sessions;

/// <summary>
/// The clocks of one session: idle timeout, lifetime, and the pause before it is frozen. It has no timer of its own. Not thread-safe: the lock of the
/// session protects it.
/// </summary>
internal sealed class SessionClock
{
    private readonly TimeProvider _time;
    private readonly long _start;
    private readonly TimeSpan? _freezeAfter;
    private readonly bool _keepsAliveWhileRunning;

    // Times since the opening, without pauses.
    private TimeSpan _pausedFor;
    private TimeSpan? _pausedAt;
    private TimeSpan _idleSince;
    private TimeSpan _quietSince;
    private int _open;
    private int _processes;

    /// <summary>Starts the clocks.</summary>
    /// <param name="time">The time.</param>
    /// <param name="idleTimeout">Time from the end of the last call to the end of the session.</param>
    /// <param name="lifetime">Time from the opening to the end of the session.</param>
    /// <param name="freezeAfter">Time from the end of the last call or process to the freeze; <see langword="null"/>: never.</param>
    /// <param name="keepsAliveWhileRunning">Whether the idle timeout does not run while a started process lives.</param>
    internal SessionClock(TimeProvider time, TimeSpan idleTimeout, TimeSpan lifetime, TimeSpan? freezeAfter, bool keepsAliveWhileRunning)
    {
        _time = time;
        _start = time.GetTimestamp();
        IdleTimeout = idleTimeout;
        Lifetime = lifetime;
        _freezeAfter = freezeAfter;
        _keepsAliveWhileRunning = keepsAliveWhileRunning;
    }

    /// <summary>Time from the end of the last call to the end of the session.</summary>
    internal TimeSpan IdleTimeout { get; set; }

    /// <summary>Time from the opening to the end of the session, without pauses.</summary>
    internal TimeSpan Lifetime { get; set; }

    /// <summary>Whether no call or stream is open and no process lives.</summary>
    internal bool IsIdle => _open == 0 && _processes == 0;

    /// <summary>Whether the clocks are stopped.</summary>
    internal bool IsPaused => _pausedAt is not null;

    /// <summary>Whether the session has been idle for long enough to be frozen.</summary>
    internal bool MayFreeze => TimeToFreeze <= TimeSpan.Zero;

    /// <summary>Time until the session ends by itself, if nothing happens meanwhile; <see langword="null"/> while paused.</summary>
    internal TimeSpan? TimeToEnd
    {
        get
        {
            if (IsPaused)
            {
                return null;
            }

            TimeSpan life = Lifetime - Now;
            return IsIdleTimeRunning && _idleSince + IdleTimeout - Now is var idle && idle < life ? idle : life;
        }
    }

    /// <summary>Time until the session is frozen; <see langword="null"/> if it is in use, paused or never frozen.</summary>
    internal TimeSpan? TimeToFreeze => IsPaused || !IsIdle ? null : _quietSince + _freezeAfter - Now;

    private bool IsIdleTimeRunning => _open == 0 && !(_keepsAliveWhileRunning && _processes > 0);

    private TimeSpan Now => _pausedAt ?? Elapsed - _pausedFor;

    private TimeSpan Elapsed => _time.GetElapsedTime(_start);

    /// <summary>Finds the clock that has run out; the one that did so first if both have.</summary>
    /// <returns><see langword="null"/> if none has.</returns>
    internal SandboxSessionEnd? FindEnd()
    {
        if (IsPaused)
        {
            return null;
        }

        TimeSpan idleEnd = IsIdleTimeRunning ? _idleSince + IdleTimeout : TimeSpan.MaxValue;
        return Now >= Lifetime && Lifetime <= idleEnd ? SandboxSessionEnd.Lifetime
            : Now >= idleEnd ? SandboxSessionEnd.IdleTimeout
            : null;
    }

    /// <summary>A call or a stream begins.</summary>
    internal void BeginCall() => _open++;

    /// <summary>A call or a stream ends.</summary>
    internal void EndCall()
    {
        _open--;
        _idleSince = Now;
        NoteQuiet();
    }

    /// <summary>A started process begins to live.</summary>
    internal void BeginProcess() => _processes++;

    /// <summary>A started process has ended.</summary>
    internal void EndProcess()
    {
        _processes--;
        if (_keepsAliveWhileRunning)
        {
            _idleSince = Now;
        }

        NoteQuiet();
    }

    /// <summary>Stops all clocks.</summary>
    internal void Pause() => _pausedAt ??= Now;

    /// <summary>Starts the clocks again where they stopped.</summary>
    internal void Resume()
    {
        if (_pausedAt is { } at)
        {
            _pausedFor = Elapsed - at;
            _pausedAt = null;
        }
    }

    /// <summary>
    /// Starts the clocks again after a pause that took no effect: the sandbox ran on meanwhile, and so did the lifetime. The idle timeout stood still,
    /// because somebody wanted to keep the session.
    /// </summary>
    internal void UndoPause()
    {
        if (_pausedAt is { } at)
        {
            _pausedAt = null;
            _idleSince += Now - at;
        }
    }

    private void NoteQuiet()
    {
        if (IsIdle)
        {
            _quietSince = Now;
        }
    }
}
