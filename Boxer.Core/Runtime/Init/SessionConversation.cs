namespace Boxer.Runtime.Init;

/// <summary>
/// Checks everything that PID 1 sends in an open session: numbers and tags that were asked for, the order of the events of each number, and the windows of
/// its streams. The guest may control PID 1. Record each frame before it is sent, and give it every event; it throws at the first violation. Not safe for
/// concurrent use.
/// </summary>
internal sealed class SessionConversation
{
    private readonly Dictionary<int, Item> _items = [];
    private readonly Dictionary<uint, int> _processUsages = [];
    private readonly Dictionary<int, int> _limits = [];
    private readonly HashSet<uint> _usages = [];
    private readonly HashSet<uint> _quiets = [];
    private int _lastId;

    /// <summary>Records that EXEC is sent.</summary>
    /// <param name="id">Number, not used before.</param>
    /// <param name="streams">Kind of its streams.</param>
    /// <param name="mergesOutput">Whether it has no standard error of its own.</param>
    internal void AskCommand(int id, SessionStreams streams, bool mergesOutput) => Add(id, isConnection: false, streams switch
    {
        SessionStreams.Descriptors => 0,
        SessionStreams.Relayed when !mergesOutput => 2,
        _ => 1,
    });

    /// <summary>Records that FILES is sent.</summary>
    /// <param name="id">Number, not used before.</param>
    internal void AskFiles(int id) => Add(id, isConnection: false, streams: 0);

    /// <summary>Records that CONNECT is sent.</summary>
    /// <param name="id">Number, not used before.</param>
    internal void AskConnection(int id) => Add(id, isConnection: true, streams: 1);

    /// <summary>Records that CREDIT is sent.</summary>
    /// <returns>Whether the number is not over, so that the frame has a purpose.</returns>
    internal bool Credit(int id, SessionStream stream, int bytes)
    {
        if (!_items.TryGetValue(id, out Item? item))
        {
            return false;
        }

        item.Credits[Index(stream)] += bytes;
        return true;
    }

    /// <summary>Records that INPUT is sent.</summary>
    /// <returns>Whether the number is not over, so that the frame has a purpose.</returns>
    internal bool Input(int id, int bytes)
    {
        if (!_items.TryGetValue(id, out Item? item))
        {
            return false;
        }

        item.UntakenInput += bytes;
        return true;
    }

    /// <summary>Whether the last event of a number has not come.</summary>
    internal bool IsOpen(int id) => _items.ContainsKey(id);

    /// <summary>Records that RELEASE is sent.</summary>
    /// <returns>Whether the number is not over, so that the frame has a purpose.</returns>
    internal bool Release(int id)
    {
        if (!_items.TryGetValue(id, out Item? item))
        {
            return false;
        }

        item.IsReleased = true;
        return true;
    }

    /// <summary>Records that PROCESS_LIMITS is sent.</summary>
    internal void AskLimits(int id) => _limits[id] = _limits.GetValueOrDefault(id) + 1;

    /// <summary>Records that USAGE is sent.</summary>
    internal void AskUsage(uint tag) => _usages.Add(tag);

    /// <summary>Records that PROCESS_USAGE is sent.</summary>
    internal void AskProcessUsage(uint tag, int id) => _processUsages.Add(tag, id);

    /// <summary>Records that QUIESCE is sent.</summary>
    internal void AskQuiet(uint tag) => _quiets.Add(tag);

    /// <summary>Checks the next event.</summary>
    /// <exception cref="InitProtocolException">Nobody asked for the event, it is out of order, or it exceeds a window.</exception>
    internal void Accept(SessionEvent sessionEvent)
    {
        bool isAllowed = sessionEvent switch
        {
            SessionUsageReport report => _usages.Remove(report.Tag),
            SessionProcessUsage report => _processUsages.Remove(report.Tag, out int id) && id == report.Id,
            SessionQuiet quiet => _quiets.Remove(quiet.Tag) && quiet.Holders.All(id => id <= _lastId),
            SessionLimitsSet set => AcceptLimits(set.Id),
            SessionItemEvent of => _items.TryGetValue(of.Id, out Item? item) && Accept(item, of),
            _ => false,
        };
        if (!isAllowed)
        {
            throw new InitProtocolException($"PID 1 sent {sessionEvent.GetType().Name} that is out of order.");
        }
    }

    private void Add(int id, bool isConnection, int streams)
    {
        _items.Add(id, new Item(isConnection, streams));
        _lastId = Math.Max(_lastId, id);
    }

    private bool Accept(Item item, SessionItemEvent of)
    {
        switch (of)
        {
            case SessionProcessStarted when !item.IsConnection:
            case SessionConnected when item.IsConnection:
                return !item.IsStarted && (item.IsStarted = true);
            case SessionProcessNotStarted when !item.IsConnection:
            case SessionNotConnected when item.IsConnection:
                return !item.IsStarted && _items.Remove(of.Id);
            case SessionOutput output:
                return item.IsOpen(output.Stream) && (item.Credits[Index(output.Stream)] -= output.Data.Length) >= 0;
            case SessionOutputEnd end:
                return item.IsOpen(end.Stream) && (item.Ended[Index(end.Stream)] = true);
            case SessionInputTaken taken:
                return item.IsStarted && (item.UntakenInput -= taken.Bytes) >= 0;
            case SessionProcessEnded when !item.IsConnection:
                return item.IsStarted && (item.IsReleased || item.Ended.All(ended => ended)) && _items.Remove(of.Id);
            case SessionClosed closed when item.IsConnection:
                return (item.IsReleased || (item.IsStarted && (closed.Errno != 0 || item.Ended[0]))) && _items.Remove(of.Id);
            default:
                return false;
        }
    }

    // The command may be over: both frames were on their way.
    private bool AcceptLimits(int id)
    {
        int asked = _limits.GetValueOrDefault(id);
        if (asked > 1)
        {
            _limits[id] = asked - 1;
            return true;
        }

        return _limits.Remove(id);
    }

    private static int Index(SessionStream stream) => (int)stream - 1;

    private sealed class Item(bool isConnection, int streams)
    {
        internal bool IsConnection { get; } = isConnection;

        internal bool IsStarted { get; set; }

        internal bool IsReleased { get; set; }

        internal long UntakenInput { get; set; }

        internal long[] Credits { get; } = new long[2];

        internal bool[] Ended { get; } = new bool[streams];

        internal bool IsOpen(SessionStream stream) => IsStarted && Index(stream) < Ended.Length && !Ended[Index(stream)];
    }
}
