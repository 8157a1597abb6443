using Boxer.Networking;

namespace Boxer.Validation;

/// <summary>Parses egress policies and finds all their faults.</summary>
internal static class EgressValidator
{
    /// <summary>Finds all faults of a policy.</summary>
    /// <param name="policy">The policy.</param>
    /// <param name="prefix">Path of the property that has the policy.</param>
    internal static IEnumerable<SandboxFault> Validate(EgressPolicy policy, string prefix) =>
        SettingTable.BuiltIn.Validate(SettingTable.BuiltIn.Egress, policy, prefix + ".");

    /// <summary>Parses a policy. Each rule is parsed once, for the fault and for the result.</summary>
    /// <param name="policy">The policy.</param>
    /// <param name="prefix">Path of the property that has the policy.</param>
    /// <param name="faults">Receives the faults.</param>
    /// <returns><see langword="null"/> if there are faults.</returns>
    internal static CheckedEgress? Check(EgressPolicy policy, string prefix, List<SandboxFault> faults)
    {
        int before = faults.Count;

        // Null allows every public destination: an empty list stands until the rules are parsed.
        EgressRule[]? allow = policy.Allow is null ? null : [];
        EgressRule[] deny = [];
        Setting[] settings =
        [
            .. SettingTable.BuiltIn.Egress.Select(setting => setting.Name switch
            {
                nameof(EgressPolicy.Allow) => setting with { Check = value => SettingChecks.ParseRules(value, out allow) },
                nameof(EgressPolicy.Deny) => setting with { Check = value => SettingChecks.ParseRules(value, out deny) },
                _ => setting,
            }),
        ];
        faults.AddRange(SettingTable.BuiltIn.Validate(settings, policy, prefix + "."));
        return faults.Count == before ? new CheckedEgress(allow, deny, policy.BandwidthBitsPerSecond, policy.QuotaBytes) : null;
    }
}
