using System.Net;
using System.Net.Sockets;
using System.Security.Claims;
using System.Security.Cryptography;
using System.Text;

namespace Boxer.AspNetCore.Security;

/// <summary>Identifies the client of a request by its claims. Without authentication all clients share one name.</summary>
internal static class Clients
{
    private const string SharedName = "shared";

    /// <summary>Gets the name of the client, which selects its file space and its share of the queue. The name does not reveal a key or a user's identifier.</summary>
    public static string NameOf(HttpContext context)
    {
        ClaimsPrincipal user = context.User;
        if (user.FindFirst(BoxerHttpDefaults.ClientClaim)?.Value is { } name)
        {
            return FileStore.IsSpaceName(name) ? name : HashedName("client-", "boxer client\n", name);
        }

        return (user.FindFirst(ClaimTypes.NameIdentifier) ?? user.FindFirst("sub") ?? user.FindFirst(ClaimTypes.Name)) is { } identifier
            ? HashedName("user-", "boxer user\n", $"{identifier.Issuer}\n{identifier.Value}")
            : SharedName;
    }

    /// <summary>Gets the key by which memory and connections are counted: the client's name, or its address block if it has no name.</summary>
    public static string BudgetKeyOf(HttpContext context) => NameOf(context) is not SharedName and var name ? name : AddressBlockOf(context.Connection.RemoteIpAddress);

    /// <summary>Gets the network modes that the client may use.</summary>
    /// <param name="context">The request.</param>
    /// <param name="allowed">The network modes that the host allows.</param>
    public static string[] AllowedNetworksOf(HttpContext context, string[] allowed)
    {
        HashSet<string> own = [.. context.User.FindAll(BoxerHttpDefaults.NetworkClaim).Select(claim => claim.Value)];
        return own.Count == 0 ? allowed : [.. allowed.Where(own.Contains)];
    }

    /// <summary>Derives a name from a secret without revealing it. Keys are compared by a different hash.</summary>
    public static string HashedName(string prefix, string salt, string secret) =>
        prefix + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(salt + secret)).AsSpan(0, 20));

    /// <summary>Gets the address block of one client: the IPv4 address (mapped to IPv6 or not), or the /64 of an IPv6 address, from which a client can pick any address.</summary>
    internal static string AddressBlockOf(IPAddress? address)
    {
        const int Prefix = 64;
        switch (address)
        {
            case null:
                return SharedName;
            case { IsIPv4MappedToIPv6: true }:
                return address.MapToIPv4().ToString();
            case { AddressFamily: AddressFamily.InterNetworkV6 }:
                byte[] bytes = address.GetAddressBytes();
                bytes.AsSpan(Prefix / 8).Clear();
                return new IPNetwork(new IPAddress(bytes), Prefix).ToString();
            default:
                return address.ToString();
        }
    }
}
