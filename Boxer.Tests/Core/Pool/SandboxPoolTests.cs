using System.Diagnostics.Metrics;
using Boxer.Admission;
using Boxer.Diagnostics;
using Boxer.Pool;
using Boxer.Tests.Support;
using Boxer.Validation;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Pool;

/// <summary>The pool with sandboxes that are none, and a clock of the test's own.</summary>
public sealed class SandboxPoolTests : IAsyncDisposable
{
    private const string Kept = "docker.io/library/python:latest";
    private static readonly PoolKey Python = new("sha256:python", "none");
    private const int BootBytes = 100;
    private readonly FakeTimeProvider _time = new();
    private readonly AdmissionQueue _admission;
    private readonly Meter _meter = new("test");
    private readonly List<FakeSandbox> _all = [];
    private SandboxPool<FakeSandbox>? _pool;
    private bool _isBusy;

    public SandboxPoolTests() =>
        _admission = new(new AdmissionBounds { Running = 100, MemoryBytes = 1_000, Processors = 2, Waiting = 10, Timeout = TimeSpan.FromMinutes(1) }, _time)
        {
            IdleWanted = () => _pool!.GiveUpMemory(),
        };

    [Fact]
    public async Task What_is_in_use_is_kept_warm_and_frozen_and_each_serves_once()
    {
        SandboxPool<FakeSandbox> pool = Make();
        Assert.Null(pool.Take(Python, "python", BootAsync));
        await WaitAsync(() => pool.Count > 0);

        FakeSandbox first = _all[0];
        Assert.True(first.IsFrozen);
        FakeSandbox? taken = pool.Take(Python, "python", BootAsync);

        Assert.Same(first, taken);
        Assert.False(first.IsFrozen);
        await WaitAsync(() => pool.Count > 0);
        Assert.DoesNotContain(first, await TakeAllAsync(pool));
        Assert.False(first.IsDestroyed);
    }

    [Fact]
    public async Task Take_leaves_one_that_has_more_memory_than_the_run_may_have()
    {
        SandboxPool<FakeSandbox> pool = Make();
        pool.Take(Python, "python", BootAsync);
        await WaitAsync(() => pool.Count > 0);

        Assert.Null(pool.Take(Python, "python", BootAsync, FakeSandbox.Bytes - 11));
        Assert.False(_all[0].IsDestroyed);
        Assert.Same(_all[0], pool.Take(Python, "python", BootAsync, FakeSandbox.Bytes - 10));
    }

    [Fact]
    public async Task Demand_sizes_it_within_its_bound()
    {
        SandboxPool<FakeSandbox> pool = Make(options => options.MaxSandboxes = 3);
        await FillAsync(pool, least: 3);
        _isBusy = false;
        await TickAsync(3);
        Assert.Equal(3, pool.Count);
    }

    [Fact]
    public async Task An_unused_pool_goes_down_to_nothing()
    {
        SandboxPool<FakeSandbox> pool = Make(options => options.IdleTimeout = TimeSpan.FromSeconds(20));
        pool.Take(Python, "python", BootAsync);
        await WaitAsync(() => pool.Count > 0);

        _time.Advance(TimeSpan.FromSeconds(21));
        await TickAsync();

        await WaitAsync(() => pool.Count == 0 && _all.All(sandbox => sandbox.IsDestroyed));
        await TickAsync(3);
        Assert.Equal(0, pool.Count);
    }

    [Fact]
    public async Task A_minimum_waits_for_ever_and_follows_its_reference()
    {
        SandboxPool<FakeSandbox> pool = Make(options =>
        {
            options.IdleTimeout = TimeSpan.FromSeconds(5);
            options.Images.Add(new() { Image = "python", Count = 2 });
        });
        pool.Keep(Python, Kept, BootAsync);
        await WaitAsync(() => pool.Count == 2);
        FakeSandbox[] old = [.. _all];

        _time.Advance(TimeSpan.FromMinutes(10));
        await TickAsync(2);
        Assert.Equal(2, pool.Count);

        // Another name of the same image changes nothing.
        Assert.NotNull(pool.Take(Python, "docker.io/library/other:latest", BootAsync));
        _time.Advance(TimeSpan.FromMinutes(10));
        await WaitAsync(() => pool.Count == 2);
        old = [.. _all];

        // The tag means another image now.
        pool.Take(Python with { ImageDigest = "sha256:newer" }, Kept, BootAsync);
        await WaitAsync(() => old.Count(sandbox => !sandbox.IsDestroyed) == 1 && pool.Count == 2);
    }

