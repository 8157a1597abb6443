using System.Globalization;
using Boxer.Common;

namespace Boxer;

/// <summary>
/// Base class for failures of Boxer itself, as opposed to failures of the command, which are values of <see cref="SandboxResult.Termination"/>.
/// The runner stays usable after each of them.
/// <see cref="Exception.Message"/> and the inner exceptions are for the log of the operator: they name paths, addresses and what
/// programs of this host printed. Show clients <see cref="PublicMessage"/> only.
/// </summary>
/// <remarks>
/// A runner sets <see cref="Image"/>, <see cref="RunId"/> and <see cref="IsRetrySafe"/> of each exception that leaves
/// <see cref="ISandboxRunner.RunAsync"/> or <see cref="ISandboxRunner.StreamAsync"/>. Image stores and network modes need not.
/// </remarks>
public abstract class SandboxException : Exception
{
    private string? _runId;

    /// <summary>Creates an exception.</summary>
    /// <param name="message">What happened and what to do, for the log.</param>
    /// <param name="publicMessage">What clients are told: no path, address, option or program output of this host.</param>
    /// <param name="innerException">The cause; <see langword="null"/>: none.</param>
    protected SandboxException(string message, string publicMessage, Exception? innerException = null)
        : base(message, innerException)
    {
        PublicMessage = publicMessage;
    }

    /// <summary>
    /// A sentence for the client that sent the request. It is made of the request, the image and limits; it names no path, address, option
    /// or program output of this host.
    /// </summary>
    public string PublicMessage { get; init; }

    /// <summary>The image that the request named, as it named it; <see langword="null"/> where no run is concerned.</summary>
    public string? Image { get; set; }

    /// <summary>The identifier of the run, as in logs and traces; <see langword="null"/> where no run is concerned.</summary>
    public string? RunId
    {
        get => _runId;
        set => _runId = value;
    }

    /// <summary>
    /// Whether the request can be sent again without running its command twice: the command was not started. It may fail again for the same
    /// reason, as an invalid request does: retry <see cref="SandboxCapacityException"/> and <see cref="ImagePullException"/>.
    /// <value>
    /// Default <see langword="true"/> for <see cref="InvalidSandboxRequestException"/>, <see cref="ImageNotFoundException"/>,
    /// <see cref="ImagePullException"/>, <see cref="SandboxCapacityException"/> and <see cref="SandboxPrivilegeException"/>; <see langword="false"/>
    /// for others. A runner sets it to <see langword="false"/> once it told the sandbox to start the command, and before that to <see langword="true"/>.
    /// </value>
    /// </summary>
    public bool IsRetrySafe { get; set; }

    /// <summary>Returns the exception as usual, and below it the run and the image.</summary>
    public override string ToString()
    {
        string text = base.ToString();
        return RunId is null && Image is null
            ? text
            : $"{text}{Environment.NewLine}Run {UntrustedText.Show(RunId ?? "?")} of image {UntrustedText.Show(Image ?? "?")}; {(IsRetrySafe ? "the command was not started, so that a retry is safe" : "the command may have run")}.";
    }

    /// <summary>Notes the run that failed. Runs may share one failure, such as that of a pull: each gets an exception of its own.</summary>
    /// <returns>This exception, or a copy of it where it is another run's already.</returns>
    internal SandboxException ForRun(string image, string runId, bool mayHaveStarted)
    {
        SandboxException own = this;
        if (Interlocked.CompareExchange(ref _runId, runId, null) is not null)
        {
            own = (SandboxException)MemberwiseClone();
            own._runId = runId;
        }

        own.Image = image;
        own.IsRetrySafe = !mayHaveStarted;
        return own;
    }
}

/// <summary>
/// The request cannot be honoured. Its command was not started, except where <see cref="SandboxRequest.StandardInputStream"/> could not be read while it ran.
/// </summary>
public sealed class InvalidSandboxRequestException : SandboxException
{
    /// <summary>Creates an exception with everything that is wrong.</summary>
    /// <param name="faults">What is wrong: one fault or more.</param>
    /// <exception cref="ArgumentException">There is no fault.</exception>
    public InvalidSandboxRequestException(params IEnumerable<SandboxFault> faults)
        : this(faults, innerException: null)
    {
    }

