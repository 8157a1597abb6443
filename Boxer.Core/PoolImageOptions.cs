namespace Boxer;

/// <summary>Pooled sandboxes of one image.</summary>
public sealed class PoolImageOptions
{
    /// <summary>
    /// Image reference, as in <see cref="SandboxRequest.Image"/>. The image is pulled when the runner starts, unless <see cref="Count"/> is 0.
    /// <value>Required: there is no default.</value>
    /// </summary>
    public string Image { get; set; } = "";

    /// <summary>
    /// Minimum number of pooled sandboxes of this image in the network mode <c>none</c>; 0 to 1,000. With 0 there are pooled sandboxes only while
    /// the image is in use, as for images that are not listed.
    /// <value>Default 1.</value>
    /// </summary>
    public int Count { get; set; } = 1;

    /// <summary>
    /// Program and arguments that each sandbox of the image runs before it enters the pool, so that files the run's own command loads are already
    /// in the sandbox's caches; for example <c>python3 -c pass</c>. At most 1,024 arguments. It runs as the image's user with the default limits
    /// for at most 10 s, and its output is discarded. It has no terminal, no cgroups, and no network but its own loopback. Its exit code is ignored
    /// and all its processes are killed. Its changes to the image's directories (not <c>/tmp</c>) are kept.
    /// <value>Default empty: the sandbox goes through all steps of a run except the command.</value>
    /// </summary>
    public IList<string> WarmUp { get; set; } = [];

    internal PoolImageOptions Copy()
    {
        var copy = (PoolImageOptions)MemberwiseClone();
        copy.WarmUp = [.. WarmUp];
        return copy;
    }
}
