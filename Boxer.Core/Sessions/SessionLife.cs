using Boxer.Diagnostics;
using Microsoft.Extensions.Logging;

namespace Boxer.Sessions;

/// <summary>
/// The states of one session: running, idle (awake or frozen), paused and ended. It counts calls, streams and processes, runs the clocks, and decides
/// once how the session ends. One lock protects all of it, and nothing waits under that lock. Thread-safe.
/// </summary>
internal sealed partial class SessionLife : IDisposable
{
    private static readonly TimeSpan MaxTimer = TimeSpan.FromDays(1);
    private readonly string _id;
    private readonly SessionClock _clock;
    private readonly SessionFreezer _freezer;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly bool _canFreeze;
    private readonly Lock _lock = new();
    private readonly ITimer _timer;
    private readonly CancellationTokenSource _ending = new();
    private readonly TaskCompletionSource<SandboxSessionEnd> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _calls;
    private int _streams;
    private int _processes;
    private Pause? _pause;
    private bool _hasTimer = true;
    private bool _mayRetryFreeze = true;
    private TaskCompletionSource? _callsGone;
    private SandboxSessionEnd? _end;

    /// <param name="id">The identifier of the session.</param>
    /// <param name="clock">The clocks, which only this object uses from now on.</param>
    /// <param name="freezer">Freezes the sandbox.</param>
    /// <param name="canFreeze">Whether the sandbox may be frozen. Otherwise a pause stops only the clocks.</param>
    /// <param name="time">The time.</param>
    /// <param name="logger">The log.</param>
    internal SessionLife(string id, SessionClock clock, SessionFreezer freezer, bool canFreeze, TimeProvider time, ILogger logger)
    {
        _id = id;
        _clock = clock;
        _freezer = freezer;
        _canFreeze = canFreeze;
        _time = time;
        _logger = logger;
        CreatedAt = time.GetUtcNow();
        _timer = time.CreateTimer(_ => OnTimer(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        lock (_lock)
        {
            SetTimer();
        }
    }

    /// <summary>Called before the sandbox is frozen, without a lock: gives up what an idle session does not need.</summary>
    internal Func<Task>? Freezing { get; init; }

    /// <summary>Called without a lock when <see cref="HasBackground"/> may have changed.</summary>
    internal Action? BackgroundChanged { get; init; }

    /// <summary>The time of the opening.</summary>
    internal DateTimeOffset CreatedAt { get; }

    /// <summary>The time of the end; meaningless before it.</summary>
    internal DateTimeOffset EndedAt { get; private set; }

    /// <summary>Completes with the end of the session. Never fails.</summary>
    internal Task<SandboxSessionEnd> Ended => _ended.Task;

    /// <summary>Cancelled when the session is ended from outside: closed, expired or stopped.</summary>
    internal CancellationToken Ending => _ending.Token;

    /// <summary>How the session ended; <see langword="null"/> while it is open.</summary>
    internal SandboxSessionEnd? End
    {
        get
        {
            lock (_lock)
            {
                return _end;
            }
        }
    }

    /// <summary>The state.</summary>
    internal SandboxSessionState State
    {
        get
        {
            lock (_lock)
            {
                return _end is not null ? SandboxSessionState.Ended
                    : IsPaused ? SandboxSessionState.Paused
                    : _clock.IsIdle ? SandboxSessionState.Idle
                    : SandboxSessionState.Running;
            }
        }
    }

    /// <summary>The time when the session ends by itself; <see langword="null"/> while it is paused and after its end.</summary>
    internal DateTimeOffset? ExpiresAt
    {
        get
        {
            lock (_lock)
            {
                return _end is null && !IsPaused ? _time.GetUtcNow() + _clock.TimeToEnd : null;
            }
        }
    }

    /// <summary>The idle timeout and the lifetime.</summary>
    internal (TimeSpan Idle, TimeSpan Life) Limits
    {
        get
        {
            lock (_lock)
            {
                return (_clock.IdleTimeout, _clock.Lifetime);
            }
        }
    }

    /// <summary>Whether streams are open or processes live, and the session is not paused.</summary>
    internal bool HasBackground
    {
        get
        {
            lock (_lock)
            {
                return _end is null && !IsPaused && _streams + _processes > 0;
            }
        }
    }

    /// <summary>Begins a call or a stream, and thaws the sandbox.</summary>
    /// <param name="isStream">Whether it is a stream, which has no end of its own: a pause does not wait for it.</param>
    /// <returns>Ends the call when it is disposed, once or more.</returns>
    /// <exception cref="SandboxSessionEndedException">The session has ended.</exception>
    /// <exception cref="SandboxSessionPausedException">The session is paused.</exception>
    internal IDisposable Begin(bool isStream = false)
    {
        SandboxSessionEnd? expired;
        lock (_lock)
        {
            ThrowIfEnded();

            // The timer may be late.
            expired = _clock.FindEnd();
            if (expired is null)
            {
                BeginUse(isStream);
            }
        }

        if (expired is { } end)
        {
            TryEnd(end);
            throw EndedException(isRetrySafe: true);
        }

        var use = new Use(this, isStream);
        if (!TryThaw(out Exception? fault))
        {
            use.Dispose();
            throw EndedException(isRetrySafe: true, fault);
        }

        if (isStream)
        {
            BackgroundChanged?.Invoke();
        }

        return use;
    }

    /// <summary>Begins a stream, unless the session has ended.</summary>
    /// <returns>Ends the stream when it is disposed; <see langword="null"/> if the session has ended.</returns>
    /// <exception cref="SandboxSessionPausedException">The session is paused.</exception>
    internal IDisposable? TryBeginStream()
    {
        try
        {
            return State is SandboxSessionState.Ended ? null : Begin(isStream: true);
        }
        catch (SandboxSessionEndedException)
        {
            return null;
        }
    }

    /// <summary>Returns a task that completes when no call is in progress. After the end of the session none begins.</summary>
    internal Task WhenNoCallAsync()
    {
        lock (_lock)
        {
            return _calls == 0 ? Task.CompletedTask : (_callsGone ??= new(TaskCreationOptions.RunContinuationsAsynchronously)).Task;
        }
    }

    /// <summary>A started process begins to live. The caller is within a call.</summary>
    internal void BeginProcess()
    {
        lock (_lock)
        {
            _processes++;
            _clock.BeginProcess();
            SetTimer();
        }

        BackgroundChanged?.Invoke();
    }

    /// <summary>A started process has ended.</summary>
    internal void EndProcess()
    {
        lock (_lock)
        {
            _processes--;
            _clock.EndProcess();
            SetTimer();
        }

        BackgroundChanged?.Invoke();
    }

    /// <summary>Changes the idle timeout and the lifetime.</summary>
    /// <param name="idleTimeout">The idle timeout; <see langword="null"/>: unchanged.</param>
    /// <param name="lifetime">The lifetime; <see langword="null"/>: unchanged.</param>
    /// <exception cref="SandboxSessionEndedException">The session has ended.</exception>
    internal void Extend(TimeSpan? idleTimeout, TimeSpan? lifetime)
    {
        lock (_lock)
        {
            ThrowIfEnded();
            _clock.IdleTimeout = idleTimeout ?? _clock.IdleTimeout;
            _clock.Lifetime = lifetime ?? _clock.Lifetime;
            SetTimer();
        }
    }

    /// <summary>Ends the session, if it has not ended yet.</summary>
    /// <param name="end">The reason.</param>
    /// <returns>Whether this call ended it.</returns>
    internal bool TryEnd(SandboxSessionEnd end)
    {
        lock (_lock)
        {
            if (_end is not null)
            {
                return false;
            }

            _end = end;
            EndedAt = _time.GetUtcNow();
            SetTimer();
        }

        _ended.TrySetResult(end);
        if (end is not (SandboxSessionEnd.MemoryLimit or SandboxSessionEnd.SandboxDied))
        {
            // Commands of a sandbox that has ended by itself still report how they ended.
            _ = LoggedCancellation.CancelAsync(_ending, _logger);
        }

        return true;
    }

    /// <summary>Creates the exception for calls on the session after its end.</summary>
    /// <param name="isRetrySafe">Whether the command of the call did not start.</param>
    /// <param name="cause">The cause, or <see langword="null"/>.</param>
    internal SandboxSessionEndedException EndedException(bool isRetrySafe, Exception? cause = null) =>
        new(_id, End ?? SandboxSessionEnd.SandboxDied, cause) { IsRetrySafe = isRetrySafe };

    /// <summary>Stops the timer. The session has ended.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _hasTimer = false;
        }

        _timer.Dispose();
    }

