using System.Diagnostics;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Boxer.Hosting;
using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>Runners leave nothing on this host: after a dispose immediately, and after kill -9 once the next runner has started.</summary>
[LongTests]
[Collection(Sandboxes.Name)]
public sealed class CrashTests(PythonImage image)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task DisposeAsync_leaves_nothing()
    {
        image.Require();
        BoxerOptions options = image.Options();
        string[] before = await HostState.ReadAsync();
        SandboxRunner runner = SandboxRunnerFactory.Create(options);
        Assert.Equal("42\n", (await runner.RunAsync(Python("print(42)"), Cancel)).StandardOutput);
        Task<SandboxResult> running = runner.RunAsync(Shell("sleep 100"), Cancel);
        await Task.Delay(TimeSpan.FromSeconds(1), Cancel);

        await runner.DisposeAsync();

        await HostState.AssertSameAsync(before);
        await Assert.ThrowsAsync<SandboxRuntimeException>(() => running);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => runner.RunAsync(Python("print(42)"), Cancel));
    }

    [Fact]
    public async Task After_kill_9_with_four_runs_in_flight_the_next_start_leaves_nothing_and_a_live_neighbour_is_not_touched()
    {
        image.Require();
        await using SandboxRunner neighbour = SandboxRunnerFactory.Create(image.Options());
        await using OpenRun neighboursRun = await OpenRun.StartAsync(neighbour, Shell(OpenRun.Counting));

        // Sandboxes of an earlier test may still be ending.
        await WaitForAsync(async () => await HostState.CountSandboxesAsync() == 1 ? 1 : 0, atLeast: 1);
        string[] before = await HostState.ReadAsync();

        // The pool's frozen sandboxes are part of the test.
        await using HostProcess first = await HostProcess.StartAsync(image, new JsonObject { ["pool"] = new JsonObject { ["images"] = new JsonObject { [PythonImage.Name] = 3 } } });
        await WaitForAsync(() => HostState.CountSandboxesAsync(), atLeast: 4);
        var body = new JsonObject { ["image"] = PythonImage.Name, ["cmd"] = new JsonArray("sleep", "1000"), ["network"] = "sandbox", ["limits"] = new JsonObject { ["wall_clock_secs"] = 900 } };
        Task[] runs = [.. Enumerable.Range(0, 4).Select(_ => first.Client.PostAsJsonAsync("/run", body, Cancel))];
        await WaitForAsync(() => HostState.CountSandboxesAsync(), atLeast: 8);
        first.Process.Kill();
        await first.Process.WaitForExitAsync(Cancel);
        await Task.WhenAll(runs).ContinueWith(_ => { }, Cancel, TaskContinuationOptions.None, TaskScheduler.Default);

        await using (SandboxRunner next = SandboxRunnerFactory.Create(image.Options()))
        {
            await next.StartAsync(Cancel);
        }

        await HostState.AssertSameAsync(before);
        await neighboursRun.PrintsAsync();
        await neighboursRun.StopCountingAsync();
    }

    [Fact]
    public async Task After_kill_9_with_links_of_sandboxes_that_wait_frozen_the_next_start_leaves_nothing()
    {
        image.Require();
        Assert.SkipUnless(HostProgram.Exists("nft") && HostProgram.Exists("ip"), "Needs ip and nft in PATH.");
        string[] before = await HostState.ReadAsync();
        await using HostProcess first = await HostProcess.StartAsync(image, new JsonObject { ["pool"] = new JsonObject { ["enabled"] = true } });
        var body = new JsonObject { ["image"] = PythonImage.Name, ["cmd"] = new JsonArray("true"), ["network"] = "sandbox" };
        (await first.Client.PostAsJsonAsync("/run", body, Cancel)).EnsureSuccessStatusCode();
        await WarmRuns.WaitForFrozenAsync();
        first.Process.Kill();
        await first.Process.WaitForExitAsync(Cancel);

        await using (SandboxRunner next = SandboxRunnerFactory.Create(image.Options()))
        {
            await next.StartAsync(Cancel);
        }

        await HostState.AssertSameAsync(before);
    }

    [Fact]
    public async Task Commands_that_are_killed_at_40_random_moments_leave_nothing_after_the_next_start()
    {
        const int Kills = 40;
        const int Pulls = 8;
        const int LongestMilliseconds = 300;
        image.Require();
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        string[] before = await HostState.ReadAsync();
        string pulling = Directory.CreateTempSubdirectory("boxer-killed-").FullName;
        string pulled = Directory.CreateTempSubdirectory("boxer-killed-").FullName;
        try
        {
            Assert.Equal(0, (await CliProcess.RunAsync([.. Run(pulled, "none"), "true"])).ExitCode);
            long start = Stopwatch.GetTimestamp();
            Assert.Equal(0, (await CliProcess.RunAsync([.. Run(pulled, "none"), "true"])).ExitCode);
            int longest = (int)(Stopwatch.GetElapsedTime(start).TotalMilliseconds * 1.3);
            for (int kill = 0; kill < Kills; kill++)
            {
                // The first processes are killed while they pull. Later, every second one is killed when it certainly has a sandbox.
                string home = kill < Pulls ? pulling : pulled;
                bool isHit = kill >= Pulls && kill % 2 == 0;
                string[] command = random.Next(isHit ? 2 : 4) switch
                {
                    0 => ["sh", "-c", "echo up; sleep 100"],
                    1 => ["sh", "-c", "yes | head -c 100000; sleep 100"],
                    2 => ["sh", "-c", "yes | head -c 100000"],
                    _ => ["true"],
                };
                using Process process = CliProcess.Start([.. Run(home, random.Next(2) == 0 ? "none" : "sandbox"), .. command]);
                process.StandardInput.Close();
                if (isHit)
                {
                    // The command runs.
                    Assert.Equal(1, await process.StandardOutput.ReadAsync(new char[1], Cancel));
                }

                Task reading = Task.WhenAll(process.StandardOutput.ReadToEndAsync(Cancel), process.StandardError.ReadToEndAsync(Cancel));
                await Task.Delay(random.Next(isHit ? LongestMilliseconds : longest), Cancel);
                process.Kill();
                await process.WaitForExitAsync(Cancel);
                await reading;
            }

            await AssertTakenAwayAsync(before, $"seed {seed}", image.Options(), pulled);
            await AssertTakenAwayAsync(before, $"seed {seed}", image.Options(), pulling);
        }
        finally
        {
            Directory.Delete(pulling, recursive: true);
            Directory.Delete(pulled, recursive: true);
        }

        string[] Run(string home, string network) => ["run", "--home", home, "--mirror", $"docker.io={image.Url}", "--network", network, PythonImage.Name];
    }

    [Fact]
    public async Task A_host_that_is_killed_at_10_random_moments_with_work_in_flight_leaves_nothing_after_the_next_start()
    {
        const int Kills = 10;
        const int LongestMilliseconds = 1_500;
        image.Require();
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        string[] before = await HostState.ReadAsync();
        string home = Path.Join(Directory.CreateTempSubdirectory("boxer-killed-").FullName, "home");
        try
        {
            for (int kill = 0; kill < Kills; kill++)
            {
                await using HostProcess host = await HostProcess.StartAsync(image, new JsonObject { ["home"] = home, ["pool"] = new JsonObject { ["images"] = new JsonObject { [PythonImage.Name] = 1 } } });
                Task[] runs =
                [
                    RunAsync(host, "none", "true"),
                    RunAsync(host, "none", "sh", "-c", "head -c 3000000 /dev/zero > /output/file; yes | head -c 300000"),
                    RunAsync(host, "sandbox", "sleep", "100"),
                    RunAsync(host, "sandbox", "sh", "-c", "yes"),
                    UploadAsync(host),
                ];
                await Task.Delay(random.Next(LongestMilliseconds), Cancel);
                host.Process.Kill();
                await host.Process.WaitForExitAsync(Cancel);
                await Task.WhenAll(runs);
            }

            await AssertTakenAwayAsync(before, $"seed {seed}", image.Options(), home);
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(home)!, recursive: true);
        }

        static async Task RunAsync(HostProcess host, string network, params string[] command)
        {
            var body = new JsonObject { ["image"] = PythonImage.Name, ["cmd"] = new JsonArray([.. command]), ["network"] = network, ["persist"] = true, ["limits"] = new JsonObject { ["wall_clock_secs"] = 200 } };
            await IgnoreAsync(host.Client.PostAsJsonAsync("/run", body, Cancel));
        }

        static async Task UploadAsync(HostProcess host)
        {
            using var form = new MultipartFormDataContent
            {
                { new ByteArrayContent(new byte[5 << 20]), "file", "f" },
                { new StringContent("a/b"), "path" },
            };
            await IgnoreAsync(host.Client.PostAsync(new Uri("/files", UriKind.Relative), form, Cancel));
        }

        static async Task IgnoreAsync(Task<HttpResponseMessage> answer)
        {
            try
            {
                (await answer).Dispose();
            }
            catch (HttpRequestException)
            {
                // The killed host closed the connection, as expected.
            }
        }
    }

    private static async Task AssertTakenAwayAsync(string[] before, string context, BoxerOptions options, string home)
    {
        options.Home = home;
        await using (SandboxRunner next = SandboxRunnerFactory.Create(options))
        {
            await next.StartAsync(Cancel);
            Assert.Equal("next\n", (await next.RunAsync(Shell("echo next"), Cancel)).StandardOutput);
        }

        await HostState.AssertSameAsync(before, context);
        Assert.Empty(Directory.GetFileSystemEntries(Path.Join(home, "tmp")));
    }

    private static async Task WaitForAsync(Func<Task<int>> count, int atLeast)
    {
        for (int attempt = 0; await count() < atLeast; attempt++)
        {
            Assert.True(attempt < 600, "The sandboxes did not come up.");
            await Task.Delay(TimeSpan.FromMilliseconds(50), Cancel);
        }
    }
}
