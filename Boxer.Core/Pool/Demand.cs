namespace Boxer.Pool;

/// <summary>How many sandboxes of one key should wait, by how often some were taken lately and how long a boot takes.</summary>
internal sealed class Demand
{
    /// <summary>What counts as lately.</summary>
    internal static readonly TimeSpan Window = TimeSpan.FromSeconds(2);

    // A boot of this machine lately, in seconds; before the first it is a guess.
    private const double FirstGuess = 0.3;
    private const double Weight = 0.3;

    private readonly Queue<TimeSpan> _taken = new();
    private double _bootSeconds = FirstGuess;

    /// <summary>When one was last taken.</summary>
    internal TimeSpan LastTaken { get; private set; }

    /// <summary>One was wanted.</summary>
    /// <param name="now">The time.</param>
    internal void Take(TimeSpan now)
    {
        LastTaken = now;
        Forget(now);
        _taken.Enqueue(now);
    }

    /// <summary>One was booted.</summary>
    /// <param name="time">How long that took.</param>
    internal void Booted(TimeSpan time) => _bootSeconds += Weight * (time.TotalSeconds - _bootSeconds);

    /// <summary>As many as are taken while one boots, and one more.</summary>
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
