using Boxer.Networking;

namespace Boxer.Validation;

/// <summary>Parses egress policies, and finds everything that is wrong with them.</summary>
internal static class EgressValidator
{
    /// <summary>Finds everything that is wrong with a policy.</summary>
    /// <param name="policy">The policy.</param>
    /// <param name="prefix">The property that has it, for names of fields.</param>
    internal static IEnumerable<SandboxFault> Validate(EgressPolicy policy, string prefix) =>
        SettingTable.BuiltIn.Validate(SettingTable.BuiltIn.Egress, policy, prefix + ".");

    /// <summary>Parses a policy.</summary>
    /// <param name="policy">The policy.</param>
    /// <param name="prefix">The property that has it, for names of fields.</param>
    /// <param name="faults">Receives each fault.</param>
    /// <returns><see langword="null"/> where there are faults.</returns>
    internal static CheckedEgress? Check(EgressPolicy policy, string prefix, List<SandboxFault> faults)
    {
        int before = faults.Count;
        faults.AddRange(Validate(policy, prefix));
        return faults.Count == before ? CheckedEgress.Parse(policy) : null;
    }
}
