using Boxer.Hosting;
using Boxer.Network;
using Boxer.Networking;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Network;

/// <summary>Tests of the mode <c>sandbox</c> in pooled sandboxes: a waiting sandbox reaches nothing, and each run has its own policy.</summary>
[Collection(Sandboxes.Name)]
public sealed class PooledNetworkTests(PythonImage image, TestInternet internet) : InternetTests(internet)
{
    private const string Fetch = """
        import sys, urllib.request
        for url in sys.argv[1:]:
            try: print(url, urllib.request.urlopen("http://" + url, timeout=5).status)
            except OSError: print(url, "refused")
        """;

    private static readonly string[] Urls = ["web.example.test", "other.example.test", $"{TestInternet.Web}:8080", TestInternet.OtherWeb, TestInternet.Lan];

    [Fact]
    public async Task A_run_from_the_pool_has_the_policy_of_its_request_and_the_DNS_servers_of_the_options()
    {
        await using SandboxRunner runner = Make(options => options.DnsServers = [TestInternet.Lan]);
        (EgressPolicy? Policy, string[] Reached, string Denied)[] cases =
        [
            (null, ["web.example.test", "other.example.test", $"{TestInternet.Web}:8080", TestInternet.OtherWeb], TestInternet.Lan),
            (new() { Allow = ["web.example.test:80"] }, ["web.example.test"], "other.example.test"),
            (new() { Deny = [TestInternet.OtherWeb] }, ["web.example.test", $"{TestInternet.Web}:8080"], TestInternet.OtherWeb),
            (new() { Allow = [] }, [], "web.example.test"),
            (new() { Allow = ["198.51.100.11:80"] }, [TestInternet.OtherWeb], TestInternet.Web),
            (null, ["web.example.test", "other.example.test", $"{TestInternet.Web}:8080", TestInternet.OtherWeb], TestInternet.Lan),
        ];
        foreach ((EgressPolicy? policy, string[] reached, string denied) in cases)
        {
            SandboxRequest request = SharedRunner.Command(["python3", "-c", Fetch, .. Urls]);
            request.Network = "sandbox";
            request.Egress = policy;
            SandboxResult result = await runner.WarmAsync(request);

            Assert.Equal("", result.StandardError);
            Assert.Equal(reached, result.StandardOutput.Split('\n').Where(line => line.EndsWith(" 200", StringComparison.Ordinal)).Select(line => line.Split(' ')[0]));
            Assert.Contains(result.Network.Denied, denial => denial.Address == denied || denial.Domain == denied);
        }
    }

    [Fact]
    public async Task A_run_from_the_pool_can_use_IPv6()
    {
        Assert.SkipUnless(TestInternet.HasIPv6, "Needs IPv6 in the kernel.");
        await using SandboxRunner runner = Make(options => options.EnableIPv6 = true);
        SandboxRequest request = SharedRunner.Command("python3", "-c", Fetch, $"[{TestInternet.Web6}]:8080", $"[{TestInternet.Web6}]", $"[{TestInternet.HostAddress6}]", TestInternet.Web);
        request.Network = "sandbox";
        request.Egress = new EgressPolicy { Allow = ["tcp://[2001:db8:51::/64]:8080"] };
        SandboxResult result = await runner.WarmAsync(request);

        Assert.Equal([$"[{TestInternet.Web6}]:8080"], result.StandardOutput.Split('\n').Where(line => line.EndsWith(" 200", StringComparison.Ordinal)).Select(line => line.Split(' ')[0]));
        Assert.Contains(result.Network.Denied, denial => denial.Address == TestInternet.Web6 && denial.Port == 80);
    }

