using Boxer.Hosting;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>Runs in pooled sandboxes: they behave as in booted ones, and nothing of one run reaches the next.</summary>
[Collection(Sandboxes.Name)]
public sealed class PoolTests(SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_run_takes_a_pooled_sandbox_that_is_like_any_other()
    {
        await using SandboxRunner runner = Make();
        SandboxRequest request = SharedRunner.Shell("id -u; cat /job/in; echo $KEY; pwd; ulimit -n; read line; echo $line; echo made > /output/file; exit 3");
        request.Files.Add(SandboxFile.FromText("job/in", "given\n"));
        request.Environment["KEY"] = "value";
        request.WorkingDirectory = "/tmp";
        request.User = "1234";
        request.StandardInput = "typed\n"u8.ToArray();
        request.Limits = new() { OpenFiles = 99 };
        SandboxResult cold = await runner.RunAsync(request, Cancel);
        SandboxResult warm = await runner.WarmAsync(request);

        Assert.Equal("1234\ngiven\nvalue\n/tmp\n99\ntyped\n", warm.StandardOutput);
        Assert.Equal((cold.StandardOutput, cold.ExitCode, cold.OutputFiles.Count), (warm.StandardOutput, warm.ExitCode, warm.OutputFiles.Count));
        Assert.Equal(3, warm.ExitCode);
    }

    [Fact]
    public async Task Limits_are_enforced_in_a_pooled_sandbox()
    {
        await using SandboxRunner runner = Make();
        await runner.RunAsync(SharedRunner.Command("true"), Cancel);

        SandboxRequest balloon = SharedRunner.Python("x = bytearray(400 << 20)");
        balloon.Limits = new() { MemoryBytes = 64 * ByteSize.MiB };
        Assert.Equal(TerminationKind.MemoryLimit, (await runner.WarmAsync(balloon)).Termination.Kind);
        SandboxRequest late = SharedRunner.Command("sleep", "60");
        late.Limits = new() { WallClock = TimeSpan.FromSeconds(1) };
        Assert.Equal(TerminationKind.WallClockLimit, (await runner.WarmAsync(late)).Termination.Kind);
    }

    [Theory]
    [InlineData(512, 300)]
    [InlineData(256, 100)]
    [InlineData(128, 30)]
    public async Task A_pooled_sandbox_serves_a_run_with_another_memory_limit_than_the_default(int megabytes, int used)
    {
        await using SandboxRunner runner = Make();
        await runner.RunAsync(SharedRunner.Command("true"), Cancel);
        SandboxRequest request = SharedRunner.Python($"x = b'x' * ({used} << 20); print(len(x) >> 20)");
        request.Limits = new() { MemoryBytes = megabytes * ByteSize.MiB, CpuCores = 1.5, Pids = 99 };

        // Only the second wait shows that serving one did not destroy the others.
        Assert.Equal($"{used}\n", (await runner.WarmAsync(request)).StandardOutput);
        Assert.Equal($"{used}\n", (await runner.WarmAsync(request)).StandardOutput);
    }

    [Fact]
    public async Task A_pooled_sandbox_has_nothing_of_an_earlier_run()
    {
        await using SandboxRunner runner = Make();
        var boots = new HashSet<string>();
        for (int i = 0; i < 4; i++)
        {
            SandboxResult result = await runner.WarmAsync(SharedRunner.Shell("ls /tmp /output /dev/shm; cat /proc/sys/kernel/random/boot_id; touch /tmp/left /output/left /dev/shm/left"));
            string[] lines = result.StandardOutput.Split('\n', StringSplitOptions.RemoveEmptyEntries);
            Assert.DoesNotContain("left", lines);
            Assert.True(boots.Add(lines[^1]));
        }
    }

    [Fact]
    public async Task Pooled_sandboxes_use_no_processor_time_and_are_destroyed_with_the_runner()
    {
        // Sandboxes of earlier tests do not count.
        await using (SandboxRunner reconciling = Make())
        {
            await reconciling.StartAsync(Cancel);
        }

        string[] before = await HostState.ReadAsync();
        await using (SandboxRunner runner = Make())
        {
            await runner.WarmAsync(SharedRunner.Command("true"));
            string[] instances = OwnTraces.Instances();
            IEnumerable<string> states = Directory.EnumerateFiles("/sys/fs/cgroup", "*", new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = true, MaxRecursionDepth = 6 })
                .Where(path => instances.Any(id => path.Contains($"/boxer-{id}/", StringComparison.Ordinal)) && Path.GetFileName(path) is "freezer.state" or "cgroup.freeze")
                .Where(path => path.Split("/boxer-")[^1].Contains('/', StringComparison.Ordinal)).Select(ReadState);
            await Until.IsSoAsync(() => states.Any(state => state is "FROZEN" or "1"), seconds: 60);
        }

        await HostState.AssertSameAsync(before);
    }

    [Fact]
    public async Task WarmUp_runs_before_the_sandbox_is_pooled_and_is_not_charged_to_the_run()
    {
        BoxerOptions options = shared.Options;
        options.Pool.Enabled = true;
        options.Pool.Images = [new() { Image = PythonImage.Name, Count = 0, WarmUp = ["sh", "-c", "id -u > /var/tmp/seen; echo printed; i=0; while [ $i -lt 600000 ]; do i=$((i+1)); done"] }];
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        Assert.DoesNotContain("65534", (await runner.RunAsync(SharedRunner.Shell("cat /var/tmp/seen"), Cancel)).StandardOutput, StringComparison.Ordinal);
        SandboxResult warm = await runner.WarmAsync(SharedRunner.Shell("cat /var/tmp/seen"));

        Assert.Equal("65534\n", warm.StandardOutput);
        SandboxResult busy = await runner.RunAsync(SharedRunner.Shell("i=0; while [ $i -lt 600000 ]; do i=$((i+1)); done"), Cancel);
        Assert.True(warm.Usage.CommandCpu < busy.Usage.CommandCpu / 2, $"{warm.Usage.CommandCpu} is not far below {busy.Usage.CommandCpu}");
    }

    [Fact]
    public async Task WarmUp_that_fails_or_needs_too_much_memory_does_not_prevent_runs()
    {
        BoxerOptions options = shared.Options;
        options.Pool.Enabled = true;
        options.Pool.Images = [new() { Image = PythonImage.Name, Count = 0, WarmUp = ["sh", "-c", "kill -SEGV $$"] }];
        await using (SandboxRunner runner = SandboxRunnerFactory.Create(options))
        {
            await runner.WarmAsync(SharedRunner.Command("true"));
        }

        options.DefaultLimits.MemoryBytes = 64 * ByteSize.MiB;
        options.Pool.Images = [new() { Image = PythonImage.Name, Count = 0, WarmUp = ["python3", "-c", "x = b'x' * (400 << 20)"] }];
        await using (SandboxRunner runner = SandboxRunnerFactory.Create(options))
        {
            for (int i = 0; i < 3; i++)
            {
                Assert.Equal(0, (await runner.RunAsync(SharedRunner.Command("true"), Cancel)).ExitCode);
                await Task.Delay(500, Cancel);
            }
        }
    }

    [Fact]
    public Task A_run_whose_pooled_sandbox_was_killed_gets_another() => AfterKillAsync(async (runner, _) =>
    {
        SandboxRequest request = SharedRunner.Shell("cat /job/in");
        request.Files.Add(SandboxFile.FromText("job/in", "given"));
        Assert.Equal("given", (await runner.RunAsync(request, Cancel)).StandardOutput);
    });

    [Fact]
    public Task A_session_whose_pooled_sandbox_was_killed_keeps_nothing_of_it() => AfterKillAsync(async (runner, killed) =>
    {
        await using IOwnedSandboxSession box = await runner.OpenAsync(new SandboxSessionRequest(PythonImage.Name), Cancel);
        Assert.Equal(0, (await box.ExecAsync(new SandboxCommand("true"), Cancel)).ExitCode);
        await Until.IsSoAsync(() => !killed.Any(Directory.Exists), seconds: 60);
    });

    // Kills the waiting sandboxes of a runner, and gives the test their cgroups. It has its own instance, so that it kills only its own sandboxes.
    private async Task AfterKillAsync(Func<SandboxRunner, string[], Task> test)
    {
        string parent = "boxertest-" + Guid.NewGuid().ToString("N")[..8];
        BoxerOptions options = shared.Options;
        options.Pool.Enabled = true;
        options.CgroupParent = parent;
        try
        {
            await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
            await runner.WarmAsync(SharedRunner.Command("true"));
            await WarmRuns.WaitForReadyAsync();
            string[] killed = [];
            await Until.IsSoAsync(
                () =>
                {
                    killed = [.. Below(parent).Where(IsFrozen).Select(path => Path.GetDirectoryName(path)!)];
                    return KillFrozen(parent) > 0;
                },
                seconds: 60);
            await test(runner, killed);
        }
        finally
        {
            DeleteCgroups(parent);
        }
    }

    private static void DeleteCgroups(string parent)
    {
        foreach (string directory in Directory.GetDirectories("/sys/fs/cgroup", parent, new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 1 }))
        {
            Directory.Delete(directory);
        }
    }

    private static bool IsFrozen(string path) => Path.GetFileName(path) is "freezer.state" or "cgroup.freeze" && ReadState(path) is "FROZEN" or "1";

    private static string[] Below(string parent) =>
        [.. Directory.GetDirectories("/sys/fs/cgroup", parent, new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 1 })
            .SelectMany(directory => Directory.GetFiles(directory, "*", new EnumerationOptions { RecurseSubdirectories = true, IgnoreInaccessible = true }))];

    /// <returns>The number of killed processes.</returns>
    private static int KillFrozen(string parent) =>
        Below(parent).Where(IsFrozen)
            .SelectMany(state => ReadState(Path.Join(Path.GetDirectoryName(state), "cgroup.procs")).Split('\n', StringSplitOptions.RemoveEmptyEntries))
            .Count(pid => Native.Signal.kill(int.Parse(pid, System.Globalization.CultureInfo.InvariantCulture), Native.Signal.SIGKILL) == 0);

    private static string ReadState(string path)
    {
        try
        {
            return File.ReadAllText(path).Trim();
        }
        catch (IOException)
        {
            // The process has ended.
            return "";
        }
    }

    private SandboxRunner Make()
    {
        BoxerOptions options = shared.Options;
        options.Pool.Enabled = true;
        return SandboxRunnerFactory.Create(options);
    }
}
