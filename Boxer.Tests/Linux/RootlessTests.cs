using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>The HTTP host as a user without privileges: flattened roots, and no cgroups.</summary>
[LongTests]
[Collection(Sandboxes.Name)]
public sealed class RootlessTests(PythonImage image) : IAsyncLifetime
{
    private const uint User = 65533;

    // The directory of the user's instances if XDG_RUNTIME_DIR is not set.
    private static readonly string OfUser = $"/tmp/boxer-{User}";
    private static readonly string[] AsUser = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups", "env", "-u", "XDG_RUNTIME_DIR"];
    private string _directory = "";

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        image.Require();
        _directory = Directory.CreateTempSubdirectory("boxer-rootless-").FullName;

        // Other users may not be able to enter the build directory.
        await HostProgram.RunAsync("cp", "-rL", AppContext.BaseDirectory + "/.", _directory);
        await HostProgram.RunAsync("chown", "-R", "65533:65533", _directory);
        try
        {
            await HostProgram.RunAsync(AsUser[0], [.. AsUser[1..], "HOME=" + _directory, "dotnet", "--version"]);
        }
        catch (Xunit.Sdk.XunitException exception)
        {
            Assert.Skip("dotnet cannot be run by other users here: " + exception.Message);
        }
    }

    public ValueTask DisposeAsync()
    {
        if (_directory.Length > 0)
        {
            Directory.Delete(_directory, recursive: true);
            if (Directory.Exists(OfUser))
            {
                Directory.Delete(OfUser);
            }
        }

        return ValueTask.CompletedTask;
    }

    [Fact]
    public async Task A_program_runs_and_the_response_lists_the_limits_that_are_not_enforced()
    {
        await using HostProcess host = await StartAsync(new JsonObject { ["ignore_cgroups"] = true });
        var body = new JsonObject
        {
            ["image"] = PythonImage.Name,
            ["cmd"] = new JsonArray("python3", "-c", "import os; print(os.getuid(), os.cpu_count(), open('/proc/meminfo').readline().split()[1]); open('/output/x', 'w').write('y'); open('/usr/z', 'w')"),
        };
        // User 0 can change to other users, and without cgroups nothing limits all of them together.
        var ofRoot = new JsonObject { ["image"] = PythonImage.Name, ["cmd"] = new JsonArray("true"), ["user"] = "0" };
        using HttpResponseMessage rooted = await host.Client.PostAsJsonAsync("/run", ofRoot, Cancel);
        Assert.Equal(["cpu_cores", "memory_mb", "pids_limit"], (await rooted.Content.ReadFromJsonAsync<JsonNode>(Cancel))!["unenforced_limits"]!.AsArray().Select(limit => (string?)limit));
        for (int run = 0; run < 2; run++)
        {
            using HttpResponseMessage response = await host.Client.PostAsJsonAsync("/run", body, Cancel);
            JsonNode answer = (await response.Content.ReadFromJsonAsync<JsonNode>(Cancel))!;

            Assert.Equal(("65534 1 262144\n", 1), ((string?)answer["stdout"], (int?)answer["exit_code"]));
            Assert.Contains("PermissionError", (string?)answer["stderr"], StringComparison.Ordinal);
            Assert.Equal(["cpu_cores", "memory_mb"], answer["unenforced_limits"]!.AsArray().Select(limit => (string?)limit));
        }

        Assert.Equal(0, await host.StopAsync());
        Assert.Empty(Directory.EnumerateFileSystemEntries(OfUser));
    }

    [Fact]
    public async Task Processor_time_is_limited_for_the_process_of_the_command_and_reported()
    {
        await using HostProcess host = await StartAsync(new JsonObject { ["ignore_cgroups"] = true });

        // The second sends itself the signal of the limit. The third exits before the kernel's limit, which has whole seconds. It reads
        // the clock of the limit, so that the speed of this machine does not matter. The fourth ignores the signal.
        Assert.Equal("cpu_time_limit", await RunAsync("while :; do :; done", 0.5));
        Assert.Equal("signaled", await RunAsync("kill -XCPU $$", 5));
        Assert.Equal("cpu_time_limit", await RunAsync("python3 -c 'import time\nwhile time.process_time() < 0.8: pass'; exit 0", 0.5));
        Assert.Equal("cpu_time_limit", await RunAsync("trap '' XCPU; while :; do :; done", 0.5));
        Assert.Equal("exited", await RunAsync("sleep 3", 0.5));

        async Task<string?> RunAsync(string script, double seconds)
        {
            var body = new JsonObject { ["image"] = PythonImage.Name, ["cmd"] = new JsonArray("sh", "-c", script), ["limits"] = new JsonObject { ["cpu_time_secs"] = seconds } };
            using HttpResponseMessage response = await host.Client.PostAsJsonAsync("/run", body, Cancel);
            JsonNode answer = (await response.Content.ReadFromJsonAsync<JsonNode>(Cancel))!;
            Assert.Equal(200, (int)response.StatusCode);
            Assert.Equal(["cpu_cores", "memory_mb", "cpu_time_secs"], answer["unenforced_limits"]!.AsArray().Select(limit => (string?)limit));
            Assert.Equal((double?)answer["usage"]!["command_cpu_ms"], (double?)answer["usage"]!["cpu_ms"]);
            return (string?)answer["termination"];
        }
    }

    [Theory]
    [InlineData("sandbox", "uid 0, CAP_NET_ADMIN, CAP_SYS_ADMIN")]
    [InlineData("host", "uid 0")]
    public async Task Networks_are_rejected_with_the_missing_requirement(string network, string missing)
    {
        await using HostProcess host = await StartAsync(new JsonObject { ["ignore_cgroups"] = true });
        var body = new JsonObject { ["image"] = PythonImage.Name, ["cmd"] = new JsonArray("true"), ["network"] = network };

        using HttpResponseMessage response = await host.Client.PostAsJsonAsync("/run", body, Cancel);

        Assert.Equal(System.Net.HttpStatusCode.BadRequest, response.StatusCode);
        string answer = await response.Content.ReadAsStringAsync(Cancel);
        Assert.Contains($"The network mode '{network}' cannot be used on this host", answer, StringComparison.Ordinal);
        Assert.Equal(0, await host.StopAsync());
        Assert.Contains("this process lacks " + missing, await host.Log, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Without_cgroups_the_host_does_not_start_and_names_the_remedy()
    {
        InvalidOperationException fault = await Assert.ThrowsAsync<InvalidOperationException>(() => StartAsync([]));

        Assert.Contains("Cannot create cgroups", fault.Message, StringComparison.Ordinal);
        Assert.Contains("Run as root, name a delegated subtree in cgroup_parent, or set ignore_cgroups", fault.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task After_kills_at_8_random_moments_with_work_in_flight_the_next_start_leaves_nothing()
    {
        const int Kills = 8;
        const int Pulls = 2;
        const int LongestMilliseconds = 2_000;
        int seed = Random.Shared.Next();
        var random = new Random(seed);
        for (int kill = 0; kill < Kills; kill++)
        {
            await using HostProcess host = await StartAsync(new JsonObject { ["ignore_cgroups"] = true });

            // The first hosts are killed while they pull.
            if (kill == Pulls)
            {
                Assert.Equal("pulled\n", await EchoAsync(host, "pulled"));
            }

            Task[] runs = [.. ((string[])["true", "sleep 100", "yes", "head -c 3000000 /dev/zero > /output/file"]).Select(command => RunAsync(host, command))];
            await Task.Delay(random.Next(LongestMilliseconds), Cancel);
            if (kill == Kills - 1)
            {
                await Until.IsSoAsync(() => LiveSandboxes().Any(), seconds: 30);
            }

            host.Process.Kill();
            await host.Process.WaitForExitAsync(Cancel);
            await Task.WhenAll(runs);
        }

        await using (HostProcess next = await StartAsync(new JsonObject { ["ignore_cgroups"] = true }))
        {
            Assert.True(!LiveSandboxes().Any(), $"seed {seed}: {string.Join('\n', LiveSandboxes())}");
            Assert.Equal("next\n", await EchoAsync(next, "next"));
            Assert.Equal(0, await next.StopAsync());
        }

        string[] left = [.. Processes(), .. Directory.EnumerateFileSystemEntries(OfUser), .. Directory.EnumerateFileSystemEntries(Path.Join(_directory, "home", "tmp"))];
        Assert.True(left.Length == 0, $"seed {seed}: {string.Join('\n', left)}");

        static async Task<string?> EchoAsync(HostProcess host, string word)
        {
            using HttpResponseMessage response = await host.Client.PostAsJsonAsync("/run", Body("echo " + word), Cancel);
            return (string?)(await response.Content.ReadFromJsonAsync<JsonNode>(Cancel))!["stdout"];
        }

        static async Task RunAsync(HostProcess host, string command)
        {
            try
            {
                (await host.Client.PostAsJsonAsync("/run", Body(command), Cancel)).Dispose();
            }
            catch (HttpRequestException)
            {
                // The killed host closed the connection, as expected.
            }
        }

        static JsonObject Body(string command) => new()
        {
            ["image"] = PythonImage.Name,
            ["cmd"] = new JsonArray("sh", "-c", command),
            ["persist"] = true,
            ["limits"] = new JsonObject { ["wall_clock_secs"] = 200 },
        };
    }

    private static IEnumerable<string> LiveSandboxes() => Processes().Where(line => line.StartsWith("runsc", StringComparison.Ordinal));

    // Command lines of the user's processes, without zombies.
    private static IEnumerable<string> Processes() =>
        ProcessList.Read().Where(process => process.CommandLine.Length > 0 && IsOfUser(process.Id)).Select(process => process.CommandLine.Replace('\0', ' '));

    private static bool IsOfUser(int process)
    {
        try
        {
            return File.ReadLines($"/proc/{process}/status").Any(line => line.StartsWith($"Uid:\t{User}\t", StringComparison.Ordinal));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private Task<HostProcess> StartAsync(JsonObject settings)
    {
        Assert.SkipUnless(Unistd.geteuid() == 0, "Needs root, to change to another user.");
        settings["home"] = Path.Join(_directory, "home");
        return HostProcess.StartAsync(image, settings, [.. AsUser, "HOME=" + _directory], _directory);
    }
}
