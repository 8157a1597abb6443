using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Boxer.AspNetCore.Files;
using Boxer.AspNetCore.Configuration;

namespace Boxer.AspNetCore.Security;

/// <summary>
/// Lets only clients with a key in, where keys are configured, and gives each key a file space of its own. Without keys there is one
/// space for all.
/// </summary>
internal sealed class ApiKeys
{
    private const string SharedSpace = "shared";

    private readonly List<(byte[] Hash, string Space)> _keys;
    private readonly FileStore _store;
    private readonly ILogger _logger;

    public ApiKeys(HostSettings settings, FileStore store, ILogger<ApiKeys> logger)
    {
        _logger = logger;
        _store = store;
        _keys = [.. settings.ApiKeys.Select(key => (Hash(key), SpaceName(key)))];
    }

    /// <summary>The file space of the client that sent a request.</summary>
    public FileSpace SpaceOf(HttpContext context) => _store.GetSpace(NameOf(context));

    /// <summary>What stands for the client that sent a request, and does not tell its key.</summary>
    public static string NameOf(HttpContext context) => (string)context.Items[typeof(ApiKeys)]!;

    /// <summary>Who sent a request: its key, or its network where no keys are configured.</summary>
    public static string ClientOf(HttpContext context) =>
        context.Items[typeof(ApiKeys)] is string space && space != SharedSpace ? space : NetworkOf(context.Connection.RemoteIpAddress);

    /// <summary>The IPv4 address, also of one that came mapped to IPv6; of IPv6 the /64, whose addresses are all one client's to choose from.</summary>
    internal static string NetworkOf(IPAddress? address)
    {
        const int Prefix = 64;
        switch (address)
        {
            case null:
                return SharedSpace;
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

    /// <summary>Checks the key of a request; a middleware.</summary>
    public Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        if (_keys.Count == 0)
        {
            context.Items[typeof(ApiKeys)] = SharedSpace;
            return next(context);
        }

        // A load balancer asks without a key whether the host lives, and learns nothing else.
        if (context.Request.Path == "/healthz")
        {
            return next(context);
        }

        if (PresentedKey(context.Request) is not { } presented)
        {
            context.Response.Headers.WWWAuthenticate = "Bearer";
            HostLog.Refused(_logger, context.Connection.RemoteIpAddress, "it has no API key.");
            throw new HttpFaultException(
                StatusCodes.Status401Unauthorized, "an API key is needed; send it as Authorization: Bearer KEY or as X-API-Key: KEY.");
        }

        if (FindSpace(presented) is not { } space)
        {
            HostLog.Refused(_logger, context.Connection.RemoteIpAddress, "its API key is not one of this host's.");
            throw new HttpFaultException(StatusCodes.Status403Forbidden, "the API key is not one of this host's.");
        }

        context.Items[typeof(ApiKeys)] = space;
        return next(context);
    }

    private static string? PresentedKey(HttpRequest request)
    {
        const string Scheme = "Bearer ";
        string authorization = request.Headers.Authorization.ToString();
        return authorization.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase) ? authorization[Scheme.Length..].Trim()
            : request.Headers.TryGetValue("X-API-Key", out var key) ? key.ToString()
            : null;
    }

    /// <summary>Compares hashes, each in constant time, and all of them: neither a key nor its place shows in the time it takes.</summary>
    private string? FindSpace(string presented)
    {
        byte[] hash = Hash(presented);
        string? found = null;
        foreach ((byte[] known, string space) in _keys)
        {
            found = CryptographicOperations.FixedTimeEquals(hash, known) ? space : found;
        }

        return found;
    }

    private static byte[] Hash(string key) => SHA256.HashData(Encoding.UTF8.GetBytes(key));

    // Another hash than the one that keys are compared by, so that a directory's name says nothing about that.
    private static string SpaceName(string key) =>
        "key-" + Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes("boxer file space\n" + key)).AsSpan(0, 20));
}
