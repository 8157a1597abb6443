using System.Net;
using Boxer.Networking;

namespace Boxer.Tests.Core.Networking;

public sealed class GuestNetworkTests
{
    private const string OwnHosts = "127.0.0.1\tlocalhost\n127.0.0.1\tsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n";

    [Fact]
    public void Create_writes_own_names_DNS_servers_and_further_hosts()
    {
        Assert.Equal(new GuestNetwork(OwnHosts, ""), GuestNetwork.Create());
        Assert.Equal(
            new GuestNetwork(
                OwnHosts + "198.51.100.7\tproxy.internal\n2001:db8::7\tproxy.internal\n",
                "nameserver 198.51.100.53\nnameserver 2001:db8::53\noptions timeout:3 attempts:2\n"),
            GuestNetwork.Create(
                [IPAddress.Parse("198.51.100.53"), IPAddress.Parse("2001:db8::53")],
                [KeyValuePair.Create("proxy.internal", IPAddress.Parse("198.51.100.7")), KeyValuePair.Create("proxy.internal", IPAddress.Parse("2001:db8::7"))]));
    }

    [Theory]
    [InlineData("")]
    [InlineData("a b")]
    [InlineData("a\n127.0.0.1")]
    [InlineData("a..b")]
    [InlineData(".a")]
    [InlineData("b\u00fccher.example")]
    [InlineData("localhost")]
    [InlineData("SANDBOX")]
    public void Create_rejects_invalid_and_own_host_names(string name) =>
        Assert.Contains($"'{name}'", Assert.Throws<ArgumentException>(() => GuestNetwork.Create(null, [KeyValuePair.Create(name, IPAddress.Loopback)])).Message, StringComparison.Ordinal);

    [Fact]
    public void Create_rejects_more_than_3_servers_or_1024_hosts()
    {
        Assert.Throws<ArgumentException>(() => GuestNetwork.Create(Enumerable.Repeat(IPAddress.Loopback, 4)));
        Assert.Throws<ArgumentException>(() => GuestNetwork.Create(null, Enumerable.Range(0, 1_025).Select(i => KeyValuePair.Create($"h{i}", IPAddress.Loopback))));
    }

    [Theory]
    [InlineData("")]
    [InlineData("Own")]
    [InlineData("own mode")]
    [InlineData("-own")]
    [InlineData("own_mode")]
    public void SandboxRunner_rejects_a_mode_whose_name_no_request_can_use(string name) =>
        Assert.Contains($"'{name}'", Assert.Throws<ArgumentException>(() => new SandboxRunner(new BoxerOptions(), [new NamedMode(name)])).Message, StringComparison.Ordinal);

    private sealed class NamedMode(string name) : INetworkMode
    {
        public string Name => name;

        public bool SupportsPooling => false;

        public string? GetUnavailableReason() => null;

        public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken) => throw new NotSupportedException();
    }
}
