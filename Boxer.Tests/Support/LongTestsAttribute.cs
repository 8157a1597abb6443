using Xunit.v3;

namespace Boxer.Tests.Support;

/// <summary>Marks a class whose tests take minutes or need the image of real programs. test-programs.sh runs it, and test.sh does not.</summary>
[AttributeUsage(AttributeTargets.Class)]
public sealed class LongTestsAttribute : Attribute, ITraitAttribute
{
    /// <inheritdoc/>
    public IReadOnlyCollection<KeyValuePair<string, string>> GetTraits() => [new("Script", "test-programs.sh")];
}