    [Fact]
    public async Task A_run_from_the_pool_has_its_quota_and_bandwidth_and_only_its_own_bytes_count()
    {
        await using SandboxRunner runner = Make();
        SandboxRequest quota = Python($"""
            import urllib.request
            print(len(urllib.request.urlopen("http://{TestInternet.Web}/big100000", timeout=5).read()))
            try: print(len(urllib.request.urlopen("http://{TestInternet.Web}/big3000000", timeout=2).read()))
            except Exception as e: print(type(e).__name__)
            """);
        quota.Egress = new EgressPolicy { QuotaBytes = 1_000_000 };
        SandboxResult over = await runner.WarmAsync(quota);
        Assert.Equal(["100000", "TimeoutError"], over.StandardOutput.TrimEnd().Split('\n'));
        Assert.InRange(over.Network.BytesIn ?? 0, 900_000, 1_100_000);

        // A slow machine only increases the time, as in SandboxNetworkTests.
        SandboxRequest bandwidth = Python($"""
            import time, urllib.request
            def is_delayed(request):
                start = time.monotonic(); urllib.request.urlopen(request, timeout=20).read()
                return 1.5 < time.monotonic() - start
            print(is_delayed("http://{TestInternet.Web}/big2000000"))
            print(is_delayed(urllib.request.Request("http://{TestInternet.Web}/", bytes(2000000), method="PUT")))
            """);
        bandwidth.Egress = new EgressPolicy { BandwidthBitsPerSecond = 8_000_000 };
        SandboxResult delayed = await runner.WarmAsync(bandwidth);
        Assert.Equal(("True\nTrue\n", ""), (delayed.StandardOutput, delayed.StandardError));
        Assert.True(delayed.Network is { BytesIn: > 2_000_000, BytesOut: > 2_000_000 }, $"{delayed.Network}");

        SandboxRequest silent = SharedRunner.Command("true");
        silent.Network = "sandbox";
        SandboxResult nothing = await runner.WarmAsync(silent);
        Assert.Equal((0, 0), (nothing.Network.BytesIn, nothing.Network.BytesOut));
        Assert.Empty(nothing.Network.Denied);
    }

