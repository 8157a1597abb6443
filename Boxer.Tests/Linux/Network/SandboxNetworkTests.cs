using Boxer.Hosting;
using Boxer.Networking;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Network;

/// <summary>Tests of the mode <c>sandbox</c> in real sandboxes, with the internet of the tests.</summary>
[Collection(Sandboxes.Name)]
public sealed class SandboxNetworkTests(PythonImage image, TestInternet internet) : IClassFixture<TestInternet>, IAsyncLifetime
{
    // Prints the result of a connect to each address and port.
    private const string Probe = """
        import socket, sys, time, errno
        for target in sys.argv[1:]:
            host, port = target.rsplit(":", 1)
            start = time.monotonic()
            try:
                s = socket.create_connection((host, int(port)), 5)
                s.sendall(b"GET / HTTP/1.0\r\n\r\n")
                data = b""
                while chunk := s.recv(4096): data += chunk
                print(target, data.decode().split("\r\n\r\n")[-1].strip() or "nothing")
            except Exception as e:
                print(target, type(e).__name__, "at once" if time.monotonic() - start < 1 else "late")
        """;

    private SandboxRunner? _runner;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private SandboxRunner Runner => _runner!;

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
    public async Task The_public_internet_is_reached_by_name_and_by_address_from_a_private_address()
    {
        SandboxResult result = await ProbeAsync(null, $"{TestInternet.Web}:80", "web.example.test:8080");

        Assert.Equal($"{TestInternet.Web}:80 hello from {TestInternet.Web} to 198.51.100.1\nweb.example.test:8080 hello from {TestInternet.Web} to 198.51.100.1\n", result.StandardOutput);
        Assert.Empty(result.Network.Denied);
        Assert.True(result.Network is { BytesIn: > 100, BytesOut: > 100 }, $"{result.Network}");
    }

    [Fact]
    public async Task The_host_private_ranges_and_metadata_services_are_denied_at_once_and_reported()
    {
        string[] targets =
        [
            "198.51.100.1:22", $"{TestInternet.Metadata}:80", $"{TestInternet.Lan}:80", $"{TestInternet.CarrierNat}:80", "10.231.0.0:80", "192.0.2.2:80",
        ];
        SandboxResult result = await ProbeAsync(null, targets);

        Assert.All(result.StandardOutput.TrimEnd().Split('\n'), line => Assert.EndsWith(" at once", line, StringComparison.Ordinal));
        Assert.DoesNotContain("hello", result.StandardOutput, StringComparison.Ordinal);
        Assert.Superset(
            targets.Where(target => !target.StartsWith("10.231", StringComparison.Ordinal)).ToHashSet(),
            result.Network.Denied.Select(denial => $"{denial.Address}:{denial.Port}").ToHashSet());
        Assert.All(result.Network.Denied, denial => Assert.Equal("tcp", denial.Protocol));
    }

    [Fact]
    public async Task An_allow_list_opens_only_its_destinations()
    {
        var policy = new EgressPolicy { Allow = [$"tcp://{TestInternet.Web}:80"] };
        SandboxResult result = await ProbeAsync(policy, $"{TestInternet.Web}:80", $"{TestInternet.Web}:8080", $"{TestInternet.OtherWeb}:80", "web.example.test:80");

        string[] lines = result.StandardOutput.TrimEnd().Split('\n');
        Assert.Contains("hello", lines[0], StringComparison.Ordinal);
        Assert.All(lines[1..], line => Assert.DoesNotContain("hello", line, StringComparison.Ordinal));
    }

    [Fact]
    public async Task Only_allowed_domains_are_resolved_and_opened()
    {
        var policy = new EgressPolicy { Allow = ["web.example.test:80", "*.sub.example.test", "rebind.example.test"] };
        SandboxResult result = await ProbeAsync(
            policy, "web.example.test:80", "web.example.test:8080", "deep.sub.example.test:8080", "other.example.test:80", "rebind.example.test:80", $"{TestInternet.OtherWeb}:80");

        string[] lines = result.StandardOutput.TrimEnd().Split('\n');
        Assert.Contains("hello", lines[0], StringComparison.Ordinal);
        Assert.Contains("hello", lines[2], StringComparison.Ordinal);
        Assert.DoesNotContain("hello", lines[3] + lines[4] + lines[5], StringComparison.Ordinal);
        Assert.Contains(result.Network.Denied, denial => denial is { Domain: "other.example.test", Protocol: "dns" });
    }

