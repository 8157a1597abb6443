namespace Boxer.Pool;

/// <summary>Recent demand for the sandboxes of one key: how often runs asked for one, and how long a boot takes.</summary>
internal sealed class Demand
{
    /// <summary>Period of the runs that count.</summary>
    internal static readonly TimeSpan Window = TimeSpan.FromSeconds(2);

    // Moving average of the duration of boots; a guess before the first one.
    private const double FirstGuess = 0.3;
    private const double Weight = 0.3;

    private readonly Queue<TimeSpan> _taken = new();
    private double _bootSeconds = FirstGuess;

    /// <summary>Time of the last run that asked for a sandbox.</summary>
    internal TimeSpan LastTaken { get; private set; }

    /// <summary>Records a run that asked for a sandbox.</summary>
    /// <param name="now">The time.</param>
    internal void AddRun(TimeSpan now)
    {
        LastTaken = now;
        Forget(now);
        _taken.Enqueue(now);
    }

    /// <summary>Records the duration of a boot.</summary>
    /// <param name="duration">The duration.</param>
    internal void AddBoot(TimeSpan duration) => _bootSeconds += Weight * (duration.TotalSeconds - _bootSeconds);

    /// <summary>Returns the number of sandboxes that should be ready: as many as runs take during one boot, and one more.</summary>
    /// <param name="now">The time.</param>
    internal int Target(TimeSpan now)
    {
        Forget(now);
        return 1 + (int)Math.Ceiling(_taken.Count / Window.TotalSeconds * _bootSeconds);
    }

    private void Forget(TimeSpan now)
    {
        while (_taken.TryPeek(out TimeSpan first) && now - first > Window)
        {
            _taken.Dequeue();
        }
    }
}
