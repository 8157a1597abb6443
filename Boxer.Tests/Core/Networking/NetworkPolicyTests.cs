using System.Net;
using Boxer.Networking;

namespace Boxer.Tests.Core.Networking;

/// <summary>Tests of <see cref="NetworkPolicy"/> and <see cref="EgressPolicy"/>. SandboxRulesTests compares them with the rules of the firewall.</summary>
public sealed class NetworkPolicyTests
{
    private const EgressProtocols Both = EgressProtocols.Tcp | EgressProtocols.Udp;

    [Theory]
    [InlineData("203.0.113.7", 443, EgressProtocols.Tcp, true)]
    [InlineData("203.0.113.7", 443, Both, true)]
    [InlineData("203.0.113.7", 53, EgressProtocols.Udp, true)]
    [InlineData("203.0.113.7", 0, EgressProtocols.None, true)]
    [InlineData("10.0.0.5", 443, EgressProtocols.Tcp, false)]
    [InlineData("169.254.169.254", 80, EgressProtocols.Tcp, false)]
    [InlineData("127.0.0.1", 80, EgressProtocols.Tcp, false)]
    [InlineData("::ffff:203.0.113.7", 443, EgressProtocols.Tcp, false)]
    [InlineData("fd00:ec2::254", 80, EgressProtocols.Tcp, false)]
    [InlineData("2001:db8::1", 80, EgressProtocols.Tcp, true)]
    public void Allows_with_an_empty_policy_is_true_for_public_addresses_only(string address, int port, EgressProtocols protocol, bool expected) =>
        Assert.Equal(expected, new EgressPolicy().Allows(IPAddress.Parse(address), port, protocol));

    [Fact]
    public void Allows_matches_domain_rules_only_with_the_resolved_name()
    {
        NetworkPolicy policy = NetworkPolicy.Combine(new EgressPolicy { Allow = ["PyPI.org:443", "10.0.0.5"], Deny = ["evil.pypi.org"] }, new EgressPolicy { Allow = ["*.pypi.org", "pypi.org", "0.0.0.0/0"] });
        IPAddress address = IPAddress.Parse("203.0.113.7");

        Assert.True(policy.FiltersNames);
        Assert.True(policy.AllowsName("pypi.ORG."));
        Assert.False(policy.AllowsName("a.pypi.org"));
        Assert.False(policy.AllowsName("evil.pypi.org"));
        Assert.True(policy.Allows(address, 443, domain: "pypi.org"));
        Assert.False(policy.Allows(address, 443));
        Assert.False(policy.Allows(address, 80, domain: "pypi.org"));
        Assert.False(policy.Allows(IPAddress.Parse("10.0.0.6"), 443, domain: "pypi.org"));
        Assert.True(policy.Allows(IPAddress.Parse("10.0.0.5"), 443, domain: "pypi.org"));
        Assert.False(policy.Allows(IPAddress.Parse("10.0.0.5"), 443, domain: "other.example"));
        Assert.False(policy.Allows(IPAddress.Parse("10.0.0.5"), 53, EgressProtocols.Udp));
    }

    [Fact]
    public void Allows_and_Combine_reject_invalid_ports_protocols_and_rules()
    {
        var policy = new EgressPolicy();
        Assert.Throws<ArgumentOutOfRangeException>(() => policy.Allows(IPAddress.Loopback, -1));
        Assert.Throws<ArgumentOutOfRangeException>(() => policy.Allows(IPAddress.Loopback, 65_536));
        Assert.Throws<ArgumentOutOfRangeException>(() => policy.Allows(IPAddress.Loopback, 1, (EgressProtocols)4));
        Assert.Contains("'a b'", Assert.Throws<ArgumentException>(() => NetworkPolicy.Combine(new EgressPolicy { Deny = ["a b"] })).Message, StringComparison.Ordinal);
    }
}
