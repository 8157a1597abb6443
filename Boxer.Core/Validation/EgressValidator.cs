using Boxer.Network;

namespace Boxer.Validation;

/// <summary>Finds everything that is wrong with an egress policy.</summary>
internal static class EgressValidator
{
    private const int MostRules = 256;
    private const long LeastBandwidth = 8_000;
    private const long MostBandwidth = 100_000_000_000;
    private const long MostQuota = 1L << 60;

    /// <param name="policy">The policy.</param>
    /// <param name="prefix">What comes before the name of a field.</param>
    internal static IEnumerable<SandboxFault> Validate(EgressPolicy policy, string prefix)
    {
        var faults = new List<SandboxFault>();
        Rules(nameof(policy.Allow), policy.Allow ?? []);
        if (policy.Deny is null)
        {
            faults.Add(new($"{prefix}.{nameof(policy.Deny)}", "must not be null."));
        }
        else
        {
            Rules(nameof(policy.Deny), policy.Deny);
        }

        Range(nameof(policy.BandwidthBitsPerSecond), policy.BandwidthBitsPerSecond, LeastBandwidth, MostBandwidth, "bits per second");
        Range(nameof(policy.QuotaBytes), policy.QuotaBytes, 1, MostQuota, "bytes");
        return faults;

        void Rules(string name, IList<string> rules)
        {
            if (rules.Count > MostRules)
            {
                faults.Add(new($"{prefix}.{name}", $"must have at most {MostRules} rules; use ranges."));
                return;
            }

            for (int i = 0; i < rules.Count; i++)
            {
                if (!EgressRule.TryParse(rules[i], out _, out string? error))
                {
                    faults.Add(new($"{prefix}.{name}[{i}]", error));
                }
            }
        }

        void Range(string name, long? value, long least, long most, string unit)
        {
            if (value < least || value > most)
            {
                faults.Add(new($"{prefix}.{name}", FormattableString.Invariant($"is {value}, but must be from {least} to {most} {unit}.")));
            }
        }
    }
}
