namespace Boxer;

/// <summary>Sandboxes that are booted ahead, so that a run of an image that is in use does not wait for a boot. Each serves one run.</summary>
public sealed class PoolOptions
{
    /// <summary>
    /// Whether sandboxes are booted ahead.
    /// <value>
    /// Default <see langword="null"/>: where this host can freeze what waits (the freezer of cgroups), so that it takes no processor time.
    /// </value>
    /// </summary>
    public bool? Enabled { get; set; }

    /// <summary>
    /// Sandboxes that may wait, all images together; 0 to 10,000. One takes 10 to 15 MB of memory, and in the network mode <c>sandbox</c> a link
    /// with its addresses. What they take is part of <see cref="BoxerOptions.MaxMemoryBytes"/>, and runs that wait come before them.
    /// <value>Default <see langword="null"/>: four for each processor.</value>
    /// </summary>
    public int? MaxSandboxes { get; set; }

    /// <summary>
    /// Images of which sandboxes always wait, or that warm up. All others are kept warm by themselves while they are in use.
    /// <value>Default empty.</value>
    /// </summary>
    public IList<PoolImageOptions> Images { get; set; } = [];

    /// <summary>
    /// How long sandboxes of an image and network mode wait that nobody runs; 1 s to 24 h.
    /// <value>Default 5 min.</value>
    /// </summary>
    public TimeSpan IdleTimeout { get; set; } = TimeSpan.FromMinutes(5);

    /// <summary>
    /// How long one sandbox waits at most, before another takes its place; 1 s to 24 h.
    /// <value>Default 1 h.</value>
    /// </summary>
    public TimeSpan MaxAge { get; set; } = TimeSpan.FromHours(1);

    /// <summary>The maximum where <see cref="MaxSandboxes"/> is <see langword="null"/>.</summary>
    internal static int DefaultMaxSandboxes => Environment.ProcessorCount * 4;

    internal PoolOptions Copy()
    {
        var copy = (PoolOptions)MemberwiseClone();
        copy.Images = [.. Images.Select(image => image.Copy())];
        return copy;
    }
}
