namespace Boxer.Networking;

/// <summary>An <see cref="EgressPolicy"/> with parsed rules.</summary>
/// <param name="Allow">Allowed destinations; <see langword="null"/>: all public ones.</param>
/// <param name="Deny">Denied destinations.</param>
/// <param name="BandwidthBitsPerSecond">Bits per second in each direction, or <see langword="null"/> for no limit.</param>
/// <param name="QuotaBytes">Bytes in both directions together, or <see langword="null"/> for no limit.</param>
internal sealed record CheckedEgress(IReadOnlyList<EgressRule>? Allow, IReadOnlyList<EgressRule> Deny, long? BandwidthBitsPerSecond, long? QuotaBytes)
{
    /// <summary>The default policy of the options: all public destinations.</summary>
    internal static CheckedEgress Public { get; } = new(null, [], null, null);

    /// <summary>Parses the rules of a policy.</summary>
    /// <param name="policy">The policy.</param>
    /// <exception cref="ArgumentException">A rule is malformed; the message names it.</exception>
    internal static CheckedEgress Parse(EgressPolicy policy) => new(
        policy.Allow is null ? null : Parse(policy.Allow), Parse(policy.Deny), policy.BandwidthBitsPerSecond, policy.QuotaBytes);

    private static EgressRule[] Parse(IEnumerable<string> rules) =>
        [.. rules.Select(text => EgressRule.TryParse(text, out EgressRule? rule, out string? error) ? rule : throw new ArgumentException($"'{text}' {error}"))];
}
