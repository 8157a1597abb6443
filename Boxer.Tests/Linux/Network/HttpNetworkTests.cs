using System.Net;
using System.Net.Http.Json;
using System.Text.Json.Nodes;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Network;

/// <summary>Tests of network modes over HTTP: real sandboxes of host processes, with the internet of the tests.</summary>
[Collection(Sandboxes.Name)]
public sealed class HttpNetworkTests(PythonImage image, TestInternet internet) : IClassFixture<TestInternet>, IAsyncLifetime
{
    // Hosts that run at the same time each have their own.
    private readonly List<string> _homes = [];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public ValueTask InitializeAsync()
    {
        image.Require();
        internet.Require();
        return ValueTask.CompletedTask;
    }

    public ValueTask DisposeAsync()
    {
        _homes.ForEach(home => Directory.Delete(home, recursive: true));
        return ValueTask.CompletedTask;
    }

    [Fact]
    public async Task Pip_installs_httpx_and_it_fetches_a_page_with_the_default_limits_and_user()
    {
        await using HostProcess host = await StartAsync();
        JsonObject body = Body("sh", "-c", "pip install httpx -q && python3 -c \"import httpx; print(httpx.__version__, httpx.get('http://example.com/').text)\"");
        body["env"] = new JsonArray("PIP_INDEX_URL=http://pypi.org/simple", "PIP_TRUSTED_HOST=pypi.org", "PIP_DISABLE_PIP_VERSION_CHECK=1");

        // All other limits are the defaults. A busy machine gets more time.
        body["limits"] = new JsonObject { ["wall_clock_secs"] = 300 };

        JsonNode answer = await RunAsync(host, body);

        Assert.True((int?)answer["exit_code"] == 0, answer.ToJsonString());
        Assert.Matches(@"^0\.\d+\.\d+ hello from 198\.51\.100\.10", (string?)answer["stdout"]);
    }

    [Fact]
    public async Task Two_hosts_on_one_machine_do_not_disturb_each_other_even_if_one_is_killed()
    {
        string[] before = await HostState.ReadAsync();
        await using HostProcess one = await StartAsync(NewHome());
        await using HostProcess two = await StartAsync();
        string[] pages = await Task.WhenAll(Enumerable.Range(0, 6).Select(number => FetchAsync(number % 2 == 0 ? one : two)));
        Assert.All(pages, page => Assert.StartsWith("hello", page, StringComparison.Ordinal));

        Task<HttpResponseMessage> running = one.Client.PostAsJsonAsync("/run", Body("sleep", "20"), Cancel);
        await Task.Delay(500, Cancel);
        one.Process.Kill();
        await one.Process.WaitForExitAsync(Cancel);
        await Assert.ThrowsAnyAsync<HttpRequestException>(() => running);
        Assert.StartsWith("hello", await FetchAsync(two), StringComparison.Ordinal);

        // The third host removes leftovers of the first one, and nothing of the second one.
        await using (HostProcess three = await StartAsync(NewHome()))
        {
            Assert.StartsWith("hello", await FetchAsync(three), StringComparison.Ordinal);
            Assert.StartsWith("hello", await FetchAsync(two), StringComparison.Ordinal);
        }

        Assert.Equal(0, await two.StopAsync());
        await HostState.AssertSameAsync(before);
    }

    [Fact]
    public async Task Disabled_modes_and_malformed_policies_are_rejected_with_all_faults_at_once()
    {
        await using HostProcess host = await StartAsync(new JsonObject { ["allowed_networks"] = new JsonArray("none", "sandbox") });
        JsonObject off = Body("true");
        off["network"] = "host";
        JsonObject wrong = Body("true");
        wrong["egress"] = new JsonObject { ["allow"] = new JsonArray("pypi.org:443", "10.0.0.1/8"), ["deny"] = new JsonArray("icmp://x.example"), ["bandwidth_bps"] = 1, ["quota_bytes"] = 0 };
        JsonObject unheld = Body("true");
        unheld["network"] = "none";
        unheld["egress"] = new JsonObject();

        Assert.Contains("host", await RefusalAsync(host, off), StringComparison.Ordinal);
        string faults = await RefusalAsync(host, wrong);
        Assert.All((string[])["egress.allow[1]", "egress.deny[0]", "egress.bandwidth_bps", "egress.quota_bytes"], field => Assert.Contains(field, faults, StringComparison.Ordinal));
        Assert.Contains("is not supported by the network mode 'none'", await RefusalAsync(host, unheld), StringComparison.Ordinal);
    }

    private Task<HostProcess> StartAsync(JsonObject? settings = null)
    {
        JsonObject all = settings ?? [];
        all["dns_servers"] = new JsonArray(TestInternet.Resolver);
        return HostProcess.StartAsync(image, all);
    }

    // Without it, a host has the home of the other tests and their pulled image.
    private JsonObject NewHome()
    {
        _homes.Add(Directory.CreateTempSubdirectory("boxer-home-").FullName);
        return new() { ["home"] = _homes[^1] };
    }

    private static JsonObject Body(params string[] command) =>
        new() { ["image"] = PythonImage.Name, ["network"] = "sandbox", ["cmd"] = new JsonArray([.. command.Select(word => JsonValue.Create(word))]) };

    private static async Task<JsonNode> RunAsync(HostProcess host, JsonObject body)
    {
        using HttpResponseMessage response = await host.Client.PostAsJsonAsync("/run", body, Cancel);
        JsonNode answer = (await response.Content.ReadFromJsonAsync<JsonNode>(Cancel))!;
        Assert.True(response.StatusCode == HttpStatusCode.OK, answer.ToJsonString());
        return answer;
    }

    private static async Task<string> FetchAsync(HostProcess host) =>
        (string)(await RunAsync(host, Body("python3", "-c", "import urllib.request; print(urllib.request.urlopen('http://example.com/', timeout=5).read().decode())")))["stdout"]!;

    private static async Task<string> RefusalAsync(HostProcess host, JsonObject body)
    {
        using HttpResponseMessage response = await host.Client.PostAsJsonAsync("/run", body, Cancel);
        Assert.Equal(HttpStatusCode.BadRequest, response.StatusCode);
        return await response.Content.ReadAsStringAsync(Cancel);
    }
}