    [Theory]
    [InlineData("inet btest_other", "forward", "type filter hook forward priority 0; policy drop;")]
    [InlineData("ip filter", "DOCKER-USER", "")]
    public async Task A_firewall_that_drops_gets_rules_that_accept_the_links(string table, string chain, string hook)
    {
        string script = $"add table {table}; add chain {table} {chain} {{ {hook} }}";
        if (chain == "DOCKER-USER")
        {
            script += $"; add chain {table} FORWARD {{ type filter hook forward priority 0; policy drop; }}; add rule {table} FORWARD jump {chain}";
        }

        await HostProgram.RunAsync("nft", script);
        try
        {
            Assert.Contains("hello", (await ProbeAsync(null, $"{TestInternet.Web}:80")).StandardOutput, StringComparison.Ordinal);
            Assert.Contains("boxer ", await HostProgram.RunAsync("nft", $"list chain {table} {chain}"), StringComparison.Ordinal);
            await Runner.DisposeAsync();
            Assert.DoesNotContain("boxer ", await HostProgram.RunAsync("nft", $"list chain {table} {chain}"), StringComparison.Ordinal);
        }
        finally
        {
            await HostProgram.RunAsync("nft", $"delete table {table}");
        }
    }

    [Fact]
    public async Task A_quota_stops_the_traffic()
    {
        SandboxRequest request = SharedRunner.Python($"""
            import urllib.request
            print(len(urllib.request.urlopen("http://{TestInternet.Web}/big100000", timeout=5).read()))
            try:
                print(len(urllib.request.urlopen("http://{TestInternet.Web}/big3000000", timeout=2).read()))
            except Exception as e:
                print(type(e).__name__)
            """);
        request.Network = "sandbox";
        request.Egress = new EgressPolicy { QuotaBytes = 1_000_000 };

        SandboxResult result = await Runner.RunAsync(request, Cancel);

        Assert.Equal(["100000", "TimeoutError"], result.StandardOutput.TrimEnd().Split('\n'));
        Assert.InRange(result.Network.BytesIn ?? 0, 900_000, 1_100_000);
    }

    [Fact]
    public async Task A_bandwidth_limits_each_direction()
    {
        // 2 MB at 8 Mbit/s take two seconds, less the burst. Without the limit they take milliseconds. A slow machine only increases the time.
        SandboxRequest request = SharedRunner.Python($"""
            import time, urllib.request
            def is_delayed(request):
                start = time.monotonic(); urllib.request.urlopen(request, timeout=20).read()
                return 1.5 < time.monotonic() - start
            print(is_delayed("http://{TestInternet.Web}/big2000000"))
            print(is_delayed(urllib.request.Request("http://{TestInternet.Web}/", bytes(2000000), method="PUT")))
            """);
        request.Network = "sandbox";
        request.Egress = new EgressPolicy { BandwidthBitsPerSecond = 8_000_000 };

        SandboxResult result = await Runner.RunAsync(request, Cancel);

        Assert.Equal(("True\nTrue\n", ""), (result.StandardOutput, result.StandardError));
        Assert.True(result.Network is { BytesIn: > 2_000_000, BytesOut: > 2_000_000 }, $"{result.Network}");
    }

