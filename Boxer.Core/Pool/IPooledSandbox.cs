namespace Boxer.Pool;

/// <summary>What makes waiting sandboxes stand in for each other: all else is applied when a run is handed over.</summary>
/// <param name="ImageDigest">The digest of the image.</param>
/// <param name="Network">The network mode.</param>
internal readonly record struct PoolKey(string ImageDigest, string Network);

/// <summary>A sandbox that waits. Disposing destroys it.</summary>
internal interface IPooledSandbox : IAsyncDisposable
{
    /// <summary>Whether it still waits: it has not died, and its network is what it was.</summary>
    bool IsAlive { get; }

    /// <summary>The most memory that it had until now, in bytes.</summary>
    long MemoryBytes { get; }

    /// <summary>The smallest limit of memory that it lives on with, in bytes: the kernel cannot take back what it has but page cache.</summary>
    long LeastBytes { get; }

    /// <summary>Makes it take no processor time. It need not have stopped when this returns.</summary>
    /// <exception cref="IOException">It cannot be frozen.</exception>
    void Freeze();

    /// <summary>Makes it go on.</summary>
    /// <exception cref="IOException">It cannot be thawed.</exception>
    void Thaw();
}
