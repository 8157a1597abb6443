using System.Globalization;
using Boxer.Hosting;
using Boxer.Linux;
using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>A command sees the processors and the memory of its limits, and its sandbox may use every processor of the host.</summary>
[Collection(Sandboxes.Name)]
public sealed class VisibleLimitTests(SharedRunner shared)
{
    private const string Facts = """
        import os, subprocess
        read = lambda path: open(path).read()
        print(os.cpu_count(), len(os.sched_getaffinity(0)), os.sysconf("SC_NPROCESSORS_ONLN"), int(subprocess.check_output(["nproc"])),
              sum(line.startswith("processor") for line in read("/proc/cpuinfo").splitlines()),
              sum(line.startswith("cpu") for line in read("/proc/stat").splitlines()) - 1, "btime" in read("/proc/stat"),
              all(line.split(":")[1].strip() == str(os.cpu_count()) for line in read("/proc/cpuinfo").splitlines() if line.startswith(("siblings", "cpu cores"))))
        print(sorted(os.listdir("/sys/devices/system/cpu")), *(read(f"/sys/devices/system/cpu/{name}").strip() for name in ("online", "possible", "present")))
        memory = {line.split(":")[0]: int(line.split()[1]) for line in read("/proc/meminfo").splitlines()}
        print(memory["MemTotal"], memory["MemAvailable"], memory["SwapTotal"], int(read("/sys/fs/cgroup/memory/memory.limit_in_bytes")) // 1024)
        print(int(read("/sys/fs/cgroup/cpu/cpu.cfs_quota_us")), int(read("/sys/fs/cgroup/cpu/cpu.cfs_period_us")), read("/sys/fs/cgroup/cpuset/cpuset.cpus").strip())
        """;

    private static readonly (double Cores, int Megabytes)[] Limits = [(0.5, 64), (1, 256), (2, 200)];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("0", false)]
    [InlineData("65534", false)]
    [InlineData("0", true)]
    [InlineData("65534", true)]
    public async Task A_command_sees_its_own_processors_and_memory(string user, bool pooled)
    {
        await using SandboxRunner runner = Make(options => options.Pool.Enabled = pooled);
        foreach ((double cores, int megabytes) in Limits.Where(limits => limits.Cores <= Environment.ProcessorCount))
        {
            SandboxRequest request = Python(Facts);
            request.User = user;
            request.Limits = new() { CpuCores = cores, MemoryBytes = megabytes * ByteSize.MiB };
            SandboxResult result = pooled ? await runner.WarmAsync(request) : await runner.RunAsync(request, Cancel);

            int processors = (int)Math.Ceiling(cores);
            string numbers = processors == 1 ? "0" : $"0-{processors - 1}";
            string entries = string.Concat(Enumerable.Range(0, processors).Select(number => $"'cpu{number}', "));
            int kibibytes = megabytes * 1024;
            Assert.Equal(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{processors} {processors} {processors} {processors} {processors} {processors} True True\n[{entries}'online', 'possible', 'present'] {numbers} {numbers} {numbers}\n{kibibytes} {kibibytes} 0 {kibibytes}\n{cores * 100_000:0} 100000 {numbers}\n"),
                result.StandardOutput + result.StandardError);
        }
    }

    [Fact]
    public async Task A_warm_up_sees_the_same_processors_and_memory_as_its_run()
    {
        string[] script = ["sh", "-c", "nproc; grep -c ^processor /proc/cpuinfo; grep -c '^cpu[0-9]' /proc/stat; grep MemTotal /proc/meminfo; ls /sys/devices/system/cpu"];
        await using SandboxRunner runner = Make(options =>
        {
            options.Pool.Enabled = true;
            options.Pool.Images = [new() { Image = PythonImage.Name, Count = 0, WarmUp = ["sh", "-c", "exec sh -c \"$1\" >/var/tmp/seen", "sh", script[2]] }];
        });

        SandboxResult run = await runner.WarmAsync(Command(script));
        SandboxResult warmUp = await runner.WarmAsync(Command("cat", "/var/tmp/seen"));

        Assert.Equal("1\n1\n1\nMemTotal:         262144 kB\ncpu0\nonline\npossible\npresent\n", run.StandardOutput);
        Assert.Equal(run.StandardOutput, warmUp.StandardOutput);
    }

    [Theory]
    [InlineData(false, false)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    public async Task A_sandbox_may_use_every_processor_of_the_host(bool pooled, bool ignoreCgroups)
    {
        string own = AllowedProcessors("/proc/self/status");
        Assert.SkipUnless(Environment.ProcessorCount > 1, "Needs two processors.");
        await using SandboxRunner runner = Make(options => (options.Pool.Enabled, options.IgnoreCgroups) = (pooled, ignoreCgroups));
        if (pooled)
        {
            await runner.WarmAsync(Command("true"));
        }

        SandboxRequest request = Shell("nproc; for i in 1 2 3; do sleep 1000 & done; wait");
        await using OpenRun run = await OpenRun.StartAsync(runner, request);
        Assert.Equal("1\n", run.Said);

        await Until.IsSoAsync(() => ReadThreads() is { Count: > 20 } threads && threads.All(thread => thread == own), seconds: 30);
        await run.StopAsync();
    }

    // Reads all descendants of this process: the sandbox's kernel has several threads, and so do its helper processes.
    private static List<string> ReadThreads()
    {
        List<string> threads = [];
        foreach (int process in ProcessTable.ReadTree(Environment.ProcessId).Where(process => process != Environment.ProcessId))
        {
            try
            {
                threads.AddRange(Directory.EnumerateDirectories($"/proc/{process}/task").Select(task => AllowedProcessors(task + "/status")));
            }
            catch (IOException)
            {
                // The process has ended.
            }
        }

        return threads;
    }

    private static string AllowedProcessors(string status) => File.ReadLines(status).First(line => line.StartsWith("Cpus_allowed_list:", StringComparison.Ordinal));

    private SandboxRunner Make(Action<BoxerOptions> change)
    {
        BoxerOptions options = shared.Options;
        change(options);
        return SandboxRunnerFactory.Create(options);
    }
}
