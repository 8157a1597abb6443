namespace Boxer.Images;

/// <summary>What a registry's fault means for a pull.</summary>
internal enum RegistryFaultKind
{
    /// <summary>The place is broken, refuses, or lies.</summary>
    Failed,

    /// <summary>The place says that it has no such image, or none that it shows to anybody.</summary>
    NotFound,

    /// <summary>The same request may succeed soon.</summary>
    Transient,
}

/// <summary>One place could not give what was asked for. The store turns it into a public exception.</summary>
internal sealed class RegistryException(string message, RegistryFaultKind kind = RegistryFaultKind.Failed, Exception? inner = null)
    : Exception(message, inner)
{
    /// <summary>What it means.</summary>
    public RegistryFaultKind Kind { get; } = kind;

    /// <summary>Whether there was no connection, or none with TLS: nobody said anything about the image.</summary>
    public bool IsUnreached { get; init; }

    /// <summary>How long the place asks to be left alone.</summary>
    public TimeSpan? RetryAfter { get; init; }
}
