using System.Globalization;
using System.Net;
using Boxer.Network;
using Boxer.Network.Dns;
using Boxer.Network.Firewalls;
using Boxer.Network.Links;
using Boxer.Network.Tools;
using Boxer.Networking;
using Boxer.Tests.Support;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Linux.Network;

/// <summary>Tests of <see cref="SandboxNetworkMode"/> without sandboxes: failing programs, leftovers, and concurrent instances.</summary>
[LongTests]
[Collection(Sandboxes.Name)]
public sealed class NetworkFaultTests(TestInternet internet) : IClassFixture<TestInternet>, IAsyncLifetime
{
    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-tools-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private static NetworkPolicy Policy { get; } = Limited(1_000_000_000);

    private static NetworkPolicy Limited(long? bandwidth) => NetworkPolicy.Combine(
        new EgressPolicy { Allow = ["web.example.test:80", $"{TestInternet.OtherWeb}:80"], BandwidthBitsPerSecond = bandwidth, QuotaBytes = 1_000_000_000 },
        new EgressPolicy { Deny = [$"{TestInternet.OtherWeb}"] },
        replaces: false);

    public async ValueTask InitializeAsync()
    {
        internet.Require();

        // Each stand-in runs the real program, but the call with a given number fails: before it did anything, or after it did everything.
        foreach (string name in (string[])["ip", "tc", "nft", "iptables-legacy", "iptables-legacy-restore"])
        {
            string path = Path.Join(_directory, name);
            await File.WriteAllTextAsync(
                path,
                $"""
                #!/bin/sh
                exec 9>{_directory}/lock
                flock 9
                count=$(( $(cat {_directory}/count) + 1 ))
                echo $count > {_directory}/count.new
                mv {_directory}/count.new {_directory}/count
                exec 9>&-
                fails=$(cat {_directory}/fails)
                PATH=/usr/sbin:/sbin:/usr/bin:/bin
                if [ -e {_directory}/all ]; then . {_directory}/all; exit 0; fi
                if [ "$fails" = "garbage $count" ]; then case " $* " in *" -j "*) . {_directory}/garbage; exit 0;; esac; fi
                if [ "$fails" = "$count" ]; then exec false; fi
                if [ "$fails" = "-$count" ]; then {name} "$@"; exit 1; fi
                exec {name} "$@"

                """,
                Cancel);
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        }
    }

    public ValueTask DisposeAsync()
    {
        Directory.Delete(_directory, recursive: true);
        return ValueTask.CompletedTask;
    }

    [Theory]
    [InlineData(1)]
    [InlineData(-1)]
    public async Task A_failing_call_of_a_program_is_a_typed_failure_and_leaves_nothing(int sign)
    {
        string[] before = await HostState.ReadAsync();
        int faults = 0;
        for (int number = 1; ; number++)
        {
            await File.WriteAllTextAsync(Path.Join(_directory, "count"), "0", Cancel);
            await File.WriteAllTextAsync(Path.Join(_directory, "fails"), (sign * number).ToString(CultureInfo.InvariantCulture), Cancel);
            bool wasMade = false;
            Exception? failure = null;
            await using (SandboxNetworkMode mode = Mode(_directory))
            {
                try
                {
                    await using INetworkAttachment attachment = await mode.PrepareAsync("one", Cancel);
                    await attachment.ApplyAsync(Policy, Cancel);
                    await attachment.ReportAsync(Cancel);
                    wasMade = true;
                }
                catch (Exception exception)
                {
                    failure = exception;
                }

                int calls = await CallsAsync();
                await File.WriteAllTextAsync(Path.Join(_directory, "fails"), "0", Cancel);
                if (calls < number)
                {
                    Assert.Null(failure);
                    break;
                }

                faults++;
                Assert.True(failure is null ? wasMade : failure is SandboxRuntimeException, $"call {number}: {failure}");
                Assert.True(wasMade || failure!.Message.Contains("exited with 1", StringComparison.Ordinal), failure?.Message);
                Assert.True(wasMade || ((SandboxRuntimeException)failure!).PublicMessage == "The sandbox could not be started, or broke.", failure?.Message);

                // The next sandbox is not affected.
                await using INetworkAttachment next = await mode.PrepareAsync("two", Cancel);
                await next.ApplyAsync(Policy, Cancel);
            }

            await HostState.AssertSameAsync(before);
        }

        Assert.InRange(faults, 10, 40);
    }

