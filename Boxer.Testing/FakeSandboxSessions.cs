using System.Runtime.CompilerServices;

namespace Boxer.Testing;

/// <summary>
/// Sessions for tests. Commands get the answers that the test defines, files are in memory, and processes live until the test ends them. It runs
/// nothing: it neither validates requests nor enforces limits and timeouts. Safe for concurrent use.
/// </summary>
/// <example>
/// <code>
/// FakeSandboxSessions sessions = new();
/// sessions.WhenCommand("pytest").Returns(new SandboxResult(Termination.Exited(1)) { StandardError = "1 failed" });
/// sessions.WhenCommand("sh").Starts(process => process.Print("$ "));
/// await codeUnderTest.ReviewAsync(sessions);
/// FakeSandboxSession session = sessions.Sessions.Single();
/// Assert.Equal("print(42)", await session.Files.ReadAllTextAsync("main.py"));
/// Assert.Equal(SandboxSessionEnd.Closed, session.End);
/// </code>
/// </example>
public sealed class FakeSandboxSessions : ISandboxSessions
{
    private readonly Lock _lock = new();
    private readonly TimeProvider _time;
    private readonly List<Rule> _rules = [];
    private readonly List<FakeSandboxSession> _sessions = [];
    private Action<FakeSandboxSession> _onOpen = _ => { };

    /// <summary>Creates sessions with the system clock.</summary>
    public FakeSandboxSessions()
        : this(TimeProvider.System)
    {
    }

    /// <summary>Creates sessions.</summary>
    /// <param name="time">The clock of the sessions' times. It ends no session; see <see cref="FakeSandboxSession.EndWith"/>.</param>
    public FakeSandboxSessions(TimeProvider time)
    {
        ArgumentNullException.ThrowIfNull(time);
        _time = time;
    }

    /// <summary>All sessions so far, in the order of their opening, including ended ones.</summary>
    public IReadOnlyList<FakeSandboxSession> Sessions
    {
        get
        {
            lock (_lock)
            {
                return [.. _sessions];
            }
        }
    }

    /// <summary>Sets an action that prepares each new session before <see cref="OpenAsync"/> returns it. It replaces an earlier one.</summary>
    /// <param name="prepare">
    /// Gets the session, for example to write files. <see cref="OpenAsync"/> throws its exceptions, and there is no session then. A
    /// <see cref="SandboxException"/> gets the request's <see cref="SandboxException.Image"/> if it has none.
    /// </param>
    /// <returns>This object.</returns>
    public FakeSandboxSessions OnOpen(Action<FakeSandboxSession> prepare)
    {
        ArgumentNullException.ThrowIfNull(prepare);
        lock (_lock)
        {
            _onOpen = prepare;
        }

        return this;
    }

    /// <summary>Defines an answer to every command. If several answers match a command, the last one is used.</summary>
    /// <returns>An object whose methods set the answer. Until then nothing is added.</returns>
    public FakeCommandAnswer WhenAny() => new(this, _ => true, "any command");

    /// <summary>Defines an answer to commands that start with some words. If several answers match a command, the last one is used.</summary>
    /// <param name="words">The first words of the command, such as <c>"git", "clone"</c>.</param>
    /// <returns>An object whose methods set the answer. Until then nothing is added.</returns>
    public FakeCommandAnswer WhenCommand(params IEnumerable<string> words)
    {
        ArgumentNullException.ThrowIfNull(words);
        string[] start = [.. words];
        return new(this, command => command.Command.Take(start.Length).SequenceEqual(start, StringComparer.Ordinal), $"command {string.Join(' ', start)}");
    }

    /// <summary>Defines an answer to commands that a predicate accepts. If several answers match a command, the last one is used.</summary>
    /// <param name="predicate">Gets a copy of the command, and returns whether the answer is for it. Several threads may call it at once.</param>
    /// <param name="description">The name of the predicate in the error for a command without an answer. Default: its source text.</param>
    /// <returns>An object whose methods set the answer. Until then nothing is added.</returns>
    public FakeCommandAnswer When(Func<SandboxCommand, bool> predicate, [CallerArgumentExpression(nameof(predicate))] string description = "")
    {
        ArgumentNullException.ThrowIfNull(predicate);
        return new(this, predicate, description);
    }

    /// <summary>Opens a session with the files of the request.</summary>
    /// <param name="request">The request.</param>
    /// <param name="cancellationToken">Cancels the opening.</param>
    /// <returns>A <see cref="FakeSandboxSession"/>.</returns>
    public async Task<IOwnedSandboxSession> OpenAsync(SandboxSessionRequest request, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(request);
        cancellationToken.ThrowIfCancellationRequested();
        var session = new FakeSandboxSession(this, new SandboxSessionRequest(request), _time);
        await session.Tree.FillAsync(session.Request, cancellationToken).ConfigureAwait(false);
        Action<FakeSandboxSession> prepare;
        lock (_lock)
        {
            prepare = _onOpen;
        }

        try
        {
            prepare(session);
        }
        catch (SandboxException exception)
        {
            exception.Image ??= request.Image;
            throw;
        }

        lock (_lock)
        {
            _sessions.Add(session);
        }

        return session;
    }

    /// <summary>Returns the session with an identifier, however long ago it ended; otherwise <see langword="null"/>.</summary>
    /// <param name="id">The identifier.</param>
    /// <param name="cancellationToken">Cancels the search.</param>
    public ValueTask<ISandboxSession?> FindAsync(string id, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(id);
        cancellationToken.ThrowIfCancellationRequested();
        return ValueTask.FromResult<ISandboxSession?>(Sessions.FirstOrDefault(session => session.Id == id));
    }

    /// <summary>Returns the open sessions, oldest first.</summary>
    /// <param name="fairnessKey">The key of the sessions; <see langword="null"/>: all sessions.</param>
    /// <param name="cancellationToken">Cancels the listing.</param>
    public ValueTask<IReadOnlyList<ISandboxSession>> ListAsync(string? fairnessKey = null, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        return ValueTask.FromResult<IReadOnlyList<ISandboxSession>>(
            [.. Sessions.Where(session => session.State != SandboxSessionState.Ended && (fairnessKey is null || session.FairnessKey == fairnessKey))]);
    }

    internal void Add(Rule rule)
    {
        lock (_lock)
        {
            _rules.Add(rule);
        }
    }

    /// <summary>Finds the last matching answer to foreground commands, or to processes.</summary>
    internal Rule? Find(SandboxCommand command, bool isProcess)
    {
        Rule[] rules;
        lock (_lock)
        {
            rules = [.. _rules];
        }

        return rules.LastOrDefault(rule => (isProcess ? rule.Start is not null : rule.Answer is not null) && rule.Matches(new SandboxCommand(command)));
    }

    internal string DescribeMismatch(SandboxCommand command)
    {
        string[] known;
        lock (_lock)
        {
            known = [.. _rules.Where(rule => rule.Answer is not null).Select(rule => rule.Description)];
        }

        return known.Length == 0
            ? $"The fake session has no answer for '{command}': it has no answers. Add one, such as WhenAny().Returns(\"\")."
            : $"The fake session has no answer for '{command}'. It has answers for: {string.Join("; ", known)}.";
    }

    internal sealed record Rule(Func<SandboxCommand, bool> Matches, string Description)
    {
        internal Func<FakeSandboxSession, SandboxCommand, CancellationToken, Task<SandboxResult>>? Answer { get; init; }

        internal Action<FakeSandboxProcess>? Start { get; init; }
    }
}
