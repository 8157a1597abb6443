using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.RegularExpressions;
using Boxer.Network;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Network;

/// <summary>Names in the mode <c>sandbox</c>: who is asked, what is answered, and what an answer opens.</summary>
[Collection(Sandboxes.Name)]
public sealed partial class ResolverTests(TestInternet internet) : InternetTests(internet)
{
    // ask(): code and addresses of an answer. The server is one that does not exist: whoever answers was put there by a redirect.
    private const string Client = """
        import socket, struct, time
        from concurrent.futures import ThreadPoolExecutor
        def ask(name, kind=1, tcp=False, server="203.0.113.99"):
            query = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0" + struct.pack("!HH", kind, 1)
            try:
                s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM); s.settimeout(4); s.connect((server, 53))
                s.sendall(struct.pack("!H", len(query)) + query if tcp else query)
                data = s.recv(4096)
                if tcp: data = data[2:] if len(data) > 2 else s.recv(4096)
            except OSError as e:
                return type(e).__name__
            def skip(i):
                while data[i] and data[i] < 192: i += data[i] + 1
                return i + (2 if data[i] else 1)
            at, found = skip(12) + 4, []
            for _ in range(struct.unpack("!H", data[6:8])[0]):
                at = skip(at)
                kind, _, _, size = struct.unpack("!HHIH", data[at:at + 10])
                if kind == 1: found.append(socket.inet_ntoa(data[at + 10:at + 14]))
                at += 10 + size
            return " ".join([str(data[3] & 15), *found])

        """;

