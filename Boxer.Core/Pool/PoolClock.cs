namespace Boxer.Pool;

/// <summary>Time since a pool was created.</summary>
/// <param name="time">The clock.</param>
internal sealed class PoolClock(TimeProvider time)
{
    private readonly long _start = time.GetTimestamp();

    /// <summary>The clock.</summary>
    internal TimeProvider Time => time;

    /// <summary>Time since the pool was created.</summary>
    internal TimeSpan Now => time.GetElapsedTime(_start);
}