    [Fact]
    public async Task Two_sandboxes_cannot_reach_each_other_and_forged_frames_are_dropped()
    {
        const string Listen = """
            import socket, sys, threading, time
            s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind(("0.0.0.0", 7000)); s.listen()
            u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("0.0.0.0", 7000))
            def tcp():
                s.accept(); print("TCP ARRIVED", flush=True)
            def udp():
                u.recv(100); print("UDP ARRIVED", flush=True)
            for f in (tcp, udp): threading.Thread(target=f, daemon=True).start()
            while True: print("listening", flush=True); time.sleep(0.2)
            """;
        SandboxRequest victim = SharedRunner.Python(Listen);
        victim.Network = "sandbox";
        string[] before = HostState.Namespaces();
        await using OpenRun listening = await OpenRun.StartAsync(Runner, victim);
        string victimNamespace = Assert.Single(HostState.Namespaces().Except(before));
        string victimAddress = (await HostProgram.RunAsync("ip", "-n", victimNamespace, "-4", "-o", "addr", "show", "dev", "eth0")) is { Length: > 0 } shown && shown.Contains("inet ", StringComparison.Ordinal)
            ? shown.Split("inet ")[1].Split('/')[0]
            : await PeerOfHostEndAsync();

        // Sends from another sandbox, and raw frames with forged sources and IPv6 from its namespace, as an escaped guest could.
        SandboxResult attacker = await ProbeAsync(null, $"{victimAddress}:7000");
        Assert.Contains(" at once", attacker.StandardOutput, StringComparison.Ordinal);
        SandboxRequest idle = SharedRunner.Shell(OpenRun.Counting);
        idle.Network = "sandbox";
        string[] others = HostState.Namespaces();
        await using OpenRun other = await OpenRun.StartAsync(Runner, idle);
        string attackerNamespace = Assert.Single(HostState.Namespaces().Except(others));
        await HostProgram.RunAsync("ip", "netns", "exec", attackerNamespace, "/usr/bin/python3", "-c", $"""
            import socket, struct
            raw = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); raw.bind(("eth0", 0))
            mac = open("/sys/class/net/eth0/address").read().strip().replace(":", "")
            source = bytes.fromhex(mac)
            def ip(src, dst, payload, proto=17):
                head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 1, 0, 64, proto, 0, socket.inet_aton(src), socket.inet_aton(dst))
                total = sum(struct.unpack("!10H", head)); total = (total & 0xffff) + (total >> 16); total = (total & 0xffff) + (total >> 16)
                return head[:10] + struct.pack("!H", ~total & 0xffff) + head[12:] + payload
            udp = struct.pack("!HHHH", 7000, 7000, 12, 0) + b"evil"
            for target in (b"\xff" * 6, bytes.fromhex("ffffffffffff"), b"\x33\x33\0\0\0\1"):
                for src in ("198.51.100.10", "{victimAddress}", "10.231.0.1"):
                    for dst in ("{victimAddress}", "255.255.255.255", "224.0.0.1"):
                        raw.send(target + source + b"\x08\0" + ip(src, dst, udp))
            arp = struct.pack("!HHBBH6s4s6s4s", 1, 0x0800, 6, 4, 2, source, socket.inet_aton("{victimAddress}"), b"\xff" * 6, socket.inet_aton("{victimAddress}"))
            for _ in range(5): raw.send(b"\xff" * 6 + source + b"\x08\x06" + arp)
            """);

        // The packets had two seconds to arrive.
        await listening.PrintsAsync(10);
        Assert.Equal(["listening"], (await listening.StopAsync()).TrimEnd().Split('\n').Distinct());

        async Task<string> PeerOfHostEndAsync()
        {
            string link = victimNamespace.Replace("-", "", StringComparison.Ordinal);
            string host = (await HostProgram.RunAsync("ip", "-4", "-o", "addr", "show", "dev", link)).Split("inet ")[1].Split('/')[0];
            string[] parts = host.Split('.');
            return $"{parts[0]}.{parts[1]}.{parts[2]}.{int.Parse(parts[3], null) + 1}";
        }
    }

    [Fact]
    public async Task A_disposed_runner_leaves_nothing()
    {
        string[] before = await StateAsync();
        await ProbeAsync(null, $"{TestInternet.Web}:80");
        await Runner.DisposeAsync();
        Assert.Equal(before, await StateAsync());
    }

    private static async Task<string[]> StateAsync() =>
    [
        await HostProgram.RunAsync("nft", "list", "tables"),
        .. Directory.GetFileSystemEntries("/sys/class/net").Order(StringComparer.Ordinal),
        .. Directory.GetFileSystemEntries("/run/netns").Order(StringComparer.Ordinal),
        await File.ReadAllTextAsync("/proc/sys/net/ipv4/ip_forward", Cancel),
    ];

    private async Task<SandboxResult> ProbeAsync(EgressPolicy? policy, params string[] targets)
    {
        SandboxRequest request = SharedRunner.Command(["python3", "-c", Probe, .. targets]);
        request.Network = "sandbox";
        request.Egress = policy;
        SandboxResult result = await Runner.RunAsync(request, Cancel);
        Assert.Equal("", result.StandardError);
        return result;
    }
}