    [Fact]
    public async Task A_minimum_has_its_room_in_a_full_pool()
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

        pool.Keep(Python, Kept, BootAsync);

        await WaitAsync(() => others.All(sandbox => sandbox.IsDestroyed) && pool.Count == 2);
    }

    [Fact]
    public async Task What_died_or_is_too_old_is_not_handed_over()
    {
        SandboxPool<FakeSandbox> pool = Make(options => options.MaxAge = TimeSpan.FromMinutes(1));
        pool.Take(Python, "python", BootAsync);
        await WaitAsync(() => pool.Count > 0);
        int count = pool.Count;
        foreach (FakeSandbox sandbox in _all)
        {
            sandbox.IsAlive = false;
        }

        Assert.Null(pool.Take(Python, "python", BootAsync));
        await WaitAsync(() => _all.Take(count).All(sandbox => sandbox.IsDestroyed) && pool.Count > 0);

        FakeSandbox[] aged = [.. _all];
        _time.Advance(TimeSpan.FromSeconds(61));

        // One goes with each tick.
        await TickAsync(aged.Length);
        await WaitAsync(() => aged.All(sandbox => sandbox.IsDestroyed));
    }

    [Fact]
    public async Task Nothing_is_booted_ahead_while_those_who_run_need_the_processors()
    {
        SandboxPool<FakeSandbox> pool = Make();
        _isBusy = true;
        pool.Take(Python, "python", BootAsync);
        await TickAsync(3);
        Assert.Empty(_all);

        _isBusy = false;
        pool.Wake();
        await WaitAsync(() => pool.Count > 0);
    }

    [Fact]
    public async Task A_boot_that_fails_is_tried_again_later_and_later()
    {
        SandboxPool<FakeSandbox> pool = Make();
        int attempts = 0;
        Task<FakeSandbox> FailAsync(CancellationToken cancellationToken)
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
    public async Task One_of_a_network_is_given_up_for_a_run_and_none_is_booted_ahead_for_a_while()
    {
        SandboxPool<FakeSandbox> pool = Make();
        PoolKey other = Python with { Network = "other" };
        pool.Take(Python, "python", BootAsync);
        await WaitAsync(() => pool.Count == 2);
        pool.Take(other, "python", BootAsync);
        await WaitAsync(() => pool.Count == 4);
        FakeSandbox[] others = _all[2..].ToArray();

        Assert.True(await pool.GiveUpAsync(other.Network, TimeSpan.FromMinutes(1)));
        Assert.Equal(1, others.Count(sandbox => sandbox.IsDestroyed));
        Assert.True(await pool.GiveUpAsync(other.Network, TimeSpan.FromMinutes(1)));
        Assert.False(await pool.GiveUpAsync(other.Network, TimeSpan.FromMinutes(1)));
        Assert.Equal(2, pool.Count);
        await TickAsync(3);
        Assert.Null(pool.Take(other, "python", BootAsync));
        await TickAsync();
        Assert.Equal((2, 4), (pool.Count, _all.Count));

        _time.Advance(TimeSpan.FromMinutes(1));
        await WaitAsync(() => _all.Count > 4);
    }

    [Fact]
    public async Task What_waits_has_a_share_of_the_memory_and_gives_up_only_what_a_run_lacks()
    {
        SandboxPool<FakeSandbox> pool = Make();
        await FillAsync(pool);
        int count = pool.Count;
        Assert.Equal(count * FakeSandbox.Bytes, _admission.PromisedBytes);

        // Two of those that wait make room for it.
        using AdmissionQueue.Ticket place = _admission.Enter(null);
        using (await place.AcquireSlotAsync(1_000 - ((count - 2) * FakeSandbox.Bytes), TestContext.Current.CancellationToken))
        {
            Assert.Equal((count - 2, 1_000), (pool.Count, _admission.PromisedBytes));

            // There is no room to boot another.
            _isBusy = false;
            await TickAsync(2);
            Assert.Equal(count - 2, pool.Count);

            // What is taken is the run's.
            Assert.NotNull(pool.Take(Python, "python", BootAsync));
            Assert.Equal(1_000 - FakeSandbox.Bytes, _admission.PromisedBytes);
        }

        await pool.DisposeAsync();
        Assert.Equal(0, _admission.PromisedBytes);
    }

    [Fact]
    public async Task No_more_go_for_a_run_than_it_lacks_though_many_go_at_once()
    {
        const int Staying = 1;
        for (int round = 0; round < 200; round++)
        {
            await using SandboxPool<FakeSandbox> pool = Make();
            await FillAsync(pool);
            using AdmissionQueue.Ticket place = _admission.Enter(null);
            using IDisposable slot = await place.AcquireSlotAsync(1_000 - (Staying * FakeSandbox.Bytes), TestContext.Current.CancellationToken);
            Assert.Equal((Staying, 1_000), (pool.Count, _admission.PromisedBytes));
        }
    }

    [Fact]
    public async Task One_that_is_being_booted_is_given_up_for_memory()
    {
        SandboxPool<FakeSandbox> pool = Make();
        var gate = new TaskCompletionSource();
        var begun = new TaskCompletionSource();
        pool.Take(Python, "python", async cancel =>
        {
            begun.TrySetResult();
            await gate.Task;
            return await BootAsync(cancel);
        });
        await begun.Task;
        Assert.Equal(BootBytes, _admission.PromisedBytes);

        using AdmissionQueue.Ticket place = _admission.Enter(null);
        Task<IDisposable> slot = place.AcquireSlotAsync(1_000, TestContext.Current.CancellationToken);
        Assert.False(slot.IsCompleted);
        gate.SetResult();

        (await slot).Dispose();
        Assert.True(_all[0].IsDestroyed);
    }

    [Fact]
    public async Task One_that_is_being_booted_is_given_up_when_it_is_there()
    {
        SandboxPool<FakeSandbox> pool = Make();
        var gate = new TaskCompletionSource();
        var begun = new TaskCompletionSource();
        pool.Take(Python, "python", async cancel =>
        {
            begun.TrySetResult();
            await gate.Task;
            return await BootAsync(cancel);
        });
        await begun.Task;

        Task<bool> givingUp = pool.GiveUpAsync(Python.Network, TimeSpan.FromMinutes(1));
        Assert.False(givingUp.IsCompleted);
        gate.SetResult();

        Assert.True(await givingUp);
        Assert.True(Assert.Single(_all).IsDestroyed);
        Assert.Equal(0, pool.Count);
    }

    [Fact]
    public async Task What_cannot_be_thawed_is_destroyed_and_the_next_is_taken()
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
    public async Task Disposing_destroys_what_waits_and_what_is_being_booted()
    {
        SandboxPool<FakeSandbox> pool = Make();
        var gate = new TaskCompletionSource();
        pool.Take(Python, "python", BootAsync);
        await WaitAsync(() => pool.Count > 0);
        var begun = new TaskCompletionSource();
        pool.Take(Python, "python", async cancel =>
        {
            begun.TrySetResult();
            await gate.Task;
            return await BootAsync(cancel);
        });
        await WaitAsync(() => begun.Task.IsCompleted);

        Task disposing = pool.DisposeAsync().AsTask();
        gate.SetResult();
        await disposing;

        Assert.Equal(1, _all.Count(sandbox => !sandbox.IsDestroyed));
        Assert.Null(pool.Take(Python, "python", BootAsync));
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
        return _pool = new(options, PoolImage.Parse(options), _ => _isBusy, _admission, BootBytes, new PoolMetrics(_meter), _time, NullLogger.Instance);
    }

    // To the end of its boots: the first are not taken while others are asked for.
    private async Task FillAsync(SandboxPool<FakeSandbox> pool, int least = 4)
    {
        _isBusy = true;
        for (int i = 0; i < 100; i++)
        {
            Assert.Null(pool.Take(Python, "python", BootAsync));
        }

        _isBusy = false;
        pool.Wake();
        await WaitAsync(() => pool.Count >= least);
        _isBusy = true;
        await WaitAsync(() => pool.Count * FakeSandbox.Bytes == _admission.PromisedBytes);
    }

    private Task<FakeSandbox> BootAsync(CancellationToken cancellationToken)
    {
        var sandbox = new FakeSandbox();
        lock (_all)
        {
            _all.Add(sandbox);
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

    // Those that wait: some may have been taken while the test asked for many.
    private FakeSandbox[] Frozen()
    {
        lock (_all)
        {
            return [.. _all.Where(sandbox => sandbox.IsFrozen)];
        }
    }

    private async Task TickAsync(int times = 1)
    {
        for (int i = 0; i < times; i++)
        {
            _time.Advance(TimeSpan.FromSeconds(1));
            await Task.Delay(50, TestContext.Current.CancellationToken);
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
