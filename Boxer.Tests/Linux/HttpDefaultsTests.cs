using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>The default of allowed_networks permits the network mode host only to this machine's own users.</summary>
[Collection(Sandboxes.Name)]
public sealed class HttpDefaultsTests(PythonImage image)
{
    private const string LeftOut = "The network mode host is not allowed at";

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false, false, 200)]
    [InlineData(true, false, 400)]
    [InlineData(true, true, 200)]
    public async Task The_network_host_is_only_for_local_users_unless_allowed_networks_has_it(bool withKey, bool named, int status)
    {
        image.Require();
        JsonObject settings = [];
        if (withKey)
        {
            settings["api_keys"] = new JsonArray("k");
        }

        if (named)
        {
            settings["allowed_networks"] = new JsonArray("none", "host");
        }

        await using HostProcess host = await HostProcess.StartAsync(image, settings);
        using HttpClient client = host.NewClient(withKey ? "k" : null);
        var body = new JsonObject { ["image"] = PythonImage.Name, ["cmd"] = new JsonArray("echo", "42"), ["network"] = "host" };

        using HttpResponseMessage response = await client.PostAsJsonAsync("/run", body, Cancel);

        string answer = await response.Content.ReadAsStringAsync(Cancel);
        Assert.True((int)response.StatusCode == status, answer);
        Assert.Contains(status == 200 ? "\"stdout\":\"42" : "network", answer, StringComparison.Ordinal);
        Assert.Equal(0, await host.StopAsync());
        Assert.Equal(status == 400 ? 1 : 0, (await host.Log).Split(LeftOut).Length - 1);
    }
}
