using Boxer.Hosting;
using Boxer.Networking;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Network;

/// <summary>Tests of the networks of sessions in real sandboxes, with the internet of the tests.</summary>
[Collection(Sandboxes.Name)]
public sealed class SessionNetworkTests(PythonImage image, TestInternet internet) : IClassFixture<TestInternet>, IAsyncLifetime
{
    // Prints the length of each page, or the name of the exception.
    private const string Fetch = """
        import sys, urllib.request
        for url in sys.argv[1:]:
            try: print(len(urllib.request.urlopen("http://" + url, timeout=3).read()))
            except Exception as e: print(type(e).__name__)
        """;

    // Sends a datagram to each port, a number of times.
    private const string SendDatagrams = """
        import socket, sys
        address, first, last, times = sys.argv[1], *map(int, sys.argv[2:])
        for port in range(first, last):
            for _ in range(times): socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", (address, port))
        """;

    private SandboxRunner? _runner;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public ValueTask InitializeAsync()
    {
        image.Require();
        internet.Require();
        BoxerOptions options = image.Options();
        options.DnsServers = [TestInternet.Resolver];
        _runner = SandboxRunnerFactory.Create(options);
        return ValueTask.CompletedTask;
    }

    public ValueTask DisposeAsync() => _runner?.DisposeAsync() ?? ValueTask.CompletedTask;

    [Fact]
    public async Task A_quota_spans_all_commands_of_a_session_and_is_not_renewed()
    {
        await using IOwnedSandboxSession box = await OpenAsync(new EgressPolicy { QuotaBytes = 1_000_000 });

        Assert.Equal("400000\n", (await PythonAsync(box, Fetch, $"{TestInternet.Web}/big400000")).StandardOutput);
        Assert.Equal("400000\n", (await PythonAsync(box, Fetch, $"{TestInternet.Web}/big400000")).StandardOutput);
        SandboxResult over = await PythonAsync(box, Fetch, $"{TestInternet.Web}/big400000");
        Assert.Equal("TimeoutError\n", over.StandardOutput);
        Assert.InRange(over.Network.BytesIn ?? 0, 50_000, 250_000);

        await box.PauseAsync(Cancel);
        await box.ResumeAsync(Cancel);
        Assert.NotEqual("10\n", (await PythonAsync(box, Fetch, $"{TestInternet.Web}/big10")).StandardOutput);
    }

    [Fact]
    public async Task The_report_of_a_command_has_its_own_bytes_and_denials()
    {
        await using IOwnedSandboxSession box = await OpenAsync();

        SandboxResult large = await PythonAsync(box, Fetch, $"{TestInternet.Web}/big300000");
        Assert.Equal("300000\n", large.StandardOutput);
        Assert.True(large.Network is { BytesIn: > 300_000 and < 400_000, BytesOut: > 100, Denied: [] }, $"{large.Network}");
        SandboxResult denied = await PythonAsync(box, SendDatagrams, TestInternet.Metadata, "80", "82", "3");
        Assert.Equal([new(TestInternet.Metadata, null, 80, "udp", 3), new(TestInternet.Metadata, null, 81, "udp", 3)], denied.Network.Denied.OrderBy(denial => denial.Port));
        SandboxResult silent = await PythonAsync(box, "");
        Assert.True(silent.Network is { BytesIn: < 1_000, BytesOut: < 1_000, Denied: [] }, $"{silent.Network}");
        SandboxResult again = await PythonAsync(box, SendDatagrams, TestInternet.Metadata, "81", "82", "1");
        Assert.Equal([new(TestInternet.Metadata, null, 81, "udp", 1)], again.Network.Denied);

        NetworkReport total = await box.ReadNetworkAsync(Cancel);
        Assert.Equal([new(TestInternet.Metadata, null, 81, "udp", 4), new(TestInternet.Metadata, null, 80, "udp", 3)], total.Denied);
        Assert.True(total.BytesIn >= large.Network.BytesIn + denied.Network.BytesIn + silent.Network.BytesIn + again.Network.BytesIn, $"{total}");
    }

    [Fact]
    public async Task The_report_of_a_command_has_its_new_denials_however_many_there_were_before()
    {
        await using IOwnedSandboxSession box = await OpenAsync();

        // More destinations than a report has, more often denied, and then more than the firewall counts at a time.
        Assert.Equal(NetworkReport.MaxDenied, (await PythonAsync(box, SendDatagrams, TestInternet.Metadata, "1000", "1150", "3")).Network.Denied.Count);
        SandboxResult behind = await PythonAsync(box, SendDatagrams, TestInternet.Lan, "80", "81", "1");
        Assert.Equal([new(TestInternet.Lan, null, 80, "udp", 1)], behind.Network.Denied);
        await PythonAsync(box, SendDatagrams, TestInternet.Metadata, "2000", "4000", "1");
        SandboxResult last = await PythonAsync(box, SendDatagrams, TestInternet.Lan, "80", "82", "1");
        Assert.Equal([new(TestInternet.Lan, null, 80, "udp", 1), new(TestInternet.Lan, null, 81, "udp", 1)], last.Network.Denied.OrderBy(denial => denial.Port));

        // Names, of which the resolver denies more than a report has.
        await using IOwnedSandboxSession named = await OpenAsync(new EgressPolicy { Allow = ["web.example.test"] });
        const string Resolve = """
            import socket, sys
            for number in range(int(sys.argv[1]), int(sys.argv[2])):
                try: socket.getaddrinfo(f"denied{number}.test", 80)
                except OSError: pass
            """;
        await PythonAsync(named, Resolve, "0", "120");
        Assert.Contains("denied120.test", (await PythonAsync(named, Resolve, "120", "121")).Network.Denied.Select(denial => denial.Domain));
    }

