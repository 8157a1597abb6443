using Boxer.Hosting;
using Boxer.Network;
using Boxer.Networking;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Network;

/// <summary>Tests of IPv6 in the mode <c>sandbox</c>: off, no IPv6 packet passes; on, the policy applies to it as to IPv4.</summary>
[Collection(Sandboxes.Name)]
public sealed class IPv6Tests(PythonImage image, TestInternet internet) : InternetTests(internet)
{
    public override ValueTask InitializeAsync()
    {
        Assert.SkipUnless(TestInternet.HasIPv6, "Needs IPv6 in the kernel.");
        return base.InitializeAsync();
    }

    [Fact]
    public async Task IPv6_off_no_frame_passes_even_if_the_host_forwards_IPv6()
    {
        await using SandboxNetworkMode on = GuestNamespace.Mode(ipv6: true);
        await using INetworkAttachment neighbour = await AttachAsync(on, new EgressPolicy());
        await using SandboxNetworkMode off = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(off, new EgressPolicy());
        string neighbourAddress = await Address6Async(neighbour);
        Assert.Contains("hello", await GuestNamespace.FetchAsync(neighbour, TestInternet.Web6), StringComparison.Ordinal);
        int before = await DatagramsAsync();

        // An owner of the namespace can set any address, a route, and the host's end of the link as a neighbour.
        string link = Path.GetFileName(guest.Runtime.NamespacePath!).Replace("-", "", StringComparison.Ordinal);
        string mac = (await File.ReadAllTextAsync($"/sys/class/net/{link}/address", Cancel)).Trim();
        foreach (string source in (string[])["2001:db8:51:9::2", TestInternet.Web6, neighbourAddress])
        {
            Assert.Equal("sent\n", await GuestNamespace.RunAsync(guest, "sh", "-ec", $$"""
                echo 0 >/proc/sys/net/ipv6/conf/eth0/disable_ipv6
                ip -6 addr add {{source}}/128 dev eth0 nodad
                ip -6 neigh replace fe80::1 lladdr {{mac}} dev eth0
                ip -6 route replace default via fe80::1 dev eth0 src {{source}}
                /usr/bin/python3 -c '
                import socket
                for target in ("{{TestInternet.Web6}}", "{{neighbourAddress}}", "ff02::1%eth0", "{{TestInternet.HostAddress6}}"):
                    udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
                    try: udp.sendto(b"out", socket.getaddrinfo(target, 9000, type=socket.SOCK_DGRAM)[0][4])
                    except OSError: pass
                    tcp = socket.socket(socket.AF_INET6); tcp.settimeout(0.3)
                    try: tcp.connect((target.split("%")[0], 80)); print("CONNECTED", target)
                    except OSError: pass
                print("sent")'
                ip -6 addr del {{source}}/128 dev eth0
                """));
        }

        Assert.Equal(before, await DatagramsAsync());
    }

    [Fact]
    public async Task IPv6_on_only_the_public_internet_is_reached_and_the_settings_of_the_host_are_restored()
    {
        string[] before = await HostState.ReadAsync();
        string advertisements = await File.ReadAllTextAsync("/proc/sys/net/ipv6/conf/btest0/accept_ra", Cancel);
        await using (SandboxNetworkMode mode = GuestNamespace.Mode(ipv6: true))
        {
            await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy());
            await using INetworkAttachment neighbour = await AttachAsync(mode, new EgressPolicy());

            // A router ignores router advertisements by default. The host must keep its own default route.
            Assert.Equal("1\n", advertisements);
            Assert.Equal("2\n", await File.ReadAllTextAsync("/proc/sys/net/ipv6/conf/btest0/accept_ra", Cancel));

            Assert.Equal($"hello from {TestInternet.Web6} to {TestInternet.HostAddress6}", await GuestNamespace.FetchAsync(guest, TestInternet.Web6));
            foreach (string address in (string[])[TestInternet.HostAddress6, TestInternet.Metadata6, await Address6Async(neighbour), "fd00::2", "64:ff9b::a9fe:a9fe"])
            {
                Assert.Equal("refused", await GuestNamespace.FetchAsync(guest, address));
            }

            NetworkReport report = await guest.ReportAsync(Cancel);
            Assert.Contains(report.Denied, denial => denial is { Address: TestInternet.Metadata6, Port: 80, Protocol: "tcp" });
            Assert.Contains(report.Denied, denial => denial.Address == TestInternet.HostAddress6);
        }

