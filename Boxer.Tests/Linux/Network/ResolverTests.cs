using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.RegularExpressions;
using Boxer.Hosting;
using Boxer.Network;
using Boxer.Networking;
using Boxer.Tests.Support;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Linux.Network;

/// <summary>Tests of DNS in the mode <c>sandbox</c>: the queried servers, the responses, and the addresses that a response opens.</summary>
[LongTests]
[Collection(Sandboxes.Name)]
public sealed partial class ResolverTests(PythonImage image, TestInternet internet) : InternetTests(internet)
{
    // ask() returns the code and the addresses of a response. The queried server does not exist, so a response shows that the query was redirected.
    private const string Client = """
        import socket, struct, time
        from concurrent.futures import ThreadPoolExecutor
        def ask(name, kind=1, tcp=False, server="203.0.113.99", port=53, flags=0x100, questions=1, of=1, wait=4, edns=False):
            query = struct.pack("!HHHHHH", 7, flags, questions, 0, 0, int(edns)) + b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0" + struct.pack("!HH", kind, of)
            if edns: query += b"\0" + struct.pack("!HHIH", 41, 1232, 0, 0)
            try:
                s = socket.socket(socket.AF_INET, socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM); s.settimeout(wait); s.connect((server, port))
                s.sendall(struct.pack("!H", len(query)) + query if tcp else query)
                data = s.recv(4096)
                if tcp: data = data[2:] if len(data) > 2 else s.recv(4096)
            except OSError as e:
                return type(e).__name__
            if data[5] == 0: return str(data[3] & 15)
            def skip(i):
                while data[i] and data[i] < 192: i += data[i] + 1
                return i + (2 if data[i] else 1)
            at, found = skip(12) + 4, []
            for _ in range(struct.unpack("!H", data[6:8])[0]):
                at = skip(at)
                kind, _, _, size = struct.unpack("!HHIH", data[at:at + 10])
                if kind == 1: found.append(socket.inet_ntoa(data[at + 10:at + 14]))
                at += 10 + size
            return " ".join([str(data[3] & 15), *(["cut"] if data[2] & 2 else []), *found])
        # Connects and resets, a number of times; somewhat fewer in a second than are let in: TCP would wait ever longer where one is not.
        def reset(count, first=b""):
            def one(_):
                time.sleep(0.12)
                s = socket.socket(); s.settimeout(100); s.connect(("203.0.113.99", 53))
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if first: s.sendall(first)
                s.close(); return 1
            return sum(ThreadPoolExecutor(20).map(one, range(count)))
        # A connection that is silent, has half a message, or sends a byte now and then: what becomes of it, and of a question meanwhile.
        def hold(number):
            s = socket.socket(); s.settimeout(60); s.connect(("203.0.113.99", 53))
            if number % 3 == 1: s.sendall(b"\0\x22" + bytes(12))
            other = ask("web.example.test")
            if number % 3 == 2:
                s.settimeout(0.5)
                for byte in b"\x01\0" + bytes(100):
                    try:
                        s.sendall(bytes([byte]))
                        if s.recv(1) == b"": return "closed", other
                    except TimeoutError: pass
                    except OSError: return "closed", other
            try: return "closed" if s.recv(1) == b"" else "answered", other
            except ConnectionResetError: return "closed", other
            except OSError as e: return type(e).__name__, other
        # Questions with letters of any case: whether each answer had the letters of its question, and for how many.
        def cases(count):
            import random
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(4); s.connect(("203.0.113.99", 53))
            right = 0
            for number in range(count):
                labels = ["".join(random.choice((c.lower(), c.upper())) for c in label) for label in ("web", "example", "test")]
                question = b"".join(bytes([len(l)]) + l.encode() for l in labels) + struct.pack("!BHH", 0, 1, 1)
                s.send(struct.pack("!HHHHHH", number, 0x100, 1, 0, 0, 0) + question)
                data = s.recv(512)
                right += data[:2] == struct.pack("!H", number) and data[12:12 + len(question)] == question and data.endswith(socket.inet_aton("198.51.100.10"))
                time.sleep(0.0021)
            return [(right == count, right)]

        """;

