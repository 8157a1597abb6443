using Boxer.Admission;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Admission;

public sealed class AdmissionQueueTests
{
    private readonly FakeTimeProvider _time = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Slots_are_bounded_by_number()
    {
        AdmissionQueue queue = Queue(running: 2);
        IDisposable first = await queue.AcquireSlotAsync(10, Cancel);
        using IDisposable second = await queue.AcquireSlotAsync(10, Cancel);
        Task<IDisposable> third = queue.AcquireSlotAsync(10, Cancel);

        Assert.False(third.IsCompleted);
        first.Dispose();
        (await third).Dispose();
    }

    [Fact]
    public async Task Slots_are_bounded_by_memory()
    {
        AdmissionQueue queue = Queue(running: 10, memory: 100);
        IDisposable large = await queue.AcquireSlotAsync(80, Cancel);
        using IDisposable fits = await queue.AcquireSlotAsync(20, Cancel);
        Task<IDisposable> waits = queue.AcquireSlotAsync(1, Cancel);

        Assert.False(waits.IsCompleted);
        large.Dispose();
        (await waits).Dispose();
    }

    [Fact]
    public async Task A_large_run_at_the_head_is_not_overtaken_by_small_ones()
    {
        AdmissionQueue queue = Queue(running: 10, memory: 100);
        IDisposable half = await queue.AcquireSlotAsync(50, Cancel);
        Task<IDisposable> large = queue.AcquireSlotAsync(100, Cancel);
        Task<IDisposable> small = queue.AcquireSlotAsync(1, Cancel);

        Assert.False(small.IsCompleted);
        half.Dispose();
        IDisposable slot = await large;
        Assert.False(small.IsCompleted);
        slot.Dispose();
        (await small).Dispose();
    }

    [Fact]
    public async Task Who_waits_is_served_in_order()
    {
        AdmissionQueue queue = Queue(running: 1);
        IDisposable slot = await queue.AcquireSlotAsync(1, Cancel);
        Task<IDisposable>[] waiting = [.. Enumerable.Range(0, 5).Select(_ => queue.AcquireSlotAsync(1, Cancel))];
        foreach (Task<IDisposable> next in waiting)
        {
            Assert.False(next.IsCompleted);
            slot.Dispose();
            slot = await next;
        }

        slot.Dispose();
    }

    [Fact]
    public void One_more_than_may_wait_is_refused_and_told_when_to_come_again()
    {
        AdmissionQueue queue = Queue(running: 1, waiting: 2);
        IDisposable[] places = [queue.Enter(), queue.Enter(), queue.Enter()];

        SandboxCapacityException full = Assert.Throws<SandboxCapacityException>(queue.Enter);
        Assert.True(full.RetryAfter >= TimeSpan.FromSeconds(1), $"{full.RetryAfter}");
        Assert.Contains("try again later", full.Message, StringComparison.Ordinal);

        places[0].Dispose();
        queue.Enter().Dispose();
    }

    [Fact]
    public async Task Who_waits_too_long_is_refused_and_leaves_its_place_to_the_next()
    {
        AdmissionQueue queue = Queue(running: 1, timeout: TimeSpan.FromSeconds(60));
        IDisposable slot = await queue.AcquireSlotAsync(1, Cancel);
        Task<IDisposable> late = queue.AcquireSlotAsync(1, Cancel);
        _time.Advance(TimeSpan.FromSeconds(30));
        Task<IDisposable> next = queue.AcquireSlotAsync(1, Cancel);
        _time.Advance(TimeSpan.FromSeconds(31));

        SandboxCapacityException fault = await Assert.ThrowsAsync<SandboxCapacityException>(() => late);
        Assert.Contains("within 60 s", fault.Message, StringComparison.Ordinal);
        Assert.False(next.IsCompleted);
        slot.Dispose();
        (await next).Dispose();
    }

    [Fact]
    public async Task Cancelling_a_wait_is_a_cancellation_and_lets_the_next_through()
    {
        AdmissionQueue queue = Queue(running: 10, memory: 100);
        using IDisposable half = await queue.AcquireSlotAsync(50, Cancel);
        using var cancelled = new CancellationTokenSource();
        Task<IDisposable> large = queue.AcquireSlotAsync(100, cancelled.Token);
        Task<IDisposable> small = queue.AcquireSlotAsync(50, Cancel);
        await cancelled.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => large);
        (await small).Dispose();
    }

    [Fact]
    public async Task Giving_a_slot_back_twice_counts_once()
    {
        AdmissionQueue queue = Queue(running: 1);
        IDisposable slot = await queue.AcquireSlotAsync(1, Cancel);
        slot.Dispose();
        slot.Dispose();
        using IDisposable second = await queue.AcquireSlotAsync(1, Cancel);

        Assert.False(queue.AcquireSlotAsync(1, Cancel).IsCompleted);
    }

    [Fact]
    public async Task Its_count_tells_running_from_waiting()
    {
        AdmissionQueue queue = Queue(running: 1);
        using IDisposable first = queue.Enter();
        using IDisposable slot = await queue.AcquireSlotAsync(1, Cancel);
        using IDisposable second = queue.Enter();

        Assert.Equal((1, 1), queue.Count);
    }

    [Fact]
    public async Task Many_at_once_never_exceed_the_bounds_and_all_are_served()
    {
        const int Running = 3;
        const int Memory = 10;
        AdmissionQueue queue = new(Running, Memory, 1_000, TimeSpan.FromMinutes(1), TimeProvider.System);
        int now = 0;
        int memory = 0;
        int served = 0;
        int worst = 0;
        int worstMemory = 0;
        await Parallel.ForEachAsync(Enumerable.Range(0, 500), new ParallelOptions { MaxDegreeOfParallelism = 64, CancellationToken = Cancel }, async (i, _) =>
        {
            int wanted = 1 + (i % 5);
            using var giveUp = new CancellationTokenSource();
            Task<IDisposable> slot = queue.AcquireSlotAsync(wanted, giveUp.Token);
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
        using IDisposable all = await queue.AcquireSlotAsync(Memory, Cancel);
    }

    private static void Max(ref int most, int value)
    {
        int seen;
        while (value > (seen = Volatile.Read(ref most)) && Interlocked.CompareExchange(ref most, value, seen) != seen)
        {
        }
    }

    private AdmissionQueue Queue(int running, long memory = 1_000, int waiting = 100, TimeSpan? timeout = null) =>
        new(running, memory, waiting, timeout ?? TimeSpan.FromMinutes(1), _time);
}
