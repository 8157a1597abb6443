namespace Boxer;

/// <summary>Sandboxes of one image that are booted ahead.</summary>
public sealed class PoolImageOptions
{
    /// <summary>
    /// The image, as <see cref="SandboxRequest.Image"/>. It is pulled when the runner starts, unless <see cref="Count"/> is 0.
    /// <value>Required: there is no default.</value>
    /// </summary>
    public string Image { get; set; } = "";

    /// <summary>
    /// Number of sandboxes of the network mode <c>none</c> that always wait; 0 to 1,000 sandboxes. 0: only while the image is in use, as for images
    /// that are not listed.
    /// <value>Default 1.</value>
    /// </summary>
    public int Count { get; set; } = 1;

    /// <summary>
    /// Program and arguments that each sandbox of the image runs before it waits, so that what the run's own command loads is in the sandbox's
    /// caches already: for example <c>python3 -c pass</c>. It runs as the image's user with the default limits, prints nowhere, and has
    /// 10 s; it has no terminal, no cgroups, and no network but a loopback of its own. How it ends does not matter, and none of its processes is
    /// left. What it writes to the image's directories (not <c>/tmp</c>) stays. At most 1,024 arguments.
    /// <value>Default empty: everything that a run does is done once, but for the command.</value>
    /// </summary>
    public IList<string> WarmUp { get; set; } = [];

    internal PoolImageOptions Copy()
    {
        var copy = (PoolImageOptions)MemberwiseClone();
        copy.WarmUp = [.. WarmUp];
        return copy;
    }
}
