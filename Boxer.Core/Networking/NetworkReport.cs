namespace Boxer.Networking;

/// <summary>What a run did with its network.</summary>
public sealed record NetworkReport
{
    /// <summary>Maximum number of entries in <see cref="Denied"/>: 100. A runner drops the least frequent of a mode that reports more.</summary>
    public const int MaxDenied = 100;

    /// <summary>Nothing.</summary>
    public static NetworkReport None { get; } = new();

    /// <summary>Bytes that came in, headers of IP included; <see langword="null"/> where the mode does not count.</summary>
    public long? BytesIn { get; init; }

    /// <summary>Bytes that went out, headers of IP included; <see langword="null"/> where the mode does not count.</summary>
    public long? BytesOut { get; init; }

    /// <summary>What was refused, the most frequent first; at most <see cref="MaxDenied"/>.</summary>
    public IReadOnlyList<NetworkDenial> Denied { get; init; } = [];

    /// <summary>As what a result has, whatever a mode made.</summary>
    internal NetworkReport Bound() => Denied.Count <= MaxDenied ? this : this with { Denied = [.. Denied.OrderByDescending(denial => denial.Count).Take(MaxDenied)] };
}

/// <summary>Something that a sandbox tried to reach and was refused.</summary>
/// <param name="Address">The address, or <see langword="null"/> where a name was refused.</param>
/// <param name="Domain">The name that was refused, or that the address was resolved from, where it is known.</param>
/// <param name="Port">The port; 0 for protocols without ports, 53 where a name was refused.</param>
/// <param name="Protocol">
/// The protocol by its name in this host's <c>/etc/protocols</c>, such as <c>tcp</c>, <c>udp</c>, <c>icmp</c> or <c>gre</c>; its number where it has none there.
/// <c>dns</c> where a name was refused.
/// </param>
/// <param name="Count">How many packets or queries were refused.</param>
public sealed record NetworkDenial(string? Address, string? Domain, int Port, string Protocol, long Count);
