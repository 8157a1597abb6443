using System.Diagnostics.Metrics;
using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Pool;
using Boxer.Tests.Support;
using Boxer.Validation;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Pool;

/// <summary><see cref="SandboxPool{T}"/> with fake sandboxes and a fake clock.</summary>
public sealed class SandboxPoolTests : IAsyncDisposable
{
    private const string Kept = "docker.io/library/python:latest";
    private static readonly PoolKey Python = new("sha256:python", "none");
    private const int BootBytes = 100;
    private readonly FakeTimeProvider _time = new();
    private readonly AdmissionQueue _admission;
    private readonly Meter _meter = new("test");
    private readonly List<FakeSandbox> _booted = [];
    private SandboxPool<FakeSandbox>? _pool;
    private bool _isBusy;

    public SandboxPoolTests() =>
        _admission = new(new AdmissionBounds { Running = 100, MemoryBytes = 1_000, Processors = 2, Waiting = 10, Timeout = TimeSpan.FromMinutes(1) }, _time);

    [Fact]
    public async Task Take_triggers_the_boot_of_a_frozen_sandbox_and_each_serves_one_run()
    {
        SandboxPool<FakeSandbox> pool = Make();
        Assert.Null(pool.Take(Python, "python", BootAsync));
        await WaitAsync(() => pool.Count > 0);

        FakeSandbox first = All[0];
        Assert.True(first.IsFrozen);
        FakeSandbox? taken = pool.Take(Python, "python", BootAsync);

        Assert.Same(first, taken);
        Assert.False(first.IsFrozen);
        await WaitAsync(() => pool.Count > 0);
        Assert.DoesNotContain(first, await TakeAllAsync(pool));
        Assert.False(first.IsDestroyed);
    }

    [Fact]
    public async Task Take_skips_a_sandbox_with_more_memory_than_the_limit_of_the_run()
    {
        SandboxPool<FakeSandbox> pool = Make();
        pool.Take(Python, "python", BootAsync);
        await WaitAsync(() => pool.Count > 0);

        Assert.Null(pool.Take(Python, "python", BootAsync, FakeSandbox.Bytes - 11));
        Assert.False(All[0].IsDestroyed);
        Assert.Same(All[0], pool.Take(Python, "python", BootAsync, FakeSandbox.Bytes - 10));
    }

    [Fact]
    public async Task MaxSandboxes_bounds_the_pool_under_demand()
    {
        SandboxPool<FakeSandbox> pool = Make(options => options.MaxSandboxes = 3);
        await FillAsync(pool, least: 3);
        _isBusy = false;
        await TickAsync(3);
        Assert.Equal(3, pool.Count);
    }

    [Fact]
    public async Task IdleTimeout_evicts_all_sandboxes_of_an_unused_image()
    {
        SandboxPool<FakeSandbox> pool = Make(options => options.IdleTimeout = TimeSpan.FromSeconds(20));
        pool.Take(Python, "python", BootAsync);
        await WaitAsync(() => pool.Count > 0);

        _time.Advance(TimeSpan.FromSeconds(21));
        await TickAsync();

        await WaitAsync(() => pool.Count == 0 && All.All(sandbox => sandbox.IsDestroyed));
        await TickAsync(3);
        Assert.Equal(0, pool.Count);
    }

    [Fact]
    public async Task Fill_keeps_the_minimum_and_follows_its_reference()
    {
        SandboxPool<FakeSandbox> pool = Make(options =>
        {
            options.IdleTimeout = TimeSpan.FromSeconds(5);
            options.Images.Add(new() { Image = "python", Count = 2 });
        });
        pool.Fill(Python, Kept, BootAsync);
        await WaitAsync(() => pool.Count == 2);
        FakeSandbox[] old = All;

        _time.Advance(TimeSpan.FromMinutes(10));
        await TickAsync(2);
        Assert.Equal(2, pool.Count);

        // A run with another reference of the same image changes nothing.
        Assert.NotNull(pool.Take(Python, "docker.io/library/other:latest", BootAsync));
        _time.Advance(TimeSpan.FromMinutes(10));
        await WaitAsync(() => pool.Count == 2);
        old = All;

        // The reference names another image now.
        pool.Take(Python with { ImageDigest = "sha256:newer" }, Kept, BootAsync);
        await WaitAsync(() => old.Count(sandbox => !sandbox.IsDestroyed) == 1 && pool.Count == 2);
    }

