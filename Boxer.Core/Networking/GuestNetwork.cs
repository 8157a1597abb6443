using System.Globalization;
using System.Net;
using System.Text;

namespace Boxer.Networking;

/// <summary>The files in <c>/etc</c> that configure host names and DNS for the command.</summary>
/// <param name="Hosts">Content of <c>/etc/hosts</c>.</param>
/// <param name="ResolvConf">Content of <c>/etc/resolv.conf</c>.</param>
public sealed record GuestNetwork(string Hosts, string ResolvConf)
{
    private const int MaxServers = 3;
    private const int MaxHosts = 1_024;
    private const int MaxName = 253;

    // The host name is the first name of its line, so that it is its own canonical name.
    private const string OwnHosts = "127.0.0.1\tlocalhost\n127.0.0.1\tsandbox\n::1\tlocalhost ip6-localhost ip6-loopback\n";

    // With two attempts of 3 s for each server, a name that no server answers fails soon.
    private const string ResolverOptions = "options timeout:3 attempts:2\n";
    private static readonly string[] OwnNames = ["localhost", "sandbox", "ip6-localhost", "ip6-loopback"];

    /// <summary>
    /// Creates the files in the form of Boxer's own modes: hosts(5) with <c>localhost</c> and the sandbox's own name, and resolv.conf(5) with the
    /// given DNS servers.
    /// </summary>
    /// <param name="dnsServers">DNS servers, at most 3, in the order in which they are queried. Without one, only names in hosts resolve.</param>
    /// <param name="hosts">
    /// Further names with their addresses, at most 1,024; a name may have several addresses. Names have letters, digits, <c>-</c>, <c>_</c> and dots.
    /// </param>
    /// <exception cref="ArgumentException">There are too many servers or hosts, or a name is invalid; the message has the name.</exception>
    public static GuestNetwork Create(IEnumerable<IPAddress>? dnsServers = null, IEnumerable<KeyValuePair<string, IPAddress>>? hosts = null)
    {
        IPAddress[] servers = [.. dnsServers ?? []];
        if (servers.Length > MaxServers)
        {
            throw new ArgumentException($"There are {servers.Length} servers, but resolv.conf(5) takes {MaxServers} at most.", nameof(dnsServers));
        }

        var lines = new StringBuilder(OwnHosts);
        int count = 0;
        foreach ((string name, IPAddress address) in hosts ?? [])
        {
            if (++count > MaxHosts)
            {
                throw new ArgumentException($"There are more than {MaxHosts} hosts; let a resolver answer names.", nameof(hosts));
            }

            CheckName(name);
            ArgumentNullException.ThrowIfNull(address, nameof(hosts));
            lines.Append(CultureInfo.InvariantCulture, $"{address}\t{name}\n");
        }

        string nameservers = string.Concat(servers.Select(server => $"nameserver {server}\n"));
        return new(lines.ToString(), servers.Length == 0 ? "" : nameservers + ResolverOptions);
    }

    private static void CheckName(string name)
    {
        if (string.IsNullOrEmpty(name) || name.Length > MaxName || !name.All(character => char.IsAsciiLetterOrDigit(character) || character is '-' or '_' or '.')
            || name.Split('.').Any(label => label.Length == 0))
        {
            throw new ArgumentException($"'{name}' is not a host name; write letters, digits, '-', '_' and dots between them, such as proxy.internal.", nameof(name));
        }

        if (OwnNames.Contains(name, StringComparer.OrdinalIgnoreCase))
        {
            throw new ArgumentException($"'{name}' is a name of the sandbox itself; use another one.", nameof(name));
        }
    }
}
