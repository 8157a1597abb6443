using System.Diagnostics.CodeAnalysis;
using System.Text.RegularExpressions;

namespace Boxer.Images;

/// <summary>
/// The name of an image, by Docker's grammar (github.com/distribution/reference): <c>python:3.12-slim</c> means
/// <c>docker.io/library/python:3.12-slim</c>. Equal references have the same canonical text.
/// </summary>
public sealed partial record ImageReference
{
    /// <summary>The registry of references that name none.</summary>
    public const string DefaultRegistry = "docker.io";

    private const int MaxRepositoryLength = 255;

    // A DNS name has at most 253 characters (RFC 1035, 2.3.4), a port at most 6 with its colon.
    private const int MaxRegistryLength = 259;

    // Milliseconds. What is matched is short. A machine that stalls for a second is no reason to refuse a reference.
    private const int MatchTimeout = 60_000;

    private ImageReference(string registry, string repository, string? tag, string? digest)
    {
        Registry = registry;
        Repository = repository;
        Tag = tag;
        Digest = digest;
    }

    /// <summary>The registry as <c>host</c> or <c>host:port</c>; <c>docker.io</c> where the text named none.</summary>
    public string Registry { get; }

    /// <summary>The repository in the registry, for example <c>library/python</c>.</summary>
    public string Repository { get; }

    /// <summary>The tag; <c>latest</c> where the text named neither tag nor digest, <see langword="null"/> where it named only a digest.</summary>
    public string? Tag { get; }

    /// <summary>The digest, for example <c>sha256:...</c>; it says which image is meant even where there is a tag too.</summary>
    public string? Digest { get; }

    /// <summary>Parses a reference.</summary>
    /// <param name="text">The reference as a user writes it.</param>
    /// <exception cref="FormatException">The text is not a reference; the message says why and what to write.</exception>
    public static ImageReference Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string? fault = Read(text, out ImageReference? reference);
        return reference ?? throw new FormatException(fault);
    }

    /// <summary>Parses a reference.</summary>
    /// <param name="text">The reference as a user writes it.</param>
    /// <param name="reference">The reference.</param>
    /// <returns>Whether the text is a reference.</returns>
    public static bool TryParse([NotNullWhen(true)] string? text, [NotNullWhen(true)] out ImageReference? reference) =>
        TryParse(text, out reference, out _);

    /// <summary>Parses a reference.</summary>
    /// <param name="text">The reference as a user writes it.</param>
    /// <param name="reference">The reference.</param>
    /// <param name="fault">Why the text is not a reference and what to write, as a sentence.</param>
    /// <returns>Whether the text is a reference.</returns>
    public static bool TryParse(
        [NotNullWhen(true)] string? text, [NotNullWhen(true)] out ImageReference? reference, [NotNullWhen(false)] out string? fault)
    {
        fault = Read(text ?? "", out reference);
        return fault is null && reference is not null;
    }

    /// <summary>The canonical text: registry, repository, tag and digest.</summary>
    public override string ToString() =>
        $"{Registry}/{Repository}{(Tag is null ? "" : ":" + Tag)}{(Digest is null ? "" : "@" + Digest)}";

    private static string? Read(string text, out ImageReference? reference)
    {
        reference = null;
        if (text.Length == 0)
        {
            return "The image reference is empty; write for example \"python:3.12-slim\".";
        }

        string shown = text.Length <= 100 ? text : text[..100] + "...";
        shown = $"\"{string.Concat(shown.Select(c => char.IsControl(c) ? '\uFFFD' : c))}\"";

        string rest = text;
        string? digest = null;
        int at = rest.IndexOf('@', StringComparison.Ordinal);
        if (at >= 0)
        {
            digest = rest[(at + 1)..];
            rest = rest[..at];
            if (!ImageDigest.TryParse(digest, out _))
            {
                return $"{shown} is not an image reference: what follows @ must be a digest such as sha256: and 64 digits of 0-9 a-f.";
            }
        }

        // Docker's rule: what stands before the first slash is a host if it has a dot or a colon, is localhost, or has an upper-case letter.
        string registry = DefaultRegistry;
        int slash = rest.IndexOf('/', StringComparison.Ordinal);
        if (slash >= 0)
        {
            string first = rest[..slash];
            if (first.AsSpan().ContainsAny(".:") || first == "localhost" || first.Any(char.IsUpper))
            {
                registry = first;
                rest = rest[(slash + 1)..];
            }
        }

        registry = RegistryName.Canonical(registry);
        if (registry.Length > MaxRegistryLength || !RegistryPattern().IsMatch(registry))
        {
            return $"{shown} is not an image reference: \"{(registry.Length <= 100 ? registry : registry[..100] + "...")}\" is not a host or host:port.";
        }

        int colon = rest.IndexOf(':', StringComparison.Ordinal);
        string? tag = colon < 0 ? null : rest[(colon + 1)..];
        string repository = colon < 0 ? rest : rest[..colon];
        if (tag is not null && !TagPattern().IsMatch(tag))
        {
            return $"{shown} is not an image reference: a tag has 1 to 128 letters, digits, '_', '.' and '-', and does not start with '.' or '-'.";
        }

        if (repository.Any(char.IsUpper))
        {
            return $"{shown} is not an image reference: the repository must be lower-case.";
        }

        // Docker refuses a bare image id, because it could not be told from a name.
        if (registry == DefaultRegistry && tag is null && digest is null && IdPattern().IsMatch(text))
        {
            return $"{shown} is not an image reference: 64 hexadecimal digits are an image id; write name@sha256:... instead.";
        }

        if (registry == DefaultRegistry && !repository.Contains('/', StringComparison.Ordinal))
        {
            repository = "library/" + repository;
        }

        if (repository.Length > MaxRepositoryLength)
        {
            return $"{shown} is not an image reference: the repository has more than {MaxRepositoryLength} characters.";
        }

        if (!RepositoryPattern().IsMatch(repository))
        {
            return $"{shown} is not an image reference: a repository is made of lower-case letters and digits, "
                + "with single '.', '_', double '__' or '-' between them and '/' between parts.";
        }

        reference = new(registry, repository, tag ?? (digest is null ? "latest" : null), digest);
        return null;
    }

    [GeneratedRegex(@"\A(?:(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:\.(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?\z", RegexOptions.ExplicitCapture, MatchTimeout)]
    private static partial Regex RegistryPattern();

    [GeneratedRegex(@"\A[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*\z", RegexOptions.ExplicitCapture, MatchTimeout)]
    private static partial Regex RepositoryPattern();

    [GeneratedRegex(@"\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\z", RegexOptions.ExplicitCapture, MatchTimeout)]
    private static partial Regex TagPattern();

    [GeneratedRegex(@"\A[a-f0-9]{64}\z", RegexOptions.ExplicitCapture, MatchTimeout)]
    private static partial Regex IdPattern();
}
