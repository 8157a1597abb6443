namespace Boxer.Validation;

/// <summary>Finds everything that is wrong with an egress policy.</summary>
internal static class EgressValidator
{
    /// <param name="policy">The policy.</param>
    /// <param name="prefix">What comes before the name of a field.</param>
    internal static IEnumerable<SandboxFault> Validate(EgressPolicy policy, string prefix) =>
        SettingTable.BuiltIn.Validate(SettingTable.BuiltIn.Egress, policy, prefix + ".");
}
