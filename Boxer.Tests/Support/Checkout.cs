using System.Runtime.CompilerServices;

namespace Boxer.Tests.Support;

/// <summary>The sources that the tests were built from.</summary>
internal static class Checkout
{
    /// <summary>The folder of the checkout.</summary>
    internal static string Root { get; } = Find();

    private static string Find([CallerFilePath] string path = "") => Path.GetFullPath(Path.Join(Path.GetDirectoryName(path), "..", ".."));
}
