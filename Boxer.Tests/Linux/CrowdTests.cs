using Boxer.Hosting;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>Many runs at once: a run's own limits see nothing of the others.</summary>
[LongTests]
[Collection(Sandboxes.Name)]
public sealed class CrowdTests(SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task None_of_50_concurrent_commands_exceeds_its_wall_clock_limit_of_2_s()
    {
        BoxerOptions options = shared.Options;
        options.CpuOvercommit = 1;
        options.QueueTimeout = TimeSpan.FromMinutes(5);
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        // If all slots ran at once, each command would exceed its wall-clock limit.
        SandboxRequest request = SharedRunner.Python("""
            import time
            while time.process_time() < 0.7:
                pass
            print("right")
            """);
        request.Limits.WallClock = TimeSpan.FromSeconds(2);

        SandboxResult[] results = await Task.WhenAll(Enumerable.Range(0, 50).Select(_ => runner.RunAsync(request, Cancel)));

        Assert.All(results, result => Assert.True(result.StandardOutput == "right\n", $"{result.Termination} after {result.Timings}, {result.Usage}"));
        Assert.Contains(results, result => result.Timings.Queue > request.Limits.WallClock);
    }

    [Fact]
    public async Task A_run_whose_sandbox_was_killed_while_it_waited_for_processors_gets_another()
    {
        await using var place = new OwnCgroup();
        BoxerOptions options = shared.Options;
        options.CgroupParent = place.Name;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);

        // A run with a CPU time limit has its processors exclusively.
        SandboxRequest counting = SharedRunner.Shell(OpenRun.Counting);
        counting.Limits.CpuCores = Environment.ProcessorCount;
        counting.Limits.CpuTime = TimeSpan.FromHours(1);
        await using OpenRun holds = await OpenRun.StartAsync(runner, counting);
        Task<SandboxResult> waits = runner.RunAsync(SharedRunner.Command("echo", "alive"), Cancel);
        await Until.IsSoAsync(() => place.FrozenProcesses().Length > 0, seconds: 60);

        Assert.All(place.FrozenProcesses(), pid => Assert.Equal(0, Native.Signal.kill(pid, Native.Signal.SIGKILL)));
        await holds.StopCountingAsync();

        SandboxResult result = await waits;
        Assert.Equal("alive\n", result.StandardOutput);
    }

    [Fact]
    public async Task A_run_that_is_cancelled_or_waits_too_long_for_processors_leaves_nothing()
    {
        string[] before = await HostState.ReadAsync();
        BoxerOptions options = shared.Options;
        options.CpuOvercommit = 1;
        options.QueueTimeout = TimeSpan.FromSeconds(6);
        await using (SandboxRunner runner = SandboxRunnerFactory.Create(options))
        {
            SandboxRequest counting = SharedRunner.Shell(OpenRun.Counting);
            counting.Limits.CpuCores = Environment.ProcessorCount;
            await using OpenRun holds = await OpenRun.StartAsync(runner, counting);

            // The run waits with its sandbox for at least 3 s before its queue timeout rejects it.
            using var cancelled = new CancellationTokenSource(TimeSpan.FromSeconds(3));
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => runner.RunAsync(SharedRunner.Command("true"), cancelled.Token));
            SandboxCapacityException late = await Assert.ThrowsAsync<SandboxCapacityException>(() => runner.RunAsync(SharedRunner.Command("true"), Cancel));

            Assert.Contains("No processor became free within 6 s", late.Message, StringComparison.Ordinal);
            await holds.StopCountingAsync();
            Assert.Equal("free\n", (await runner.RunAsync(SharedRunner.Command("echo", "free"), Cancel)).StandardOutput);
            await using OpenRun left = await OpenRun.StartAsync(runner, counting);
        }

        await HostState.AssertSameAsync(before);
    }

    [Fact]
    public async Task Writing_inputs_does_not_count_toward_WallClock()
    {
        SandboxRequest request = SharedRunner.Command("cat", "/job/in");
        request.Limits.WallClock = TimeSpan.FromSeconds(3);
        request.Files.Add(SandboxFile.FromStream("job/in", async cancel =>
        {
            await Task.Delay(TimeSpan.FromSeconds(5), cancel);
            return new MemoryStream("late\n"u8.ToArray());
        }));

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(("late\n", 0), (result.StandardOutput, result.ExitCode));
    }

    [Fact]
    public async Task CpuCores_above_those_of_the_machine_are_rejected_before_the_start()
    {
        SandboxRequest request = SharedRunner.Command("true");
        request.Limits.CpuCores = Environment.ProcessorCount + 0.5;

        InvalidSandboxRequestException fault = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => shared.Runner.RunAsync(request, Cancel));

        Assert.Contains($"Limits.CpuCores: is {Environment.ProcessorCount}.5, but this machine has {Environment.ProcessorCount} processors", fault.Message, StringComparison.Ordinal);
    }

    /// <summary>Cgroups of one test, so that it kills only its own sandboxes.</summary>
    private sealed class OwnCgroup : IAsyncDisposable
    {
        public string Name { get; } = "boxertest-" + Guid.NewGuid().ToString("N")[..8];

        /// <summary>The processes of the frozen sandboxes.</summary>
        public int[] FrozenProcesses() =>
        [
            .. Directories().Where(directory => Read(directory, "freezer.state") == "FROZEN" || Read(directory, "cgroup.freeze") == "1")
                .SelectMany(directory => Read(directory, "cgroup.procs").Split('\n', StringSplitOptions.RemoveEmptyEntries)).Select(int.Parse),
        ];

        public ValueTask DisposeAsync()
        {
            foreach (string directory in Directories().OrderByDescending(directory => directory.Length).Where(Directory.Exists))
            {
                Directory.Delete(directory);
            }

            return ValueTask.CompletedTask;
        }

        private string[] Directories() =>
        [
            .. Directory.EnumerateDirectories("/sys/fs/cgroup", Name + "*", new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = true, MaxRecursionDepth = 3 })
                .SelectMany(top => (string[])[top, .. Directory.EnumerateDirectories(top, "*", SearchOption.AllDirectories)]),
        ];

        private static string Read(string directory, string file)
        {
            string path = Path.Join(directory, file);
            try
            {
                return File.Exists(path) ? File.ReadAllText(path).Trim() : "";
            }
            catch (IOException)
            {
                // The cgroup was removed meanwhile.
                return "";
            }
        }
    }
}
