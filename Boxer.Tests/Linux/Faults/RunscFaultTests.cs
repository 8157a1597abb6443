using Boxer.Hosting;
using Boxer.Network;
using Boxer.Tests.Support;
using Microsoft.Extensions.Time.Testing;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux.Faults;

/// <summary>A runsc that fails in every way: a typed failure of that run alone, and no leftovers.</summary>
[Collection(Sandboxes.Name)]
public sealed class RunscFaultTests(PythonImage image)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("exit 3", "ended while it booted (exit code 3)")]
    [InlineData("kill -SEGV $$", "ended while it booted (exit code 139)")]
    [InlineData("echo 'panic: no luck' >&2; head -c 200000 /dev/zero | tr '\\0' x >&2; exit 2", "ended while it booted (exit code 2)")]
    [InlineData("echo no frame of any protocol >&0; exec sleep 1000", "booted with something else than boxer-init")]
    [InlineData("exec sleep 1000", "did not boot within 8 s")]
    [InlineData("timeout 1 yes >&2; exec sleep 1000", "did not boot within 8 s")]
    public async Task A_runtime_that_fails_at_boot_is_a_typed_failure_of_that_run_alone(string script, string message)
    {
        image.Require();
        BoxerOptions options = image.Options();
        options.BootTimeout = TimeSpan.FromSeconds(8);
        await using FaultyRuntime faulty = await FaultyRuntime.StartAsync(options, Cancel);
        faulty.Runsc.Do(script);

        SandboxRuntimeException fault = await Assert.ThrowsAsync<SandboxRuntimeException>(() => faulty.Runner.RunAsync(Command("true"), Cancel));

        Assert.Contains(message, fault.Message, StringComparison.Ordinal);
        Assert.Equal(script.Contains("panic", StringComparison.Ordinal), fault.Message.Contains("panic: no luck", StringComparison.Ordinal));
        Assert.InRange(fault.Message.Length, 1, 5_000);
    }

    [Fact]
    public async Task A_runtime_that_delivers_no_descriptors_gets_the_streams_at_boot_and_no_sessions()
    {
        image.Require();
        using var runsc = new StandInRunsc();
        runsc.Lie("ready(); until(14, descriptors=0); silence()", unless: "*--pass-fd=*");
        BoxerOptions options = image.Options();
        options.RunscPath = runsc.Path;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        SandboxRequest request = Shell("cat; echo err >&2; echo named >/dev/stdout");
        request.WithStandardInput("in\n");

        for (int i = 0; i < 3; i++)
        {
            SandboxResult result = await runner.RunAsync(request, Cancel);
            Assert.Equal(("in\nnamed\n", "err\n"), (result.StandardOutput, result.StandardError));
        }

        // Sessions need the descriptors.
        SandboxRuntimeException fault = await Assert.ThrowsAsync<SandboxRuntimeException>(() => runner.OpenAsync(new(PythonImage.Name), Cancel));
        Assert.Contains("runsc does not deliver descriptors to a booted sandbox, which sessions need; install a newer runsc", fault.Message, StringComparison.Ordinal);
        Assert.Empty(await runner.ListAsync(cancellationToken: Cancel));
        Assert.Equal("in\nnamed\n", (await runner.RunAsync(request, Cancel)).StandardOutput);
    }

    [Fact]
    public async Task A_removed_runsc_is_named_until_it_is_back()
    {
        image.Require();
        await using FaultyRuntime faulty = await FaultyRuntime.StartAsync(image.Options(), Cancel);
        faulty.Runsc.Remove();

        SandboxRuntimeException fault = await Assert.ThrowsAsync<SandboxRuntimeException>(() => faulty.Runner.RunAsync(Command("true"), Cancel));

        Assert.Contains("(exit code 125)", fault.Message, StringComparison.Ordinal);
        Assert.Contains($"exec {faulty.Runsc.Path}: No such file or directory", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Concurrent_callers_share_one_preparation_and_the_next_starts_another()
    {
        image.Require();
        const int Callers = 20;
        var time = new FakeTimeProvider();
        using var runsc = new StandInRunsc();
        runsc.DoWhenProbed("exec sleep 1000");
        BoxerOptions options = image.Options();
        options.RunscPath = runsc.Path;
        var runner = new SandboxRunner(options, [new NoneNetworkMode()], time: time);
        await using var disposal = new DisposedByClock(runner, time);
        Task<SandboxResult>[] runs = [.. Enumerable.Range(0, Callers).Select(_ => runner.RunAsync(Command("true"), Cancel))];
        await WaitAsync(() => runsc.Probes == 1);

        // The timer starts a little after the program.
        while (!runs.Any(run => run.IsCompleted))
        {
            time.Advance(TimeSpan.FromSeconds(1));
            await Task.Delay(20, Cancel);
        }

        foreach (Task<SandboxResult> run in runs)
        {
            SandboxRuntimeException fault = await Assert.ThrowsAsync<SandboxRuntimeException>(() => run);
            Assert.Contains("--version did not end within 20 s", fault.Message, StringComparison.Ordinal);
        }

        Assert.Equal(1, runsc.Probes);
        runsc.DoWhenProbed("");
        await runner.StartAsync(Cancel);
        Assert.Equal(2, runsc.Probes);
    }

    [Fact]
    public async Task A_run_is_rejected_if_the_host_is_not_ready_within_the_QueueTimeout()
    {
        image.Require();
        var time = new FakeTimeProvider();
        using var runsc = new StandInRunsc();
        runsc.DoWhenProbed("exec sleep 1000");
        BoxerOptions options = image.Options();
        options.RunscPath = runsc.Path;
        options.QueueTimeout = TimeSpan.FromSeconds(1);
        options.BootTimeout = TimeSpan.FromSeconds(1);
        var runner = new SandboxRunner(options, [new NoneNetworkMode()], time: time);
        await using var disposal = new DisposedByClock(runner, time);
        Task<SandboxResult> run = runner.RunAsync(Command("true"), Cancel);
        await WaitAsync(() => runsc.Probes == 1);
        time.Advance(TimeSpan.FromSeconds(2));

        await Assert.ThrowsAsync<SandboxCapacityException>(() => run);
    }

    [Fact]
    public async Task The_slot_of_a_sandbox_that_does_not_die_is_not_released()
    {
        image.Require();
        const string Freezer = "/sys/fs/cgroup/freezer";
        Assert.SkipUnless(Directory.Exists(Freezer), "Needs the freezer of cgroup v1, in which killed processes stay.");
        string frozen = Path.Join(Freezer, "boxertest-" + Guid.NewGuid().ToString("N")[..8]);
        Directory.CreateDirectory(frozen);
        using var runsc = new StandInRunsc();
        BoxerOptions options = image.Options();
        options.RunscPath = runsc.Path;
        options.BootTimeout = TimeSpan.FromSeconds(10);
        options.QueueTimeout = TimeSpan.FromSeconds(2);
        options.MaxConcurrentRuns = 1;
        string[] before = OwnTraces.Instances();
        string[] instances;
        try
        {
            await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
            await runner.RunAsync(Command("true"), Cancel);
            instances = [.. OwnTraces.Instances().Except(before, StringComparer.Ordinal)];
            runsc.Do($"echo $$ >{frozen}/cgroup.procs; exec 3>&-; echo FROZEN >{frozen}/freezer.state; exec sleep 1000");
            Assert.IsType<SandboxRuntimeException>(await RunAsync());
            runsc.Do("");
            for (int i = 0; i < 3; i++)
            {
                await Assert.ThrowsAsync<SandboxCapacityException>(() => runner.RunAsync(Command("true"), Cancel));
            }

            await File.WriteAllTextAsync(Path.Join(frozen, "freezer.state"), "THAWED", Cancel);
            await WaitAsync(() => File.ReadAllText(Path.Join(frozen, "cgroup.procs")).Length == 0);
            Assert.Null(await RunAsync());

            // Repeats a run that was refused, because the clean-up of the earlier one may take longer than the queue timeout.
            async Task<Exception?> RunAsync()
            {
                Exception? fault = null;
                for (int attempt = 0; attempt == 0 || (attempt < 30 && fault is SandboxCapacityException); attempt++)
                {
                    fault = await Record.ExceptionAsync(async () => Assert.Equal(0, (await runner.RunAsync(Command("true"), Cancel)).ExitCode));
                }

                return fault;
            }
        }
        finally
        {
            await File.WriteAllTextAsync(Path.Join(frozen, "freezer.state"), "THAWED", CancellationToken.None);
            await WaitAsync(() => File.ReadAllText(Path.Join(frozen, "cgroup.procs")).Length == 0);
            Directory.Delete(frozen);
        }

        Assert.Empty(await OwnTraces.FindAsync(instances));
    }

    private static Task WaitAsync(Func<bool> isSo) => Until.IsSoAsync(isSo, seconds: 60);
}
