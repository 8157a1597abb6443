using CsCheck;

namespace Boxer.Tests.Support;

/// <summary>What property tests draw from.</summary>
internal static class Generators
{
    /// <summary>One of these values.</summary>
    internal static Gen<T> Pick<T>(params T[] values) => Gen.Int[0, values.Length - 1].Select(index => values[index]);
}
