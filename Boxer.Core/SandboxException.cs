namespace Boxer;

/// <summary>
/// Base of what Boxer throws for runs that never started or that broke. The runner stays usable after each of them.
/// </summary>
public abstract class SandboxException : Exception
{
    private protected SandboxException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}

/// <summary>The request cannot be honoured. Nothing was started.</summary>
public sealed class InvalidSandboxRequestException : SandboxException
{
    internal InvalidSandboxRequestException(IReadOnlyList<SandboxFault> faults)
        : base(string.Join(" ", faults.Select(fault => $"{fault.Field}: {fault.Message}")))
    {
        Faults = faults;
    }

    internal InvalidSandboxRequestException(string field, string message)
        : this([new SandboxFault(field, message)])
    {
    }

    /// <summary>Everything that is wrong, at least one.</summary>
    public IReadOnlyList<SandboxFault> Faults { get; }
}

/// <summary>One thing that is wrong with a request or with options.</summary>
/// <param name="Field">The property, for example <c>Limits.MemoryMegabytes</c> or <c>Files[0].Path</c>.</param>
/// <param name="Message">What is wrong and what to do, as a sentence.</param>
public sealed record SandboxFault(string Field, string Message);

/// <summary>The image does not exist in any place it may come from.</summary>
public sealed class ImageNotFoundException : SandboxException
{
    internal ImageNotFoundException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}

/// <summary>The image could not be pulled or unpacked. The failure is not remembered: the next run tries afresh, with the layers that were whole.</summary>
public sealed class ImagePullException : SandboxException
{
    internal ImagePullException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}

/// <summary>Too many runs wait, or this one waited too long. Try again after <see cref="RetryAfter"/>.</summary>
public sealed class SandboxCapacityException : SandboxException
{
    internal SandboxCapacityException(string message, TimeSpan retryAfter)
        : base(message)
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
        : base(message, inner)
    {
    }
}

/// <summary>The sandbox could not be started, or broke through no fault of its command. What was made is cleaned up.</summary>
public sealed class SandboxRuntimeException : SandboxException
{
    internal SandboxRuntimeException(string message, Exception? inner = null)
        : base(message, inner)
    {
    }
}
