using Boxer.Runtime;
using Boxer.Runtime.Cgroups;
using Boxer.Tests.Support;
using CsCheck;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Runtime;

/// <summary>Sampling of a cgroup that consists of plain files. Linux/CpuTimeTests uses real sandboxes.</summary>
public sealed class UsageMonitorTests : IDisposable
{
    private readonly string _root = Directory.CreateTempSubdirectory("boxer-usage-").FullName;
    private readonly SampledTime _time = new();

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public void SafePause_ends_before_a_sandbox_can_use_up_its_limit() =>
        Gen.Select(Gen.Double[0.001, 100_000], Gen.Double[0.01, 64], Gen.Int[1, 128]).Sample(
            (left, cores, processors) =>
            {
                double pause = UsageMonitor.SafePause(TimeSpan.FromSeconds(left), cores, processors).TotalSeconds;

                // The quotas of two periods may be used up at the end of one and the start of the next.
                double most = Math.Min(pause * processors, (pause + 0.1) * cores);
                Assert.True(most <= left + 0.000_1, $"{most} s can be used within {pause} s, and {left} s are left");
                Assert.True(pause > 0);
            },
            iter: 20_000);

    [Fact]
    [Slow]
    public async Task Use_before_the_command_starts_is_not_charged()
    {
        Put(cpuMilliseconds: 1_000);
        await using var watch = new UsageMonitor(new CgroupV2(_root, _time), TimeSpan.FromSeconds(1), 1, _time);
        await PassAsync(TimeSpan.FromMinutes(1), () => Put(cpuMilliseconds: 5_000));
        watch.StartCount();
        await PassAsync(TimeSpan.FromMinutes(1), () => Put(cpuMilliseconds: 5_900));
        Assert.False(watch.CpuExceeded.IsCompleted);

        Assert.Equal(TimeSpan.FromMilliseconds(900), (await watch.StopAsync()).Cpu);
    }

    [Fact]
    public async Task The_limit_is_noticed_although_some_samples_failed()
    {
        Put(cpuMilliseconds: 0);
        await using UsageMonitor watch = Start(TimeSpan.FromSeconds(1));
        await PassAsync(TimeSpan.FromSeconds(2), () => File.Delete(Path.Join(_root, "cpu.stat")));
        Assert.False(watch.CpuExceeded.IsCompleted);
        Put(cpuMilliseconds: 1_000);

        await PassAsync(TimeSpan.FromMilliseconds(500), () => { });

        Assert.True(watch.CpuExceeded.IsCompleted);
        Assert.Equal(TimeSpan.FromSeconds(1), (await watch.StopAsync()).Cpu);
    }

    [Fact]
    public async Task StopAsync_returns_the_last_good_sample_if_the_last_read_fails()
    {
        Put(cpuMilliseconds: 0);
        await using UsageMonitor watch = Start(TimeSpan.FromSeconds(1));
        await PassAsync(TimeSpan.FromSeconds(2), () => Put(cpuMilliseconds: 300));
        File.Delete(Path.Join(_root, "cpu.stat"));

        Assert.Equal(TimeSpan.FromMilliseconds(300), (await watch.StopAsync()).Cpu);
    }

    [Fact]
    public async Task StopAsync_returns_the_highest_memory_although_it_was_freed()
    {
        Put(cpuMilliseconds: 0, memory: 10_000);
        await using UsageMonitor watch = Start(null);
        await PassAsync(TimeSpan.FromSeconds(2), () => Put(cpuMilliseconds: 0, memory: 70_000));
        Put(cpuMilliseconds: 0, memory: 20_000);

        Assert.Equal(70_001, (await watch.StopAsync()).PeakMemoryBytes);
    }

    [Fact]
    public async Task A_fork_that_is_refused_after_the_hand_over_is_noticed()
    {
        Put(cpuMilliseconds: 0);
        string events = Path.Join(_root, "pids.events");
        await File.WriteAllTextAsync(events, "max 2\n", TestContext.Current.CancellationToken);
        await using UsageMonitor watch = Start(null);
        await PassAsync(TimeSpan.FromSeconds(2), () => { });
        Assert.False(watch.ForkRefused.IsCompleted);
        await File.WriteAllTextAsync(events, "max 3\n", TestContext.Current.CancellationToken);
        await PassAsync(TimeSpan.FromSeconds(2), () => { });

        Assert.True(watch.ForkRefused.IsCompleted);
    }

    [Fact]
    public async Task A_refused_fork_between_two_samples_is_noticed_at_the_end()
    {
        Put(cpuMilliseconds: 0);
        await using UsageMonitor watch = Start(null);
        await File.WriteAllTextAsync(Path.Join(_root, "pids.events"), "max 1\n", TestContext.Current.CancellationToken);
        await watch.StopAsync();

        Assert.True(watch.ForkRefused.IsCompleted);
    }

    [Fact]
    public async Task Without_a_cgroup_usage_is_null()
    {
        await using var watch = new UsageMonitor(null, TimeSpan.FromSeconds(1), 1, _time);

        Assert.Equal((null, null), await watch.StopAsync());
        Assert.False(watch.CpuExceeded.IsCompleted);
    }

    private UsageMonitor Start(TimeSpan? limit)
    {
        var watch = new UsageMonitor(new CgroupV2(_root, _time), limit, 1, _time);
        watch.StartCount();
        return watch;
    }

    private async Task PassAsync(TimeSpan time, Action meanwhile)
    {
        meanwhile();
        for (TimeSpan passed = TimeSpan.Zero; passed < time; passed += TimeSpan.FromMilliseconds(250))
        {
            await StepAsync();
        }
    }

    private async Task UntilAsync(UsageMonitor watch)
    {
        for (int step = 0; step < 1_000 && !watch.CpuExceeded.IsCompleted; step++)
        {
            await StepAsync();
        }

        Assert.True(watch.CpuExceeded.IsCompleted);
    }

    private async Task StepAsync()
    {
        _time.Advance(TimeSpan.FromMilliseconds(250));
        await Until.IsSoAsync(() => _time.NextSample > _time.GetUtcNow(), 60);
    }

    /// <summary>A clock that knows when the next sample is due: the monitor sets a timer for it after each.</summary>
    private sealed class SampledTime : FakeTimeProvider
    {
        private long _nextSample;

        public DateTimeOffset NextSample => new(Volatile.Read(ref _nextSample), TimeSpan.Zero);

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period)
        {
            DateTimeOffset due = GetUtcNow() + dueTime;
            ITimer timer = base.CreateTimer(callback, state, dueTime, period);
            Volatile.Write(ref _nextSample, due.Ticks);
            return timer;
        }
    }

    private void Put(int cpuMilliseconds, int memory = 0)
    {
        File.WriteAllText(Path.Join(_root, "cpu.stat"), $"usage_usec {cpuMilliseconds}000\n");
        File.WriteAllText(Path.Join(_root, "memory.stat"), $"anon {memory}\nfile 99999\nshmem 1\n");
    }
}
