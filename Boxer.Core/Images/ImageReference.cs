using System.Diagnostics.CodeAnalysis;
using System.Text.RegularExpressions;

namespace Boxer.Images;

/// <summary>
/// The name of an image, in Docker's grammar (github.com/distribution/reference): <c>python:3.12-slim</c> means
/// <c>docker.io/library/python:3.12-slim</c>. Equal references have the same canonical text.
/// </summary>
public sealed partial record ImageReference
{
    /// <summary>Registry of references that name none: Docker Hub.</summary>
    public const string DefaultRegistry = "docker.io";

    private const int MaxRepositoryLength = 255;

    // A DNS name has at most 253 characters (RFC 1035, 2.3.4), a port at most 6 with its colon.
    private const int MaxRegistryLength = 259;

    // Milliseconds. Matched texts are short; the time only covers a machine that stalls.
    private const int MatchTimeout = 60_000;

    private ImageReference(string registry, string repository, string? tag, string? digest)
    {
        Registry = registry;
        Repository = repository;
        Tag = tag;
        Digest = digest;
    }

    /// <summary>Registry as <c>host</c> or <c>host:port</c>; <c>docker.io</c> if the text named none.</summary>
    public string Registry { get; }

    /// <summary>Repository in the registry, for example <c>library/python</c>.</summary>
    public string Repository { get; }

    /// <summary>Tag; <c>latest</c> if the text named neither a tag nor a digest, <see langword="null"/> if it named only a digest.</summary>
    public string? Tag { get; }

    /// <summary>Digest, for example <c>sha256:...</c>; <see langword="null"/> if the text named none. A digest takes precedence over the tag.</summary>
    public string? Digest { get; }

    /// <summary>Parses a reference.</summary>
    /// <param name="text">The reference, in short or canonical form.</param>
    /// <exception cref="FormatException">The text is not a reference; the message has the reason and the remedy.</exception>
    public static ImageReference Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        string? fault = Read(text, out ImageReference? reference);
        return reference ?? throw new FormatException(fault);
    }

    /// <summary>Parses a reference.</summary>
    /// <param name="text">The reference, in short or canonical form.</param>
    /// <param name="reference">The reference.</param>
    /// <returns>Whether the text is a reference.</returns>
    public static bool TryParse([NotNullWhen(true)] string? text, [NotNullWhen(true)] out ImageReference? reference) =>
        TryParse(text, out reference, out _);

    /// <summary>Parses a reference.</summary>
    /// <param name="text">The reference, in short or canonical form.</param>
    /// <param name="reference">The reference.</param>
    /// <param name="fault">The reason why the text is not a reference, and the remedy, as a sentence.</param>
    /// <returns>Whether the text is a reference.</returns>
    public static bool TryParse(
        [NotNullWhen(true)] string? text, [NotNullWhen(true)] out ImageReference? reference, [NotNullWhen(false)] out string? fault)
    {
        fault = Read(text ?? "", out reference);
        return fault is null && reference is not null;
    }

    /// <summary>Gets the canonical text: registry, repository, tag and digest.</summary>
    public override string ToString() =>
        $"{Registry}/{Repository}{(Tag is null ? "" : ":" + Tag)}{(Digest is null ? "" : "@" + Digest)}";

    /// <returns>The reason why the text is not a reference; <see langword="null"/> if it is one.</returns>
    private static string? Read(string text, out ImageReference? reference)
    {
        reference = null;
        if (text.Length == 0)
        {
            return "The image reference is empty; write for example \"python:3.12-slim\".";
        }

        string rest = text;
        string? digest = TakeDigest(ref rest);
        if (digest is not null && !ImageDigest.TryParse(digest, out _))
        {
            return $"{Show(text)} is not an image reference: what follows @ must be a digest such as sha256: and 64 digits of 0-9 a-f.";
        }

        string registry = RegistryName.Canonical(TakeRegistry(ref rest));
        if (registry.Length > MaxRegistryLength || !RegistryPattern().IsMatch(registry))
        {
            return $"{Show(text)} is not an image reference: \"{(registry.Length <= 100 ? registry : registry[..100] + "...")}\" is not a host or host:port.";
        }

        string? tag = TakeTag(ref rest);
        if (tag is not null && !TagPattern().IsMatch(tag))
        {
            return $"{Show(text)} is not an image reference: a tag has 1 to 128 letters, digits, '_', '.' and '-', and does not start with '.' or '-'.";
        }

        // Docker rejects a bare image id, because it looks like a name.
        if (registry == DefaultRegistry && tag is null && digest is null && IdPattern().IsMatch(text))
        {
            return $"{Show(text)} is not an image reference: 64 hexadecimal digits are an image id; write name@sha256:... instead.";
        }

        string repository = registry == DefaultRegistry && !rest.Contains('/', StringComparison.Ordinal) ? "library/" + rest : rest;
        if (FindRepositoryFault(repository) is { } fault)
        {
            return $"{Show(text)} is not an image reference: {fault}";
        }

        reference = new(registry, repository, tag ?? (digest is null ? "latest" : null), digest);
        return null;
    }

    private static string Show(string text)
    {
        string shown = text.Length <= 100 ? text : text[..100] + "...";
        return $"\"{string.Concat(shown.Select(c => char.IsControl(c) ? '\uFFFD' : c))}\"";
    }

    private static string? TakeDigest(ref string rest)
    {
        int at = rest.IndexOf('@', StringComparison.Ordinal);
        if (at < 0)
        {
            return null;
        }

        string digest = rest[(at + 1)..];
        rest = rest[..at];
        return digest;
    }

    // Docker's rule: the part before the first slash is a host if it has a dot, a colon or an upper-case letter, or is localhost.
    private static string TakeRegistry(ref string rest)
    {
        int slash = rest.IndexOf('/', StringComparison.Ordinal);
        string first = slash < 0 ? "" : rest[..slash];
        if (first.AsSpan().ContainsAny(".:") || first == "localhost" || first.Any(char.IsUpper))
        {
            rest = rest[(slash + 1)..];
            return first;
        }

        return DefaultRegistry;
    }

    private static string? TakeTag(ref string rest)
    {
        int colon = rest.IndexOf(':', StringComparison.Ordinal);
        if (colon < 0)
        {
            return null;
        }

        string tag = rest[(colon + 1)..];
        rest = rest[..colon];
        return tag;
    }

    private static string? FindRepositoryFault(string repository)
    {
        if (repository.Any(char.IsUpper))
        {
            return "the repository must be lower-case.";
        }

        if (repository.Length > MaxRepositoryLength)
        {
            return $"the repository has more than {MaxRepositoryLength} characters.";
        }

        return RepositoryPattern().IsMatch(repository) ? null
            : "a repository is made of lower-case letters and digits, with single '.', '_', double '__' or '-' between them and '/' between parts.";
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
