using Xunit.v3;

namespace Boxer.Tests.Support;

/// <summary>Marks tests that take a second and more, or that start runsc, registries or command lines: test.sh --quick leaves them out.</summary>
[AttributeUsage(AttributeTargets.Class | AttributeTargets.Method)]
public sealed class SlowAttribute : Attribute, ITraitAttribute
{
    /// <inheritdoc/>
    public IReadOnlyCollection<KeyValuePair<string, string>> GetTraits() => [new("Pace", "slow")];
}
