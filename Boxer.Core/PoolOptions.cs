namespace Boxer;

/// <summary>
/// Options of the pool, which keeps booted sandboxes ready so that runs of images in use start without a boot. Each pooled sandbox serves one run.
/// </summary>
public sealed class PoolOptions
{
    /// <summary>
    /// Whether sandboxes are booted ahead.
    /// <value>
    /// Default <see langword="null"/>: yes, if this host can freeze pooled sandboxes (the freezer of cgroups) so that they use no processor time.
    /// </value>
    /// </summary>
    public bool? Enabled { get; set; }

    /// <summary>
    /// Maximum number of pooled sandboxes of all images; 0 to 10,000. Each takes 10 to 15 MB of memory, and in the network mode <c>sandbox</c> a
    /// link with its addresses. Their memory is part of <see cref="BoxerOptions.MaxMemoryBytes"/>. Sandboxes are evicted if a queued run needs
    /// their memory.
    /// <value>Default <see langword="null"/>: four for each processor.</value>
    /// </summary>
    public int? MaxSandboxes { get; set; }

    /// <summary>
    /// Images with a minimum number of pooled sandboxes, or with a warm-up command. Other images have pooled sandboxes only while they are in use.
    /// <value>Default empty.</value>
    /// </summary>
    public IList<PoolImageOptions> Images { get; set; } = [];

    /// <summary>
    /// Time without a run after which the pooled sandboxes of an image and network mode expire; 1 s to 24 h.
    /// <value>Default 5 min.</value>
    /// </summary>
    public TimeSpan IdleTimeout { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>
    /// Maximum time that one sandbox stays in the pool before a new one replaces it; 1 s to 24 h.
    /// <value>Default 1 h.</value>
    /// </summary>
    public TimeSpan MaxAge { get; set; } = TimeSpan.FromHours(1);

    /// <summary>Value of <see cref="MaxSandboxes"/> if it is <see langword="null"/>.</summary>
    internal static int DefaultMaxSandboxes => Environment.ProcessorCount * 4;

    internal PoolOptions Copy()
    {
        var copy = (PoolOptions)MemberwiseClone();
        copy.Images = [.. Images.Select(image => image.Copy())];
        return copy;
    }
}
