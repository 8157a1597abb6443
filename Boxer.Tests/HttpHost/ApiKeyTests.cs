using System.Net;
using System.Text.Json.Nodes;
using Boxer.AspNetCore.Security;
using Microsoft.AspNetCore.Http;

namespace Boxer.Tests.HttpHost;

public abstract class ApiKeyTests(ContractHost contract) : ContractTests(contract)
{
    [Theory]
    [InlineData("192.0.2.7", "192.0.2.7")]
    [InlineData("::ffff:192.0.2.7", "192.0.2.7")]
    [InlineData("2001:db8:1:2::7", "2001:db8:1:2::/64")]
    [InlineData("2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64")]
    [InlineData("2001:db8:1:3::7", "2001:db8:1:3::/64")]
    [InlineData("fe80::7%1", "fe80::/64")]
    [InlineData("::1", "::/64")]
    public void BudgetKeyOf_separates_clients_without_keys_by_address_and_IPv6_by_network(string address, string client)
    {
        DefaultHttpContext context = new();
        context.Connection.RemoteIpAddress = IPAddress.Parse(address);

        Assert.Equal(client, Clients.BudgetKeyOf(context));
    }

    private static readonly JsonObject TwoKeys = new() { ["api_keys"] = new JsonArray("alpha", "beta") };

    [Theory]
    [InlineData("GET", "/files?path=a")]
    [InlineData("POST", "/files")]
    [InlineData("POST", "/run")]
    [InlineData("POST", "/run/stream")]
    [InlineData("GET", "/health/ready")]
    [InlineData("GET", "/metrics")]
    [InlineData("GET", "/openapi/v1.json")]
    [InlineData("GET", "/swagger/index.html")]
    [InlineData("GET", "/healthz/../run")]
    [InlineData("GET", "/unknown")]
    public async Task Without_a_key_only_healthz_is_accessible(string method, string path)
    {
        await using HostFixture host = await StartAsync(TwoKeys);

        Answer missing = await SendAsync(host, method, path);
        Answer wrong = await SendAsync(host, method, path, ("Authorization", "Bearer gamma"));

        Assert.Equal((401, "an API key is required; send it as Authorization: Bearer KEY or as X-API-Key: KEY."), (missing.Status, missing.Error));
        Assert.Equal("nosniff", missing.Response.Headers.GetValues("X-Content-Type-Options").Single());
        Assert.Equal("nosniff", wrong.Response.Headers.GetValues("X-Content-Type-Options").Single());
        Assert.Equal("Bearer", missing.Response.Headers.WwwAuthenticate.ToString());
        Assert.Equal((403, "the API key is not one of this host's."), (wrong.Status, wrong.Error));
        Assert.Equal(200, (await SendAsync(host, "GET", "/healthz")).Status);
        Assert.Empty(host.Runner.Requests);
    }

    [Theory]
    [InlineData("Authorization", "Bearer alpha", 404)]
    [InlineData("Authorization", "bearer beta", 404)]
    [InlineData("X-API-Key", "alpha", 404)]
    [InlineData("X-API-Key", "", 403)]
    [InlineData("X-API-Key", "alphabeta", 403)]
    [InlineData("X-API-Key", "ALPHA", 403)]
    [InlineData("Authorization", "Bearer", 401)]
    [InlineData("Authorization", "Bearer ", 401)]
    [InlineData("Authorization", "Basic alpha", 401)]
    [InlineData("Authorization", "alpha", 401)]
    public async Task A_key_is_accepted_in_either_header(string header, string value, int status)
    {
        await using HostFixture host = await StartAsync(TwoKeys);

        Assert.Equal(status, (await SendAsync(host, "GET", "/files?path=none", (header, value))).Status);
    }