    [Theory]
    [InlineData("echo '{'")]
    [InlineData("echo '{}'")]
    [InlineData("echo '{\"nftables\": [{\"table\": {}}, {\"rule\": {\"comment\": 1}}, {\"chain\": {\"hook\": []}}]}'")]
    [InlineData("head -c 70000000 /dev/zero")]
    public async Task Malformed_output_of_a_program_is_a_typed_failure_and_leaves_nothing(string garbage)
    {
        string[] before = OwnTraces.Instances();
        List<string> instances = [];
        int faults = 0;
        for (int number = 1; ; number++)
        {
            await UseGarbageAsync(number, garbage);
            bool wasHit;
            await using (SandboxNetworkMode mode = Mode(_directory))
            {
                Exception? failure = await Record.ExceptionAsync(async () =>
                {
                    await mode.ReconcileAsync(Cancel);
                    await using INetworkAttachment attachment = await mode.PrepareAsync("one", Cancel);
                    await attachment.ApplyAsync(Policy, Cancel);
                });
                wasHit = await CallsAsync() >= number;
                await UseGarbageAsync(0, garbage);
                Assert.True(failure is null or SandboxRuntimeException, $"call {number}: {failure}");
                if (failure is not null)
                {
                    faults++;

                    // The next sandbox is not affected.
                    await using INetworkAttachment next = await mode.PrepareAsync("two", Cancel);
                    await next.ApplyAsync(Policy, Cancel);
                }

                instances.AddRange(OwnTraces.Instances().Except(before, StringComparer.Ordinal));
            }

            if (!wasHit)
            {
                break;
            }
        }

        Assert.InRange(faults, 3, 40);
        Assert.Empty(await OwnTraces.FindAsync(instances));
    }