    [Fact]
    public async Task Sandboxes_from_the_pool_cannot_reach_each_other()
    {
        const string Listen = """
            import socket, threading, time
            s = socket.socket(); s.bind(("0.0.0.0", 7000)); s.listen()
            u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", 7000))
            def tcp(): s.accept(); print("TCP ARRIVED", flush=True)
            def udp(): u.recv(100); print("UDP ARRIVED", flush=True)
            for f in (tcp, udp): threading.Thread(target=f, daemon=True).start()
            route = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); route.connect(("198.51.100.10", 9))
            print(route.getsockname()[0], flush=True)
            while True: time.sleep(0.2); print("up", flush=True)
            """;
        await using SandboxRunner runner = Make();
        await runner.WarmAsync(Python(""));
        await WarmRuns.WaitForReadyAsync();
        string[] waited = await WarmRuns.WaitForFrozenAsync();
        await using OpenRun victim = await OpenRun.StartAsync(runner, Python(Listen));
        string[] running = [.. HostState.Namespaces().Except(await HostState.FrozenNamespacesAsync())];
        Assert.NotEmpty(running.Intersect(waited));
        string address = victim.Said.Split('\n')[0];
        await WarmRuns.WaitForReadyAsync();
        SandboxResult attacker = await runner.RunAsync(
            Python($"""
            import socket
            u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            for _ in range(5):
                try: u.sendto(b"evil", ("{address}", 7000))
                except OSError: pass
            try: socket.create_connection(("{address}", 7000), 3); print("CONNECTED")
            except OSError: print("refused")
            """),
            Cancel);

        // The packets had two seconds to arrive.
        await victim.PrintsAsync(10);
        Assert.Equal([address, "up"], (await victim.StopAsync()).TrimEnd().Split('\n').Distinct());
        Assert.Equal((true, "refused\n", ""), (attacker.IsWarm(), attacker.StandardOutput, attacker.StandardError));
        Assert.Contains(attacker.Network.Denied, denial => denial.Address == address && denial.Port == 7000);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Pooled_sandboxes_are_evicted_if_their_table_was_deleted_and_runs_get_new_ones(bool isLookedFor)
    {
        await using SandboxRunner runner = Make();
        await runner.WarmAsync(Probe());
        await WarmRuns.WaitForReadyAsync();
        string[] waiting = await WarmRuns.WaitForFrozenAsync();
        string[] tables = [.. (await HostProgram.RunAsync("nft", "list", "tables")).Split('\n').Where(line => line.Contains("boxer_", StringComparison.Ordinal))];
        await HostProgram.RunAsync("nft", string.Join("; ", tables.Select(table => "delete " + table)));
        if (isLookedFor)
        {
            await Until.IsSoAsync(() => !HostState.Namespaces().Intersect(waiting).Any(), seconds: 30);
        }

        // Otherwise the run is the first to detect it. A pool that has evicted its sandboxes has begun to boot others, and the run may use one of those.
        SandboxResult next = await runner.RunAsync(Probe(), Cancel);
        Assert.Equal($"{TestInternet.Web} 200\n{TestInternet.OtherWeb} refused\n", next.StandardOutput);
        Assert.True(isLookedFor || !next.IsWarm());
        SandboxResult warm = await runner.WarmAsync(Probe());
        Assert.Equal($"{TestInternet.Web} 200\n{TestInternet.OtherWeb} refused\n", warm.StandardOutput);
        await Until.IsSoAsync(() => !HostState.Namespaces().Intersect(waiting).Any(), seconds: 30);

        static SandboxRequest Probe()
        {
            SandboxRequest request = SharedRunner.Command("python3", "-c", Fetch, TestInternet.Web, TestInternet.OtherWeb);
            request.Network = "sandbox";
            request.Egress = new EgressPolicy { Deny = [TestInternet.OtherWeb] };
            return request;
        }
    }

    [Fact]
    public async Task A_pooled_sandbox_without_its_link_is_not_used()
    {
        await using SandboxRunner runner = Make();
        SandboxRequest request = SharedRunner.Command("python3", "-c", Fetch, TestInternet.Web);
        request.Network = "sandbox";
        await runner.WarmAsync(request);
        string[] waiting = await WarmRuns.WaitForFrozenAsync();
        foreach (string name in waiting)
        {
            await HostProgram.RunAsync("ip", "link", "delete", name.Replace("-", "", StringComparison.Ordinal));
        }

        Assert.Equal($"{TestInternet.Web} 200\n", (await runner.WarmAsync(request)).StandardOutput);
        await Until.IsSoAsync(() => !HostState.Namespaces().Intersect(waiting).Any(), seconds: 30);
    }

    [Fact]
    public async Task A_pooled_sandbox_is_evicted_if_a_run_needs_its_address()
    {
        const string Other = "python:other";
        await HostProgram.RunAsync(
            "skopeo", "copy", "--quiet", "--format", "v2s2", "--src-tls-verify=false", "--dest-tls-verify=false",
            $"docker://{image.Url[7..]}/library/{PythonImage.Name}", $"docker://{image.Url[7..]}/library/{Other}");

        // There are two pairs. One waits for reuse after the first run, and a pooled sandbox has the other.
        await using SandboxRunner runner = Make(options => options.NetworkBlocks = ["10.231.200.0/30"]);
        var request = new SandboxRequest(PythonImage.Name, "python3", "-c", Fetch, TestInternet.Web) { Network = "sandbox" };
        Assert.False((await runner.RunAsync(request, Cancel)).IsWarm());
        string waiting = Assert.Single(await WarmRuns.WaitForFrozenAsync());

        SandboxResult other = await runner.RunAsync(new SandboxRequest(Other, "python3", "-c", Fetch, TestInternet.Web) { Network = "sandbox" }, Cancel);
        Assert.Equal(($"{TestInternet.Web} 200\n", false), (other.StandardOutput, other.IsWarm()));
        Assert.DoesNotContain(waiting, HostState.Namespaces());

        // Now all addresses are in use, and no pooled sandbox can be evicted.
        await Assert.ThrowsAsync<SandboxCapacityException>(() => runner.RunAsync(request, Cancel));
    }

    [Fact]
    public async Task A_pooled_sandbox_reaches_nothing_and_its_attempts_do_not_count_in_a_run()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode(ipv6: TestInternet.HasIPv6);
        await using INetworkAttachment neighbour = await mode.PrepareAsync("neighbour", Cancel);
        await neighbour.ApplyAsync(GuestNamespace.Policy(), Cancel);
        string neighbours = await GuestNamespace.AddressAsync(neighbour);
        await using INetworkAttachment waiting = await mode.PrepareAsync("waiting", Cancel);
        string own = await GuestNamespace.AddressAsync(waiting);
        int datagrams = await DatagramsAsync();

        // An escaped guest can send on sockets, and frames with any source address.
        string mac = (await File.ReadAllTextAsync($"/sys/class/net/{Path.GetFileName(waiting.Runtime.NamespacePath!).Replace("-", "", StringComparison.Ordinal)}/address", Cancel)).Trim();
        string arrived = await GuestNamespace.PythonAsync(waiting, $$"""
            import socket, struct
            for family, host, port in [(socket.AF_INET, "{{TestInternet.Web}}", 80), (socket.AF_INET, "{{TestInternet.HostAddress}}", 22), (socket.AF_INET, "{{neighbours}}", 7000), (socket.AF_INET6, "{{TestInternet.Web6}}", 80)]:
                try: s = socket.socket(family); s.settimeout(0.5); s.connect((host, port)); print("CONNECTED", host)
                except ConnectionRefusedError: print("ANSWERED", host)
                except OSError: pass
            for server in ("{{TestInternet.Resolver}}", "8.8.8.8"):
                u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.settimeout(0.5)
                try: u.sendto(struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\x03web\x07example\x04test\0\0\1\0\1", (server, 53)); print("NAMED", u.recv(100))
                except OSError: pass
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); raw.bind(("eth0", 0))
            mac = open("/sys/class/net/eth0/address").read().strip().replace(":", "")
            def ip(src, dst, payload):
                head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, 17, 0, socket.inet_aton(src), socket.inet_aton(dst))
                total = sum(struct.unpack("!10H", head)); total = (total & 0xffff) + (total >> 16); total = (total & 0xffff) + (total >> 16)
                return head[:10] + struct.pack("!H", ~total & 0xffff) + head[12:] + payload
            for source in ("{{own}}", "{{neighbours}}", "{{TestInternet.HostAddress}}", "0.0.0.0"):
                for target in ("{{TestInternet.Web}}", "{{neighbours}}", "{{TestInternet.HostAddress}}", "255.255.255.255"):
                    for to in ("{{mac}}".replace(":", ""), "ffffffffffff"):
                        raw.send(bytes.fromhex(to) + bytes.fromhex(mac) + b"\x08\0" + ip(source, target, struct.pack("!HHHH", 7777, 9000, 12, 0) + b"evil" + bytes(1000)))
            """);
        Assert.Equal("", arrived);
        Assert.Equal(datagrams, await DatagramsAsync());
        Assert.Equal("refused", await GuestNamespace.FetchAsync(waiting));

        Assert.True(waiting.IsUsable);
        await waiting.ApplyAsync(GuestNamespace.Policy(), Cancel);
        NetworkReport report = await waiting.ReportAsync(Cancel);
        Assert.InRange(report.BytesOut ?? -1, 0, 1_000);
        Assert.Empty(report.Denied);
        Assert.Contains("hello", await GuestNamespace.FetchAsync(waiting), StringComparison.Ordinal);
    }

    private static SandboxRequest Python(string program)
    {
        SandboxRequest request = SharedRunner.Python(program);
        request.Network = "sandbox";
        return request;
    }

    private static async Task<int> DatagramsAsync()
    {
        using var client = new HttpClient();
        return int.Parse(await client.GetStringAsync(new Uri($"http://{TestInternet.Web}/datagrams"), Cancel), null);
    }

    private SandboxRunner Make(Action<BoxerOptions>? change = null)
    {
        image.Require();
        BoxerOptions options = image.Options();
        options.Pool.Enabled = true;
        options.DnsServers = [TestInternet.Resolver];
        change?.Invoke(options);
        return SandboxRunnerFactory.Create(options);
    }
}
