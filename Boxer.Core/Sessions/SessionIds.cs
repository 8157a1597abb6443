using System.Security.Cryptography;

namespace Boxer.Sessions;

/// <summary>Identifiers of sessions: 128 random bits, which nobody can guess. They match <c>^[a-z0-9]{20,57}$</c>.</summary>
internal static class SessionIds
{
    private const string Digits = "abcdefghijklmnopqrstuvwxyz234567";
    private const int Bits = 128;
    private const int BitsOfDigit = 5;
    private const int MinLength = 20;
    private const int MaxLength = 57;

    /// <summary>Creates an identifier.</summary>
    internal static string Create() => string.Create((Bits + BitsOfDigit - 1) / BitsOfDigit, 0, static (text, _) => RandomNumberGenerator.GetItems(Digits, text));

    /// <summary>Whether a text can be an identifier.</summary>
    /// <param name="id">The text.</param>
    internal static bool IsValid(string? id) => id is { Length: >= MinLength and <= MaxLength } && id.All(c => c is (>= 'a' and <= 'z') or (>= '0' and <= '9'));
}
