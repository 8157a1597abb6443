using Microsoft.Extensions.Logging;

namespace Boxer.Sessions;

/// <summary>
/// The open sessions of one runner, and those that ended in the last hour. Openings and ends are written to the <see cref="SessionLog"/>, whose earlier
/// content is read at the first use. Thread-safe.
/// </summary>
internal sealed class SessionTable : IDisposable
{
    private readonly Lock _lock = new();
    private readonly TimeProvider _time;
    private readonly SessionLog _log;
    private readonly Dictionary<string, Session> _open = new(StringComparer.Ordinal);

    // In the order of the ends.
    private readonly LinkedList<RememberedSession> _ended = new();
    private readonly Dictionary<string, LinkedListNode<RememberedSession>> _endedById = new(StringComparer.Ordinal);
    private bool _isLoaded;

    /// <param name="home">The home of the runner.</param>
    /// <param name="time">The time.</param>
    /// <param name="logger">The log.</param>
    internal SessionTable(string home, TimeProvider time, ILogger logger)
    {
        _time = time;
        _log = new SessionLog(home, time, logger, () => [.. _ended, .. _open.Values.Select(session => session.Remembered with { End = null })]);
    }

    /// <summary>Counts the open sessions by state.</summary>
    internal IReadOnlyDictionary<SandboxSessionState, int> Count()
    {
        lock (_lock)
        {
            return _open.Values.CountBy(session => session.State).ToDictionary();
        }
    }

    /// <summary>Reads how earlier sessions ended, once.</summary>
    internal void Load()
    {
        lock (_lock)
        {
            if (_isLoaded)
            {
                return;
            }

            _isLoaded = true;
            foreach (RememberedSession session in _log.Open().OrderBy(session => session.EndedAt))
            {
                Remember(session);
            }
        }
    }

    /// <summary>Adds a session that was opened.</summary>
    /// <param name="session">The session.</param>
    internal void Add(Session session)
    {
        Load();
        lock (_lock)
        {
            _open[session.Id] = session;
            _log.AddOpened(session.Remembered);
        }
    }

    /// <summary>Remembers how a session ended.</summary>
    /// <param name="session">The session.</param>
    internal void End(Session session)
    {
        lock (_lock)
        {
            if (_open.Remove(session.Id))
            {
                RememberedSession ended = session.Remembered;
                Remember(ended);
                _log.AddEnded(ended);
            }
        }
    }

    /// <summary>Finds a session that is open or remembered.</summary>
    /// <param name="id">The identifier.</param>
    internal ISandboxSession? Find(string id)
    {
        Load();
        lock (_lock)
        {
            Forget();
            return _open.TryGetValue(id, out Session? open) ? open
                : _endedById.TryGetValue(id, out LinkedListNode<RememberedSession>? ended) ? new EndedSession(ended.Value)
                : null;
        }
    }

    /// <summary>Lists the open sessions, the oldest first.</summary>
    /// <param name="key">The fairness key; <see langword="null"/>: of all keys.</param>
    internal IReadOnlyList<ISandboxSession> List(string? key)
    {
        lock (_lock)
        {
            return [.. _open.Values.Where(session => session.End is null && (key is null || session.FairnessKey == key)).OrderBy(session => session.CreatedAt)];
        }
    }

    /// <summary>Finds the time until the next session may end.</summary>
    internal TimeSpan TimeToNextEnd()
    {
        lock (_lock)
        {
            DateTimeOffset now = _time.GetUtcNow();
            return _open.Values.Select(session => session.ExpiresAt - now).Min() ?? TimeSpan.Zero;
        }
    }

    /// <summary>Closes the log. All sessions have ended.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _log.Dispose();
        }
    }

    // Called under the lock.
    private void Remember(RememberedSession session)
    {
        if (_endedById.TryAdd(session.Id, new LinkedListNode<RememberedSession>(session)))
        {
            _ended.AddLast(_endedById[session.Id]);
            Forget();
        }
    }

    // Called under the lock.
    private void Forget()
    {
        DateTimeOffset now = _time.GetUtcNow();
        while (_ended.First is { } oldest && (_ended.Count > SessionLog.MaxEnded || now - oldest.Value.EndedAt >= SessionLog.Memory))
        {
            _ended.RemoveFirst();
            _endedById.Remove(oldest.Value.Id);
        }
    }
}
