using Boxer.Hosting;
using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>CpuTime limits the sandbox as a whole: all processor time counts, and waiting does not.</summary>
[LongTests]
[Collection(Sandboxes.Name)]
public sealed class CpuTimeTests(SharedRunner shared)
{
    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(1);

    // The documented overshoot per core, and an allowance for ending the command on a busy machine.
    private static readonly TimeSpan Overshoot = TimeSpan.FromSeconds(0.1);
    private static readonly TimeSpan Ending = TimeSpan.FromSeconds(0.3);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static TheoryData<string, string, double> Spenders => new()
    {
        { "a loop", "print('up', flush=True)\nwhile True: pass", 1 },
        { "a loop with little of a processor", "print('up', flush=True)\nwhile True: pass", 0.5 },
        { "many processes, each far below the limit", "import os; print('up', flush=True)\nwhile True:\n  if os.fork() == 0:\n    os._exit(sum(range(200000)) * 0)\n  os.wait()", 1 },
        { "two processes at once", "import os; print('up', flush=True); os.fork()\nwhile True: pass", 2 },
        { "threads", "import hashlib, threading; print('up', flush=True); block = bytes(1 << 20)\ndef spend():\n  while True: hashlib.sha256(block)\nfor _ in range(4): threading.Thread(target=spend).start()", 2 },
        { "a child that outlives its parent", "import os, time; print('up', flush=True)\nif os.fork() == 0:\n  if os.fork() > 0: os._exit(0)\n  os.setsid()\n  while True: pass\ntime.sleep(600)", 1 },
        { "system calls", "import os; print('up', flush=True)\nwhile True: os.stat('/')", 1 },
    };

    [Theory]
    [MemberData(nameof(Spenders))]
    public async Task CpuTime_ends_every_kind_of_busy_program(string _, string program, double cores)
    {
        SandboxRequest request = Python(program);
        request.Limits = new() { CpuTime = Limit, CpuCores = cores, WallClock = TimeSpan.FromMinutes(2) };

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((TerminationKind.CpuTimeLimit, 137, "up\n"), (result.Termination.Kind, result.ExitCode, result.StandardOutput));
        Assert.Equal("killed: the sandbox reached its cpu-time limit of 1 s", result.Termination.Message);
        Assert.InRange(result.Usage.SandboxCpu!.Value, Limit, Limit + (Overshoot * cores) + Ending);
        Assert.Equal(result.Usage.SandboxCpu, result.Usage.Cpu);
        Assert.Empty(result.UnenforcedLimits);
    }

    [Theory]
    [InlineData("sleep 4")]
    [InlineData("python3 -c 'import select; select.select([], [], [], 4)'")]
    [InlineData("sleep 3 & sleep 4 & wait")]
    public async Task CpuTime_does_not_count_waiting(string script)
    {
        SandboxRequest request = Shell(script);
        request.Limits = new() { CpuTime = Limit };

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((TerminationKind.Exited, 0), (result.Termination.Kind, result.ExitCode));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(100_000)]
    [InlineData(400_000)]
    [InlineData(1_000_000)]
    [InlineData(2_000_000)]
    [InlineData(8_000_000)]
    public async Task Termination_and_Usage_agree_for_commands_that_end_near_CpuTime(int additions)
    {
        SandboxRequest request = Python($"sum(range({additions})); [i for i in range({additions})]");
        request.Limits = new() { CpuTime = TimeSpan.FromMilliseconds(200), MemoryBytes = 1024 * ByteSize.MiB };

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(
            result.Usage.SandboxCpu >= request.Limits.CpuTime ? TerminationKind.CpuTimeLimit : TerminationKind.Exited,
            result.Termination.Kind);
    }

    [Fact]
    public async Task A_run_in_a_pooled_sandbox_is_not_charged_for_its_boot_and_warm_up()
    {
        BoxerOptions options = shared.Options;
        options.Pool.Enabled = true;
        options.Pool.Images = [new() { Image = PythonImage.Name, Count = 0, WarmUp = ["python3", "-c", "import time; x = b'x' * (70 << 20)\nwhile time.process_time() < 1.2: pass"] }];
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        SandboxRequest idle = Command("true");
        idle.Limits = new() { CpuTime = Limit };
        SandboxRequest busy = Shell("echo up; while :; do :; done");
        busy.Limits = new() { CpuTime = Limit };

        SandboxResult warm = await runner.WarmAsync(idle);
        SandboxResult ended = await runner.WarmAsync(busy);

        Assert.Equal((TerminationKind.Exited, 0), (warm.Termination.Kind, warm.ExitCode));
        Assert.InRange(warm.Usage.MaxResidentBytes!.Value, 1, 40 << 20);
        Assert.Equal((TerminationKind.CpuTimeLimit, "up\n"), (ended.Termination.Kind, ended.StandardOutput));
        Assert.True(ended.Usage.SandboxCpu >= Limit);
    }

