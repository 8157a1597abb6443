using Xunit.v3;

namespace Boxer.Tests.Support;

/// <summary>Marks tests that take a second or more, or that start runsc, registries or command lines. test.sh --quick skips them.</summary>
[AttributeUsage(AttributeTargets.Class | AttributeTargets.Method)]
public sealed class SlowAttribute : Attribute, ITraitAttribute
{
    /// <inheritdoc/>
    public IReadOnlyCollection<KeyValuePair<string, string>> GetTraits() => [new("Pace", "slow")];
}
