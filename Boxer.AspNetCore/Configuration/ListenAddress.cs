using System.Globalization;
using System.Net;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Boxer.AspNetCore.Configuration;

/// <summary>An address that the host listens on: <c>:8080</c> (all addresses), <c>127.0.0.1:8080</c>, <c>[::1]:8080</c> or <c>localhost:8080</c>.</summary>
/// <param name="Address">The address; <see langword="null"/> for <c>localhost</c>, which means both loopback addresses.</param>
/// <param name="Port">The port; 0 for any free port.</param>
internal sealed record ListenAddress(IPAddress? Address, int Port)
{
    /// <summary>Whether only this machine can reach it.</summary>
    public bool IsLoopback => Address is null || IPAddress.IsLoopback(Address);

    /// <summary>Parses an address; returns <see langword="null"/> if it is invalid.</summary>
    public static ListenAddress? Parse(string text)
    {
        int colon = text.LastIndexOf(':');
        if (colon < 0
            || !int.TryParse(text.AsSpan(colon + 1), NumberStyles.None, CultureInfo.InvariantCulture, out int port)
            || port > IPEndPoint.MaxPort)
        {
            return null;
        }

        string host = text[..colon];
        if (host.Length == 0)
        {
            return new(IPAddress.IPv6Any, port);
        }

        if (host == "localhost")
        {
            return new(null, port);
        }

        bool bracketed = host.StartsWith('[') && host.EndsWith(']');
        return IPAddress.TryParse(bracketed ? host[1..^1] : host, out IPAddress? address)
            && bracketed == host.Contains(':', StringComparison.Ordinal)
            // Short forms of inet_aton such as 127.1 or 2130706433 are mostly mistakes.
            && (bracketed || host.Count(c => c == '.') == 3)
            ? new(address, port)
            : null;
    }

    /// <summary>Makes Kestrel listen on the address.</summary>
    public void Bind(KestrelServerOptions options)
    {
        if (Address is null && Port != 0)
        {
            options.ListenLocalhost(Port);
        }
        else if (IPAddress.IPv6Any.Equals(Address))
        {
            options.ListenAnyIP(Port);
        }
        else
        {
            // Two addresses cannot share a port that is not known yet, so localhost:0 is IPv4 only.
            options.Listen(Address ?? IPAddress.Loopback, Port);
        }
    }
}
