namespace Boxer.Network;

/// <summary>What commands find in /etc of their network.</summary>
internal static class GuestFiles
{
    /// <summary>hosts(5) of every sandbox. The host's name is the first of its line, so that it is its own canonical name.</summary>
    internal const string Hosts = "127.0.0.1\tlocalhost\n127.0.0.1\tsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n";

    /// <summary>resolv.conf(5). One attempt for each server: a sandbox that is refused one learns it soon.</summary>
    internal static string ResolvConf(IEnumerable<string> servers) =>
        string.Concat(servers.Select(server => $"nameserver {server}\n")) + "options timeout:3 attempts:2\n";
}
