using Boxer.Admission;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Admission;

public sealed class AdmissionQueueTests
{
    private readonly FakeTimeProvider _time = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task AcquireSlotAsync_waits_at_the_maximum_number_of_runs()
    {
        AdmissionQueue queue = Queue(running: 2);
        IDisposable first = await SlotAsync(queue, 10, Cancel);
        using IDisposable second = await SlotAsync(queue, 10, Cancel);
        Task<IDisposable> third = SlotAsync(queue, 10, Cancel);

        Assert.False(third.IsCompleted);
        first.Dispose();
        (await third).Dispose();
    }

    [Fact]
    public async Task AcquireSlotAsync_waits_for_memory()
    {
        AdmissionQueue queue = Queue(running: 10, memory: 100);
        IDisposable large = await SlotAsync(queue, 80, Cancel);
        using IDisposable fits = await SlotAsync(queue, 20, Cancel);
        Task<IDisposable> waits = SlotAsync(queue, 1, Cancel);

        Assert.False(waits.IsCompleted);
        large.Dispose();
        (await waits).Dispose();
    }

    [Fact]
    public async Task AcquireSlotAsync_a_run_that_does_not_fit_is_passed_a_bounded_number_of_times()
    {
        AdmissionQueue queue = Queue(running: 10, memory: 100);
        IDisposable half = await SlotAsync(queue, 50, Cancel);
        Task<IDisposable> large = SlotAsync(queue, 100, Cancel);
        for (int i = 0; i < FairQueue.MostPasses; i++)
        {
            (await SlotAsync(queue, 1, Cancel)).Dispose();
        }

        Task<IDisposable> small = SlotAsync(queue, 1, Cancel, "other");
        Assert.False(small.IsCompleted);
        half.Dispose();
        IDisposable slot = await large;
        Assert.False(small.IsCompleted);
        slot.Dispose();
        (await small).Dispose();
    }

    [Fact]
    public async Task AcquireSlotAsync_a_key_with_a_thousand_queued_runs_delays_another_by_one_run()
    {
        AdmissionQueue queue = Queue(running: 1, waiting: 2_000);
        IDisposable slot = await SlotAsync(queue, 1, Cancel, "greedy");
        Task<IDisposable>[] greedy = [.. Enumerable.Range(0, 1_000).Select(_ => SlotAsync(queue, 1, Cancel, "greedy"))];
        Task<IDisposable> other = SlotAsync(queue, 1, Cancel, "other");

        slot.Dispose();
        slot = await greedy[0];
        Assert.False(other.IsCompleted);
        slot.Dispose();
        slot = await other;
        Assert.False(greedy[1].IsCompleted);
        slot.Dispose();
        (await greedy[1]).Dispose();
    }

    [Fact]
    public async Task Enter_bounds_the_running_and_queued_runs_of_one_key()
    {
        AdmissionQueue queue = new(Bounds(running: 10, memory: 100, waiting: 100) with { RunningPerKey = 2, WaitingPerKey = 1 }, _time);
        AdmissionQueue.Ticket place1 = queue.Enter("a");
        AdmissionQueue.Ticket place2 = queue.Enter("a");
        AdmissionQueue.Ticket place3 = queue.Enter("a");

        Assert.Contains("of this key", Assert.Throws<SandboxCapacityException>(() => queue.Enter("a")).Message, StringComparison.Ordinal);
        queue.Enter("b").Dispose();
        place3.Dispose();
        queue.Enter("a").Dispose();
        place1.Dispose();
        place2.Dispose();

        IDisposable first = await SlotAsync(queue, 1, Cancel, "a");
        using IDisposable second = await SlotAsync(queue, 1, Cancel, "a");
        Task<IDisposable> third = SlotAsync(queue, 1, Cancel, "a");
        Assert.False(third.IsCompleted);
        (await SlotAsync(queue, 1, Cancel, "b")).Dispose();
        first.Dispose();
        (await third).Dispose();
    }

    [Fact]
    public async Task Enter_in_a_full_queue_displaces_the_last_run_of_the_key_with_the_most()
    {
        AdmissionQueue queue = Queue(running: 1, waiting: 3);
        IDisposable slot = await SlotAsync(queue, 1, Cancel, "greedy");
        Task<IDisposable>[] greedy = [.. Enumerable.Range(0, 3).Select(_ => SlotAsync(queue, 1, Cancel, "greedy"))];
        Assert.Throws<SandboxCapacityException>(() => queue.Enter("greedy"));

        Task<IDisposable> other = SlotAsync(queue, 1, Cancel, "other");

        await Assert.ThrowsAsync<SandboxCapacityException>(() => greedy[2]);
        Assert.Equal((1, 3), queue.Count);

        // One more of the other would have as many as the greedy one.
        using IDisposable second = queue.Enter("third");
        Assert.Throws<SandboxCapacityException>(() => queue.Enter("other"));
        slot.Dispose();
        (await greedy[0]).Dispose();
        (await other).Dispose();
    }

