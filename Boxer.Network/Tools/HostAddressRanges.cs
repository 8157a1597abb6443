using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text.Json;

namespace Boxer.Network.Tools;

/// <summary>Finds the IPv4 ranges that this host uses.</summary>
internal static class HostAddressRanges
{
    private static readonly string[] RefusingRoutes = ["blackhole", "unreachable", "prohibit", "throw"];

    /// <summary>
    /// Finds the ranges of the host's interface addresses and of its unicast routes, in all routing tables. Default routes and routes that
    /// only refuse packets are left out.
    /// </summary>
    internal static async Task<IReadOnlyList<IPNetwork>> FindAsync(NetworkTools tools, CancellationToken cancellationToken)
    {
        Task<string> addresses = tools.IpJsonAsync(["-4", "addr", "show"], cancellationToken);
        Task<string> routes = tools.IpJsonAsync(["-4", "route", "show", "table", "all"], cancellationToken);
        (string addressOutput, string routeOutput) = (await addresses.ConfigureAwait(false), await routes.ConfigureAwait(false));
        return ToolOutput.Parse("ip", () => Parse(addressOutput, routeOutput));
    }

    /// <param name="addresses">The output of <c>ip -j addr show</c>.</param>
    /// <param name="routes">The output of <c>ip -j route show</c>.</param>
    internal static IReadOnlyList<IPNetwork> Parse(string addresses, string routes)
    {
        using JsonDocument addressList = JsonDocument.Parse(addresses);
        using JsonDocument routeList = JsonDocument.Parse(routes);
        return [.. OfAddresses(addressList.RootElement), .. OfRoutes(routeList.RootElement)];
    }

    // The constructor of IPNetwork clears the bits after the prefix.
    private static IEnumerable<IPNetwork> OfAddresses(JsonElement links)
    {
        foreach (JsonElement info in links.EnumerateArray()
            .SelectMany(link => link.TryGetProperty("addr_info", out JsonElement infos) ? infos.EnumerateArray().ToArray() : []))
        {
            if (TryParseIPv4(info.GetProperty("local").GetString(), out IPAddress address))
            {
                yield return new IPNetwork(address, info.GetProperty("prefixlen").GetInt32());
            }
        }
    }

    private static IEnumerable<IPNetwork> OfRoutes(JsonElement routes)
    {
        foreach (JsonElement route in routes.EnumerateArray())
        {
            string type = route.TryGetProperty("type", out JsonElement kind) ? kind.GetString() ?? "" : "";
            string[] destination = (route.GetProperty("dst").GetString() ?? "").Split('/');
            if (RefusingRoutes.Contains(type, StringComparer.Ordinal) || !TryParseIPv4(destination[0], out IPAddress address))
            {
                continue;
            }

            int prefixLength = destination.Length > 1 ? int.Parse(destination[1], CultureInfo.InvariantCulture) : 32;
            if (prefixLength > 0)
            {
                yield return new IPNetwork(address, prefixLength);
            }
        }
    }

    private static bool TryParseIPv4(string? text, out IPAddress address)
    {
        bool isIPv4 = IPAddress.TryParse(text, out IPAddress? parsed) && parsed.AddressFamily == AddressFamily.InterNetwork;
        address = isIPv4 ? parsed! : IPAddress.None;
        return isIPv4;
    }
}
