namespace Boxer.Validation;

/// <summary>A validated request for a session. Later steps do not read the <see cref="SandboxSessionRequest"/> again.</summary>
internal sealed record CheckedSession : CheckedSandbox
{
    /// <summary>Labels; at most 16.</summary>
    internal IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();

    /// <summary>Time after the last call after which the session ends.</summary>
    internal required TimeSpan IdleTimeout { get; init; }

    /// <summary>Time from the opening, without paused time, after which the session ends.</summary>
    internal required TimeSpan Lifetime { get; init; }

    /// <summary>Time that an idle session stays awake; <see langword="null"/>: it is never frozen.</summary>
    internal TimeSpan? FreezeAfter { get; init; }

    /// <summary>Whether a living process keeps the idle timeout from running.</summary>
    internal bool KeepAliveWhileRunning { get; init; }
}
