namespace Boxer.Network;

/// <summary>What one run's network is held to: a destination must be let through by every layer.</summary>
public sealed record NetworkPolicy
{
    /// <summary>The policies that hold, the operator's first.</summary>
    public required IReadOnlyList<EgressLayer> Layers { get; init; }

    /// <summary>Bits per second in each direction, or <see langword="null"/> for no limit.</summary>
    public long? BandwidthBitsPerSecond { get; init; }

    /// <summary>Bytes in both directions together, or <see langword="null"/> for no limit.</summary>
    public long? QuotaBytes { get; init; }

    /// <summary>Puts together what the operator and the run say. Rules that cannot be parsed must have been refused before.</summary>
    /// <param name="configured">The operator's.</param>
    /// <param name="requested">The run's, or <see langword="null"/>.</param>
    /// <param name="replaces">Whether the run's stands in for the operator's; else it only tightens it.</param>
    internal static NetworkPolicy Combine(EgressPolicy configured, EgressPolicy? requested, bool replaces)
    {
        EgressPolicy[] policies = requested is null ? [configured] : replaces ? [requested] : [configured, requested];
        return new NetworkPolicy
        {
            Layers = [.. policies.Select((policy, index) => new EgressLayer(policy.Allow is null ? null : Parse(policy.Allow), Parse(policy.Deny), OpensPrivate: index == 0))],
            BandwidthBitsPerSecond = policies.Min(policy => policy.BandwidthBitsPerSecond),
            QuotaBytes = policies.Min(policy => policy.QuotaBytes),
        };
    }

    private static EgressRule[] Parse(IEnumerable<string> rules) =>
        [.. rules.Select(text => EgressRule.TryParse(text, out EgressRule? rule, out string? error) ? rule : throw new ArgumentException($"'{text}' {error}"))];
}

/// <summary>One policy of a <see cref="NetworkPolicy"/>.</summary>
/// <param name="Allow">What may be reached, or <see langword="null"/> for all that is public.</param>
/// <param name="Deny">What may not be reached.</param>
/// <param name="OpensPrivate">Whether addresses in <paramref name="Allow"/> may be private ones.</param>
public sealed record EgressLayer(IReadOnlyList<EgressRule>? Allow, IReadOnlyList<EgressRule> Deny, bool OpensPrivate)
{
    /// <summary>The rules that open addresses that are not public: those whose whole range is not.</summary>
    public IEnumerable<EgressRule> PrivateRules =>
        OpensPrivate ? (Allow ?? []).Where(rule => rule.Range is { } range && SpecialRanges.Contains(range)) : [];
}
