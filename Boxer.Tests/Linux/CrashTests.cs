using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Boxer.Hosting;
using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>Nothing of ours is left on this host: after a dispose at once, after kill -9 when the next one has started.</summary>
[Collection(Sandboxes.Name)]
public sealed class CrashTests(PythonImage image)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task After_dispose_nothing_is_left()
    {
        image.Require();
        BoxerOptions options = image.Options();
        string[] before = await HostState.ReadAsync();
        SandboxRunner runner = BoxerRunner.Create(options);
        Assert.Equal("42\n", (await runner.RunAsync(Python("print(42)"), Cancel)).Stdout);
        Task<SandboxResult> running = runner.RunAsync(Shell("sleep 100"), Cancel);
        await Task.Delay(TimeSpan.FromSeconds(1), Cancel);

        await runner.DisposeAsync();

        Assert.Equal(before, await HostState.ReadAsync());
        await Assert.ThrowsAsync<SandboxRuntimeException>(() => running);
        await Assert.ThrowsAsync<ObjectDisposedException>(() => runner.RunAsync(Python("print(42)"), Cancel));
    }

    [Fact]
    public async Task After_kill_9_with_four_runs_in_flight_the_next_start_leaves_nothing_and_a_live_neighbour_is_not_touched()
    {
        image.Require();
        await using SandboxRunner neighbour = BoxerRunner.Create(image.Options());
        Task<SandboxResult> neighboursRun = neighbour.RunAsync(Shell("sleep 12; echo alive"), Cancel);
        await WaitForAsync(() => HostState.CountSandboxesAsync(), atLeast: 1);
        string[] before = await HostState.ReadAsync();

        using Process first = await StartHostAsync();
        string address = await ReadAddressAsync(first);
        using var client = new HttpClient { BaseAddress = new Uri(address) };
        var body = new JsonObject { ["image"] = PythonImage.Name, ["cmd"] = new JsonArray("sleep", "1000"), ["limits"] = new JsonObject { ["wall_clock_secs"] = 900 } };
        Task[] runs = [.. Enumerable.Range(0, 4).Select(_ => client.PostAsJsonAsync("/run", body, Cancel))];
        await WaitForAsync(() => HostState.CountSandboxesAsync(), atLeast: 5);
        first.Kill();
        await first.WaitForExitAsync(Cancel);
        await Task.WhenAll(runs).ContinueWith(_ => { }, Cancel, TaskContinuationOptions.None, TaskScheduler.Default);

        await using (SandboxRunner next = BoxerRunner.Create(image.Options()))
        {
            await next.StartAsync(Cancel);
        }

        Assert.Equal(before, await HostState.ReadAsync());
        Assert.Equal("alive\n", (await neighboursRun).Stdout);
    }

    private async Task<Process> StartHostAsync()
    {
        string config = Path.Join(Path.GetDirectoryName(image.Home), "host.json");
        var settings = new JsonObject
        {
            ["home"] = image.Home,
            ["listen_addr"] = "127.0.0.1:0",
            ["registry_mirrors"] = new JsonObject { ["docker.io"] = new JsonArray(image.Url) },
        };
        await File.WriteAllTextAsync(config, settings.ToJsonString(), Cancel);
        return HostProgram.Start("dotnet", Path.Join(AppContext.BaseDirectory, "Boxer.HttpHost.dll"), "--config", config);
    }

    private static async Task<string> ReadAddressAsync(Process host)
    {
        const string Marker = "Now listening on: ";
        while (await host.StandardOutput.ReadLineAsync(Cancel) is { } line)
        {
            int at = line.IndexOf(Marker, StringComparison.Ordinal);
            if (at >= 0)
            {
                _ = host.StandardOutput.ReadToEndAsync(Cancel);
                return line[(at + Marker.Length)..].Trim();
            }
        }

        throw new InvalidOperationException("The host ended without listening: " + await host.StandardError.ReadToEndAsync(Cancel));
    }

    private static async Task WaitForAsync(Func<Task<int>> count, int atLeast)
    {
        for (int attempt = 0; await count() < atLeast; attempt++)
        {
            Assert.True(attempt < 600, "The sandboxes did not come up.");
            await Task.Delay(TimeSpan.FromMilliseconds(50), Cancel);
        }
    }

    /// <summary>Everything on this host that Boxer could leave.</summary>
    private static class HostState
    {
        public static async Task<string[]> ReadAsync() =>
        [
            .. List("/run/boxer"),
            .. (await File.ReadAllLinesAsync("/proc/mounts", Cancel)).Where(line => line.Contains("boxer", StringComparison.Ordinal) && !line.Contains("/tmp/boxer-", StringComparison.Ordinal)),
            .. Cgroups(),
            .. Processes().Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal),
            .. List("/sys/class/net"),
            .. List("/run/netns"),
        ];

        public static Task<int> CountSandboxesAsync() => Task.FromResult(Processes().Count(line => line.StartsWith("runsc-sandbox", StringComparison.Ordinal)));

        private static IEnumerable<string> List(string directory) =>
            Directory.Exists(directory) ? Directory.GetFileSystemEntries(directory).Order(StringComparer.Ordinal) : Array.Empty<string>();

        private static IEnumerable<string> Cgroups() =>
            new DirectoryInfo("/sys/fs/cgroup").EnumerateDirectories("boxer-*", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 4, AttributesToSkip = FileAttributes.ReparsePoint, IgnoreInaccessible = true })
                .Select(directory => directory.FullName).Order(StringComparer.Ordinal);

        // Only what works for a directory of /run/boxer: other tests may drive runsc by themselves.
        private static IEnumerable<string> Processes()
        {
            foreach (string entry in Directory.EnumerateDirectories("/proc").Where(entry => int.TryParse(Path.GetFileName(entry), NumberStyles.None, CultureInfo.InvariantCulture, out _)))
            {
                string commandLine;
                try
                {
                    commandLine = File.ReadAllText(entry + "/cmdline").Replace('\0', ' ');
                }
                catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
                {
                    continue;
                }

                // What it is and whose, without the arguments that differ as it starts.
                if (commandLine.Split(' ').FirstOrDefault(argument => argument.StartsWith("--root=/run/boxer/", StringComparison.Ordinal)) is { } root)
                {
                    yield return $"{commandLine.Split(' ')[0]} {root}";
                }
            }
        }
    }
}
