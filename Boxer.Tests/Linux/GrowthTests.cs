using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>
/// The host process does not grow with the number of runs, commands and sessions that it has served. Sessions that wait take one descriptor of it,
/// and no processor time.
/// </summary>
[LongTests]
[Collection(Sandboxes.Name)]
public sealed class GrowthTests(PythonImage image, SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("none")]
    [InlineData("sandbox")]
    public async Task Runs_of_300_leave_no_descriptor_open(string network)
    {
        const int Runs = 300;
        const int AtOnce = 6;
        image.Require();
        Assert.SkipWhen(network == "sandbox" && !(HostProgram.Exists("nft") && HostProgram.Exists("ip")), "Needs ip and nft in PATH.");
        await shared.PullAsync();
        await using HostProcess host = await HostProcess.StartAsync(image, new JsonObject
        {
            ["pool"] = new JsonObject { ["images"] = new JsonArray(new JsonObject { ["image"] = PythonImage.Name, ["count"] = 2 }), ["max_sandboxes"] = 2 },
        });
        await RunAsync(host, network, 4 * AtOnce, AtOnce);
        await host.WaitForPoolAsync(2);
        int before = await HostDescriptors.CountAsync(host.Process.Id);
        string first = HostDescriptors.Describe(host.Process.Id);

        await RunAsync(host, network, Runs, AtOnce);
        await host.WaitForPoolAsync(2);
        int after = await HostDescriptors.CountAsync(host.Process.Id);

        Assert.True(after <= before, $"{Runs} runs left {after - before} descriptors open.\nBefore: {first}\nAfter: {HostDescriptors.Describe(host.Process.Id)}");
    }

    [Fact]
    public async Task Commands_of_1000_in_one_session_leave_nothing_open_or_behind()
    {
        const int Commands = 1_000;
        const int AtOnce = 4;
        const int MaxBytes = 64_000_000;
        const int MaxKilobytesOfInit = 256;
        await shared.PullAsync();
        await using HostProcess host = await HostProcess.StartAsync(image);
        HttpSession session = await HttpSession.OpenAsync(host.Client);
        await RepeatAsync(10 * AtOnce, AtOnce, ExecAsync);
        int[] first = await LookInsideAsync(session);
        int before = await HostDescriptors.CountAsync(host.Process.Id);

        await RepeatAsync(Commands, AtOnce, ExecAsync);
        int after = await HostDescriptors.CountAsync(host.Process.Id);

        Assert.True(after <= before, $"{Commands} commands left {after - before} descriptors open: {HostDescriptors.Describe(host.Process.Id)}");
        int[] last = await LookInsideAsync(session);
        Assert.Equal(first[..2], last[..2]);
        Assert.InRange(last[2] - first[2], int.MinValue, MaxKilobytesOfInit);
        Assert.InRange(SandboxCgroups.MemoryBytes().Single(), 1, MaxBytes);

        async Task ExecAsync() => Assert.Equal("done\n", (string?)(await session.ExecAsync("echo done"))["stdout"]);
    }

    // gVisor remembers the files of /proc of processes that ended, with all that it knew of them.
    [Fact]
    public async Task Processes_that_were_looked_up_and_ended_take_no_memory()
    {
        const int MaxBytes = 64_000_000;
        SandboxResult result = await shared.Runner.RunAsync(
            new SandboxRequest(PythonImage.Name, "sh", "-c", "for i in $(seq 600); do cat /proc/self/stat; done >/dev/null; sed -n 's/^HeapAlloc: *\\([0-9]*\\) kB$/\\1/p' /proc/sentry-meminfo"), Cancel);

        Assert.InRange(1024 * long.Parse(result.StandardOutput, CultureInfo.InvariantCulture), 1, MaxBytes);
    }

    [Fact]
    public async Task Sessions_of_200_one_after_another_leave_nothing_open_or_behind()
    {
        const int Sessions = 200;
        await shared.PullAsync();
        Assert.SkipUnless(HostProgram.Exists("nft") && HostProgram.Exists("ip"), "Needs ip and nft in PATH.");
        await using HostProcess host = await HostProcess.StartAsync(image);
        await RepeatAsync(4, 1, UseOneAsync);
        int before = await HostDescriptors.CountAsync(host.Process.Id);
        string[] traces = await ReadTracesAsync();

        await RepeatAsync(Sessions, 1, UseOneAsync);
        int after = await HostDescriptors.CountAsync(host.Process.Id);

        Assert.True(after <= before, $"{Sessions} sessions left {after - before} descriptors open: {HostDescriptors.Describe(host.Process.Id)}");
        Assert.Equal(traces, await ReadTracesAsync());

        async Task UseOneAsync()
        {
            HttpSession session = await HttpSession.OpenAsync(host.Client, new JsonObject { ["network"] = "sandbox" });
            await session.StartAsync([], "sleep", "1000");
            Assert.Equal("done\n", (string?)(await session.ExecAsync("echo done"))["stdout"]);
            await session.MustAsync(HttpMethod.Delete, "");
        }
    }

    [Fact]
    public async Task Idle_sessions_of_50_take_no_processor_time_and_one_descriptor_each()
    {
        const int First = 10;
        const int All = 50;
        const int MaxBytes = 20_000_000;
        await shared.PullAsync();
        await using HostProcess host = await HostProcess.StartAsync(image);
        await OpenAsync(First);
        int ten = await HostDescriptors.CountAsync(host.Process.Id);
        await OpenAsync(All - First);
        int fifty = await HostDescriptors.CountAsync(host.Process.Id);
        TimeSpan sandboxes = SandboxCgroups.ProcessorTime();
        TimeSpan process = await MeasureIdleHostAsync(host);
        sandboxes = SandboxCgroups.ProcessorTime() - sandboxes;

        Assert.True(fifty - ten == All - First, $"{All - First} sessions take {fifty - ten} descriptors: {HostDescriptors.Describe(host.Process.Id)}");
        Assert.InRange(sandboxes, TimeSpan.Zero, TimeSpan.FromMilliseconds(10));

        // The host reads clocks, and has a few timers.
        Assert.InRange(process, TimeSpan.Zero, TimeSpan.FromMilliseconds(100));
        Assert.Equal(All, SandboxCgroups.MemoryBytes().Length);
        Assert.All(SandboxCgroups.MemoryBytes(), bytes => Assert.InRange(bytes, 1, MaxBytes));

        async Task OpenAsync(int count)
        {
            await RepeatAsync(count, 2, () => HttpSession.OpenAsync(host.Client, new JsonObject { ["limits"] = new JsonObject { ["memory_mb"] = 64 }, ["idle_timeout_secs"] = 3_000 }));
            await Until.IsSoAsync(SandboxCgroups.AreFrozen, 120);
        }
    }

    // An address is used again after a minute, so a host that opens sessions faster claims further addresses.
    private static async Task<string[]> ReadTracesAsync() =>
        [.. (await HostState.ReadAsync()).SelectMany(trace => trace.Split('\n')).Where(line => !line.Contains("elements = { 10.231.", StringComparison.Ordinal))];

    // Processor time in 5 s, of up to 10 attempts: at first .NET compiles in the background.
    private static async Task<TimeSpan> MeasureIdleHostAsync(HostProcess host)
    {
        TimeSpan used = TimeSpan.MaxValue;
        for (int attempt = 0; attempt < 10 && used > TimeSpan.FromMilliseconds(100); attempt++)
        {
            TimeSpan before = await ReadProcessorTimeAsync(host);
            await Task.Delay(TimeSpan.FromSeconds(5), Cancel);
            used = await ReadProcessorTimeAsync(host) - before;
        }

        return used;
    }

    // User and system time, in the kernel's ticks of 10 ms.
    private static async Task<TimeSpan> ReadProcessorTimeAsync(HostProcess host)
    {
        string[] fields = (await File.ReadAllTextAsync($"/proc/{host.Process.Id}/stat", Cancel)).Split(") ")[^1].Split(' ');
        return TimeSpan.FromMilliseconds(10 * (long.Parse(fields[11], CultureInfo.InvariantCulture) + long.Parse(fields[12], CultureInfo.InvariantCulture)));
    }

    // Descriptors of PID 1, processes with those that have ended and are not reaped, and kilobytes of PID 1.
    private static async Task<int[]> LookInsideAsync(HttpSession session) =>
        [.. ((string)(await session.ExecAsync("ls /proc/1/fd | wc -l; ls /proc | grep -c '^[0-9]'; sed -n 's/^VmSize:[^0-9]*\\([0-9]*\\) kB$/\\1/p' /proc/1/status"))["stdout"]!).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(number => int.Parse(number, CultureInfo.InvariantCulture))];

    private static async Task RunAsync(HostProcess host, string network, int count, int atOnce) => await RepeatAsync(count, atOnce, async () =>
    {
        var body = new JsonObject { ["image"] = PythonImage.Name, ["cmd"] = new JsonArray("echo", "done"), ["network"] = network };
        using HttpResponseMessage answer = await host.Client.PostAsJsonAsync("/run", body, Cancel);
        Assert.Equal("done\n", (await answer.Content.ReadFromJsonAsync<JsonObject>(Cancel))!["stdout"]!.GetValue<string>());
    });

    private static async Task RepeatAsync(int count, int atOnce, Func<Task> work)
    {
        int left = count;
        await Task.WhenAll(Enumerable.Range(0, atOnce).Select(_ => LoopAsync()));

        async Task LoopAsync()
        {
            while (Interlocked.Decrement(ref left) >= 0)
            {
                await work();
            }
        }
    }
}
