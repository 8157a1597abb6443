namespace Boxer.Testing;

/// <summary>
/// Defines the answer to some commands in the sessions of a <see cref="FakeSandboxSessions"/>. Each method adds an answer and returns the sessions.
/// Several threads may call the passed functions at once.
/// </summary>
public sealed class FakeCommandAnswer
{
    private readonly FakeSandboxSessions _sessions;
    private readonly FakeSandboxSessions.Rule _rule;

    internal FakeCommandAnswer(FakeSandboxSessions sessions, Func<SandboxCommand, bool> matches, string description)
    {
        _sessions = sessions;
        _rule = new(matches, description);
    }

    /// <summary>Answers with exit code 0.</summary>
    /// <param name="standardOutput">Standard output of the command.</param>
    /// <returns>The sessions.</returns>
    public FakeSandboxSessions Returns(string standardOutput)
    {
        ArgumentNullException.ThrowIfNull(standardOutput);
        return Returns((_, _) => new SandboxResult(Termination.Exited(0)) { StandardOutput = standardOutput });
    }

    /// <summary>Answers with a result.</summary>
    /// <param name="result">
    /// The result. If <see cref="SandboxCommand.KeepStandardOutput"/> is <see langword="false"/>, the caller gets a copy without the output.
    /// </param>
    /// <returns>The sessions.</returns>
    public FakeSandboxSessions Returns(SandboxResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        return Returns((_, _) => result);
    }

    /// <summary>Answers with a result that depends on the session and the command.</summary>
    /// <param name="result">Creates the result, and may change the session's files. The call throws its exceptions.</param>
    /// <returns>The sessions.</returns>
    public FakeSandboxSessions Returns(Func<FakeSandboxSession, SandboxCommand, SandboxResult> result)
    {
        ArgumentNullException.ThrowIfNull(result);
        return Returns((session, command, _) => Task.FromResult(result(session, command)));
    }

    /// <summary>Answers with a result that depends on the session and the command, asynchronously, for example to wait for cancellation.</summary>
    /// <param name="result">Creates the result, and may change the session's files. The call throws its exceptions.</param>
    /// <returns>The sessions.</returns>
    public FakeSandboxSessions Returns(Func<FakeSandboxSession, SandboxCommand, CancellationToken, Task<SandboxResult>> result)
    {
        ArgumentNullException.ThrowIfNull(result);
        _sessions.Add(_rule with { Answer = result });
        return _sessions;
    }

    /// <summary>Answers foreground commands and starts of processes with an exception.</summary>
    /// <param name="exception">
    /// The exception. A <see cref="SandboxException"/> gets the session's <see cref="SandboxException.Image"/> if it has none.
    /// </param>
    /// <returns>The sessions.</returns>
    public FakeSandboxSessions Throws(Exception exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        _sessions.Add(_rule with { Answer = (_, _, _) => Task.FromException<SandboxResult>(exception), Start = _ => throw exception });
        return _sessions;
    }

    /// <summary>
    /// Sets what a process of <see cref="ISandboxSession.StartAsync"/> does at its start. A process without such an answer prints nothing and lives
    /// until it is ended.
    /// </summary>
    /// <param name="start">Gets the process, for example to print output or to keep it for later. The call throws its exceptions.</param>
    /// <returns>The sessions.</returns>
    public FakeSandboxSessions Starts(Action<FakeSandboxProcess> start)
    {
        ArgumentNullException.ThrowIfNull(start);
        _sessions.Add(_rule with { Start = start });
        return _sessions;
    }
}