    [Fact]
    public async Task A_denial_is_charged_once_if_two_names_share_its_address()
    {
        await using IOwnedSandboxSession box = await OpenAsync(new EgressPolicy { Allow = ["*.many.example.test:8080"] });
        const string Connect = """
            import socket, sys
            address = socket.gethostbyname(sys.argv[1])
            for _ in range(int(sys.argv[2])):
                try: socket.create_connection((address, 80), 3)
                except OSError: pass
            """;

        NetworkDenial first = Assert.Single((await PythonAsync(box, Connect, "one.many.example.test", "5")).Network.Denied, denial => denial.Address is not null);
        NetworkDenial second = Assert.Single((await PythonAsync(box, Connect, "two.many.example.test", "1")).Network.Denied, denial => denial.Address is not null);

        Assert.Equal(new NetworkDenial(TestInternet.Web, "one.many.example.test", 80, "tcp", 5), first);
        Assert.Equal(new NetworkDenial(TestInternet.Web, "two.many.example.test", 80, "tcp", 1), second);
    }

    [Fact]
    public async Task No_packet_leaves_a_frozen_or_paused_session()
    {
        using var web = new HttpClient();
        await using IOwnedSandboxSession box = await OpenAsync();
        await PythonAsync(
            box,
            """
            import os, socket, time
            if os.fork() == 0:
                os.setsid()
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                while True:
                    s.sendto(b"x", ("198.51.100.10", 9000)); time.sleep(0.02)
            """);
        await AssertSilentAsync();

        // The next call thaws it.
        int frozen = await ArrivedAsync();
        await box.ExecAsync(new SandboxCommand("sleep", "0.5"), Cancel);
        Assert.True(await ArrivedAsync() > frozen);
        await box.PauseAsync(Cancel);
        await AssertSilentAsync();
        await box.ResumeAsync(Cancel);
        int paused = await ArrivedAsync();
        await box.ExecAsync(new SandboxCommand("sleep", "0.5"), Cancel);
        Assert.True(await ArrivedAsync() > paused);

        async Task<int> ArrivedAsync() => int.Parse(await web.GetStringAsync(new Uri($"http://{TestInternet.Web}/datagrams"), Cancel), null);

        // A session that sends sends 50 datagrams a second.
        async Task AssertSilentAsync()
        {
            await Until.IsSoAsync(SandboxCgroups.AreFrozen, 60);
            int before = await ArrivedAsync();
            for (int attempt = 0; attempt < 10; attempt++)
            {
                await Task.Delay(200, Cancel);
                Assert.Equal(before, await ArrivedAsync());
            }
        }
    }

    [Fact]
    public async Task A_session_of_the_mode_host_has_the_interfaces_of_this_host()
    {
        var request = new SandboxSessionRequest(PythonImage.Name) { Network = "host" };
        await using IOwnedSandboxSession box = await _runner!.OpenAsync(request, Cancel);

        SandboxResult result = await PythonAsync(box, "import socket; print(*sorted(name for _, name in socket.if_nameindex()))");
        SandboxResult page = await PythonAsync(box, Fetch, $"{TestInternet.Web}/big1000");
        await box.CloseAsync(Cancel);

        Assert.Equal(string.Join(' ', Directory.GetFileSystemEntries("/sys/class/net").Select(Path.GetFileName).Order(StringComparer.Ordinal)) + "\n", result.StandardOutput);
        Assert.Contains("btest0", result.StandardOutput, StringComparison.Ordinal);
        Assert.Equal("1000\n", page.StandardOutput);
        Assert.Equal((null, null), (page.Network.BytesIn, page.Network.BytesOut));
    }

    private async Task<IOwnedSandboxSession> OpenAsync(EgressPolicy? policy = null) =>
        await _runner!.OpenAsync(new SandboxSessionRequest(PythonImage.Name) { Network = "sandbox", Egress = policy }, Cancel);

    private static async Task<SandboxResult> PythonAsync(IOwnedSandboxSession box, string program, params string[] arguments)
    {
        SandboxResult result = await box.ExecAsync(new SandboxCommand("python3", ["-c", program, .. arguments]), Cancel);
        Assert.Equal("", result.StandardError);
        return result;
    }
}
