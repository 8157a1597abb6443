namespace Boxer.AspNetCore;

/// <summary>Health paths that <c>MapBoxer</c> has mapped.</summary>
internal sealed class BoxerHttpRoutes
{
    private readonly List<PathString> _health = [];

    public void AddHealth(PathString path) => _health.Add(path);

    /// <summary>Whether a path is a liveness probe. Load balancers may request it without a key; the response contains nothing else.</summary>
    public bool IsHealth(PathString path) => _health.Contains(path);
}