    [Fact]
    public void EnterPull_takes_no_place_of_runs_that_have_their_image()
    {
        AdmissionQueue queue = Queue(running: 1, waiting: 3);
        IDisposable[] pulls = [queue.EnterPull("a"), queue.EnterPull("a")];

        Assert.Throws<SandboxCapacityException>(() => queue.EnterPull("a"));
        queue.EnterPull("b").Dispose();
        for (int i = 0; i < 4; i++)
        {
            queue.Enter("a");
        }

        pulls[0].Dispose();
        pulls[0].Dispose();
        queue.EnterPull("a").Dispose();
        Assert.Equal((0, 5), queue.Count);
    }

    [Fact]
    public async Task Ledger_counts_pool_memory_and_asks_for_it_when_a_run_is_short()
    {
        long wanted = 0;
        AdmissionQueue queue = Queue(running: 10, memory: 100);
        queue.Ledger.MemoryShort += () => wanted = queue.Ledger.ShortBytes;
        using IDisposable slot = await SlotAsync(queue, 50, Cancel);
        Assert.Null(queue.Ledger.TryReserveForPool(51));
        ResourceLedger.PoolReservation pooled = queue.Ledger.TryReserveForPool(50)!;
        pooled.Shrink(30);
        Assert.Equal(80, queue.Ledger.PromisedBytes);
        Assert.Equal(0, wanted);

        Task<IDisposable> waits = SlotAsync(queue, 40, Cancel);
        Assert.False(waits.IsCompleted);
        Assert.Equal(20, wanted);
        Assert.Null(queue.Ledger.TryReserveForPool(1));

        pooled.Dispose();
        pooled.Dispose();
        (await waits).Dispose();
        Assert.Equal(50, queue.Ledger.PromisedBytes);
    }

    [Fact]
    public async Task RetryAfter_follows_the_duration_of_runs()
    {
        AdmissionQueue queue = Queue(running: 2, waiting: 2);
        IDisposable first = await SlotAsync(queue, 1, Cancel);
        _time.Advance(TimeSpan.FromSeconds(20));
        first.Dispose();
        using IDisposable second = await SlotAsync(queue, 1, Cancel);
        using IDisposable third = await SlotAsync(queue, 1, Cancel);
        IDisposable[] places = [queue.Enter(null), queue.Enter(null)];

        // Two wait for two slots, each of which is free after 20 s.
        Assert.Equal(TimeSpan.FromSeconds(30), Assert.Throws<SandboxCapacityException>(() => queue.Enter(null)).RetryAfter);
        Assert.All(places, place => place.Dispose());
    }

    [Fact]
    public async Task AcquireSlotAsync_serves_runs_in_order()
    {
        AdmissionQueue queue = Queue(running: 1);
        IDisposable slot = await SlotAsync(queue, 1, Cancel);
        Task<IDisposable>[] waiting = [.. Enumerable.Range(0, 5).Select(_ => SlotAsync(queue, 1, Cancel))];
        foreach (Task<IDisposable> next in waiting)
        {
            Assert.False(next.IsCompleted);
            slot.Dispose();
            slot = await next;
        }

        slot.Dispose();
    }

    [Fact]
    public void Enter_rejects_a_run_beyond_the_maximum_with_RetryAfter()
    {
        AdmissionQueue queue = Queue(running: 1, waiting: 2);
        IDisposable[] places = [queue.Enter(null), queue.Enter(null), queue.Enter(null)];

        SandboxCapacityException full = Assert.Throws<SandboxCapacityException>(() => queue.Enter(null));
        Assert.True(full.RetryAfter >= TimeSpan.FromSeconds(1), $"{full.RetryAfter}");
        Assert.Contains("try again later", full.Message, StringComparison.Ordinal);

        places[0].Dispose();
        queue.Enter(null).Dispose();
    }

