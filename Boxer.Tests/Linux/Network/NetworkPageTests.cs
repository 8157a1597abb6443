using System.Text.RegularExpressions;
using Boxer.Hosting;
using Boxer.Networking;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Network;

/// <summary>Runs the examples of docs/network.md. This file contains each C# block of the page word for word.</summary>
[Collection(Sandboxes.Name)]
public sealed partial class NetworkPageTests(PythonImage image, TestInternet internet) : IClassFixture<TestInternet>, IAsyncLifetime
{
    private const string Fetch = """
        import sys, urllib.request
        for url in ["http://example.com/", "http://www.example.com/", "http://example.org/", "http://198.51.100.10/", "http://198.51.100.10:8080/", "http://198.51.100.11/", "http://10.99.0.7/", "http://169.254.169.254/"]:
            try:
                print(url.split("//")[1].rstrip("/"), urllib.request.urlopen(url, timeout=5).status)
            except OSError as error:
                print(url.split("//")[1].rstrip("/"), "refused")
        """;

    private BoxerOptions _options = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public ValueTask InitializeAsync()
    {
        image.Require();
        internet.Require();
        _options = image.Options();
        _options.DnsServers = [TestInternet.Resolver];
        return ValueTask.CompletedTask;
    }

    public ValueTask DisposeAsync() => ValueTask.CompletedTask;

    [Fact]
    public async Task A_run_with_a_network()
    {
        await using SandboxRunner runner = SandboxRunnerFactory.Create(_options);
        CancellationToken cancel = Cancel;
        string program = Fetch;
        var request = new SandboxRequest("python:3.12-slim", "python3", "-c", program) { Network = "sandbox" };
        SandboxResult result = await runner.RunAsync(request, cancel);
        Console.WriteLine($"{result.Network.BytesIn} bytes in, {result.Network.BytesOut} out, {result.Network.Denied.Count} refused");

        Assert.Equal(
            ["example.com 200", "www.example.com 200", "example.org 200", "198.51.100.10 200", "198.51.100.10:8080 200", "198.51.100.11 200", "10.99.0.7 refused", "169.254.169.254 refused"],
            result.StandardOutput.TrimEnd().Split('\n'));
        Assert.Equal([TestInternet.Lan, TestInternet.Metadata], result.Network.Denied.Select(denial => denial.Address).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task Sites_by_name()
    {
        SandboxRequest request = Request();
        request.Egress = new() { Allow = ["example.com:80,443", "*.example.com:443"] };

        // Once its name was resolved, the address of a site is open at the ports of the rule.
        Assert.Equal(["example.com", "198.51.100.10"], await ReachedAsync(request));
    }

    [Fact]
    public async Task A_range()
    {
        SandboxRequest request = Request();
        request.Egress = new() { Allow = ["tcp://198.51.100.0/28:80"] };

        Assert.Equal(["198.51.100.10", "198.51.100.11"], await ReachedAsync(request));
    }

    [Fact]
    public async Task Everything_but()
    {
        SandboxRequest request = Request();
        request.Egress = new() { Deny = ["198.51.100.11", "tcp://0.0.0.0/0:25", "example.org"] };

        Assert.Equal(["example.com", "198.51.100.10", "198.51.100.10:8080"], await ReachedAsync(request));
    }

    [Fact]
    public async Task A_bandwidth_and_a_quota()
    {
        SandboxRequest request = SharedRunner.Python($"import urllib.request; print(len(urllib.request.urlopen('http://{TestInternet.Web}/big2000000', timeout=3).read()))");
        request.Network = "sandbox";
        request.Egress = new() { BandwidthBitsPerSecond = 10_000_000, QuotaBytes = 1_000_000 };

        await using SandboxRunner runner = SandboxRunnerFactory.Create(_options);
        SandboxResult result = await runner.RunAsync(request, Cancel);
        Assert.Contains("TimeoutError", result.StandardError, StringComparison.Ordinal);
    }

    [Fact]
    public async Task One_private_service_by_the_operator()
    {
        BoxerOptions options = _options;
        options.Egress = new() { Allow = ["10.99.0.7:80", "0.0.0.0/0"] };

        Assert.Equal(["198.51.100.10", "198.51.100.10:8080", "198.51.100.11", "10.99.0.7"], await ReachedAsync(Request()));
    }

    [Fact]
    public void A_policy_is_evaluated_by_a_mode()
    {
        var address = System.Net.IPAddress.Parse("203.0.113.7");
        NetworkPolicy policy = NetworkPolicy.Combine(new EgressPolicy { Allow = ["pypi.org:443", "198.51.100.0/24"], Deny = ["198.51.100.11"] });
        bool isNameAllowed = policy.AllowsName("pypi.org");
        bool isAllowed = policy.Allows(address, 443, EgressProtocols.Tcp, domain: "pypi.org");

        Assert.Equal((true, true), (isNameAllowed, isAllowed));
        Assert.False(policy.Allows(address, 443));
        Assert.False(policy.Allows(System.Net.IPAddress.Parse("198.51.100.11"), 443, domain: "pypi.org"));
    }

    [Fact]
    public async Task Each_example_of_the_page_is_in_this_file()
    {
        string source = Squeeze(await File.ReadAllTextAsync(Path.Join(AppContext.BaseDirectory, "docs", "NetworkPageTests.cs"), Cancel));
        string[] examples = [.. Blocks(await PageAsync(), "csharp").Select(Squeeze)];

        Assert.Equal(7, examples.Length);
        Assert.All(examples, example => Assert.Contains(example, source, StringComparison.Ordinal));

        static string Squeeze(string text) => string.Join('\n', text.Split('\n').Select(line => line.Trim()).Where(line => line.Length > 0));
    }

    [Fact]
    public async Task Each_python_example_of_the_page_prints_what_the_page_says()
    {
        await using HostProcess host = await HostProcess.StartAsync(image, new() { ["dns_servers"] = new System.Text.Json.Nodes.JsonArray(TestInternet.Resolver) });
        string page = await PageAsync();
        string[] programs = [.. Blocks(page, "python")];
        string[] outputs = [.. Blocks(page, "text")];
        Assert.Equal(2, programs.Length);
        foreach ((string program, string output) in programs.Zip(outputs))
        {
            Assert.Equal(output, await HostProgram.RunAsync(
                "env", "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH=" + Path.Join(AppContext.BaseDirectory, "python"), "BOXER_URL=" + host.Address, "/usr/bin/python3", "-c", program));
        }
    }

    private static SandboxRequest Request()
    {
        SandboxRequest request = SharedRunner.Python(Fetch);
        request.Network = "sandbox";
        return request;
    }

    private async Task<string[]> ReachedAsync(SandboxRequest request)
    {
        await using SandboxRunner runner = SandboxRunnerFactory.Create(_options);
        SandboxResult result = await runner.RunAsync(request, Cancel);
        Assert.Equal("", result.StandardError);
        return [.. result.StandardOutput.TrimEnd().Split('\n').Where(line => line.EndsWith(" 200", StringComparison.Ordinal)).Select(line => line.Split(' ')[0])];
    }

    private static Task<string> PageAsync() => File.ReadAllTextAsync(Path.Join(AppContext.BaseDirectory, "docs", "network.md"), Cancel);

    private static IEnumerable<string> Blocks(string page, string language) =>
        Block.Matches(page).Where(match => match.Groups["language"].Value == language).Select(match => match.Groups["body"].Value);

    [GeneratedRegex("^```(?<language>[a-z]+)\n(?<body>.*?)^```$", RegexOptions.ExplicitCapture | RegexOptions.Multiline | RegexOptions.Singleline, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Block { get; }
}
