namespace Boxer.Sessions;

/// <summary>A session as the <see cref="SessionLog"/> knows it: enough to say how it ended.</summary>
/// <param name="Id">The identifier.</param>
/// <param name="Key">The fairness key.</param>
/// <param name="ImageDigest">The digest of the image.</param>
/// <param name="CreatedAt">The time of its opening.</param>
internal sealed record RememberedSession(string Id, string? Key, string ImageDigest, DateTimeOffset CreatedAt)
{
    /// <summary>How it ended; <see langword="null"/> while it is open.</summary>
    internal SandboxSessionEnd? End { get; init; }

    /// <summary>The time of its end.</summary>
    internal DateTimeOffset EndedAt { get; init; }
}
