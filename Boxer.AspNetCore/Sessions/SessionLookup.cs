namespace Boxer.AspNetCore.Sessions;

/// <summary>Finds the session of a request. A session of another client is treated as one that never existed.</summary>
internal sealed class SessionLookup(ISandboxSessions sessions)
{
    private const int MinIdLength = 20;

    private const int MaxIdLength = 57;

    /// <summary>Finds the open session that the path of a request names.</summary>
    /// <param name="context">The request.</param>
    /// <exception cref="HttpFaultException">The client has no such session (404).</exception>
    /// <exception cref="SandboxSessionEndedException">The session ended.</exception>
    public async Task<ISandboxSession> FindAsync(HttpContext context)
    {
        string id = (string?)context.Request.RouteValues["id"] ?? "";
        ISandboxSession? session = IsId(id) ? await sessions.FindAsync(id, context.RequestAborted) : null;
        if (session is null || session.FairnessKey != Clients.NameOf(context))
        {
            throw new HttpFaultException(StatusCodes.Status404NotFound, "there is no such session; it never existed, or it ended more than an hour ago.");
        }

        return session.End is { } end ? throw new SandboxSessionEndedException(id, end) : session;
    }

    /// <summary>Finds the process that the path of a request names.</summary>
    /// <param name="context">The request.</param>
    /// <param name="session">The session.</param>
    /// <exception cref="HttpFaultException">The session has no such process (404).</exception>
    public static ISandboxProcess FindProcess(HttpContext context, ISandboxSession session)
    {
        string text = (string?)context.Request.RouteValues["pid"] ?? "";
        ISandboxProcess? process = int.TryParse(text, System.Globalization.NumberStyles.None, System.Globalization.CultureInfo.InvariantCulture, out int pid)
            ? session.Processes.FirstOrDefault(known => known.Id == pid)
            : null;
        return process ?? throw new HttpFaultException(
            StatusCodes.Status404NotFound, "the session has no such process; it never existed, or it ended some time ago. GET /sessions/{id}/processes lists them.");
    }

    /// <summary>Finds the living process that the path of a request names.</summary>
    /// <param name="context">The request.</param>
    /// <param name="session">The session.</param>
    /// <exception cref="HttpFaultException">The session has no such process, or it ended (404).</exception>
    public static ISandboxProcess FindLivingProcess(HttpContext context, ISandboxSession session) =>
        FindProcess(context, session) is { End: null } process ? process : throw ProcessEnded();

    /// <summary>Gets the fault of a request to a process that ended.</summary>
    public static HttpFaultException ProcessEnded() => new(StatusCodes.Status404NotFound, "the process has ended.");

    private static bool IsId(string id) => id.Length is >= MinIdLength and <= MaxIdLength && id.All(c => char.IsAsciiLetterLower(c) || char.IsAsciiDigit(c));
}