    [Fact]
    public async Task A_minimum_displaces_other_images_in_a_full_pool()
    {
        SandboxPool<FakeSandbox> pool = Make(options =>
        {
            options.MaxSandboxes = 2;
            options.Images.Add(new() { Image = "python", Count = 2 });
        });
        for (int i = 0; i < 50; i++)
        {
            pool.Take(new PoolKey("sha256:other", "none"), "other", BootAsync);
        }

        await WaitAsync(() => pool.Count == 2);
        FakeSandbox[] others = Frozen();

        pool.Fill(Python, Kept, BootAsync);

        await WaitAsync(() => others.All(sandbox => sandbox.IsDestroyed) && pool.Count == 2);
    }

    [Fact]
    public async Task Take_skips_dead_sandboxes_and_MaxAge_evicts_old_ones()
    {
        SandboxPool<FakeSandbox> pool = Make(options => options.MaxAge = TimeSpan.FromMinutes(1));
        pool.Take(Python, "python", BootAsync);
        await WaitAsync(() => pool.Count == 2);
        int count = pool.Count;
        foreach (FakeSandbox sandbox in All)
        {
            sandbox.IsAlive = false;
        }

        Assert.Null(pool.Take(Python, "python", BootAsync));
        await WaitAsync(() => All.Take(count).All(sandbox => sandbox.IsDestroyed) && pool.Count == 2);

        FakeSandbox[] aged = All;
        _time.Advance(TimeSpan.FromSeconds(61));

        // Each tick evicts one, and ticks that come while one is handled are one.
        await WaitAsync(() =>
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            return aged.All(sandbox => sandbox.IsDestroyed);
        });
    }

    [Fact]
    public async Task The_pool_boots_nothing_while_runs_need_the_processors()
    {
        SandboxPool<FakeSandbox> pool = Make();
        _isBusy = true;
        pool.Take(Python, "python", BootAsync);
        await TickAsync(3);
        Assert.Empty(All);

        _isBusy = false;
        pool.TriggerRefill();
        await WaitAsync(() => pool.Count > 0);
    }

    [Fact]
    public async Task A_failed_boot_is_retried_with_growing_delays()
    {
        SandboxPool<FakeSandbox> pool = Make();
        int attempts = 0;
        Task<FakeSandbox> FailAsync(CleanupStack held, CancellationToken cancellationToken)
        {
            Interlocked.Increment(ref attempts);
            throw new SandboxRuntimeException("no");
        }

        pool.Take(Python, "python", FailAsync);
        await WaitAsync(() => attempts == 1);
        for (int i = 0; i < 8; i++)
        {
            await TickAsync();
        }

        // After 1 s, 2 s and 4 s.
        Assert.InRange(attempts, 2, 4);
    }

    [Fact]
    public async Task A_failed_boot_that_cannot_be_cleaned_up_keeps_its_memory_and_prevents_no_other_boot()
    {
        SandboxPool<FakeSandbox> pool = Make();
        PoolKey stuck = Python with { Network = "stuck" };
        var gone = new TaskCompletionSource();
        pool.Take(stuck, "stuck", (held, cancel) =>
        {
            held.Defer(() => gone.Task);
            throw new SandboxRuntimeException("no");
        });
        await WaitAsync(() => _admission.Ledger.PromisedBytes == BootBytes);
        Task disposing;
        try
        {
            pool.Take(Python, "python", BootAsync);
            await WaitAsync(() => pool.Count == 2);
            Assert.Equal(BootBytes + (2 * FakeSandbox.Bytes), _admission.Ledger.PromisedBytes);

            // A run that needs the network does not wait for ever.
            Task<bool> evicting = pool.EvictOneAsync(stuck.Network, TimeSpan.FromHours(1));
            Assert.False(evicting.IsCompleted);
            _time.Advance(TimeSpan.FromMinutes(1));
            Assert.False(await evicting);

            disposing = pool.DisposeAsync().AsTask();
            await WaitAsync(() => _admission.Ledger.PromisedBytes == BootBytes);
            Assert.False(disposing.IsCompleted);
        }
        finally
        {
            gone.SetResult();
        }

        await disposing;
        Assert.Equal(0, _admission.Ledger.PromisedBytes);
    }

    [Fact]
    public async Task EvictOneAsync_evicts_one_of_the_network_mode_and_pauses_its_boots()
    {
        SandboxPool<FakeSandbox> pool = Make();
        PoolKey other = Python with { Network = "other" };
        pool.Take(Python, "python", BootAsync);
        await WaitAsync(() => pool.Count == 2);
        pool.Take(other, "python", BootAsync);
        await WaitAsync(() => pool.Count == 4);
        FakeSandbox[] others = All[2..];

        Assert.True(await pool.EvictOneAsync(other.Network, TimeSpan.FromMinutes(1)));
        Assert.Equal(1, others.Count(sandbox => sandbox.IsDestroyed));
        Assert.True(await pool.EvictOneAsync(other.Network, TimeSpan.FromMinutes(1)));
        Assert.False(await pool.EvictOneAsync(other.Network, TimeSpan.FromMinutes(1)));
        Assert.Equal(2, pool.Count);
        await TickAsync(3);
        Assert.Null(pool.Take(other, "python", BootAsync));
        await TickAsync();
        Assert.Equal((2, 4), (pool.Count, All.Length));

        _time.Advance(TimeSpan.FromMinutes(1));
        await WaitAsync(() => All.Length > 4);
    }

    [Fact]
    public async Task EvictForMemory_evicts_only_the_memory_that_a_run_is_short_of()
    {
        SandboxPool<FakeSandbox> pool = Make();
        await FillAsync(pool);
        int count = pool.Count;
        Assert.Equal(count * FakeSandbox.Bytes, _admission.Ledger.PromisedBytes);

        // Evicts two sandboxes.
        using AdmissionQueue.Ticket place = _admission.Enter(null);
        using (await place.AcquireSlotAsync(1_000 - ((count - 2) * FakeSandbox.Bytes), TestContext.Current.CancellationToken))
        {
            Assert.Equal((count - 2, 1_000), (pool.Count, _admission.Ledger.PromisedBytes));

            // No memory is left to boot another sandbox.
            _isBusy = false;
            await TickAsync(2);
            Assert.Equal(count - 2, pool.Count);

            // The promise of the run covers a sandbox that is taken.
            Assert.NotNull(pool.Take(Python, "python", BootAsync));
            Assert.Equal(1_000 - FakeSandbox.Bytes, _admission.Ledger.PromisedBytes);
        }

        await pool.DisposeAsync();
        Assert.Equal(0, _admission.Ledger.PromisedBytes);
    }

    [Fact]
    [Slow]
    public async Task EvictForMemory_evicts_no_more_than_needed_with_many_evictions_at_once()
    {
        const int Staying = 1;
        for (int round = 0; round < 200; round++)
        {
            await using SandboxPool<FakeSandbox> pool = Make();
            await FillAsync(pool);
            using AdmissionQueue.Ticket place = _admission.Enter(null);
            using IDisposable slot = await place.AcquireSlotAsync(1_000 - (Staying * FakeSandbox.Bytes), TestContext.Current.CancellationToken);
            Assert.Equal((Staying, 1_000), (pool.Count, _admission.Ledger.PromisedBytes));
        }
    }

    [Fact]
    public async Task EvictForMemory_evicts_a_sandbox_whose_boot_is_under_way()
    {
        SandboxPool<FakeSandbox> pool = Make();
        var gate = new TaskCompletionSource();
        var begun = new TaskCompletionSource();
        pool.Take(Python, "python", async (held, cancel) =>
        {
            begun.TrySetResult();
            await gate.Task;
            return await BootAsync(held, cancel);
        });
        await begun.Task;
        Assert.Equal(BootBytes, _admission.Ledger.PromisedBytes);

        using AdmissionQueue.Ticket place = _admission.Enter(null);
        Task<AdmissionQueue.Slot> slot = place.AcquireSlotAsync(1_000, TestContext.Current.CancellationToken);
        Assert.False(slot.IsCompleted);
        gate.SetResult();

        (await slot).Dispose();
        Assert.True(All[0].IsDestroyed);
    }

    [Fact]
    public async Task EvictOneAsync_waits_for_a_boot_under_way_and_evicts_its_sandbox()
    {
        SandboxPool<FakeSandbox> pool = Make();
        var gate = new TaskCompletionSource();
        var begun = new TaskCompletionSource();
        pool.Take(Python, "python", async (held, cancel) =>
        {
            begun.TrySetResult();
            await gate.Task;
            return await BootAsync(held, cancel);
        });
        await begun.Task;

        Task<bool> evicting = pool.EvictOneAsync(Python.Network, TimeSpan.FromMinutes(1));
        Assert.False(evicting.IsCompleted);
        gate.SetResult();

        Assert.True(await evicting);
        Assert.True(Assert.Single(All).IsDestroyed);
        Assert.Equal(0, pool.Count);
    }

    [Fact]
    public async Task Take_evicts_a_sandbox_that_cannot_be_thawed_and_takes_the_next()
    {
        SandboxPool<FakeSandbox> pool = Make();
        for (int i = 0; i < 20; i++)
        {
            pool.Take(Python, "python", BootAsync);
        }

        await WaitAsync(() => pool.Count >= 2);
        FakeSandbox[] waiting = Frozen();
        waiting[0].CannotThaw = true;

        Assert.Same(waiting[1], pool.Take(Python, "python", BootAsync));
        await WaitAsync(() => waiting[0].IsDestroyed);
    }

    [Fact]
    public async Task DisposeAsync_destroys_ready_and_booting_sandboxes()
    {
        SandboxPool<FakeSandbox> pool = Make();
        var gate = new TaskCompletionSource();
        pool.Take(Python, "python", BootAsync);
        await WaitAsync(() => pool.Count > 0);
        var begun = new TaskCompletionSource();
        pool.Take(Python, "python", async (held, cancel) =>
        {
            begun.TrySetResult();
            await gate.Task;
            return await BootAsync(held, cancel);
        });
        await WaitAsync(() => begun.Task.IsCompleted);

        Task disposing = pool.DisposeAsync().AsTask();
        gate.SetResult();
        await disposing;

        Assert.Equal(1, All.Count(sandbox => !sandbox.IsDestroyed));
        Assert.Null(pool.Take(Python, "python", BootAsync));
    }

    [Fact]
    public async Task DisposeAsync_destroys_all_sandboxes_although_a_cancellation_callback_of_a_boot_fails()
    {
        SandboxPool<FakeSandbox> pool = Make();
        pool.Take(Python, "python", BootAsync);
        await WaitAsync(() => pool.Count == 2);
        var begun = new TaskCompletionSource();
        var ended = new TaskCompletionSource();
        pool.Take(Python with { Network = "other" }, "python", async (held, cancel) =>
        {
            held.Defer(() =>
            {
                ended.SetResult();
                return Task.CompletedTask;
            });
            await using CancellationTokenRegistration faulty = cancel.Register(() => throw new InvalidOperationException("a fault of the callback"));
            begun.SetResult();
            await Task.Delay(Timeout.Infinite, cancel);
            throw new InvalidOperationException();
        });
        await begun.Task;

        await pool.DisposeAsync();

        Assert.True(ended.Task.IsCompleted);
        Assert.All(All, sandbox => Assert.True(sandbox.IsDestroyed));
    }

    public async ValueTask DisposeAsync()
    {
        if (_pool is not null)
        {
            await _pool.DisposeAsync();
        }

        _meter.Dispose();
    }

    private SandboxPool<FakeSandbox> Make(Action<PoolOptions>? change = null)
    {
        var options = new PoolOptions();
        change?.Invoke(options);
        return _pool = new(options, PoolImage.Parse(options), _ => _isBusy, _admission.Ledger, BootBytes, new PoolMetrics(_meter), _time, NullLogger.Instance);
    }

    // Fills the pool and waits for the end of its boots. No sandbox is taken meanwhile.
    private async Task FillAsync(SandboxPool<FakeSandbox> pool, int least = 4)
    {
        _isBusy = true;
        for (int i = 0; i < 100; i++)
        {
            Assert.Null(pool.Take(Python, "python", BootAsync));
        }

        _isBusy = false;
        pool.TriggerRefill();
        await WaitAsync(() => pool.Count >= least);
        _isBusy = true;
        await WaitAsync(() => pool.Count * FakeSandbox.Bytes == _admission.Ledger.PromisedBytes);
    }

    private Task<FakeSandbox> BootAsync(CleanupStack held, CancellationToken cancellationToken)
    {
        FakeSandbox sandbox = held.Push(new FakeSandbox());
        lock (_booted)
        {
            _booted.Add(sandbox);
        }

        return Task.FromResult(sandbox);
    }

    private async Task<List<FakeSandbox>> TakeAllAsync(SandboxPool<FakeSandbox> pool)
    {
        _isBusy = true;
        await TickAsync();
        var taken = new List<FakeSandbox>();
        while (pool.Take(Python, "python", BootAsync) is { } one)
        {
            taken.Add(one);
        }

        return taken;
    }

    // The sandboxes that are ready: some may have been taken while the test asked for many.
    private FakeSandbox[] Frozen() => [.. All.Where(sandbox => sandbox.IsFrozen)];

    private async Task TickAsync(int times = 1)
    {
        for (int i = 0; i < times; i++)
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            await Task.Delay(50, TestContext.Current.CancellationToken);
        }
    }

    // A copy: the pool boots in the background.
    private FakeSandbox[] All
    {
        get
        {
            lock (_booted)
            {
                return [.. _booted];
            }
        }
    }

    private static Task WaitAsync(Func<bool> condition) => Until.IsSoAsync(condition, seconds: 30);

    private sealed class FakeSandbox : IPooledSandbox
    {
        public const int Bytes = 10;

        public long MemoryBytes => Bytes;

        public long LeastBytes => Bytes - 10;

        public bool IsAlive { get; set; } = true;

        public bool IsFrozen { get; private set; }

        public bool IsDestroyed { get; private set; }

        public bool CannotThaw { get; set; }

        public void Freeze() => IsFrozen = true;

        public void Thaw() => IsFrozen = CannotThaw ? throw new IOException("no") : false;

        public ValueTask DisposeAsync()
        {
            IsDestroyed = true;
            return ValueTask.CompletedTask;
        }
    }
}