    [Fact]
    public async Task With_an_allow_list_every_server_is_ours_and_knows_allowed_names_only()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["web.example.test", "*.sub.example.test"] });

        string[] answers = await AskAsync(
            guest,
            "ask('web.example.test')", "ask('WEB.Example.TEST', tcp=True)", "ask('deep.sub.example.test', server='198.51.100.53')", "ask('web.example.test', kind=28)",
            "ask('web.example.test', kind=16)", "ask('other.example.test')", "ask('sub.example.test')", "ask('web.example.test', server='10.99.0.7')");

        Assert.Equal(["0 198.51.100.10", "0 198.51.100.10", "0 198.51.100.10", "0", "0", "3", "3", "0 198.51.100.10"], answers);
        NetworkReport report = await guest.ReportAsync(Cancel);
        Assert.Equal(["other.example.test", "sub.example.test"], report.Denied.Select(denial => denial.Domain).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_name_that_is_asked_for_many_times_at_once_is_always_answered()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["*.many.example.test"] });

        string[] answers = await AskAsync(
            guest,
            "sorted(set(ThreadPoolExecutor(8).map(lambda i: ask(f'n{i // 8}.many.example.test'), range(400))))");

        Assert.Equal(["['0 198.51.100.10']"], answers);
        Assert.Empty((await guest.ReportAsync(Cancel)).Denied);
    }

    [Fact]
    public async Task Names_are_bounded_in_length_and_number_so_that_they_carry_little_out()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["*.many.example.test"] });
        int before = int.Parse(await GuestFreeFetchAsync("asked"), null);

        string label = new('a', 60);
        string[] answers = await AskAsync(
            guest,
            $"ask('{label}.{label}.{label}.many.example.test')",
            "ask('first.many.example.test')",
            "sorted(set(ThreadPoolExecutor(8).map(ask, [f'none{i}.many.example.test' for i in range(999)])))",
            "ask('one-more.many.example.test')",
            "ask('first.many.example.test')");

        Assert.Equal(["3", "0 198.51.100.10", "['3']", "3", "0 198.51.100.10"], answers);
        Assert.Equal(1_001, int.Parse(await GuestFreeFetchAsync("asked"), null) - before);
    }

    [Fact]
    public async Task A_list_of_ranges_alone_answers_no_name_and_opens_no_dns_over_tls()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["198.51.100.0/24"] });

        Assert.Equal(["3", "3"], await AskAsync(guest, "ask('web.example.test')", "ask('web.example.test', tcp=True, server='198.51.100.53')"));
        Assert.Contains("hello", await GuestNamespace.FetchAsync(guest), StringComparison.Ordinal);
        Assert.Equal("refused", await GuestNamespace.FetchAsync(guest, port: 853));
    }

    [Fact]
    public async Task A_denied_domain_is_not_resolved_and_the_rest_is()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Deny = ["other.example.test", "*.sub.example.test"] });

        Assert.Equal(["3", "3", "0 198.51.100.10"], await AskAsync(guest, "ask('other.example.test')", "ask('deep.sub.example.test')", "ask('web.example.test')"));
    }

    [Fact]
    public async Task Without_an_allow_list_the_configured_resolver_is_asked_also_a_private_one_and_no_other_private_port()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode(resolver: TestInternet.Lan);
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy());

        Assert.Equal(["0 198.51.100.10"], await AskAsync(guest, $"ask('web.example.test', server='{TestInternet.Lan}')"));
        Assert.Equal("refused", await GuestNamespace.FetchAsync(guest, TestInternet.Lan));
    }

    [Fact]
    public async Task A_configured_resolver_may_be_this_host_itself_and_only_its_port_is_reached()
    {
        using var server = new UdpClient(new IPEndPoint(IPAddress.Parse(TestInternet.HostAddress), 53));
        using var other = new UdpClient(new IPEndPoint(IPAddress.Parse(TestInternet.HostAddress), 5353));
        await using SandboxNetworkMode mode = GuestNamespace.Mode(resolver: TestInternet.HostAddress);
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy());

        Task<string> sent = GuestNamespace.PythonAsync(guest, $"""
            import socket
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(4)
            s.sendto(b"no", ("{TestInternet.HostAddress}", 5353)); s.sendto(b"query", ("{TestInternet.HostAddress}", 53))
            print(s.recv(100).decode())
            """);
        UdpReceiveResult query = await server.ReceiveAsync(Cancel);
        await server.SendAsync(Encoding.ASCII.GetBytes("answer"), query.RemoteEndPoint, Cancel);

        Assert.Equal("answer\n", await sent);
        Assert.Equal(0, other.Available);
    }

    [Fact]
    public async Task An_address_stays_open_as_long_as_the_newest_answer_is_valid()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["web.example.test"] });

        await AskAsync(guest, "ask('web.example.test')");
        await Task.Delay(TimeSpan.FromSeconds(4), Cancel);
        int left = await SecondsLeftAsync();
        Assert.InRange(left, 1, 26);
        await AskAsync(guest, "ask('web.example.test')");
        Assert.InRange(await SecondsLeftAsync(), left + 1, 30);

        static async Task<int> SecondsLeftAsync() =>
            int.Parse(Expires.Match(await HostProgram.RunAsync("nft", "list", "ruleset")).Groups["seconds"].ValueSpan, null);
    }

    [Fact]
    public async Task Private_ranges_are_the_operators_to_open()
    {
        var lan = new EgressPolicy { Allow = [$"{TestInternet.Lan}:80", "rebind.example.test"] };
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment configured = await AttachAsync(mode, lan);
        await using INetworkAttachment requested = await AttachAsync(mode, new EgressPolicy(), lan);
        await using INetworkAttachment wider = await AttachAsync(mode, new EgressPolicy { Allow = [] }, lan, replaces: true);
        await using INetworkAttachment both = await AttachAsync(mode, lan, new EgressPolicy { Allow = [TestInternet.Web] });

        Assert.Contains(TestInternet.Lan, await GuestNamespace.FetchAsync(configured, TestInternet.Lan), StringComparison.Ordinal);
        Assert.Equal("refused", await GuestNamespace.FetchAsync(configured, TestInternet.Lan, 8080));
        Assert.Equal("refused", await GuestNamespace.FetchAsync(requested, TestInternet.Lan));
        Assert.Contains(TestInternet.Lan, await GuestNamespace.FetchAsync(wider, TestInternet.Lan), StringComparison.Ordinal);
        Assert.Equal("refused", await GuestNamespace.FetchAsync(both, TestInternet.Lan));
        Assert.Equal("refused", await GuestNamespace.FetchAsync(both));

        // A name with a private address is told only where that address was opened.
        Assert.Equal(["0 10.99.0.7"], await AskAsync(configured, "ask('rebind.example.test')"));
        Assert.Equal(["0"], await AskAsync(requested, "ask('rebind.example.test')"));
    }

    [Fact]
    public async Task A_flood_of_queries_is_dropped_before_it_costs_this_host_much()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["web.example.test"] });

        string[] answers = await AskAsync(guest, "flood()", "time.sleep(4)", "ask('web.example.test')");

        // Of 30,000: what the resolver saw of them, and that it still answers when the flood is over.
        NetworkDenial flood = Assert.Single((await guest.ReportAsync(Cancel)).Denied, denial => denial.Protocol == "dns");
        Assert.Equal("unknown.test", flood.Domain);
        Assert.InRange(flood.Count, 1, 15_000);
        Assert.Equal(["None", "None", "0 198.51.100.10"], answers);
    }

    private static async Task<INetworkAttachment> AttachAsync(SandboxNetworkMode mode, EgressPolicy configured, EgressPolicy? requested = null, bool replaces = false)
    {
        INetworkAttachment attachment = await mode.PrepareAsync("test", Cancel);
        await attachment.ApplyAsync(GuestNamespace.Policy(configured, requested, replaces), Cancel);
        return attachment;
    }

    // What each comes to.
    private static async Task<string[]> AskAsync(INetworkAttachment guest, params string[] expressions)
    {
        const string Flood = """
            def flood():
                s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.connect(("203.0.113.99", 53))
                query = struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + b"\7unknown\4test\0" + struct.pack("!HH", 1, 1)
                for _ in range(30000): s.send(query)

            """;
        return (await GuestNamespace.PythonAsync(guest, Client + Flood + string.Concat(expressions.Select(expression => $"print({expression})\n")))).TrimEnd().Split('\n');
    }

    // From this host, which no policy holds.
    private static async Task<string> GuestFreeFetchAsync(string page)
    {
        using var client = new HttpClient();
        return await client.GetStringAsync(new Uri($"http://{TestInternet.Web}/{page}"), Cancel);
    }

    [GeneratedRegex(@"198\.51\.100\.10 timeout 30s expires (?<seconds>\d+)s", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Expires { get; }
}