    [Fact]
    public async Task A_request_without_CpuTime_is_bounded_by_MaxLimits()
    {
        BoxerOptions options = shared.Options;
        options.MaxLimits.CpuTime = Limit;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);

        SandboxResult result = await runner.RunAsync(Shell("while :; do :; done"), Cancel);

        Assert.Equal(TerminationKind.CpuTimeLimit, result.Termination.Kind);
    }

    [Theory]
    [InlineData(TerminationKind.Exited, "exit 3", true)]
    [InlineData(TerminationKind.Signaled, "kill -SEGV $$", true)]
    [InlineData(TerminationKind.WallClockLimit, "while :; do :; done", true)]
    [InlineData(TerminationKind.OutputLimit, "cat /dev/zero", false)]
    [InlineData(TerminationKind.MemoryLimit, "python3 -c 'x = b\"x\" * (1 << 30)'", false)]
    [InlineData(TerminationKind.DiskLimit, "cat /dev/zero > /tmp/x", true)]
    public async Task Every_termination_comes_with_its_usage(TerminationKind kind, string script, bool isReported)
    {
        SandboxRequest request = Shell($"python3 -c 'import time; x = b\"x\" * (30 << 20); time.sleep(1)'; {script}");
        request.Limits = new() { WallClock = TimeSpan.FromSeconds(kind == TerminationKind.WallClockLimit ? 10 : 60), DiskBytes = 4 * ByteSize.MiB, StandardOutputBytes = 1 << 20 };

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(kind, result.Termination.Kind);
        Assert.True(result.Usage.SandboxCpu > TimeSpan.FromMilliseconds(10), $"{result.Usage}");
        Assert.True(result.Usage.PeakMemoryBytes > 30 << 20, $"{result.Usage}");
        Assert.True(!isReported || result.Usage.MaxResidentBytes > 30 << 20, $"{result.Usage}");
    }

    [Fact]
    public async Task A_run_that_reaches_its_WallClock_reports_its_processor_time()
    {
        SandboxRequest request = Python("import time\nwhile time.process_time() < 1.5: pass\ntime.sleep(600)");
        request.Limits = new() { WallClock = TimeSpan.FromSeconds(12) };

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(TerminationKind.WallClockLimit, result.Termination.Kind);
        Assert.True(result.Usage.SandboxCpu > TimeSpan.FromSeconds(0.5), $"{result.Usage}");
    }

    [Fact]
    public async Task PeakMemoryBytes_excludes_the_first_read_of_an_image()
    {
        const string Holder = "import time; x = b'x' * (100 << 20); time.sleep(1.5)";
        SandboxRequest reader = Shell("find / -xdev -type f -exec cat {} + > /dev/null 2>&1; sleep 0.5");
        SandboxRequest writer = Shell("head -c 60000000 /dev/zero > /tmp/x; sleep 0.5");
        BoxerOptions options = shared.Options;
        options.Pool.Enabled = true;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        await File.WriteAllTextAsync("/proc/sys/vm/drop_caches", "3", Cancel);
        SandboxResult cold = await runner.RunAsync(Python(Holder), Cancel);
        SandboxResult warm = await runner.WarmAsync(Python(Holder));
        SandboxResult read = await shared.Runner.RunAsync(reader, Cancel);
        SandboxResult written = await shared.Runner.RunAsync(writer, Cancel);

        const long Mebibyte = 1 << 20;
        Assert.All([cold, warm], result => Assert.InRange(result.Usage.PeakMemoryBytes!.Value, 95 * Mebibyte, 160 * Mebibyte));
        Assert.All([cold, warm], result => Assert.InRange(result.Usage.MaxResidentBytes!.Value, 100 * Mebibyte, 130 * Mebibyte));
        Assert.InRange(read.Usage.PeakMemoryBytes!.Value, 1, 80 * Mebibyte);
        Assert.InRange(written.Usage.PeakMemoryBytes!.Value, 60_000_000, 120 * Mebibyte);
    }
}
