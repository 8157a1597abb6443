using System.Net;
using Boxer.Networking;
using Boxer.Validation;

namespace Boxer.Tests.Core.Networking;

public sealed class EgressRuleTests
{
    [Theory]
    [InlineData("203.0.113.7", "203.0.113.7/32", EgressProtocols.Tcp | EgressProtocols.Udp, "")]
    [InlineData("203.0.113.0/24:80,443,8000-8099", "203.0.113.0/24", EgressProtocols.Tcp | EgressProtocols.Udp, "80-80 443-443 8000-8099")]
    [InlineData("udp://203.0.113.7:123", "203.0.113.7/32", EgressProtocols.Udp, "123-123")]
    [InlineData("tcp://[2001:db8::/32]:443", "2001:db8::/32", EgressProtocols.Tcp, "443-443")]
    [InlineData("2001:db8::1", "2001:db8::1/128", EgressProtocols.Tcp | EgressProtocols.Udp, "")]
    public void TryParse_reads_addresses_and_ranges(string text, string range, EgressProtocols protocols, string ports)
    {
        Assert.True(EgressRule.TryParse(text, out EgressRule? rule, out string? error), error);

        Assert.Equal((IPNetwork.Parse(range), protocols), (rule.Range, rule.Protocols));
        Assert.Equal(ports, string.Join(' ', rule.Ports.Select(port => $"{port.First}-{port.Last}")));
    }

    [Theory]
    [InlineData("pypi.org", "pypi.org", true)]
    [InlineData("PyPI.org.:443", "pypi.org", true)]
    [InlineData("pypi.org", "evilpypi.org", false)]
    [InlineData("pypi.org", "a.pypi.org", false)]
    [InlineData("*.pypi.org", "a.pypi.org", true)]
    [InlineData("*.pypi.org", "a.b.pypi.org", true)]
    [InlineData("*.pypi.org", "pypi.org", false)]
    [InlineData("*.pypi.org", "evilpypi.org", false)]
    public void MatchesName_compares_whole_labels(string text, string name, bool matches)
    {
        Assert.True(EgressRule.TryParse(text, out EgressRule? rule, out string? error), error);
        Assert.Equal(matches, rule.MatchesName(name));
    }

    [Theory]
    [InlineData("")]
    [InlineData("*")]
    [InlineData("localhost")]
    [InlineData("icmp://203.0.113.1")]
    [InlineData("203.0.113")]
    [InlineData("203.0.113.1/24")]
    [InlineData("203.0.113.1:0")]
    [InlineData("203.0.113.1:80-70")]
    [InlineData("203.0.113.1:65536")]
    [InlineData("203.0.113.1:")]
    [InlineData("::ffff:10.0.0.1")]
    [InlineData("[2001:db8::1")]
    [InlineData("a b.example")]
    [InlineData("ex\"ample.org")]
    [InlineData("a.example }; flush ruleset")]
    [InlineData("b\u00fccher.example")]
    public void Validate_reports_malformed_rules_with_their_index(string text)
    {
        SandboxFault fault = Assert.Single(EgressValidator.Validate(new EgressPolicy { Allow = ["pypi.org", text] }, "Egress"));

        Assert.Equal("Egress.Allow[1]", fault.Field);
        Assert.NotEqual("", fault.Message);
    }

    [Fact]
    public void Combine_tightens_the_configured_policy_and_replaces_it_only_if_allowed()
    {
        var configured = new EgressPolicy { Allow = ["10.0.0.5:5432"], QuotaBytes = 100 };
        var requested = new EgressPolicy { Allow = ["pypi.org"], QuotaBytes = 200, BandwidthBitsPerSecond = 9_000 };

        NetworkPolicy tightened = NetworkPolicy.Combine(configured, requested, replaces: false);
        Assert.Equal((2, 100, 9_000), (tightened.Layers.Count, tightened.QuotaBytes, tightened.BandwidthBitsPerSecond));
        Assert.Equal([true, false], tightened.Layers.Select(layer => layer.OpensPrivate));

        NetworkPolicy replaced = NetworkPolicy.Combine(configured, requested, replaces: true);
        Assert.Equal((1, 200), (replaced.Layers.Count, replaced.QuotaBytes));
    }
}