        await HostState.AssertSameAsync(before);
    }

    [Fact]
    public async Task IPv6_on_policies_apply_by_range_and_by_name()
    {
        const string Ask = """
            import socket
            def fetch(name, port):
                try:
                    [(family, kind, proto, _, address)] = socket.getaddrinfo(name, port, socket.AF_INET6, socket.SOCK_STREAM)
                    s = socket.create_connection(address[:2], 3); s.sendall(b"GET / HTTP/1.0\r\n\r\n"); return "hello" in s.makefile().read()
                except OSError as e: return type(e).__name__
            print(fetch("web.example.test", 80), fetch("web.example.test", 8080), fetch("rebind.example.test", 80), fetch("other.example.test", 80))
            """;
        image.Require();
        BoxerOptions options = image.Options();
        options.DnsServers = [TestInternet.Resolver];
        options.EnableIPv6 = true;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        SandboxRequest request = SharedRunner.Python(Ask);
        request.Network = "sandbox";
        request.Egress = new EgressPolicy { Allow = ["web.example.test:80", "rebind.example.test"] };
        SandboxResult result = await runner.RunAsync(request, Cancel);
        Assert.Equal(("True ConnectionRefusedError gaierror gaierror\n", ""), (result.StandardOutput, result.StandardError));

        await using SandboxNetworkMode mode = GuestNamespace.Mode(ipv6: true);
        await using INetworkAttachment range = await AttachAsync(mode, new EgressPolicy { Allow = ["tcp://[2001:db8:51::/64]:8080"] });
        Assert.Contains("hello", await GuestNamespace.FetchAsync(range, TestInternet.Web6, 8080), StringComparison.Ordinal);
        Assert.Equal("refused", await GuestNamespace.FetchAsync(range, TestInternet.Web6));
        Assert.Equal("refused", await GuestNamespace.FetchAsync(range));

        await using INetworkAttachment denied = await AttachAsync(mode, new EgressPolicy { Deny = ["2001:db8:51::10"] });
        Assert.Equal("refused", await GuestNamespace.FetchAsync(denied, TestInternet.Web6));
        Assert.Contains("hello", await GuestNamespace.FetchAsync(denied), StringComparison.Ordinal);
    }

    [Fact]
    public async Task IPv6_on_the_resolver_answers_its_own_sandbox_only()
    {
        // Prints the addresses in the answer, or the exception.
        const string Ask = """
            import socket, struct, sys
            query = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\3web\7example\4test\0" + struct.pack("!HH", 28, 1)
            for kind in (socket.SOCK_DGRAM, socket.SOCK_STREAM):
                try:
                    s = socket.socket(socket.AF_INET6, kind); s.settimeout(1); s.connect((sys.argv[1], int(sys.argv[2])))
                    s.sendall(query if kind == socket.SOCK_DGRAM else struct.pack("!H", len(query)) + query)
                    print(socket.inet_ntop(socket.AF_INET6, s.recv(1000)[-16:]))
                except OSError as e: print(type(e).__name__)
            """;
        await using SandboxNetworkMode mode = GuestNamespace.Mode(ipv6: true);
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["web.example.test"] });
        await using INetworkAttachment neighbour = await AttachAsync(mode, new EgressPolicy());
        string port = (await HostProgram.RunAsync("nft", "list", "ruleset")).Split("redirect to :")[1].Split('\n')[0];
        string gateway = (await GuestNamespace.RunAsync(guest, "ip", "-6", "route", "show", "default")).Split("via ")[1].Split(' ')[0];

        Assert.Equal($"{TestInternet.Web6}\n{TestInternet.Web6}\n", await GuestNamespace.PythonAsync(guest, Ask, "2001:db8:99::53", "53"));
        Assert.Equal("TimeoutError\nTimeoutError\n", await HostProgram.RunAsync("/usr/bin/python3", "-c", Ask, gateway, port));
        Assert.DoesNotContain(TestInternet.Web6, await GuestNamespace.PythonAsync(neighbour, Ask, gateway, port), StringComparison.Ordinal);
    }

    private static async Task<INetworkAttachment> AttachAsync(SandboxNetworkMode mode, EgressPolicy policy)
    {
        INetworkAttachment attachment = await mode.PrepareAsync("test", Cancel);
        await attachment.ApplyAsync(GuestNamespace.Policy(policy), Cancel);
        return attachment;
    }

    private static async Task<string> Address6Async(INetworkAttachment attachment) =>
        (await GuestNamespace.RunAsync(attachment, "ip", "-6", "-o", "addr", "show", "dev", "eth0")).Split("inet6 ")[1].Split('/')[0];

    private static async Task<int> DatagramsAsync()
    {
        using var client = new HttpClient();
        return int.Parse(await client.GetStringAsync(new Uri($"http://{TestInternet.Web}/datagrams"), Cancel), null);
    }
}
