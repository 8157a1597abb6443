using Boxer.Network;
using Boxer.Networking;
using Boxer.Tests.Support;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Linux.Network;

/// <summary>Tests of the mode <c>sandbox</c> beside earlier sandboxes, other firewalls and other networks of one host.</summary>
[Collection(Sandboxes.Name)]
public sealed class NeighbourTests(TestInternet internet) : InternetTests(internet)
{
    [Fact]
    public async Task A_sandbox_with_a_reused_address_receives_no_flow_of_the_earlier_sandbox()
    {
        // Sends from a fixed port, and prints the response that arrives within a time.
        const string Talk = """
            import socket, sys, time
            s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("0.0.0.0", 7777)); s.settimeout(float(sys.argv[1]))
            try:
                if sys.argv[2] == "late": s.recv(100); print("late datagram"); sys.exit()
                s.sendto(b"hi", ("198.51.100.10", 9000)); print(s.recv(100).decode())
            except OSError as e: print(type(e).__name__)
            """;
        var time = new FakeTimeProvider();
        await using SandboxNetworkMode mode = GuestNamespace.Mode(time, block: "10.231.200.0/31");
        INetworkAttachment first = await mode.PrepareAsync("first", Cancel);
        await first.ApplyAsync(GuestNamespace.Policy(), Cancel);
        string address = await GuestNamespace.AddressAsync(first);
        Assert.Equal("datagram\n", await GuestNamespace.PythonAsync(first, Talk, "5", "send"));
        int sent = await DatagramsAsync();
        await first.DisposeAsync();

        await Assert.ThrowsAsync<SandboxCapacityException>(() => mode.PrepareAsync("too early", Cancel));
        time.Advance(TimeSpan.FromSeconds(61));

        // The server still sends to the flow of the first sandbox.
        await using INetworkAttachment second = await mode.PrepareAsync("second", Cancel);
        await second.ApplyAsync(GuestNamespace.Policy(new EgressPolicy { Allow = [] }), Cancel);
        Assert.Equal(address, await GuestNamespace.AddressAsync(second));
        Assert.Equal("TimeoutError\n", await GuestNamespace.PythonAsync(second, Talk, "1", "late"));
        Assert.NotEqual("datagram\n", await GuestNamespace.PythonAsync(second, Talk, "1", "send"));
        Assert.Equal(sent, await DatagramsAsync());
        await second.DisposeAsync();

        // The same with a policy that lets the second sandbox send: it receives nothing of the first one before it sends.
        time.Advance(TimeSpan.FromSeconds(61));
        await using INetworkAttachment third = await mode.PrepareAsync("third", Cancel);
        await third.ApplyAsync(GuestNamespace.Policy(), Cancel);
        Assert.Equal(address, await GuestNamespace.AddressAsync(third));
        Assert.Equal("TimeoutError\n", await GuestNamespace.PythonAsync(third, Talk, "1", "late"));
    }

    [Fact]
    public async Task A_firewall_that_is_installed_later_is_detected_within_30_s()
    {
        const string Table = "inet btest_later";
        var time = new FakeTimeProvider();
        await using SandboxNetworkMode mode = GuestNamespace.Mode(time);
        await using INetworkAttachment first = await AttachAsync(mode);
        await using INetworkAttachment waiting = await mode.PrepareAsync("waiting", Cancel);
        await HostProgram.RunAsync("nft", $"add table {Table}; add chain {Table} forward {{ type filter hook forward priority 5; policy drop; }}");
        try
        {
            await using (await AttachAsync(mode))
            {
                Assert.Equal("refused", await GuestNamespace.FetchAsync(first));
            }

            // Also for a network that was prepared before.
            time.Advance(TimeSpan.FromSeconds(31));
            await waiting.ApplyAsync(GuestNamespace.Policy(), Cancel);
            Assert.Contains("hello", await GuestNamespace.FetchAsync(waiting), StringComparison.Ordinal);
            await HostProgram.RunAsync("nft", $"flush chain {Table} forward");
            Assert.Equal("refused", await GuestNamespace.FetchAsync(first));
            time.Advance(TimeSpan.FromSeconds(31));
            await using INetworkAttachment next = await AttachAsync(mode);
            Assert.Contains("hello", await GuestNamespace.FetchAsync(first), StringComparison.Ordinal);
            Assert.Contains("hello", await GuestNamespace.FetchAsync(next), StringComparison.Ordinal);
        }
        finally
        {
            await HostProgram.RunAsync("nft", $"delete table {Table}");
        }
    }

