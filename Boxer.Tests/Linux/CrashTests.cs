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

        // With sandboxes that wait frozen, too.
        await using HostProcess first = await HostProcess.StartAsync(image, new JsonObject { ["pool"] = new JsonObject { ["images"] = new JsonObject { [PythonImage.Name] = 3 } } });
        await WaitForAsync(() => HostState.CountSandboxesAsync(), atLeast: 4);
        var body = new JsonObject { ["image"] = PythonImage.Name, ["cmd"] = new JsonArray("sleep", "1000"), ["network"] = "sandbox", ["limits"] = new JsonObject { ["wall_clock_secs"] = 900 } };
        Task[] runs = [.. Enumerable.Range(0, 4).Select(_ => first.Client.PostAsJsonAsync("/run", body, Cancel))];
        await WaitForAsync(() => HostState.CountSandboxesAsync(), atLeast: 8);
        first.Process.Kill();
        await first.Process.WaitForExitAsync(Cancel);
        await Task.WhenAll(runs).ContinueWith(_ => { }, Cancel, TaskContinuationOptions.None, TaskScheduler.Default);

        await using (SandboxRunner next = BoxerRunner.Create(image.Options()))
        {
            await next.StartAsync(Cancel);
        }

        Assert.Equal(before, await HostState.ReadAsync());
        Assert.Equal("alive\n", (await neighboursRun).Stdout);
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

        await using (SandboxRunner next = BoxerRunner.Create(image.Options()))
        {
            await next.StartAsync(Cancel);
        }

        Assert.Equal(before, await HostState.ReadAsync());
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
