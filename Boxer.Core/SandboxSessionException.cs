using Boxer.Common;

namespace Boxer;

/// <summary>
/// The exception for a call on a session that ended, before the call or during it. The session cannot be used again; open a new one.
/// <see cref="SandboxException.IsRetrySafe"/> is <see langword="true"/> if the command of the call was not started.
/// </summary>
public sealed class SandboxSessionEndedException : SandboxException
{
    /// <summary>Creates an exception.</summary>
    /// <param name="sessionId">The identifier of the session.</param>
    /// <param name="end">Reason why the session ended.</param>
    /// <param name="innerException">The cause, or <see langword="null"/>.</param>
    public SandboxSessionEndedException(string sessionId, SandboxSessionEnd end, Exception? innerException = null)
        : base($"Session {UntrustedText.Show(sessionId)} ended: {Describe(end)}.", $"The session ended: {Describe(end)}.", innerException)
    {
        SessionId = sessionId;
        End = end;
    }

    /// <summary>The identifier of the session.</summary>
    public string SessionId { get; }

    /// <summary>Reason why the session ended.</summary>
    public SandboxSessionEnd End { get; }

    private static string Describe(SandboxSessionEnd end) => end switch
    {
        SandboxSessionEnd.Closed => "it was closed",
        SandboxSessionEnd.IdleTimeout => "it reached its idle timeout",
        SandboxSessionEnd.Lifetime => "it reached its lifetime",
        SandboxSessionEnd.MemoryLimit => "it reached its memory limit",
        SandboxSessionEnd.SandboxDied => "its sandbox died",
        SandboxSessionEnd.HostStopped => "its host stopped",
        _ => end.ToString(),
    };
}

/// <summary>The exception for a call on a session that is paused. Call <see cref="ISandboxSession.ResumeAsync"/> first; then a retry is safe.</summary>
public sealed class SandboxSessionPausedException : SandboxException
{
    /// <summary>Creates an exception.</summary>
    /// <param name="sessionId">The identifier of the session.</param>
    public SandboxSessionPausedException(string sessionId)
        : base($"Session {UntrustedText.Show(sessionId)} is paused. Resume it first.", "The session is paused. Resume it first.")
    {
        SessionId = sessionId;
        IsRetrySafe = true;
    }

    /// <summary>The identifier of the session.</summary>
    public string SessionId { get; }
}
