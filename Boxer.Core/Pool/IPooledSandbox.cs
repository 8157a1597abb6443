namespace Boxer.Pool;

/// <summary>Identifies sandboxes that can replace each other. All other settings of a run are applied at the hand-over.</summary>
/// <param name="ImageDigest">The digest of the image.</param>
/// <param name="Network">The network mode.</param>
internal readonly record struct PoolKey(string ImageDigest, string Network);

/// <summary>A sandbox of the pool. Disposing it destroys it.</summary>
internal interface IPooledSandbox : IAsyncDisposable
{
    /// <summary>Whether a run can still use it: it has not died, and its network still exists.</summary>
    bool IsAlive { get; }

    /// <summary>Peak memory so far, in bytes.</summary>
    long MemoryBytes { get; }

    /// <summary>Smallest memory limit that it can live with, in bytes: the kernel can reclaim only its page cache.</summary>
    long LeastBytes { get; }

    /// <summary>Stops it from using processor time. It may still be stopping when this method returns.</summary>
    /// <exception cref="IOException">It cannot be frozen.</exception>
    void Freeze();

    /// <summary>Lets it run again.</summary>
    /// <exception cref="IOException">It cannot be thawed.</exception>
    void Thaw();
}
