using System.Net;
using System.Net.Sockets;
using System.Text.Json;

namespace Boxer.Network;

/// <summary>What of the IPv4 address space this host uses.</summary>
internal static class HostNetworks
{
    private static readonly string[] NoNetwork = ["blackhole", "unreachable", "prohibit", "throw"];

    /// <summary>
    /// The networks of its interface addresses and of its unicast routes, in all tables. Default routes and routes that only refuse are
    /// no conflict.
    /// </summary>
    internal static async Task<IReadOnlyList<IPNetwork>> FindAsync(NetworkTools tools, CancellationToken cancellationToken)
    {
        Task<string> addresses = tools.IpJsonAsync(["-4", "addr", "show"], cancellationToken);
        Task<string> routes = tools.IpJsonAsync(["-4", "route", "show", "table", "all"], cancellationToken);
        (string printedAddresses, string printedRoutes) = (await addresses.ConfigureAwait(false), await routes.ConfigureAwait(false));
        return NetworkTools.Understand("ip", () => Parse(printedAddresses, printedRoutes));
    }

    internal static IReadOnlyList<IPNetwork> Parse(string addresses, string routes)
    {
        var used = new List<IPNetwork>();
        using JsonDocument addressList = JsonDocument.Parse(addresses);
        foreach (JsonElement info in addressList.RootElement.EnumerateArray()
            .SelectMany(link => link.TryGetProperty("addr_info", out JsonElement infos) ? infos.EnumerateArray().ToArray() : []))
        {
            if (IPAddress.TryParse(info.GetProperty("local").GetString(), out IPAddress? address) && address.AddressFamily == AddressFamily.InterNetwork)
            {
                used.Add(Mask(address, info.GetProperty("prefixlen").GetInt32()));
            }
        }

        using JsonDocument routeList = JsonDocument.Parse(routes);
        foreach (JsonElement route in routeList.RootElement.EnumerateArray())
        {
            string type = route.TryGetProperty("type", out JsonElement kind) ? kind.GetString() ?? "" : "";
            string[] destination = (route.GetProperty("dst").GetString() ?? "").Split('/');
            if (!NoNetwork.Contains(type, StringComparer.Ordinal)
                && IPAddress.TryParse(destination[0], out IPAddress? address)
                && address.AddressFamily == AddressFamily.InterNetwork)
            {
                int length = destination.Length > 1 ? int.Parse(destination[1], System.Globalization.CultureInfo.InvariantCulture) : 32;
                if (length > 0)
                {
                    used.Add(Mask(address, length));
                }
            }
        }

        return used;
    }

    private static IPNetwork Mask(IPAddress address, int length)
    {
        byte[] bytes = address.GetAddressBytes();
        for (int bit = length; bit < 32; bit++)
        {
            bytes[bit / 8] &= (byte)~(0x80 >> (bit % 8));
        }

        return new IPNetwork(new IPAddress(bytes), length);
    }
}
