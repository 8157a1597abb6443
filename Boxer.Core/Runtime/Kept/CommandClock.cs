namespace Boxer.Runtime.Kept;

/// <summary>The clock of the commands of one sandbox. It stands still while the sandbox is frozen.</summary>
/// <param name="time">The clock of the host.</param>
internal sealed class CommandClock(TimeProvider time)
{
    private readonly TimeProvider _time = time;
    private readonly Lock _gate = new();
    private readonly HashSet<Limit> _limits = [];
    private bool _isStopped;

    /// <summary>Stops the clock.</summary>
    internal void Stop()
    {
        lock (_gate)
        {
            _isStopped = true;
            foreach (Limit limit in _limits)
            {
                limit.Hold();
            }
        }
    }

    /// <summary>Lets the clock go on.</summary>
    internal void Continue()
    {
        lock (_gate)
        {
            _isStopped = false;
            foreach (Limit limit in _limits)
            {
                limit.Run();
            }
        }
    }

    /// <summary>Starts a time limit.</summary>
    /// <param name="duration">Time until its token is cancelled; <see langword="null"/>: never.</param>
    internal Limit Start(TimeSpan? duration)
    {
        lock (_gate)
        {
            var limit = new Limit(this) { Left = duration };
            _limits.Add(limit);
            if (!_isStopped)
            {
                limit.Run();
            }

            return limit;
        }
    }

    /// <summary>Time limit of a command.</summary>
    internal sealed class Limit : IDisposable
    {
        private readonly CommandClock _clock;
        private readonly CancellationTokenSource _source = new();
        private readonly ITimer _timer;
        private long? _runningSince;

        internal Limit(CommandClock clock)
        {
            _clock = clock;
            _timer = clock._time.CreateTimer(_ => _source.Cancel(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
        }

        /// <summary>Cancelled when the time is over.</summary>
        internal CancellationToken Token => _source.Token;

        internal TimeSpan? Left { get; set; }

        /// <summary>Starts it again, unless its time is over.</summary>
        /// <param name="duration">The new time; <see langword="null"/>: never.</param>
        internal void Restart(TimeSpan? duration)
        {
            lock (_clock._gate)
            {
                Hold();
                Left = duration;
                if (!_clock._isStopped)
                {
                    Run();
                }
            }
        }

        /// <inheritdoc/>
        public void Dispose()
        {
            lock (_clock._gate)
            {
                _clock._limits.Remove(this);
            }

            _timer.Dispose();
        }

        // Called with the clock's gate held, like Hold.
        internal void Run()
        {
            if (_runningSince is null && Left is { } left)
            {
                _runningSince = _clock._time.GetTimestamp();
                _timer.Change(left, Timeout.InfiniteTimeSpan);
            }
        }

        internal void Hold()
        {
            if (_runningSince is { } since && Left is { } left)
            {
                TimeSpan rest = left - _clock._time.GetElapsedTime(since);
                Left = rest > TimeSpan.Zero ? rest : TimeSpan.Zero;
                _timer.Change(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
            }

            _runningSince = null;
        }
    }
}
