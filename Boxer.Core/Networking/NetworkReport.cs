namespace Boxer.Networking;

/// <summary>The network traffic of a run, of a command of a session, or of a whole session.</summary>
public sealed record NetworkReport
{
    /// <summary>
    /// Maximum number of entries in <see cref="Denied"/> of a result: 100. If a mode reports more, the runner drops the least frequent ones.
    /// </summary>
    public const int MaxDenied = 100;

    /// <summary>A report without traffic counts and denials.</summary>
    public static NetworkReport None { get; } = new();

    /// <summary>Received bytes, IP headers included; <see langword="null"/> if the mode does not count them.</summary>
    public long? BytesIn { get; init; }

    /// <summary>Sent bytes, IP headers included; <see langword="null"/> if the mode does not count them.</summary>
    public long? BytesOut { get; init; }

    /// <summary>Denied destinations and names, the most frequent first; in a result at most <see cref="MaxDenied"/>.</summary>
    public IReadOnlyList<NetworkDenial> Denied { get; init; } = [];

    /// <summary>Keeps at most <see cref="MaxDenied"/> denials, for reports of any mode.</summary>
    internal NetworkReport Bound() => Denied.Count <= MaxDenied ? this : this with { Denied = [.. Denied.OrderByDescending(denial => denial.Count).Take(MaxDenied)] };
}

/// <summary>A destination or a name that a sandbox was denied.</summary>
/// <param name="Address">The address; <see langword="null"/> if a name was denied.</param>
/// <param name="Domain">The denied name, or the name that resolved to the address; <see langword="null"/> if unknown.</param>
/// <param name="Port">The port; 0 for protocols without ports, 53 if a name was denied.</param>
/// <param name="Protocol">
/// Name of the protocol in this host's <c>/etc/protocols</c>, such as <c>tcp</c>, <c>udp</c>, <c>icmp</c> or <c>gre</c>, or its number if it has no
/// name there. <c>dns</c> if a name was denied.
/// </param>
/// <param name="Count">Number of denied packets or DNS queries.</param>
public sealed record NetworkDenial(string? Address, string? Domain, int Port, string Protocol, long Count);
