namespace Boxer.Images;

/// <summary>Kinds of registry faults.</summary>
internal enum RegistryFaultKind
{
    /// <summary>The endpoint fails, rejects the request, or sends wrong data.</summary>
    Failed,

    /// <summary>The endpoint has no such image, or does not show it to this process.</summary>
    NotFound,

    /// <summary>The same request may succeed soon.</summary>
    Transient,
}

/// <summary>A registry endpoint or file could not deliver the requested content. The store turns this into a public exception.</summary>
internal sealed class RegistryException(string message, RegistryFaultKind kind = RegistryFaultKind.Failed, Exception? inner = null)
    : Exception(message, inner)
{
    /// <summary>Kind of the fault.</summary>
    public RegistryFaultKind Kind { get; } = kind;

    /// <summary>Whether no connection, or no TLS connection, could be made, so that the endpoint has said nothing about the image.</summary>
    public bool IsUnreached { get; init; }

    /// <summary>Time that the endpoint asks to wait before the next request.</summary>
    public TimeSpan? RetryAfter { get; init; }
}
