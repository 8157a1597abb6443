using CsCheck;

namespace Boxer.Tests.Support;

/// <summary>Generators for property tests.</summary>
internal static class Generators
{
    /// <summary>Generates one of these values.</summary>
    internal static Gen<T> Pick<T>(params T[] values) => Gen.Int[0, values.Length - 1].Select(index => values[index]);
}
