using System.Net;
using System.Net.Sockets;
using System.Security.Claims;
using System.Security.Cryptography;
using System.Text;

namespace Boxer.AspNetCore.Security;

/// <summary>Names the client that sent a request, by its claims. Without authentication there is one name for all.</summary>
internal static class Clients
{
    private const string SharedName = "shared";

    /// <summary>The name of the client: its file space and its place in the queue. It does not tell a key or a user's identifier.</summary>
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

    /// <summary>The client that bounds of memory and connections count for: its name, or its network where it has none.</summary>
    public static string ClientOf(HttpContext context) => NameOf(context) is not SharedName and var name ? name : NetworkOf(context.Connection.RemoteIpAddress);

    /// <summary>Network modes that the client may use, of those that are allowed.</summary>
    public static string[] NetworksOf(HttpContext context, string[] allowed)
    {
        HashSet<string> own = [.. context.User.FindAll(BoxerHttpDefaults.NetworkClaim).Select(claim => claim.Value)];
        return own.Count == 0 ? allowed : [.. allowed.Where(own.Contains)];
    }

    /// <summary>A name that says nothing of the secret. Keys are compared by another hash than this one.</summary>
    public static string HashedName(string prefix, string salt, string secret) =>
        prefix + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(salt + secret)).AsSpan(0, 20));

    /// <summary>The IPv4 address, also of one that came mapped to IPv6; of IPv6 the /64, whose addresses are all one client's to choose from.</summary>
    internal static string NetworkOf(IPAddress? address)
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