    /// <summary>Creates an exception with everything that is wrong.</summary>
    /// <param name="faults">What is wrong: one fault or more.</param>
    /// <param name="innerException">The cause; <see langword="null"/>: none.</param>
    /// <exception cref="ArgumentException">There is no fault.</exception>
    public InvalidSandboxRequestException(IEnumerable<SandboxFault> faults, Exception? innerException)
        : this(faults is null ? throw new ArgumentNullException(nameof(faults)) : [.. faults], detail: null, innerException)
    {
    }

    /// <summary>Creates an exception with one fault.</summary>
    /// <param name="field">The property that is wrong, for example <c>Limits.MemoryBytes</c>.</param>
    /// <param name="message">What is wrong and what to do, for the client.</param>
    public InvalidSandboxRequestException(string field, string message)
        : this(field, message, detail: null, inner: null)
    {
    }

    /// <param name="field">The property that is wrong.</param>
    /// <param name="message">What is wrong, for the client.</param>
    /// <param name="detail">What only the log may tell.</param>
    /// <param name="inner">What failed.</param>
    internal InvalidSandboxRequestException(string field, string message, string? detail, Exception? inner = null)
        : this([new SandboxFault(field, message)], detail, inner)
    {
    }

    private InvalidSandboxRequestException(SandboxFault[] faults, string? detail, Exception? inner)
        : base(Describe(faults) + (detail is null ? "" : $" ({detail})"), Describe(faults), inner)
    {
        Faults = faults;
        IsRetrySafe = true;
    }

    /// <summary>Everything that is wrong, at least one. It is as public as <see cref="SandboxException.PublicMessage"/>.</summary>
    public IReadOnlyList<SandboxFault> Faults { get; }

    private static string Describe(SandboxFault[] faults) => faults.Length > 0
        ? string.Join(" ", faults.Select(fault => fault.ToString()))
        : throw new ArgumentException("There must be at least one fault.", nameof(faults));
}

/// <summary>One thing that is wrong with a request or with options. Two are equal if they have the same property and the same message.</summary>
/// <param name="Field">The property, for example <c>Limits.MemoryBytes</c> or <c>Files[0].Path</c>.</param>
/// <param name="Message">What is wrong and what to do, as a sentence.</param>
public sealed record SandboxFault(string Field, string Message)
{
    private readonly string? _format;

    /// <summary>Creates a fault whose message names other properties, so that a facade can name them in its own way: see <see cref="FormatMessage"/>.</summary>
    /// <param name="field">The property that is wrong.</param>
    /// <param name="format">The message as a composite format: <c>{0}</c> stands for the first of the other properties.</param>
    /// <param name="relatedFields">The other properties, for example <c>Limits.WallClock</c>.</param>
    public SandboxFault(string field, string format, IReadOnlyList<string> relatedFields)
        : this(field, Fill(format, relatedFields, name => name))
    {
        _format = format;
        RelatedFields = relatedFields;
    }

    /// <summary>What is wrong and what to do, as a sentence.</summary>
    public string Message
    {
        get;
        init
        {
            field = value;
            _format = null;
            RelatedFields = [];
        }
    } = Message;

    /// <summary>Other properties that <see cref="Message"/> names.</summary>
    public IReadOnlyList<string> RelatedFields { get; private init; } = [];

    /// <summary>Returns the message with other names for <see cref="RelatedFields"/>, such as those of an HTTP request.</summary>
    /// <param name="nameOf">Returns the name of a property.</param>
    public string FormatMessage(Func<string, string> nameOf)
    {
        ArgumentNullException.ThrowIfNull(nameOf);
        return _format is null ? Message : Fill(_format, RelatedFields, nameOf);
    }

    /// <inheritdoc/>
    public bool Equals(SandboxFault? other) => other is not null && (Field, Message) == (other.Field, other.Message);

    /// <inheritdoc/>
    public override int GetHashCode() => HashCode.Combine(Field, Message);

    /// <summary>Returns the property and the message.</summary>
    public override string ToString() => $"{Field}: {Message}";

    private static string Fill(string format, IReadOnlyList<string> fields, Func<string, string> nameOf) =>
        string.Format(CultureInfo.InvariantCulture, format, [.. fields.Select(nameOf)]);
}

/// <summary>No place that the image may come from has it; or it is not in the store, and <see cref="Images.PullPolicy.Never"/> applies. A retry is safe.</summary>
public sealed class ImageNotFoundException : SandboxException
{
    /// <summary>Creates an exception.</summary>
    /// <param name="message">What happened, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    public ImageNotFoundException(string message)
        : this(message, innerException: null)
    {
    }

