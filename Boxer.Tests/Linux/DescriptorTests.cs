using System.Text.Json.Nodes;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>A sandbox that waits takes one descriptor of the host process: the socket of PID 1.</summary>
[Collection(Sandboxes.Name)]
public sealed class DescriptorTests(PythonImage image, SharedRunner shared)
{
    [Fact]
    public async Task A_pooled_sandbox_takes_one_descriptor_of_the_host_process()
    {
        image.Require();

        // A pull leaves a connection to the registry open for a while.
        await shared.PullAsync();
        (int one, string first) = await CountAsync(1);
        (int six, string second) = await CountAsync(6);

        Assert.True(six - one == 5, $"Five more sandboxes take {six - one} descriptors.\nWith one: {first}\nWith six: {second}");
    }

    /// <summary>Starts a host with a pool of this size, and counts its descriptors when all sandboxes wait.</summary>
    private async Task<(int Count, string Description)> CountAsync(int sandboxes)
    {
        await using HostProcess host = await HostProcess.StartAsync(image, new JsonObject
        {
            ["pool"] = new JsonObject { ["images"] = new JsonObject { [PythonImage.Name] = sandboxes } },
        });
        await host.WaitForPoolAsync(sandboxes);
        return (await HostDescriptors.CountAsync(host.Process.Id), HostDescriptors.Describe(host.Process.Id));
    }
}