    [Fact]
    public async Task Runs_of_a_key_have_their_own_fairness_key_which_does_not_reveal_it()
    {
        await using HostFixture host = await StartAsync(TwoKeys);
        foreach (string key in (string[])["alpha", "beta", "alpha"])
        {
            using HttpRequestMessage message = new(HttpMethod.Post, "/run") { Content = new StringContent("""{"image": "i", "cmd": ["a"]}""", System.Text.Encoding.UTF8, "application/json") };
            message.Headers.Add("X-API-Key", key);
            using HttpResponseMessage response = await host.Client.SendAsync(message, TestContext.Current.CancellationToken);
            Assert.True(response.IsSuccessStatusCode);
        }

        string?[] keys = [.. host.Runner.Requests.Select(request => request.FairnessKey)];
        Assert.Equal((keys[0], 2), (keys[2], keys.Distinct().Count()));
        Assert.All(keys, key => Assert.DoesNotContain("alpha", key, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_duplicate_key_is_rejected()
    {
        await using HostFixture host = await StartAsync(TwoKeys);

        Assert.Equal(403, (await SendAsync(host, "GET", "/files?path=none", ("X-API-Key", "alpha"), ("X-API-Key", "beta"))).Status);
    }

    [Fact]
    public async Task Keys_cannot_access_each_others_files()
    {
        await using HostFixture host = await StartAsync(TwoKeys);
        using HttpClient alpha = host.NewClient("alpha");
        using HttpClient beta = host.NewClient("beta");
        host.Runner.Script = (request, _) =>
        {
            Directory.CreateDirectory(request.OutputFiles.Directory!);
            File.WriteAllText(Path.Combine(request.OutputFiles.Directory!, "result"), "of alpha");
            return ScriptedRunner.Events(ScriptedRunner.Result(id: "boxer-1"));
        };

        await host.UploadAsync("secret", "of alpha", alpha);
        await host.UploadAsync("shared-name", "of alpha", alpha);
        await host.UploadAsync("shared-name", "of beta", beta);
        Answer ran = await host.RunAsync("""{"image": "i", "cmd": ["a"], "files": ["secret"], "persist": true}""", alpha);

        Assert.Equal(200, ran.Status);
        Assert.Equal(404, (await host.DownloadAsync("secret", beta)).Status);
        Assert.Equal(404, (await host.DownloadAsync("output/boxer-1/result", beta)).Status);
        Assert.Equal("of alpha", (await host.DownloadAsync("output/boxer-1/result", alpha)).Text);
        Assert.Equal("of alpha", (await host.DownloadAsync("shared-name", alpha)).Text);
        Assert.Equal("of beta", (await host.DownloadAsync("shared-name", beta)).Text);
        Answer used = await host.RunAsync("""{"image": "i", "cmd": ["a"], "files": ["secret"]}""", beta);
        Assert.Equal(400, used.Status);
        using HttpResponseMessage deleted = await beta.DeleteAsync(new Uri("/files?path=secret", UriKind.Relative), TestContext.Current.CancellationToken);
        Assert.Equal(404, (int)deleted.StatusCode);
    }

    [Fact]
    public async Task The_directory_of_a_space_does_not_reveal_its_key()
    {
        await using HostFixture host = await StartAsync(TwoKeys);
        using HttpClient alpha = host.NewClient("alpha");
        await host.UploadAsync("a", "x", alpha);

        string space = Path.GetFileName(Assert.Single(Directory.EnumerateDirectories(Path.Combine(host.Home, "files"))));

        Assert.Matches("^key-[0-9a-f]{40}$", space);
        Assert.DoesNotContain("alpha", space, StringComparison.Ordinal);
    }

    private static async Task<Answer> SendAsync(HostFixture host, string method, string path, params (string Name, string Value)[] headers)
    {
        using HttpRequestMessage request = new(new HttpMethod(method), new Uri(path, UriKind.Relative));
        foreach ((string name, string value) in headers)
        {
            request.Headers.TryAddWithoutValidation(name, value);
        }

        using HttpResponseMessage response = await host.Client.SendAsync(request);
        return await Answer.ReadAsync(response);
    }
}

public sealed class HttpHostApiKeyTests() : ApiKeyTests(ContractHost.HttpHost);

public sealed class MinimalApiApiKeyTests() : ApiKeyTests(ContractHost.MinimalApi);