    /// <summary>Creates an exception.</summary>
    /// <param name="message">What happened, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    /// <param name="innerException">The cause; <see langword="null"/>: none.</param>
    public ImageNotFoundException(string message, Exception? innerException)
        : base(message, "The image was not found.", innerException) => IsRetrySafe = true;
}

/// <summary>
/// The image could not be pulled or unpacked. The failure is not remembered: the next run pulls again. It starts from the beginning, but for layers that
/// another image has. A retry is safe.
/// </summary>
public sealed class ImagePullException : SandboxException
{
    /// <summary>Creates an exception.</summary>
    /// <param name="message">What happened, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    public ImagePullException(string message)
        : this(message, innerException: null)
    {
    }

    /// <summary>Creates an exception.</summary>
    /// <param name="message">What happened, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    /// <param name="innerException">The cause; <see langword="null"/>: none.</param>
    public ImagePullException(string message, Exception? innerException)
        : base(message, "The image could not be pulled or unpacked.", innerException) => IsRetrySafe = true;
}

/// <summary>
/// Too many runs wait, this one waited too long, or a network mode has no more room. A retry is safe: try again after <see cref="RetryAfter"/>.
/// </summary>
public sealed class SandboxCapacityException : SandboxException
{
    private static readonly TimeSpan DefaultRetryAfter = TimeSpan.FromSeconds(1);

    /// <summary>Creates an exception with <see cref="RetryAfter"/> of 1 s.</summary>
    /// <param name="message">What happened. It is public unless <see cref="SandboxException.PublicMessage"/> is set.</param>
    public SandboxCapacityException(string message)
        : this(message, DefaultRetryAfter, innerException: null)
    {
    }

    /// <summary>Creates an exception with <see cref="RetryAfter"/> of 1 s.</summary>
    /// <param name="message">What happened. It is public unless <see cref="SandboxException.PublicMessage"/> is set.</param>
    /// <param name="innerException">The cause; <see langword="null"/>: none.</param>
    public SandboxCapacityException(string message, Exception? innerException)
        : this(message, DefaultRetryAfter, innerException)
    {
    }

    /// <summary>Creates an exception.</summary>
    /// <param name="message">What happened. It is public unless <see cref="SandboxException.PublicMessage"/> is set.</param>
    /// <param name="retryAfter">When there may be room again; 0 or more.</param>
    /// <param name="innerException">The cause; <see langword="null"/>: none.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="retryAfter"/> is negative.</exception>
    public SandboxCapacityException(string message, TimeSpan retryAfter, Exception? innerException = null)
        : base(message, message, innerException)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(retryAfter, TimeSpan.Zero);
        RetryAfter = retryAfter;
        IsRetrySafe = true;
    }

    /// <summary>A guess of when there is room again, by how many wait and how long runs take. Of Boxer's runner 1 s to 10 min.</summary>
    public TimeSpan RetryAfter { get; }
}

/// <summary>This process lacks a privilege that the run needs; the message says which. A retry is safe, and fails until the host is set up otherwise.</summary>
public sealed class SandboxPrivilegeException : SandboxException
{
    /// <summary>Creates an exception.</summary>
    /// <param name="message">What is missing and what to do, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    public SandboxPrivilegeException(string message)
        : this(message, innerException: null)
    {
    }

    /// <summary>Creates an exception.</summary>
    /// <param name="message">What is missing and what to do, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    /// <param name="innerException">The cause; <see langword="null"/>: none.</param>
    public SandboxPrivilegeException(string message, Exception? innerException)
        : base(message, "This host cannot run sandboxes as it is set up.", innerException) => IsRetrySafe = true;
}

/// <summary>
/// The sandbox could not be started, or broke through no fault of its command; or the runner was disposed while the command ran. What was made is cleaned up.
/// A retry is safe where the command had not been started: <see cref="SandboxException.IsRetrySafe"/>.
/// </summary>
public sealed class SandboxRuntimeException : SandboxException
{
    /// <summary>Creates an exception.</summary>
    /// <param name="message">What happened, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    public SandboxRuntimeException(string message)
        : this(message, innerException: null)
    {
    }

    /// <summary>Creates an exception.</summary>
    /// <param name="message">What happened, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    /// <param name="innerException">The cause; <see langword="null"/>: none.</param>
    public SandboxRuntimeException(string message, Exception? innerException)
        : base(message, "The sandbox could not be started, or broke.", innerException)
    {
    }
}
