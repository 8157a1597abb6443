using Boxer.Running;
using Boxer.Validation;

namespace Boxer.Sessions;

/// <summary>The sessions of one runner.</summary>
internal sealed class RunnerSessions : IDisposable
{
    private readonly RunServices _runs;
    private readonly SessionServices _sessions;
    private readonly SessionBounds _bounds;
    private readonly SessionTable _table;

    /// <param name="runs">The parts of the runner.</param>
    /// <param name="requests">Validates the requests.</param>
    /// <param name="commands">Validates the commands.</param>
    /// <param name="maxBytes">Maximum memory of the open sessions, in bytes.</param>
    /// <param name="maxBytesPerKey">Maximum memory of the open sessions of one key, in bytes.</param>
    internal RunnerSessions(RunServices runs, SessionRequestValidator requests, CommandValidator commands, long maxBytes, long maxBytesPerKey)
    {
        _runs = runs;
        _table = new SessionTable(runs.Options.Home, runs.Time, runs.Logger);
        _bounds = new SessionBounds(maxBytes, maxBytesPerKey, _table.TimeToNextEnd);
        runs.Metrics.Sessions.Observe(_table.Count);
        _sessions = new SessionServices
        {
            Options = runs.Options.Sessions,
            Requests = requests,
            Commands = commands,
            Table = _table,
            Metrics = runs.Metrics,
            Background = runs.Background,
            Logger = runs.Logger,
            Time = runs.Time,
            Disposing = runs.Disposing,
        };
    }

    /// <summary>Opens a session.</summary>
    /// <param name="request">The request, which nobody else changes.</param>
    /// <param name="callers">The caller's token.</param>
    internal async Task<IOwnedSandboxSession> OpenAsync(SandboxSessionRequest request, CancellationToken callers)
    {
        using var either = CancellationTokenSource.CreateLinkedTokenSource(callers, _runs.Disposing);
        Session? session = null;
        await _runs.Background.RunAsync(async () =>
            session = await SessionOpener.OpenAsync(_runs, _sessions, _bounds, request, either.Token, callers).ConfigureAwait(false)).ConfigureAwait(false);
        return session!;
    }

    /// <summary>Finds a session that is open or remembered.</summary>
    /// <param name="id">The identifier.</param>
    internal ISandboxSession? Find(string id) => SessionIds.IsValid(id) ? _table.Find(id) : null;

    /// <summary>Lists the open sessions.</summary>
    /// <param name="key">The fairness key; <see langword="null"/>: of all keys.</param>
    internal IReadOnlyList<ISandboxSession> List(string? key) => _table.List(key);

    /// <summary>Closes the log. All sessions have ended.</summary>
    public void Dispose() => _table.Dispose();
}