    [Fact]
    public async Task An_address_of_the_host_that_is_added_to_a_block_later_keeps_its_connections()
    {
        const string Later = "10.231.200.200";
        await using SandboxNetworkMode mode = GuestNamespace.Mode(block: "10.231.200.0/24");
        await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["web.example.test"] });
        await HostProgram.RunAsync("ip", "addr", "add", Later, "dev", "lo");
        try
        {
            Assert.StartsWith("hello", await HostProgram.RunAsync("curl", "-s", "--max-time", "5", "--interface", Later, $"http://{TestInternet.Web}/"), StringComparison.Ordinal);
        }
        finally
        {
            await HostProgram.RunAsync("ip", "addr", "del", Later, "dev", "lo");
        }
    }

    [Theory]
    [InlineData("policy drop", "")]
    [InlineData("policy accept", "counter reject with icmpx admin-prohibited")]
    public async Task A_firewall_that_drops_input_accepts_only_DNS_packets_to_the_resolver(string policy, string last)
    {
        const string Table = "inet btest_input";
        string script = $"add table {Table}; add chain {Table} input {{ type filter hook input priority 0; {policy}; }}; add rule {Table} input iifname != \"bx*\" accept";
        await HostProgram.RunAsync("nft", last.Length > 0 ? $"{script}; add rule {Table} input {last}" : script);
        try
        {
            string[] before = await HostState.ReadAsync();
            await using (SandboxNetworkMode mode = GuestNamespace.Mode())
            {
                await using INetworkAttachment guest = await AttachAsync(mode, new EgressPolicy { Allow = ["web.example.test:80"] });
                string fetch = $"import socket; print(socket.create_connection((socket.gethostbyname('web.example.test'), 80), 4).getpeername()[0])";
                Assert.Equal($"{TestInternet.Web}\n", await InNamedAsync(guest, fetch));
                Assert.Equal("refused", await GuestNamespace.FetchAsync(guest, TestInternet.HostAddress, 22));
            }

            await HostState.AssertSameAsync(before);
        }
        finally
        {
            await HostProgram.RunAsync("nft", $"delete table {Table}");
        }
    }

    [Fact]
    public async Task Rules_of_iptables_legacy_accept_the_links_and_are_restored_afterwards()
    {
        Assert.SkipUnless(HostProgram.Exists("iptables-legacy"), "Needs iptables-legacy in PATH.");
        const string Old = "iptables-legacy";
        try
        {
            await HostProgram.RunAsync(Old, "-S");
        }
        catch (Xunit.Sdk.XunitException exception)
        {
            Assert.Skip("This kernel has no rules of the old kind: " + exception.Message);
        }

        await HostProgram.RunAsync(Old, "-P", "FORWARD", "DROP");
        try
        {
            string before = await HostProgram.RunAsync(Old, "-S");
            await using (SandboxNetworkMode mode = GuestNamespace.Mode())
            {
                await using INetworkAttachment guest = await AttachAsync(mode);
                Assert.Contains("hello", await GuestNamespace.FetchAsync(guest), StringComparison.Ordinal);
            }

            Assert.Equal(before, await HostProgram.RunAsync(Old, "-S"));

            // If rules cannot be added, no run starts, and the message has the remedy.
            string programs = Directory.CreateTempSubdirectory("boxer-tools-").FullName;
            foreach (string name in (string[])["ip", "tc", "nft"])
            {
                File.CreateSymbolicLink(Path.Join(programs, name), (await HostProgram.RunAsync("which", name)).Trim());
            }

            await using (SandboxNetworkMode mode = GuestNamespace.Mode(programs: programs))
            {
                SandboxRuntimeException fault = await Assert.ThrowsAsync<SandboxRuntimeException>(() => mode.PrepareAsync("refused", Cancel));
                Assert.Contains("Accept links named bx*", fault.Message, StringComparison.Ordinal);
                Assert.Contains("iptables", fault.Message, StringComparison.Ordinal);
            }

            Directory.Delete(programs, recursive: true);
        }
        finally
        {
            await HostProgram.RunAsync(Old, "-P", "FORWARD", "ACCEPT");
        }
    }

    private static async Task<INetworkAttachment> AttachAsync(SandboxNetworkMode mode, EgressPolicy? policy = null)
    {
        INetworkAttachment attachment = await mode.PrepareAsync("test", Cancel);
        await attachment.ApplyAsync(GuestNamespace.Policy(policy), Cancel);
        return attachment;
    }

    // With the resolv.conf of a guest.
    private static Task<string> InNamedAsync(INetworkAttachment guest, string program) =>
        GuestNamespace.RunAsync(
            guest, "unshare", "-m", "sh", "-ec", $"echo nameserver {TestInternet.Resolver} >/tmp/boxer-resolv.conf; mount --bind /tmp/boxer-resolv.conf /etc/resolv.conf; rm /tmp/boxer-resolv.conf; exec /usr/bin/python3 -c \"{program}\"");

    private static async Task<int> DatagramsAsync()
    {
        using var client = new HttpClient();
        return int.Parse(await client.GetStringAsync(new Uri($"http://{TestInternet.Web}/datagrams"), Cancel), null);
    }
}
