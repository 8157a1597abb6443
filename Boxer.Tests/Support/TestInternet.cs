using System.Diagnostics;
using Boxer.Native;

namespace Boxer.Tests.Support;

/// <summary>
/// A private internet for tests, in a network namespace: 198.51.100.0/24 behind a link, with an HTTP server on every address and port
/// 80 and 8080, a package index (PEP 503) with httpx and its dependencies, a resolver, and a server that answers a datagram with more for
/// a while. Private and metadata ranges also lead there: nothing leaves this machine, and the servers see packets that the firewall should
/// have dropped.
/// </summary>
public sealed class TestInternet : IAsyncLifetime
{
    internal const string Web = "198.51.100.10";
    internal const string OtherWeb = "198.51.100.11";
    internal const string Resolver = "198.51.100.53";
    internal const string Metadata = "169.254.169.254";
    internal const string Lan = "10.99.0.7";
    internal const string Web6 = "2001:db8:51::10";
    internal const string HostAddress6 = "2001:db8:51::1";
    internal const string Metadata6 = "fd00:ec2::254";
    internal const string CarrierNat = "100.100.100.200";
    private const string Name = "boxer-test-net";
    private const string Link = "btest0";
    internal const string HostAddress = "198.51.100.1";

    private static readonly string[] Blackholes = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "100.64.0.0/10"];
    private Process? _servers;
    private string? _obstacle;

    /// <summary>Whether this kernel has IPv6.</summary>
    internal static bool HasIPv6 { get; } = File.Exists("/proc/sys/net/ipv6/conf/all/disable_ipv6") && File.ReadAllText("/proc/sys/net/ipv6/conf/all/disable_ipv6").Trim() == "0";

    internal void Require() => Assert.SkipWhen(_obstacle is not null, _obstacle ?? "");

    public async ValueTask InitializeAsync()
    {
        _obstacle = Unistd.geteuid() != 0 ? "Needs root: network namespaces."
            : !HostProgram.Exists("nft") || !HostProgram.Exists("ip") ? "Needs ip and nft in PATH."
            : null;
        if (_obstacle is not null)
        {
            return;
        }

        // A killed test run leaves leftovers.
        await RemoveAsync();
        await HostProgram.RunAsync("sh", "-exc", $"""
            ip netns add {Name}
            ip link add {Link} type veth peer name eth0 netns {Name}
            ip addr add {HostAddress}/24 dev {Link}
            ip link set {Link} up
            ip -n {Name} link set lo up
            ip -n {Name} link set eth0 up
            for address in {Web} {OtherWeb} {Resolver}; do ip -n {Name} addr add $address/24 dev eth0; done
            for address in {Metadata} {Lan} {CarrierNat}; do ip -n {Name} addr add $address/32 dev eth0; ip route add $address via {Web} dev {Link}; done
            ip -n {Name} route add default via {HostAddress}
            for range in {string.Join(' ', Blackholes)}; do ip route replace blackhole $range metric 4096; done
            """);
        if (HasIPv6)
        {
            await HostProgram.RunAsync("sh", "-exc", $"""
                ip addr add {HostAddress6}/64 dev {Link} nodad
                ip -n {Name} addr add {Web6}/64 dev eth0 nodad
                ip -n {Name} addr add {Metadata6}/128 dev eth0 nodad
                ip -n {Name} -6 route replace default via {HostAddress6}
                ip -6 route replace {Metadata6} via {Web6} dev {Link}
                ip -6 route replace blackhole fc00::/7 metric 4096
                """);
        }

        _servers = HostProgram.Start("ip", "netns", "exec", Name, "/usr/bin/python3", "-u", Path.Join(AppContext.BaseDirectory, "Support", "test-internet.py"), HasIPv6 ? "ipv6" : "ipv4");
        _ = _servers.StandardError.ReadToEndAsync();
        Assert.Equal("ready", await _servers.StandardOutput.ReadLineAsync());
    }

    public async ValueTask DisposeAsync()
    {
        if (_obstacle is not null)
        {
            return;
        }

        if (_servers is not null)
        {
            _servers.Kill(entireProcessTree: true);
            await _servers.WaitForExitAsync();
            _servers.Dispose();
        }

        await RemoveAsync();
    }

    // Ignores missing parts. The last line fails if anything is left.
    private static Task<string> RemoveAsync() => HostProgram.RunAsync("sh", "-c", $"""
        for range in {string.Join(' ', Blackholes)}; do ip route del blackhole $range metric 4096; done
        {(HasIPv6 ? "ip -6 route del blackhole fc00::/7 metric 4096" : "")}
        ip link del {Link}
        ip netns del {Name}
        [ ! -e /sys/class/net/{Link} ] && [ ! -e /run/netns/{Name} ] && [ -z "$(ip route show type blackhole metric 4096; ip -6 route show type blackhole metric 4096)" ]
        """);
}
