namespace Boxer;

/// <summary>
/// Base of what Boxer throws for runs that never started or that broke. The runner stays usable after each of them.
/// <see cref="Exception.Message"/> and the inner exceptions are for the log of the operator: they name paths, addresses and what
/// programs of this host printed. Show clients <see cref="PublicMessage"/> only.
/// </summary>
public abstract class SandboxException : Exception
{
    private protected SandboxException(string message, string publicMessage, Exception? inner = null)
        : base(message, inner)
    {
        PublicMessage = publicMessage;
    }

    /// <summary>
    /// A sentence for the client that sent the request. It is made of the request, the image and limits; it names no path, address, option
    /// or program output of this host.
    /// </summary>
    public string PublicMessage { get; internal init; }
}

/// <summary>
/// The request cannot be honoured. Its command was not started, except where <see cref="SandboxRequest.StandardInputStream"/> could not be read while it ran.
/// </summary>
public sealed class InvalidSandboxRequestException : SandboxException
{
    internal InvalidSandboxRequestException(IReadOnlyList<SandboxFault> faults)
        : this(faults, detail: null, inner: null)
    {
    }

    /// <param name="field">The property that is wrong.</param>
    /// <param name="message">What is wrong, for the client.</param>
    /// <param name="detail">What only the log may tell.</param>
    /// <param name="inner">What failed.</param>
    internal InvalidSandboxRequestException(string field, string message, string? detail = null, Exception? inner = null)
        : this([new SandboxFault(field, message)], detail, inner)
    {
    }

    private InvalidSandboxRequestException(IReadOnlyList<SandboxFault> faults, string? detail, Exception? inner)
        : base(Describe(faults) + (detail is null ? "" : $" ({detail})"), Describe(faults), inner)
    {
        Faults = faults;
    }

    /// <summary>Everything that is wrong, at least one. It is as public as <see cref="SandboxException.PublicMessage"/>.</summary>
    public IReadOnlyList<SandboxFault> Faults { get; }

    private static string Describe(IReadOnlyList<SandboxFault> faults) => string.Join(" ", faults.Select(fault => $"{fault.Field}: {fault.Message}"));
}

/// <summary>One thing that is wrong with a request or with options.</summary>
/// <param name="Field">The property, for example <c>Limits.MemoryBytes</c> or <c>Files[0].Path</c>.</param>
/// <param name="Message">What is wrong and what to do, as a sentence.</param>
public sealed record SandboxFault(string Field, string Message);

/// <summary>No place that the image may come from has it; or it is not in the store, and <see cref="Images.PullPolicy.Never"/> applies.</summary>
public sealed class ImageNotFoundException : SandboxException
{
    internal ImageNotFoundException(string message, Exception? inner = null)
        : base(message, "The image was not found.", inner)
    {
    }
}

/// <summary>
/// The image could not be pulled or unpacked. The failure is not remembered: the next run pulls again. It starts from the beginning, but for layers that
/// another image has.
/// </summary>
public sealed class ImagePullException : SandboxException
{
    internal ImagePullException(string message, Exception? inner = null)
        : base(message, "The image could not be pulled or unpacked.", inner)
    {
    }
}

/// <summary>
/// Too many runs wait, this one waited too long, or a network mode has no more room. Try again after <see cref="RetryAfter"/>.
/// </summary>
public sealed class SandboxCapacityException : SandboxException
{
    internal SandboxCapacityException(string message, TimeSpan retryAfter)
        : base(message, message)
    {
        RetryAfter = retryAfter;
    }

    /// <summary>A guess of when there is room again, by how many wait and how long runs take; 1 s to 10 min.</summary>
    public TimeSpan RetryAfter { get; }
}

/// <summary>This process lacks a privilege that the run needs; the message says which.</summary>
public sealed class SandboxPrivilegeException : SandboxException
{
    internal SandboxPrivilegeException(string message, Exception? inner = null)
        : base(message, "This host cannot run sandboxes as it is set up.", inner)
    {
    }
}

/// <summary>
/// The sandbox could not be started, or broke through no fault of its command; or the runner was disposed while the command ran. What was made is cleaned up.
/// </summary>
public sealed class SandboxRuntimeException : SandboxException
{
    internal SandboxRuntimeException(string message, Exception? inner = null)
        : base(message, "The sandbox could not be started, or broke.", inner)
    {
    }
}
