using Boxer.Network;
using Boxer.Networking;

namespace Boxer.Tests.Support;

/// <summary>Runs programs of this host in the network namespace of a sandbox, without the sandbox: the firewall treats them like its guest.</summary>
internal static class GuestNamespace
{
    /// <summary>Creates the mode <c>sandbox</c> with a resolver in the tests' internet.</summary>
    internal static SandboxNetworkMode Mode(TimeProvider? time = null, string? programs = null, string resolver = TestInternet.Resolver, string? block = null, bool ipv6 = false)
    {
        var options = new BoxerOptions { DnsServers = [resolver], EnableIPv6 = ipv6 };
        if (block is not null)
        {
            options.NetworkBlocks = [block];
        }

        return new SandboxNetworkMode(() => options, time, programs is null ? null : [programs]);
    }

    /// <summary>Combines the policies of the options and of a request.</summary>
    internal static NetworkPolicy Policy(EgressPolicy? configured = null, EgressPolicy? requested = null, bool replaces = false) =>
        NetworkPolicy.Combine(configured ?? new EgressPolicy(), requested, replaces);

    internal static Task<string> RunAsync(INetworkAttachment attachment, params string[] command) =>
        HostProgram.RunAsync("ip", ["netns", "exec", Path.GetFileName(attachment.Runtime.NamespacePath!), .. command]);

    internal static Task<string> PythonAsync(INetworkAttachment attachment, string program, params string[] arguments) =>
        RunAsync(attachment, ["/usr/bin/python3", "-c", program, .. arguments]);

    /// <summary>Gets a page of the tests' web, or "refused".</summary>
    internal static async Task<string> FetchAsync(INetworkAttachment attachment, string address = TestInternet.Web, int port = 80) =>
        (await RunAsync(attachment, "sh", "-c", $"curl -s --connect-timeout 3 --max-time 5 http://{(address.Contains(':', StringComparison.Ordinal) ? $"[{address}]" : address)}:{port}/ || echo refused")).Trim();

    internal static async Task<string> AddressAsync(INetworkAttachment attachment) =>
        (await RunAsync(attachment, "ip", "-4", "-o", "addr", "show", "dev", "eth0")).Split("inet ")[1].Split('/')[0];
}
