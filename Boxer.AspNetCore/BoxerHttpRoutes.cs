namespace Boxer.AspNetCore;

/// <summary>Paths that <c>MapBoxer</c> mapped.</summary>
internal sealed class BoxerHttpRoutes
{
    private readonly List<PathString> _health = [];

    public void AddHealth(PathString path) => _health.Add(path);

    /// <summary>Whether a path says only that the host lives. A load balancer asks without a key, and learns nothing else.</summary>
    public bool IsHealth(PathString path) => _health.Contains(path);
}