    private void ThrowIfEnded()
    {
        if (_end is { } end)
        {
            throw new SandboxSessionEndedException(_id, end) { IsRetrySafe = true };
        }
    }

    // Read under the lock.
    private bool IsPaused => _pause is not null;

    // Called under the lock.
    private void BeginUse(bool isStream)
    {
        if (IsPaused)
        {
            throw new SandboxSessionPausedException(_id);
        }

        _clock.BeginCall();
        _calls += isStream ? 0 : 1;
        _streams += isStream ? 1 : 0;
        _mayRetryFreeze = true;
        SetTimer();
    }

    private void EndUse(bool isStream)
    {
        TaskCompletionSource? callsGone = null;
        lock (_lock)
        {
            _clock.EndCall();
            _calls -= isStream ? 0 : 1;
            _streams -= isStream ? 1 : 0;
            if (_calls == 0)
            {
                (callsGone, _callsGone) = (_callsGone, null);
            }

            SetTimer();
        }

        callsGone?.TrySetResult();
        if (isStream)
        {
            BackgroundChanged?.Invoke();
        }
    }

    private sealed class Use(SessionLife life, bool isStream) : IDisposable
    {
        private int _isOver;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isOver, 1) == 0)
            {
                life.EndUse(isStream);
            }
        }
    }
}