    [Fact]
    public async Task With_an_allow_list_queries_to_any_server_are_redirected_and_only_allowed_names_resolve()
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
    public async Task Many_concurrent_queries_for_a_name_are_all_answered()
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
    public async Task Length_and_number_of_resolved_names_are_bounded()
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
        Assert.Equal(1_000, int.Parse(await GuestFreeFetchAsync("asked"), null) - before);
    }

    [Theory]
    [InlineData(true, 60)]
    [InlineData(false, 1)]
    public async Task A_session_resolves_a_thousand_names_again_after_an_hour_or_after_30_s_without_an_allow_list(bool hasAllowList, int minutes)
    {
        var time = new FakeTimeProvider();
        await using SandboxNetworkMode mode = GuestNamespace.Mode(time);
        await using INetworkAttachment guest = await mode.PrepareAsync("test", Cancel);
        EgressPolicy policy = hasAllowList ? new() { Allow = ["*.many.example.test"] } : new() { Deny = ["denied.test"] };
        await guest.ApplyAsync(GuestNamespace.Policy(policy).ForSession(), Cancel);
        int before = int.Parse(await GuestFreeFetchAsync("asked"), null);

        string[] answers = await AskAsync(
            guest,
            "sorted(set(ThreadPoolExecutor(8).map(ask, [f'none{i}.many.example.test' for i in range(1000)])))",
            "ask('one-more.many.example.test')");
        time.Advance(TimeSpan.FromMinutes(minutes));

        // After 3 s the firewall lets another burst of 1,000 queries through.
        string[] later = await AskAsync(
            guest,
            "time.sleep(3)",
            "ask('one-more.many.example.test')",
            "sorted(set(ThreadPoolExecutor(8).map(ask, [f'none{i}.many.example.test' for i in range(1000, 1999)])))",
            "ask('n.many.example.test')");

        Assert.Equal(["['3']", "3"], answers);
        Assert.Equal(["None", "0 198.51.100.10", "['3']", "3"], later);
        Assert.Equal(2_000, int.Parse(await GuestFreeFetchAsync("asked"), null) - before);
    }

    [Fact]
    public async Task An_allow_list_of_ranges_resolves_no_name_and_opens_no_DNS_over_TLS()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["198.51.100.0/24"] });

        Assert.Equal(["3", "3"], await AskAsync(guest, "ask('web.example.test')", "ask('web.example.test', tcp=True, server='198.51.100.53')"));
        Assert.Contains("hello", await GuestNamespace.FetchAsync(guest), StringComparison.Ordinal);
        Assert.Equal("refused", await GuestNamespace.FetchAsync(guest, port: 853));
    }

    [Fact]
    public async Task A_denied_domain_is_not_resolved_and_others_are()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Deny = ["other.example.test", "*.sub.example.test"] });

        Assert.Equal(["3", "3", "0 198.51.100.10"], await AskAsync(guest, "ask('other.example.test')", "ask('deep.sub.example.test')", "ask('web.example.test')"));
    }

    [Fact]
    public async Task Without_an_allow_list_the_configured_server_is_reached_even_if_private_but_only_its_DNS_port()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode(resolver: TestInternet.Lan);
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy());

        Assert.Equal(["0 198.51.100.10"], await AskAsync(guest, $"ask('web.example.test', server='{TestInternet.Lan}')"));
        Assert.Equal("refused", await GuestNamespace.FetchAsync(guest, TestInternet.Lan));
    }

    [Fact]
    public async Task A_configured_server_can_be_this_host_and_only_its_DNS_port_is_reached()
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
    public async Task DNS_packets_to_and_from_a_server_on_this_host_count_in_the_quota()
    {
        using var server = new UdpClient(new IPEndPoint(IPAddress.Parse(TestInternet.HostAddress), 53));
        await using SandboxNetworkMode mode = GuestNamespace.Mode(resolver: TestInternet.HostAddress);
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { QuotaBytes = 4_000 });

        // Eight queries of 128 bytes and eight responses of 328 bytes fit.
        Task<string> asking = GuestNamespace.PythonAsync(guest, $"""
            import socket
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(2); s.connect(("{TestInternet.HostAddress}", 53))
            answers = 0
            try:
                for _ in range(40): s.send(bytes(100)); answers += len(s.recv(1000)) == 300
            except TimeoutError: pass
            print(answers)
            """);
        while (!asking.IsCompleted)
        {
            Task<UdpReceiveResult> receiving = server.ReceiveAsync(Cancel).AsTask();
            if (await Task.WhenAny(receiving, asking) == receiving)
            {
                try
                {
                    await server.SendAsync(new byte[300], (await receiving).RemoteEndPoint, Cancel);
                }
                catch (SocketException)
                {
                    // Dropped.
                }
            }
        }

        Assert.Equal("8\n", await asking);
    }

    [Fact]
    public async Task An_address_stays_open_for_30_s_after_each_answer_and_is_resolved_again_when_the_answer_expires()
    {
        var time = new FakeTimeProvider();
        await using SandboxNetworkMode mode = GuestNamespace.Mode(time);
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["web.example.test"] });
        int before = int.Parse(await GuestFreeFetchAsync("asked"), null);

        await AskAsync(guest, "ask('web.example.test')");
        Assert.InRange(await SecondsLeftAsync(), 60, 90);
        time.Advance(TimeSpan.FromSeconds(29));
        await AskAsync(guest, "ask('web.example.test')");
        Assert.Equal(1, int.Parse(await GuestFreeFetchAsync("asked"), null) - before);

        // The clock of the firewall is real.
        await Task.Delay(TimeSpan.FromSeconds(4), Cancel);
        int left = await SecondsLeftAsync();
        Assert.InRange(left, 1, 86);
        time.Advance(TimeSpan.FromSeconds(2));
        await AskAsync(guest, "ask('web.example.test')");
        Assert.Equal(2, int.Parse(await GuestFreeFetchAsync("asked"), null) - before);
        Assert.InRange(await SecondsLeftAsync(), left + 1, 90);
    }

    [Fact]
    public async Task An_address_of_a_session_expires_for_new_connections_and_an_established_one_goes_on()
    {
        image.Require();
        BoxerOptions options = image.Options();
        options.DnsServers = [TestInternet.Resolver];
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        var request = new SandboxSessionRequest(PythonImage.Name) { Network = "sandbox", Egress = new EgressPolicy { Allow = ["web.example.test"] } };
        await using IOwnedSandboxSession box = await runner.OpenAsync(request, Cancel);
        await using ISandboxProcess established = await box.StartAsync(
            new SandboxCommand(
                "python3",
                "-c",
                """
                import socket, sys
                s = socket.create_connection(("web.example.test", 80), 5)
                sys.stdin.readline()
                s.sendall(b"GET / HTTP/1.0\r\n\r\n")
                print("hello" in s.makefile().read())
                """),
            Cancel);
        await Until.IsSoAsync(() => SecondsLeftAsync().GetAwaiter().GetResult() > 0, 60);
        Assert.Equal("True", await FetchAsync(TestInternet.Web));

        // The answer is valid for 30 s, and the address stays open for up to 60 s more.
        await Until.IsSoAsync(() => SecondsLeftAsync().GetAwaiter().GetResult() == 0, 120);
        Assert.Equal("refused", await FetchAsync(TestInternet.Web));
        await established.Input.WriteAsync("\n"u8.ToArray(), Cancel);
        List<byte> printed = [];
        await foreach (SandboxProcessOutput output in established.EventsAsync(0, Cancel).OfType<SandboxProcessOutput>())
        {
            printed.AddRange(output.Data.Span);
        }

        Assert.Equal("True\n", Encoding.UTF8.GetString([.. printed]));
        Assert.Equal("True", await FetchAsync("web.example.test"));

        async Task<string> FetchAsync(string host)
        {
            const string Program = """
                import sys, urllib.request
                try: print("hello" in urllib.request.urlopen("http://" + sys.argv[1], timeout=5).read().decode())
                except OSError: print("refused")
                """;
            return (await box.ExecAsync(new SandboxCommand("python3", "-c", Program, host), Cancel)).StandardOutput.TrimEnd();
        }
    }

    [Fact]
    public async Task An_address_of_two_names_stays_open_for_the_longer_answer_in_any_order()
    {
        using var tools = new CountedTools();
        await using SandboxNetworkMode mode = GuestNamespace.Mode(programs: tools.Path);
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["*.many.example.test"] });
        int before = int.Parse(await GuestFreeFetchAsync("asked"), null);
        int changes = tools.Changes;

        // The short answer arrives while the addresses of the long one are being opened.
        tools.HoldChanges();
        Task<string[]> longer = AskAsync(guest, "ask('hour.many.example.test', wait=15)");
        while (tools.Changes == changes)
        {
            await Task.Delay(20, Cancel);
        }

        Task<string[]> shorter = AskAsync(guest, "ask('short.many.example.test', wait=15)");
        while (int.Parse(await GuestFreeFetchAsync("asked"), null) - before < 2)
        {
            await Task.Delay(20, Cancel);
        }

        await Task.Delay(300, Cancel);
        tools.LetChanges();

        Assert.Equal(["0 198.51.100.10", "0 198.51.100.10"], [.. await longer, .. await shorter]);
        Assert.Equal(changes + 2, tools.Changes);
        Assert.InRange(await SecondsLeftAsync(), 3_600, 3_660);
    }

    [Fact]
    public async Task A_response_that_does_not_fit_into_a_datagram_is_truncated_and_complete_over_TCP()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["*.many.example.test"] });

        string[] answers = await AskAsync(guest, "ask('wide.many.example.test', edns=True)", "ask('wide.many.example.test', tcp=True)");

        // A datagram has at most 512 bytes, even if the query accepts more.
        string[] addresses = [.. Enumerable.Range(0, 60).Select(number => $"203.0.113.{number}")];
        Assert.Equal([$"0 cut {string.Join(' ', addresses[..29])}", $"0 {string.Join(' ', addresses)}"], answers);
    }

    [Fact]
    public async Task Reset_connections_leave_no_socket()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["web.example.test"] });
        Assert.Equal(["0 198.51.100.10"], await AskAsync(guest, "ask('web.example.test', tcp=True)"));
        int before = Sockets();

        // Resets before a message, inside one, and before its response.
        (string[] reset, int most) = await CountSocketsAsync(AskAsync(
            guest,
            "[reset(1000), reset(1000, b'\\0'), reset(1000, b'\\0\\x22' + bytes(20))]",
            "ask('web.example.test', tcp=True)"));

        Assert.Equal(["[1000, 1000, 1000]", "0 198.51.100.10"], reset);
        Assert.InRange(most, before, before + 20);
        Assert.InRange(Sockets(), 0, before + 20);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_run_that_resets_connections_uses_few_descriptors_and_names_still_resolve(bool isPooled)
    {
        image.Require();
        BoxerOptions options = image.Options();
        options.DnsServers = [TestInternet.Resolver];
        options.Pool.Enabled = isPooled;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        if (isPooled)
        {
            SandboxRequest first = SharedRunner.Command("true");
            first.Network = "sandbox";
            await runner.WarmAsync(first);
            await WarmRuns.WaitForReadyAsync();
        }

        SandboxRequest request = SharedRunner.Python(Client + """
            for name in ("web.example.test", "WEB.Example.TEST"): print(socket.gethostbyname(name), flush=True)
            print(reset(1000), socket.getaddrinfo("web.example.test", 80, type=socket.SOCK_STREAM)[0][4][0])
            """);
        request.Network = "sandbox";
        request.Egress = new EgressPolicy { Allow = ["web.example.test"] };
        request.Limits.WallClock = TimeSpan.FromMinutes(2);
        int before = Sockets();

        (SandboxResult result, int most) = await CountSocketsAsync(runner.RunAsync(request, Cancel));

        Assert.Equal(("198.51.100.10\n198.51.100.10\n1000 198.51.100.10\n", isPooled), (result.StandardOutput, result.IsWarm()));
        Assert.InRange(most, before, before + 200);
    }

    [Fact]
    public async Task Silent_and_slow_connections_are_closed_and_others_are_answered_meanwhile()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["web.example.test"] });
        int before = Sockets();

        (string[] held, int most) = await CountSocketsAsync(AskAsync(
            guest,
            "sorted(set(ThreadPoolExecutor(17).map(lambda i: hold(i) if i < 16 else (time.sleep(1), ask('web.example.test', tcp=True, wait=60)), range(17))), key=str)",
            "ask('web.example.test', tcp=True)"));

        Assert.Equal(["[('closed', '0 198.51.100.10'), (None, '0 198.51.100.10')]", "0 198.51.100.10"], held);
        Assert.InRange(most, before, before + 20);
    }

    [Fact]
    public async Task Ten_thousand_queries_in_any_letter_case_send_one_upstream_query_and_open_the_address_once()
    {
        using var tools = new CountedTools();

        // The clock stands still, so that the periodic checks make no calls.
        await using SandboxNetworkMode mode = GuestNamespace.Mode(new FakeTimeProvider(), tools.Path);
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["web.example.test"] });
        int before = int.Parse(await GuestFreeFetchAsync("asked"), null);
        int changes = tools.Changes;

        string[] answers = await AskAsync(guest, "cases(10000)");

        Assert.Equal(["[(True, 10000)]"], answers);
        Assert.Equal(1, int.Parse(await GuestFreeFetchAsync("asked"), null) - before);
        Assert.Equal(1, tools.Changes - changes);
    }

    [Fact]
    public async Task Addresses_of_many_names_are_opened_in_one_batch()
    {
        using var tools = new CountedTools();
        await using SandboxNetworkMode mode = GuestNamespace.Mode(programs: tools.Path);
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["*.each.example.test"] });
        int changes = tools.Changes;

        string[] answers = await AskAsync(guest, "list(ThreadPoolExecutor(16).map(lambda i: ask(f'{i}.each.example.test'), range(200))) == [f'0 203.0.113.{i}' for i in range(200)]");

        Assert.Equal(["True"], answers);
        Assert.InRange(tools.Changes - changes, 1, 100);
        Assert.Equal(200, Opened.Count(await HostProgram.RunAsync("nft", "list", "ruleset")));
    }

    [Fact]
    public async Task Only_its_own_sandbox_reaches_a_resolver()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["web.example.test"] });
        await using INetworkAttachment neighbour = await AttachAsync(mode, new EgressPolicy());
        string port = Redirect.Match(await HostProgram.RunAsync("nft", "list", "ruleset")).Groups["port"].Value;
        string gateway = (await GuestNamespace.RunAsync(guest, "ip", "route", "show", "default")).Split("via ")[1].Split(' ')[0];
        string program = Client + $"print([ask('web.example.test', tcp=tcp, server='{gateway}', port={port}, wait=1) for tcp in (False, True)])";

        Assert.Equal(["0 198.51.100.10"], await AskAsync(guest, "ask('web.example.test')"));
        foreach (string user in (string[])["0", "65534"])
        {
            Assert.Equal("['TimeoutError', 'TimeoutError']\n", await HostProgram.RunAsync("setpriv", $"--reuid={user}", "/usr/bin/python3", "-c", program));
        }

        Assert.DoesNotContain("198.51.100.10", await GuestNamespace.PythonAsync(neighbour, program), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Upstream_queries_count_in_the_quota()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["*.many.example.test", TestInternet.Web], QuotaBytes = 4_000 });
        int before = int.Parse(await GuestFreeFetchAsync("asked"), null);
        Assert.Contains("hello", await GuestNamespace.FetchAsync(guest), StringComparison.Ordinal);

        // About 140 bytes each, with the answer.
        string[] answers = await AskAsync(guest, "[ask(f'none{i}.many.example.test') for i in range(60)]");

        Assert.StartsWith("['3', ", answers[0], StringComparison.Ordinal);
        Assert.EndsWith(", '2']", answers[0], StringComparison.Ordinal);
        Assert.InRange(int.Parse(await GuestFreeFetchAsync("asked"), null) - before, 10, 40);
        Assert.Equal("refused", await GuestNamespace.FetchAsync(guest));
    }

    [Fact]
    public async Task Other_queries_get_the_matching_response_code()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["web.example.test", "*.sub.example.test"] });
        int before = int.Parse(await GuestFreeFetchAsync("asked"), null);

        // ANY, a transfer, MX, another class, names that are not host names, a status query, two questions, and a response.
        string[] answers = await AskAsync(
            guest,
            "ask('web.example.test', kind=255)", "ask('web.example.test', kind=252, tcp=True)", "ask('web.example.test', kind=15)", "ask('web.example.test', of=3)",
            "ask('a\\0b.sub.example.test')", "ask('a b.sub.example.test')",
            "ask('web.example.test', flags=0x1100)", "ask('web.example.test', questions=2)", "ask('web.example.test', flags=0x8180, wait=1)");

        Assert.Equal(["4", "4", "0", "5", "3", "3", "4", "1", "TimeoutError"], answers);
        Assert.Equal(before, int.Parse(await GuestFreeFetchAsync("asked"), null));
    }

    [Fact]
    public async Task Only_rules_of_the_operator_open_private_ranges()
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

        // A name resolves to a private address only if that address is open.
        Assert.Equal(["0 10.99.0.7"], await AskAsync(configured, "ask('rebind.example.test')"));
        Assert.Equal(["0"], await AskAsync(requested, "ask('rebind.example.test')"));
    }

    [Fact]
    public async Task A_flood_of_queries_is_dropped_by_the_firewall()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["web.example.test"] });

        string[] answers = await AskAsync(guest, "flood()", "time.sleep(4)", "ask('web.example.test')");

        // The sandbox sent 30,000 queries. The firewall drops most of them.
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

    // Returns the result of each query.
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

    // Returns how long the address stays open.
    private static async Task<int> SecondsLeftAsync()
    {
        Match match = Expires.Match(await HostProgram.RunAsync("nft", "list", "ruleset"));
        return (3600 * Number("hours")) + (60 * Number("minutes")) + Number("seconds");

        int Number(string group) => match.Groups[group].Success ? int.Parse(match.Groups[group].ValueSpan, null) : 0;
    }

    // Queries from this host, which has no policy.
    private static async Task<string> GuestFreeFetchAsync(string page)
    {
        using var client = new HttpClient();
        return await client.GetStringAsync(new Uri($"http://{TestInternet.Web}/{page}"), Cancel);
    }

    /// <summary>Stand-ins for the programs of the network mode: they count the changes of rules, and delay a change on request.</summary>
    private sealed class CountedTools : IDisposable
    {
        internal CountedTools()
        {
            foreach (string name in ((string[])["ip", "tc", "nft", "iptables-legacy", "iptables-legacy-restore"]).Where(HostProgram.Exists))
            {
                string path = System.IO.Path.Join(Path, name);
                File.WriteAllText(path, $"#!/bin/sh\necho {name} \"$*\" >> {Path}/calls\nwhile [ \"$*\" = \"-f -\" -a -e {Path}/hold ]; do sleep 0.05; done\nPATH=/usr/sbin:/sbin:/usr/bin:/bin\nexec {name} \"$@\"\n");
                File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserExecute);
            }
        }

        internal string Path { get; } = Directory.CreateTempSubdirectory("boxer-tools-").FullName;

        internal void HoldChanges() => File.WriteAllText(System.IO.Path.Join(Path, "hold"), "");

        internal void LetChanges() => File.Delete(System.IO.Path.Join(Path, "hold"));

        internal int Changes => File.ReadAllLines(System.IO.Path.Join(Path, "calls")).Count(call => call == "nft -f -");

        public void Dispose() => Directory.Delete(Path, recursive: true);
    }

    // Returns the result, and the maximum number of sockets of this process meanwhile. Leaked sockets close when their objects are collected.
    private static async Task<(T Result, int Most)> CountSocketsAsync<T>(Task<T> work)
    {
        int most = Sockets();
        while (!work.IsCompleted)
        {
            most = Math.Max(most, Sockets());
            await Task.Delay(20, Cancel);
        }

        return (await work, most);
    }

    private static int Sockets() =>
        new DirectoryInfo("/proc/self/fd").EnumerateFileSystemInfos().Count(descriptor => descriptor.LinkTarget?.StartsWith("socket:", StringComparison.Ordinal) == true);

    [GeneratedRegex(@"198\.51\.100\.10 timeout \S+ expires ((?<hours>\d+)h)?((?<minutes>\d+)m)?((?<seconds>\d+)s)?", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Expires { get; }

    [GeneratedRegex(@"203\.0\.113\.\d+ timeout", RegexOptions.None, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Opened { get; }

    [GeneratedRegex(@"redirect to :(?<port>\d+)", RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1000)]
    private static partial Regex Redirect { get; }
}
