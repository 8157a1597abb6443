namespace Boxer.Networking;

/// <summary>Names of network modes.</summary>
internal static class NetworkName
{
    private const int MaxLength = 32;

    /// <summary>Checks the name of a mode. It is also a label of metrics and part of JSON bodies.</summary>
    /// <returns><paramref name="name"/>.</returns>
    /// <exception cref="ArgumentException">The name is invalid.</exception>
    internal static string Check(string? name) =>
        name is { Length: > 0 and <= MaxLength } && char.IsAsciiLetterLower(name[0]) && name.All(character => char.IsAsciiLetterLower(character) || char.IsAsciiDigit(character) || character == '-')
            ? name
            : throw new ArgumentException($"The network mode '{name}' has a name that requests cannot use; name it with 1 to {MaxLength} lower-case letters, digits and '-', the first a letter.");
}