    [Fact]
    public async Task A_program_that_hangs_is_killed_and_is_a_typed_failure()
    {
        await UseGarbageAsync(0, "");
        await File.WriteAllTextAsync(Path.Join(_directory, "all"), "exec sleep 1000", Cancel);
        var time = new FakeTimeProvider();
        await using SandboxNetworkMode mode = Mode(_directory, time);
        Task<INetworkAttachment> preparing = mode.PrepareAsync("one", Cancel);
        while (!preparing.IsCompleted)
        {
            time.Advance(TimeSpan.FromSeconds(1));
            await Task.Delay(20, Cancel);
        }

        File.Delete(Path.Join(_directory, "all"));
        SandboxRuntimeException fault = await Assert.ThrowsAsync<SandboxRuntimeException>(() => preparing);
        Assert.Contains("did not end within 20 s", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task RulesMonitor_survives_malformed_output_and_then_detects_that_the_table_was_deleted()
    {
        string[] before = OwnTraces.Instances();
        string[] instances;
        await UseGarbageAsync(0, "");
        var time = new FakeTimeProvider();
        await using (SandboxNetworkMode mode = Mode(_directory, time))
        {
            await using INetworkAttachment attachment = await mode.PrepareAsync("one", Cancel);
            instances = [.. OwnTraces.Instances().Except(before, StringComparer.Ordinal)];
            await attachment.ApplyAsync(Open, Cancel);

            // Every program prints garbage for a while, like a program of an incompatible release.
            await File.WriteAllTextAsync(Path.Join(_directory, "all"), "echo '{'", Cancel);
            int calls = await CallsAsync();
            await AdvanceAsync(time, async () => await CallsAsync() > calls + 3);
            File.Delete(Path.Join(_directory, "all"));
            Assert.True(attachment.IsUsable);

            await HostProgram.RunAsync("nft", "delete", "table", "inet", "boxer_" + Assert.Single(instances));
            await AdvanceAsync(time, async () => await GuestNamespace.FetchAsync(attachment) == "refused");
            Assert.False(attachment.IsUsable);
        }

        Assert.Empty(await OwnTraces.FindAsync(instances));

        static async Task AdvanceAsync(FakeTimeProvider time, Func<Task<bool>> isSo)
        {
            for (int attempt = 0; !await isSo(); attempt++)
            {
                Assert.True(attempt < 1_000, "It never was so.");
                time.Advance(TimeSpan.FromSeconds(1));
                await Task.Delay(50, Cancel);
            }
        }
    }

    [Fact]
    public async Task PrepareAsync_works_on_a_host_with_ten_thousand_rules()
    {
        string rules = Path.Join(_directory, "rules");
        await File.WriteAllTextAsync(
            rules,
            "add table ip boxertest\nadd chain ip boxertest many\n" + string.Concat(Enumerable.Range(0, 10_000).Select(Rule)),
            Cancel);
        await HostProgram.RunAsync("nft", "-f", rules);
        try
        {
            await using SandboxNetworkMode mode = Mode();
            await using INetworkAttachment attachment = await mode.PrepareAsync("one", Cancel);
            await attachment.ApplyAsync(Open, Cancel);
        }
        finally
        {
            await HostProgram.RunAsync("nft", "delete", "table", "ip", "boxertest");
        }

        // Few rules have a set: nft 1.0.6 compares every set with every other, and would take half a minute if all had one.
        static string Rule(int i) =>
            $"add rule ip boxertest many ip saddr 198.18.{i / 250}.{i % 250} tcp dport {(i % 20 == 0 ? "{ 80, 443 }" : "80")} counter accept comment \"service number {i}\"\n";
    }

    [Fact]
    public void FilteringResolver_that_cannot_listen_on_all_addresses_is_a_typed_failure_and_leaves_no_socket()
    {
        using var tools = new NetworkTools(TimeProvider.System);
        using var firewall = new Firewall(tools, "00000000", null);
        var link = new GuestLink("00000", "bx0000000000000", "bx00000000-00000", new AddressPair(IPAddress.Loopback, IPAddress.Loopback), new AddressPair(IPAddress.Parse("2001:db8::1"), IPAddress.Parse("2001:db8::2")), 1, 1);
        int before = Sockets();

        SandboxRuntimeException fault = Assert.Throws<SandboxRuntimeException>(() => new FilteringResolver(link, Policy, [IPAddress.Loopback], firewall, TimeProvider.System));

        Assert.Contains("127.0.0.1 and 2001:db8::1", fault.Message, StringComparison.Ordinal);
        Assert.InRange(Sockets(), 0, before + 5);

        // Other tests open and close sockets. Twenty attempts would leave forty.
        static int Sockets() => Directory.GetFiles("/proc/self/fd").Count(path => new FileInfo(path).LinkTarget?.StartsWith("socket:", StringComparison.Ordinal) == true);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void CreationCommands_set_addrgenmode_only_if_the_kernel_has_IPv6(bool hasIPv6)
    {
        var link = new GuestLink("00000", "bx0000000000000", "bx00000000-00000", new AddressPair(IPAddress.Loopback, IPAddress.Loopback), null, 1, 1);

        (string ours, string theirs) = link.CreationCommands(hasIPv6);

        Assert.Equal((hasIPv6, hasIPv6), (ours.Contains("addrgenmode", StringComparison.Ordinal), theirs.Contains("addrgenmode", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task ReconcileAsync_of_two_instances_can_run_at_the_same_time()
    {
        string[] before = await HostState.ReadAsync();
        const string Dead = "bx00000dea";
        for (int i = 0; i < 4; i++)
        {
            await HostProgram.RunAsync("ip", "netns", "add", $"{Dead}-0000{i}");
            await HostProgram.RunAsync("ip", "link", "add", $"{Dead}0000{i}", "type", "veth", "peer", "name", "eth0", "netns", $"{Dead}-0000{i}");
        }

        await HostProgram.RunAsync("nft", "add table ip boxertest; add chain ip boxertest forward { type filter hook forward priority 0; policy drop; }; add rule ip boxertest forward iifname \"bx00000dea*\" accept comment \"boxer 00000dea\"");

        // Each instance lists the leftovers before either has removed any.
        await File.WriteAllTextAsync(Path.Join(_directory, "fails"), "0", Cancel);
        await File.WriteAllTextAsync(Path.Join(_directory, "count"), "0", Cancel);
        foreach (string name in (string[])["ip", "nft"])
        {
            string path = Path.Join(_directory, name);
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            await File.WriteAllTextAsync(path, $"#!/bin/sh\nsleep 0.2\nPATH=/usr/sbin:/sbin:/usr/bin:/bin\nexec {name} \"$@\"\n", Cancel);
        }

        await using SandboxNetworkMode one = Mode(_directory);
        await using SandboxNetworkMode two = Mode(_directory);
        await Task.WhenAll(one.ReconcileAsync(Cancel), two.ReconcileAsync(Cancel));

        string left = await HostProgram.RunAsync("nft", "list", "table", "ip", "boxertest");
        await HostProgram.RunAsync("nft", "delete", "table", "ip", "boxertest");
        Assert.DoesNotContain("boxer 00000dea", left, StringComparison.Ordinal);
        await HostState.AssertSameAsync(before);
    }

    [Fact]
    public async Task PrepareAsync_fails_if_forwarding_was_switched_off_while_another_instance_needs_it()
    {
        const string Forwarding = "/proc/sys/net/ipv4/conf/all/forwarding";
        await using SandboxNetworkMode one = GuestNamespace.Mode();
        await using INetworkAttachment first = await one.PrepareAsync("first", Cancel);
        await File.WriteAllTextAsync(Forwarding, "0", Cancel);
        await using SandboxNetworkMode two = GuestNamespace.Mode();

        SandboxRuntimeException exception = await Assert.ThrowsAsync<SandboxRuntimeException>(() => two.PrepareAsync("second", Cancel));
        Assert.Equal($"Forwarding of ipv4 was switched off while another instance of Boxer needs it: write 1 to {Forwarding}.", exception.Message);

        await File.WriteAllTextAsync(Forwarding, "1", Cancel);
        await using INetworkAttachment second = await two.PrepareAsync("second", Cancel);
    }

    [Fact]
    public async Task Deleted_tables_cut_the_links_of_their_sandboxes_and_later_sandboxes_are_filtered_again()
    {
        string[] before = await HostState.ReadAsync();
        await using (SandboxNetworkMode mode = GuestNamespace.Mode())
        {
            await using INetworkAttachment first = await mode.PrepareAsync("first", Cancel);
            await first.ApplyAsync(Open, Cancel);
            Assert.Contains("hello", await GuestNamespace.FetchAsync(first), StringComparison.Ordinal);

            string[] tables = [.. (await HostProgram.RunAsync("nft", "list", "tables")).Split('\n').Where(line => line.Contains("boxer_", StringComparison.Ordinal))];
            await HostProgram.RunAsync("nft", string.Join("; ", tables.Select(table => "delete " + table)));

            // The mode looks for its table every two seconds.
            string link = Path.GetFileName(first.Runtime.NamespacePath!).Replace("-", "", StringComparison.Ordinal);
            await Until.IsSoAsync(() => File.ReadAllText($"/sys/class/net/{link}/operstate").Trim() == "down", seconds: 60);

            Assert.Equal("refused", await GuestNamespace.FetchAsync(first));
            Assert.Equal("refused", await GuestNamespace.FetchAsync(first, TestInternet.HostAddress));
            Assert.Equal(tables.Where(table => table.EndsWith("boxer_forwarding", StringComparison.Ordinal)), (await HostProgram.RunAsync("nft", "list", "tables")).Split('\n').Where(line => line.Contains("boxer_", StringComparison.Ordinal)));
            await using INetworkAttachment second = await mode.PrepareAsync("second", Cancel);
            await second.ApplyAsync(Open, Cancel);
            Assert.Contains("hello", await GuestNamespace.FetchAsync(second), StringComparison.Ordinal);
        }

        await HostState.AssertSameAsync(before);
    }

    [Fact]
    public async Task Accept_redirects_of_the_host_is_restored()
    {
        const string Redirects = "/proc/sys/net/ipv4/conf/all/accept_redirects";
        string[] forwarding = [await File.ReadAllTextAsync("/proc/sys/net/ipv4/conf/all/forwarding", Cancel), await File.ReadAllTextAsync(Redirects, Cancel)];
        Assert.SkipUnless(forwarding[0].StartsWith('0'), "this host forwards by itself");
        try
        {
            foreach (string value in (string[])["0", "1"])
            {
                await File.WriteAllTextAsync(Redirects, value, Cancel);
                await using (SandboxNetworkMode mode = GuestNamespace.Mode())
                {
                    await using INetworkAttachment first = await mode.PrepareAsync("first", Cancel);
                }

                Assert.Equal(value, (await File.ReadAllTextAsync(Redirects, Cancel)).Trim());
            }
        }
        finally
        {
            await File.WriteAllTextAsync(Redirects, forwarding[1].Trim(), Cancel);
        }
    }

    [Fact]
    public async Task ApplyAsync_makes_one_call_and_IsUsable_is_false_without_the_link()
    {
        await File.WriteAllTextAsync(Path.Join(_directory, "count"), "0", Cancel);
        await File.WriteAllTextAsync(Path.Join(_directory, "fails"), "0", Cancel);
        await using SandboxNetworkMode mode = GuestNamespace.Mode(new FakeTimeProvider(), _directory, ipv6: TestInternet.HasIPv6);
        await using INetworkAttachment silent = await mode.PrepareAsync("silent", Cancel);
        await using INetworkAttachment waiting = await mode.PrepareAsync("waiting", Cancel);

        // Waits until no more calls are made.
        int before = await CallsAsync();
        for (int last = -1; last != before; before = await CallsAsync())
        {
            last = before;
            await Task.Delay(1_000, Cancel);
        }

        Assert.True(silent.IsUsable);
        Assert.Equal(before, await CallsAsync());
        await silent.ApplyAsync(Limited(bandwidth: null), Cancel);
        Assert.Equal(before + 1, await CallsAsync());

        // No packets sent, so nothing can have been denied.
        Assert.Empty((await silent.ReportAsync(Cancel)).Denied);
        Assert.Equal(before + 1, await CallsAsync());

        await HostProgram.RunAsync("ip", "link", "delete", Path.GetFileName(waiting.Runtime.NamespacePath!).Replace("-", "", StringComparison.Ordinal));
        Assert.False(waiting.IsUsable);
        Assert.True(silent.IsUsable);
    }

    [Fact]
    public async Task A_denied_address_is_denied_for_every_protocol()
    {
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment open = await mode.PrepareAsync("open", Cancel);
        await using INetworkAttachment denied = await mode.PrepareAsync("denied", Cancel);
        await open.ApplyAsync(Open, Cancel);
        await denied.ApplyAsync(GuestNamespace.Policy(new EgressPolicy { Deny = [TestInternet.Web] }), Cancel);

        Assert.Equal("0\n", await PingAsync(open));
        Assert.NotEqual("0\n", await PingAsync(denied));

        static Task<string> PingAsync(INetworkAttachment guest) => GuestNamespace.PythonAsync(guest, $"""
            import socket, struct
            s = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP); s.settimeout(3)
            body = struct.pack("!BBHHH", 8, 0, 0xffff - 0x800 - 7 - 1, 7, 1)
            try:
                s.sendto(body, ("{TestInternet.Web}", 0))
                print(s.recv(100)[20])
            except OSError as e:
                print(type(e).__name__)
            """);
    }

    [Fact]
    public async Task A_guest_cannot_fill_the_connection_tracking_table_of_the_host()
    {
        const string Flows = "/proc/net/nf_conntrack";
        Assert.SkipUnless(File.Exists(Flows), $"This kernel has no {Flows}.");
        await using SandboxNetworkMode mode = GuestNamespace.Mode();
        await using INetworkAttachment hostile = await mode.PrepareAsync("hostile", Cancel);
        await using INetworkAttachment neighbour = await mode.PrepareAsync("neighbour", Cancel);
        await hostile.ApplyAsync(Open, Cancel);
        await neighbour.ApplyAsync(Open, Cancel);
        int before = await CountAsync();

        // Sends 40,000 flows in seven seconds: from 40 sockets to 1,000 ports each.
        await GuestNamespace.PythonAsync(hostile, $"""
            import socket, time
            sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(40)]
            for turn in range(7):
                for s in sockets[turn::7]:
                    for port in range(20000, 21000):
                        try: s.sendto(b"x", ("{TestInternet.Web}", port))
                        except OSError: pass
                time.sleep(1)
            """);

        Assert.InRange(await CountAsync() - before, 2_000, 4_200);
        Assert.Contains("hello", await GuestNamespace.FetchAsync(neighbour), StringComparison.Ordinal);

        static async Task<int> CountAsync() =>
            (await File.ReadAllLinesAsync(Flows, Cancel)).Count(line => line.Contains($" dst={TestInternet.Web} ", StringComparison.Ordinal));
    }

    [Fact]
    public async Task GetUnavailableReason_names_a_missing_program()
    {
        File.Delete(Path.Join(_directory, "tc"));
        await using SandboxNetworkMode mode = Mode(_directory);

        Assert.Contains("the program tc", mode.GetUnavailableReason(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_hundred_attachments_leave_no_traces()
    {
        await using SandboxNetworkMode mode = Mode();
        await using INetworkAttachment first = await mode.PrepareAsync("first", Cancel);
        await first.ApplyAsync(Policy, Cancel);
        string[] before = await StateAsync();
        for (int i = 0; i < 100; i++)
        {
            await using INetworkAttachment attachment = await mode.PrepareAsync("next", Cancel);
            await attachment.ApplyAsync(Policy, Cancel);
        }

        Assert.Equal(before, await StateAsync());

        // The rules without counters and without the addresses of the pool, which change.
        static async Task<string[]> StateAsync() =>
        [
            .. (await HostState.ReadAsync()).Where(line => !line.Contains("table ", StringComparison.Ordinal)),
            .. (await HostProgram.RunAsync("nft", "-s", "list", "ruleset")).Split('\n').Where(line => !line.Contains("elements = { 10.231.", StringComparison.Ordinal)),
        ];
    }

    [Fact]
    public async Task Two_instances_do_not_disturb_each_other()
    {
        string[] before = await HostState.ReadAsync();
        await using SandboxNetworkMode one = Mode();
        await using INetworkAttachment first = await one.PrepareAsync("first", Cancel);
        await first.ApplyAsync(Open, Cancel);
        await using (SandboxNetworkMode two = Mode())
        {
            await two.ReconcileAsync(Cancel);
            await using INetworkAttachment second = await two.PrepareAsync("second", Cancel);
            await second.ApplyAsync(Open, Cancel);
            Assert.Contains("hello", await GuestNamespace.FetchAsync(first), StringComparison.Ordinal);
            Assert.Contains("hello", await GuestNamespace.FetchAsync(second), StringComparison.Ordinal);
            Assert.NotEqual(await GuestNamespace.AddressAsync(first), await GuestNamespace.AddressAsync(second));
        }

        Assert.Contains("hello", await GuestNamespace.FetchAsync(first), StringComparison.Ordinal);
        await first.DisposeAsync();
        await one.DisposeAsync();
        await HostState.AssertSameAsync(before);
    }

    private static NetworkPolicy Open { get; } = NetworkPolicy.Combine(new EgressPolicy(), null, replaces: false);

    private static SandboxNetworkMode Mode(string? directory = null, TimeProvider? time = null) => GuestNamespace.Mode(time, programs: directory, ipv6: TestInternet.HasIPv6);

    // RulesMonitor makes calls too. Each call replaces the file with the count in one step.
    private async Task<int> CallsAsync() => int.Parse(await File.ReadAllTextAsync(Path.Join(_directory, "count"), Cancel), CultureInfo.InvariantCulture);

    // The call with a given number prints garbage instead of JSON; no call if the number is 0.
    private async Task UseGarbageAsync(int number, string garbage)
    {
        await File.WriteAllTextAsync(Path.Join(_directory, "garbage"), garbage, Cancel);
        await File.WriteAllTextAsync(Path.Join(_directory, "count"), "0", Cancel);
        await File.WriteAllTextAsync(Path.Join(_directory, "fails"), number == 0 ? "0" : $"garbage {number}", Cancel);
    }
}
