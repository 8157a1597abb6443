namespace Boxer.Admission;

/// <summary>
/// A queue of runs for one resource. Keys take turns, and runs of one key are served in order. Smaller runs may pass a run that does not fit now,
/// at most <see cref="MostPasses"/> times. Not thread-safe: <see cref="AdmissionQueue"/> has the lock.
/// </summary>
internal sealed class FairQueue
{
    /// <summary>Maximum number of runs that pass a run. Afterwards no run behind it is served before it.</summary>
    internal const int MostPasses = 16;

    // Bounds the search through a long queue of large runs after each small run.
    private const int MostLookedAt = 64;
    private readonly Dictionary<AdmissionQueue.Share, LinkedListNode<Turn>> _turnsByShare = [];

    // The first is served next.
    private readonly LinkedList<Turn> _turns = new();

    /// <summary>Number of waiting runs.</summary>
    internal int Count => _turns.Sum(turn => turn.Waiting.Count);

    /// <summary>Whether no run waits.</summary>
    internal bool IsEmpty => _turns.Count == 0;

    /// <summary>Appends a run.</summary>
    internal void Add(Waiter waiter)
    {
        if (!_turnsByShare.TryGetValue(waiter.Share, out LinkedListNode<Turn>? turn))
        {
            _turnsByShare[waiter.Share] = turn = _turns.AddLast(new Turn());
        }

        waiter.Node = turn.Value.Waiting.AddLast(waiter);
    }

    /// <summary>Removes a run.</summary>
    /// <returns>Whether it still waited.</returns>
    internal bool Remove(Waiter waiter)
    {
        if (waiter.Node.List is null)
        {
            return false;
        }

        LinkedListNode<Turn> turn = _turnsByShare[waiter.Share];
        turn.Value.Waiting.Remove(waiter.Node);
        if (turn.Value.Waiting.Count == 0)
        {
            _turns.Remove(turn);
            _turnsByShare.Remove(waiter.Share);
        }

        return true;
    }

    /// <summary>Removes the run that is served next, and moves its key behind the others.</summary>
    /// <param name="isHeldBack">Whether a run, and those of its key behind it, are skipped now without counting as passed.</param>
    /// <param name="fits">Whether a run gets the resource. A run for which this returns true is taken.</param>
    /// <returns>The run; <see langword="null"/> if none can be served.</returns>
    internal Waiter? TakeNext(Func<Waiter, bool> isHeldBack, Func<Waiter, bool> fits)
    {
        var passed = new List<Waiter>();
        foreach (Waiter waiter in InTurn(isHeldBack))
        {
            if (fits(waiter))
            {
                passed.ForEach(other => other.Passes++);
                Serve(waiter);
                return waiter;
            }

            if (waiter.Passes >= MostPasses)
            {
                return null;
            }

            passed.Add(waiter);
        }

        return null;
    }

    /// <summary>Returns the runs in the order in which they are considered: the first of each key, then the runs behind them.</summary>
    /// <param name="isHeldBack">See <see cref="TakeNext"/>.</param>
    internal IEnumerable<Waiter> InTurn(Func<Waiter, bool> isHeldBack)
    {
        Turn[] able = [.. _turns.Where(turn => !isHeldBack(turn.Waiting.First!.Value))];
        return able.Select(turn => turn.Waiting.First!.Value)
            .Concat(able.SelectMany(turn => turn.Waiting.Skip(1).TakeWhile(waiter => !isHeldBack(waiter))))
            .Take(MostLookedAt);
    }

    /// <summary>The keys of waiting runs.</summary>
    internal IEnumerable<AdmissionQueue.Share> Shares => _turnsByShare.Keys;

    /// <summary>Returns the waiting runs of one key, in order.</summary>
    internal IReadOnlyCollection<Waiter> Of(AdmissionQueue.Share share) => _turnsByShare.TryGetValue(share, out LinkedListNode<Turn>? turn) ? turn.Value.Waiting : [];

    /// <summary>The last run of the key with the most waiting runs; <see langword="null"/> if no run waits.</summary>
    internal Waiter? LastOfLongest => _turns.MaxBy(turn => turn.Waiting.Count)?.Waiting.Last!.Value;

    private void Serve(Waiter waiter)
    {
        LinkedListNode<Turn> turn = _turnsByShare[waiter.Share];
        if (Remove(waiter) && turn.List is not null)
        {
            _turns.Remove(turn);
            _turns.AddLast(turn);
        }
    }

    /// <summary>The waiting runs of one key.</summary>
    private sealed class Turn
    {
        public LinkedList<Waiter> Waiting { get; } = new();
    }
}

/// <summary>A waiting run.</summary>
/// <param name="ticket">The place of the run.</param>
/// <param name="amount">The amount it needs: memory in bytes, or processors in thousandths.</param>
/// <param name="isExclusive">Whether no more processors than the machine has may be promised while it runs.</param>
internal sealed class Waiter(AdmissionQueue.Ticket ticket, long amount, bool isExclusive = false)
{
    public AdmissionQueue.Ticket Ticket => ticket;

    public AdmissionQueue.Share Share => ticket.Share;

    public long Amount => amount;

    public bool IsExclusive => isExclusive;

    public int Passes { get; set; }

    public LinkedListNode<Waiter> Node { get; set; } = null!;

    public TaskCompletionSource<IDisposable?> Granted { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
}
