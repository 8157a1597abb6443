using System.Buffers;
using System.Diagnostics.CodeAnalysis;
using System.Security.Cryptography;

namespace Boxer.Images;

/// <summary>A digest in OCI's form, for example <c>sha256:</c> and 64 hexadecimal digits (OCI image spec, descriptor.md).</summary>
internal readonly record struct ImageDigest
{
    private static readonly SearchValues<char> HexDigits = SearchValues.Create("0123456789abcdef");

    private ImageDigest(string algorithm, string hex)
    {
        Algorithm = algorithm;
        Hex = hex;
    }

    /// <summary><c>sha256</c>, <c>sha384</c> or <c>sha512</c>.</summary>
    public string Algorithm { get; }

    /// <summary>The hash in lower-case hexadecimal digits. Safe as a file name.</summary>
    public string Hex { get; }

    /// <summary>Parses a digest. Upper-case digits and other algorithms are rejected.</summary>
    /// <param name="text">The text.</param>
    /// <param name="digest">The digest.</param>
    /// <returns>Whether the text is a digest.</returns>
    public static bool TryParse([NotNullWhen(true)] string? text, out ImageDigest digest)
    {
        digest = default;
        int colon = text?.IndexOf(':', StringComparison.Ordinal) ?? -1;
        if (colon < 0)
        {
            return false;
        }

        string algorithm = text![..colon];
        string hex = text[(colon + 1)..];
        int length = algorithm switch { "sha256" => 64, "sha384" => 96, "sha512" => 128, _ => -1 };
        if (hex.Length != length || hex.AsSpan().ContainsAnyExcept(HexDigits))
        {
            return false;
        }

        digest = new(algorithm, hex);
        return true;
    }

    /// <summary>Computes the SHA-256 digest of <paramref name="content"/>.</summary>
    /// <param name="content">The bytes.</param>
    public static ImageDigest Sha256Of(ReadOnlySpan<byte> content) => new("sha256", Convert.ToHexStringLower(SHA256.HashData(content)));

    /// <summary>Gets the digest of the data that was appended to a SHA-256 hash.</summary>
    /// <param name="hash">The hash; it is reset.</param>
    public static ImageDigest Sha256Of(IncrementalHash hash) => new("sha256", Convert.ToHexStringLower(hash.GetHashAndReset()));

    /// <summary>Computes the digest of <paramref name="content"/> with the same algorithm.</summary>
    /// <param name="content">The bytes.</param>
    public ImageDigest Of(ReadOnlySpan<byte> content)
    {
        using IncrementalHash hash = NewHash();
        hash.AppendData(content);
        return FromHash(hash);
    }

    /// <summary>Creates an empty hash of this algorithm.</summary>
    public IncrementalHash NewHash() => IncrementalHash.CreateHash(Algorithm switch
    {
        "sha256" => HashAlgorithmName.SHA256,
        "sha384" => HashAlgorithmName.SHA384,
        _ => HashAlgorithmName.SHA512,
    });

    /// <summary>Gets the digest of the data that was appended to a hash of this algorithm.</summary>
    /// <param name="hash">The hash; it is reset.</param>
    public ImageDigest FromHash(IncrementalHash hash) => new(Algorithm, Convert.ToHexStringLower(hash.GetHashAndReset()));

    /// <inheritdoc/>
    public override string ToString() => $"{Algorithm}:{Hex}";
}
