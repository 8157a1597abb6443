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
    /// Images of which at least so many sandboxes of the network mode <c>none</c> always wait, by reference; they are pulled when the runner
    /// starts, by <see cref="SandboxRunner.StartAsync"/> or its first run. 1 to 1,000 each. All others are kept warm by themselves while they are in use.
    /// <value>Default empty.</value>
    /// </summary>
    public IDictionary<string, int> Images { get; set; } = new Dictionary<string, int>(StringComparer.Ordinal);

    /// <summary>
    /// Commands that sandboxes of an image run before they wait, by image reference, so that what the run's own command loads is in the
    /// sandbox's caches already: for example <c>python3 -c pass</c>. It runs as the image's user with the default limits, prints nowhere, and has
    /// 10 s; it has no terminal, no cgroups, and no network but a loopback of its own. How it ends does not matter, and none of its processes is
    /// left. What it writes to the image's directories (not <c>/tmp</c>) stays. 1 to 1,024 arguments.
    /// <value>Default empty: everything that a run does is done once, but for the command.</value>
    /// </summary>
    public IDictionary<string, IList<string>> WarmUps { get; set; } = new Dictionary<string, IList<string>>(StringComparer.Ordinal);

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

    internal PoolOptions Copy()
    {
        var copy = (PoolOptions)MemberwiseClone();
        copy.Images = new Dictionary<string, int>(Images, StringComparer.Ordinal);
        copy.WarmUps = WarmUps.ToDictionary(pair => pair.Key, pair => (IList<string>)[.. pair.Value], StringComparer.Ordinal);
        return copy;
    }
}
