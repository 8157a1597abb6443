using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json.Nodes;

namespace Boxer.Tests.HttpHost;

/// <summary>Tests of requests that web pages send through a visitor's browser: DNS rebinding and cross-site requests.</summary>
public abstract class BrowserGuardTests(ContractHost contract) : ContractTests(contract)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public static TheoryData<string> Listeners => ["127.0.0.1:0", ":0"];

    [Theory]
    [MemberData(nameof(Listeners))]
    public async Task A_rebound_name_is_rejected_at_every_path_of_a_host_without_keys(string listener)
    {
        await using HostFixture host = await StartAsync(listener);
        using HttpClient client = ClientOf(host);
        using MultipartFormDataContent form = new() { { new StringContent("secret"), "file", "f" }, { new StringContent("a"), "path" } };
        using HttpResponseMessage uploaded = await client.PostAsync(new Uri("/files", UriKind.Relative), form, Cancel);
        Assert.Equal(200, (int)uploaded.StatusCode);
        foreach ((HttpMethod method, string path) in new[]
        {
            (HttpMethod.Get, "/files?path=a"), (HttpMethod.Delete, "/files?path=a"), (HttpMethod.Post, "/files"), (HttpMethod.Post, "/run"), (HttpMethod.Post, "/run/stream"),
            (HttpMethod.Get, "/healthz"), (HttpMethod.Get, "/health/ready"), (HttpMethod.Get, "/metrics"), (HttpMethod.Get, "/openapi/v1.json"),
            (HttpMethod.Get, "/swagger/index.html"), (HttpMethod.Get, "/nowhere"), (HttpMethod.Options, "/run"),
        })
        {
            foreach (string name in new[] { "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "localhost.", "1.2.3.4.5", "[::1].evil.example" })
            {
                (int status, string text) = await SendAsync(client, method, path, name);

                // Kestrel itself rejects invalid names.
                Assert.True(status == 421 || (status == 400 && name.Contains('[', StringComparison.Ordinal)), $"{method} {path} for {name}: {status} {text}");
                Assert.DoesNotContain("secret", text, StringComparison.Ordinal);
                Assert.True(status == 400 || text.Contains("host_names", StringComparison.Ordinal), text);
            }
        }

        Assert.Equal((200, "secret"), await SendAsync(client, HttpMethod.Get, "/files?path=a", "127.0.0.1"));
        Assert.Empty(host.Runner.Requests);
    }

    [Theory]
    [MemberData(nameof(Listeners))]
    public async Task Addresses_and_names_of_this_machine_are_accepted_with_any_port(string listener)
    {
        await using HostFixture host = await StartAsync(listener);
        using HttpClient client = ClientOf(host);

        foreach (string name in new[] { "127.0.0.1", "192.0.2.1:8080", "[2001:db8::1]", "[::1]:8080", "localhost", "LocalHost:99", Environment.MachineName, Dns.GetHostName() + ":8080" })
        {
            Assert.Equal((name, 200), (name, (await SendAsync(client, HttpMethod.Get, "/healthz", name)).Status));
        }
    }

    [Theory]
    [InlineData("GET /healthz HTTP/1.0\r\n\r\n", "200")]
    [InlineData("GET /healthz HTTP/1.0\r\nHost: evil.example\r\n\r\n", "421")]
    [InlineData("GET /healthz HTTP/1.0\r\nOrigin: http://evil.example\r\n\r\n", "403")]
    [InlineData("GET /healthz HTTP/1.0\r\nSec-Fetch-Site: cross-site\r\n\r\n", "403")]
    [InlineData("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n", "400")]
    public async Task Requests_without_a_Host_header_are_accepted_because_browsers_always_send_one(string request, string status)
    {
        await using HostFixture host = await StartAsync("127.0.0.1:0");
        using var client = new TcpClient();
        await client.ConnectAsync(IPAddress.Loopback, host.Address.Port, Cancel);
        await client.GetStream().WriteAsync(Encoding.ASCII.GetBytes(request), Cancel);
        using var reader = new StreamReader(client.GetStream());

        Assert.Equal(status, (await reader.ReadLineAsync(Cancel))?.Split(' ')[1]);
    }

    [Fact]
    public async Task Listed_host_names_are_accepted_exactly_as_listed()
    {
        await using HostFixture host = await StartAsync(":0", new JsonObject { ["host_names"] = new JsonArray("boxer.example", "only.example:8443") });
        using HttpClient client = ClientOf(host);

        foreach ((string name, int status) in new[]
        {
            ("boxer.example", 200), ("Boxer.Example:1", 200), ("only.example:8443", 200), ("only.example", 421), ("only.example:1", 421), ("a.boxer.example", 421), ("boxer.example.", 421),
        })
        {
            Assert.Equal((name, status), (name, (await SendAsync(client, HttpMethod.Get, "/healthz", name)).Status));
        }

        Assert.Equal(200, (await SendAsync(client, HttpMethod.Get, "/healthz", "boxer.example", ("Origin", "http://boxer.example"))).Status);
        Assert.Equal(403, (await SendAsync(client, HttpMethod.Get, "/healthz", "boxer.example", ("Origin", "http://evil.example"))).Status);
    }

    [Theory]
    [InlineData("cross-site", 403)]
    [InlineData("same-site", 403)]
    [InlineData("anything", 403)]
    [InlineData("same-origin", 200)]
    [InlineData("none", 200)]
    public async Task Cross_site_browser_requests_are_rejected(string site, int status)
    {
        await using HostFixture host = await StartAsync("127.0.0.1:0");
        using HttpClient client = ClientOf(host);

        foreach (string path in new[] { "/healthz", "/metrics", "/swagger/index.html" })
        {
            Assert.Equal(status, (await SendAsync(client, HttpMethod.Get, path, "localhost:8080", ("Sec-Fetch-Site", site))).Status);
        }
    }

    [Fact]
    public async Task With_keys_any_Host_header_is_accepted_because_pages_have_no_key()
    {
        await using HostFixture host = await StartAsync(":0", new JsonObject { ["api_keys"] = new JsonArray("k") });
        using HttpClient client = ClientOf(host);

        Assert.Equal(200, (await SendAsync(client, HttpMethod.Get, "/metrics", "any.example", ("X-API-Key", "k"), ("Sec-Fetch-Site", "cross-site"))).Status);
        Assert.Equal(401, (await SendAsync(client, HttpMethod.Get, "/metrics", "any.example")).Status);
        Assert.Equal(403, (await SendAsync(client, HttpMethod.Get, "/metrics", "any.example", ("X-API-Key", "k"), ("Origin", "http://evil.example"))).Status);
    }

    private Task<HostFixture> StartAsync(string listener, JsonObject? config = null)
    {
        config ??= [];
        config["listen_addr"] = listener;
        return StartAsync(config);
    }

    private static HttpClient ClientOf(HostFixture host) => new() { BaseAddress = new Uri($"http://127.0.0.1:{host.Address.Port}") };

    private static async Task<(int Status, string Text)> SendAsync(HttpClient client, HttpMethod method, string path, string name, params (string Name, string Value)[] headers)
    {
        using HttpRequestMessage request = new(method, new Uri(path, UriKind.Relative));
        request.Headers.TryAddWithoutValidation("Host", name);
        foreach ((string header, string value) in headers)
        {
            request.Headers.Add(header, value);
        }

        using HttpResponseMessage response = await client.SendAsync(request, Cancel);
        return ((int)response.StatusCode, await response.Content.ReadAsStringAsync(Cancel));
    }
}

public sealed class HttpHostBrowserGuardTests() : BrowserGuardTests(ContractHost.HttpHost);

public sealed class MinimalApiBrowserGuardTests() : BrowserGuardTests(ContractHost.MinimalApi);
