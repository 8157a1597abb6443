using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>The host process does not grow with the number of runs that it has served.</summary>
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

    private static async Task RunAsync(HostProcess host, string network, int count, int atOnce)
    {
        int left = count;
        await Task.WhenAll(Enumerable.Range(0, atOnce).Select(_ => LoopAsync()));

        async Task LoopAsync()
        {
            while (Interlocked.Decrement(ref left) >= 0)
            {
                var body = new JsonObject { ["image"] = PythonImage.Name, ["cmd"] = new JsonArray("echo", "done"), ["network"] = network };
                using HttpResponseMessage answer = await host.Client.PostAsJsonAsync("/run", body, Cancel);
                Assert.Equal("done\n", (await answer.Content.ReadFromJsonAsync<JsonObject>(Cancel))!["stdout"]!.GetValue<string>());
            }
        }
    }
}
