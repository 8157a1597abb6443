using Boxer;

namespace WebTerminal;

/// <summary>Opens a session with a shell, or finds the one that a page showed before.</summary>
/// <param name="sessions">The sessions of this program.</param>
/// <param name="configuration">Image and shell.</param>
internal sealed class Shells(ISandboxSessions sessions, IConfiguration configuration)
{
    /// <summary>Finds the shell of a page that was loaded again; opens a new session if it has ended.</summary>
    /// <param name="sessionId">The session that the page showed; <see langword="null"/> for a new page. Its identifier cannot be guessed.</param>
    /// <param name="size">Size of the terminal.</param>
    /// <param name="cancellationToken">Cancels the opening.</param>
    internal async Task<(ISandboxSession Session, ISandboxProcess Shell)> FindOrOpenAsync(string? sessionId, SandboxTerminal size, CancellationToken cancellationToken)
    {
        if (sessionId is not null && await sessions.FindAsync(sessionId, cancellationToken) is { End: null } known
            && known.Processes.FirstOrDefault(process => process is { IsTerminal: true, End: null }) is { } shell)
        {
            await shell.ResizeAsync(size, cancellationToken);
            return (known, shell);
        }

        SandboxSessionRequest request = new(configuration.GetValue("Terminal:Image", "python:3.12-slim")!);
        IOwnedSandboxSession opened = await sessions.OpenAsync(request, cancellationToken);
        SandboxCommand command = new(configuration.GetValue("Terminal:Shell", "bash")!) { Terminal = size, Environment = { ["TERM"] = "xterm-256color" } };
        try
        {
            return (opened, await opened.StartAsync(command, cancellationToken));
        }
        catch
        {
            await opened.DisposeAsync();
            throw;
        }
    }
}