    [Fact]
    public async Task AcquireSlotAsync_timeout_rejects_the_run_and_lets_the_next_proceed()
    {
        AdmissionQueue queue = Queue(running: 1, timeout: TimeSpan.FromSeconds(60));
        IDisposable slot = await SlotAsync(queue, 1, Cancel);
        Task<IDisposable> late = SlotAsync(queue, 1, Cancel);
        _time.Advance(TimeSpan.FromSeconds(30));
        Task<IDisposable> next = SlotAsync(queue, 1, Cancel);
        _time.Advance(TimeSpan.FromSeconds(31));

        SandboxCapacityException fault = await Assert.ThrowsAsync<SandboxCapacityException>(() => late);
        Assert.Contains("within 60 s", fault.Message, StringComparison.Ordinal);
        Assert.False(next.IsCompleted);
        slot.Dispose();
        (await next).Dispose();
    }

    [Fact]
    public async Task AcquireSlotAsync_cancellation_lets_the_next_run_proceed()
    {
        AdmissionQueue queue = Queue(running: 10, memory: 100);
        using IDisposable half = await SlotAsync(queue, 50, Cancel);
        using var cancelled = new CancellationTokenSource();
        Task<IDisposable> large = SlotAsync(queue, 100, cancelled.Token);
        Task<IDisposable> small = SlotAsync(queue, 50, Cancel);
        await cancelled.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => large);
        (await small).Dispose();
    }

    [Fact]
    public async Task AcquireSlotAsync_disposing_a_slot_twice_counts_once()
    {
        AdmissionQueue queue = Queue(running: 1);
        IDisposable slot = await SlotAsync(queue, 1, Cancel);
        slot.Dispose();
        slot.Dispose();
        using IDisposable second = await SlotAsync(queue, 1, Cancel);

        Assert.False(SlotAsync(queue, 1, Cancel).IsCompleted);
    }

    [Fact]
    public async Task KeepOnlyMemory_gives_the_slot_to_the_next_run_and_keeps_the_memory()
    {
        AdmissionQueue queue = Queue(running: 1, memory: 100);
        using AdmissionQueue.Ticket place = queue.Enter(null);
        AdmissionQueue.Slot session = await place.AcquireSlotAsync(60, Cancel);
        Task<IDisposable> run = SlotAsync(queue, 40, Cancel);
        Assert.False(run.IsCompleted);

        session.KeepOnlyMemory();
        session.KeepOnlyMemory();

        using IDisposable slot = await run;
        Assert.Equal(100, queue.Ledger.PromisedBytes);
        Assert.Equal(1, queue.Count.Running);

        session.Dispose();
        session.Dispose();
        Assert.Equal(40, queue.Ledger.PromisedBytes);
    }

    [Fact]
    public async Task HoldBackgroundProcessors_promises_at_most_half_of_the_machine()
    {
        AdmissionQueue queue = Queue(running: 10);
        using AdmissionQueue.Ticket session = queue.EnterSession("a");
        using IDisposable first = session.HoldBackgroundProcessors(0.75);
        using IDisposable second = session.HoldBackgroundProcessors(2);

        Assert.Equal(1, queue.Ledger.PromisedProcessors);
        using IDisposable run = await ProcessorsAsync(queue, 1, "a");
        Assert.False(ProcessorsAsync(queue, 0.1, "b").IsCompleted);
    }

    [Fact]
    public async Task AcquireProcessorsAsync_a_run_that_wants_the_whole_machine_gets_it_besides_the_background()
    {
        AdmissionQueue queue = Queue(running: 10);
        using AdmissionQueue.Ticket session = queue.EnterSession(null);
        using IDisposable server = session.HoldBackgroundProcessors(1);
        IDisposable small = await ProcessorsAsync(queue, 1);
        Task<IDisposable> whole = ProcessorsAsync(queue, 2);
        Assert.False(whole.IsCompleted);

        small.Dispose();

        (await whole).Dispose();
    }

    [Fact]
    public async Task EnterSession_takes_no_place_and_waits_for_processors_in_turn()
    {
        AdmissionQueue queue = Queue(running: 1);
        using AdmissionQueue.Ticket session = queue.EnterSession("a");
        Assert.Equal((0, 0), queue.Count);
        IDisposable run = await ProcessorsAsync(queue, 2, "b");
        Task<IDisposable> call = session.AcquireProcessorsAsync(1, isExclusive: false, Cancel);
        Assert.False(call.IsCompleted);

        run.Dispose();

        (await call).Dispose();
        session.Dispose();
        Assert.Equal(0, queue.Ledger.PromisedProcessors);
    }

    [Fact]
    public async Task Count_separates_running_from_queued_runs()
    {
        AdmissionQueue queue = Queue(running: 1);
        using IDisposable slot = await SlotAsync(queue, 1, Cancel);
        using IDisposable second = queue.Enter(null);

        Assert.Equal((1, 1), queue.Count);
    }

    [Fact]
    public async Task AcquireSlotAsync_many_concurrent_runs_stay_within_the_bounds_and_all_are_served()
    {
        const int Running = 3;
        const int Memory = 10;
        AdmissionQueue queue = new(Bounds(Running, Memory, 1_000), TimeProvider.System);
        int now = 0;
        int memory = 0;
        int served = 0;
        int worst = 0;
        int worstMemory = 0;
        await Parallel.ForEachAsync(Enumerable.Range(0, 500), new ParallelOptions { MaxDegreeOfParallelism = 64, CancellationToken = Cancel }, async (i, _) =>
        {
            int wanted = 1 + (i % 5);
            using var giveUp = new CancellationTokenSource();
            Task<IDisposable> slot = SlotAsync(queue, wanted, giveUp.Token, $"key{i % 3}");
            if (i % 7 == 0)
            {
                await giveUp.CancelAsync();
            }

            try
            {
                using (await slot)
                {
                    Max(ref worst, Interlocked.Increment(ref now));
                    Max(ref worstMemory, Interlocked.Add(ref memory, wanted));
                    await Task.Yield();
                    Interlocked.Add(ref memory, -wanted);
                    Interlocked.Decrement(ref now);
                }
            }
            catch (OperationCanceledException)
            {
                // Counted as served: it was told.
            }

            Interlocked.Increment(ref served);
        });

        Assert.Equal(500, served);
        Assert.InRange(worst, 1, Running);
        Assert.InRange(worstMemory, 1, Memory);
        using IDisposable all = await SlotAsync(queue, Memory, Cancel);
    }

    [Fact]
    public async Task AcquireProcessorsAsync_never_promises_more_than_the_machine_has()
    {
        AdmissionQueue queue = Queue(running: 10, processors: 2);
        IDisposable[] halves = [await ProcessorsAsync(queue, 0.5), await ProcessorsAsync(queue, 0.5), await ProcessorsAsync(queue, 0.01)];
        Task<IDisposable> one = ProcessorsAsync(queue, 1);
        Assert.False(one.IsCompleted);
        using IDisposable rest = await ProcessorsAsync(queue, 0.99);
        Assert.Equal(2, queue.Ledger.PromisedProcessors);

        halves[0].Dispose();
        Assert.False(one.IsCompleted);
        halves[1].Dispose();
        using (await one)
        {
            Assert.Equal((2, 3), (queue.Ledger.PromisedProcessors, queue.Count.Running));
        }

        halves[2].Dispose();
        Assert.Equal(0.99, queue.Ledger.PromisedProcessors);
    }

    [Fact]
    public async Task AcquireProcessorsAsync_an_exclusive_run_suspends_overcommit()
    {
        AdmissionQueue queue = Queue(running: 20, processors: 2, overcommit: 4);
        IDisposable[] shared = [.. await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => ProcessorsAsync(queue, 1)))];
        Task<IDisposable> ninth = ProcessorsAsync(queue, 1);
        Assert.False(ninth.IsCompleted);

        Task<IDisposable> own = ProcessorsAsync(queue, 1, isExclusive: true);
        Array.ForEach(shared[..7], one => one.Dispose());
        using IDisposable late = await ninth;
        Assert.False(own.IsCompleted, "two others have all there is");
        shared[7].Dispose();
        using IDisposable exclusive = await own;
        Task<IDisposable> beside = ProcessorsAsync(queue, 0.5);
        Assert.False(beside.IsCompleted, "nobody shares what it has");

        exclusive.Dispose();
        (await beside).Dispose();
        Assert.Equal(1, queue.Ledger.PromisedProcessors);
    }

    [Fact]
    public async Task AcquireProcessorsAsync_a_run_that_needs_all_is_passed_a_bounded_number_of_times()
    {
        AdmissionQueue queue = Queue(running: 10, processors: 2);
        IDisposable one = await ProcessorsAsync(queue, 1, "a");
        Task<IDisposable> all = ProcessorsAsync(queue, 2, "b");
        for (int i = 0; i < FairQueue.MostPasses; i++)
        {
            (await ProcessorsAsync(queue, 1, $"c{i}")).Dispose();
        }

        Task<IDisposable> next = ProcessorsAsync(queue, 1, "d");
        Assert.False(next.IsCompleted);
        one.Dispose();
        IDisposable both = await all;
        Assert.False(next.IsCompleted);
        both.Dispose();
        (await next).Dispose();
    }

    [Fact]
    public async Task AcquireProcessorsAsync_leaves_the_last_processor_to_a_key_that_has_none()
    {
        AdmissionQueue queue = Queue(running: 10, processors: 4);
        IDisposable[] greedy = [await ProcessorsAsync(queue, 1, "greedy"), await ProcessorsAsync(queue, 1, "greedy")];
        Task<IDisposable> other = ProcessorsAsync(queue, 3, "other");
        IDisposable third = await ProcessorsAsync(queue, 1, "greedy");
        Task<IDisposable> fourth = ProcessorsAsync(queue, 1, "greedy");
        Assert.False(fourth.IsCompleted, "the last one is the other's");

        greedy[0].Dispose();
        using IDisposable replaced = await fourth;
        greedy[1].Dispose();
        Assert.False(other.IsCompleted);
        third.Dispose();
        using IDisposable some = await other;

        // Now nobody who waits has none.
        AdmissionQueue full = Queue(running: 10, processors: 3);
        using IDisposable one = await ProcessorsAsync(full, 1, "a");
        using IDisposable two = await ProcessorsAsync(full, 1, "b");
        (await ProcessorsAsync(full, 1, "a")).Dispose();
    }

    [Fact]
    public async Task AcquireProcessorsAsync_timeout_or_cancellation_lets_the_next_run_proceed()
    {
        AdmissionQueue queue = Queue(running: 10, processors: 2);
        using IDisposable one = await ProcessorsAsync(queue, 1);
        using var cancelled = new CancellationTokenSource();
        Task<IDisposable> late = ProcessorsAsync(queue, 2);
        Task<IDisposable> cancel = ProcessorsAsync(queue, 2, cancelled: cancelled);
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => cancel);
        _time.Advance(TimeSpan.FromMinutes(1));

        Assert.Contains("No processor became free within 60 s", (await Assert.ThrowsAsync<SandboxCapacityException>(() => late)).Message, StringComparison.Ordinal);
        IDisposable next = await ProcessorsAsync(queue, 1);
        next.Dispose();
        next.Dispose();
        Assert.Equal((1, 0, 1), (queue.Ledger.PromisedProcessors, queue.WaitingForProcessors, queue.Count.Running));
    }

    private static void Max(ref int most, int value)
    {
        int seen;
        while (value > (seen = Volatile.Read(ref most)) && Interlocked.CompareExchange(ref most, value, seen) != seen)
        {
        }
    }

    private AdmissionQueue Queue(int running, long memory = 1_000, int waiting = 100, TimeSpan? timeout = null, int processors = 2, double overcommit = 1) =>
        new(Bounds(running, memory, waiting) with { Timeout = timeout ?? TimeSpan.FromMinutes(1), Processors = processors, CpuOvercommit = overcommit }, _time);

    private static AdmissionBounds Bounds(int running, long memory, int waiting) =>
        new() { Running = running, MemoryBytes = memory, Processors = 2, Waiting = waiting, Timeout = TimeSpan.FromMinutes(1) };

    // A place, a slot and processors, given back together.
    private static async Task<IDisposable> ProcessorsAsync(AdmissionQueue queue, double cores, string? key = null, bool isExclusive = false, CancellationTokenSource? cancelled = null)
    {
        AdmissionQueue.Ticket place = queue.Enter(key);
        AdmissionQueue.Slot? slot = null;
        try
        {
            slot = await place.AcquireSlotAsync(1, Cancel);
            return new Held(await place.AcquireProcessorsAsync(cores, isExclusive, cancelled?.Token ?? Cancel), slot, place);
        }
        catch
        {
            slot?.Dispose();
            place.Dispose();
            throw;
        }
    }

    // A place and a slot, given back together.
    private static async Task<IDisposable> SlotAsync(AdmissionQueue queue, long memory, CancellationToken cancellationToken, string? key = null)
    {
        AdmissionQueue.Ticket place = queue.Enter(key);
        try
        {
            return new Held(await place.AcquireSlotAsync(memory, cancellationToken), place);
        }
        catch
        {
            place.Dispose();
            throw;
        }
    }

    private sealed class Held(params IDisposable[] parts) : IDisposable
    {
        public void Dispose() => Array.ForEach(parts, part => part.Dispose());
    }
}
