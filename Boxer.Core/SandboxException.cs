using System.Globalization;
using Boxer.Common;

namespace Boxer;

/// <summary>
/// Base class for failures of Boxer itself. Failures of the command are values of <see cref="SandboxResult.Termination"/> instead. The runner stays
/// usable after each of them. <see cref="Exception.Message"/> and the inner exceptions are for the operator's log: they contain paths, addresses
/// and output of programs of this host. Show clients only <see cref="PublicMessage"/>.
/// </summary>
/// <remarks>
/// A runner sets <see cref="Image"/>, <see cref="RunId"/> and <see cref="IsRetrySafe"/> of each exception that leaves
/// <see cref="ISandboxRunner.RunAsync"/> or <see cref="ISandboxRunner.StreamAsync"/>. Image stores and network modes need not.
/// </remarks>
public abstract class SandboxException : Exception
{
    private string? _runId;

    /// <summary>Creates an exception.</summary>
    /// <param name="message">Description of the failure and its remedy, for the log.</param>
    /// <param name="publicMessage">Message for clients, without any path, address, option or program output of this host.</param>
    /// <param name="innerException">The cause, or <see langword="null"/>.</param>
    protected SandboxException(string message, string publicMessage, Exception? innerException = null)
        : base(message, innerException)
    {
        PublicMessage = publicMessage;
    }

    /// <summary>
    /// Message for the client that sent the request. It is built from the request, the image and limits, and contains no path, address, option or
    /// program output of this host.
    /// </summary>
    public string PublicMessage { get; init; }

    /// <summary>The image as the request named it; <see langword="null"/> if the exception does not belong to a run.</summary>
    public string? Image { get; set; }

    /// <summary>The identifier of the run, as in logs and traces; <see langword="null"/> if the exception does not belong to a run.</summary>
    public string? RunId
    {
        get => _runId;
        set => _runId = value;
    }

    /// <summary>
    /// Whether the request can be sent again without running its command twice, because the command was not started. The retry may fail again for
    /// the same reason, as an invalid request does. Retry <see cref="SandboxCapacityException"/> and <see cref="ImagePullException"/>.
    /// <value>
    /// Default <see langword="true"/> for <see cref="InvalidSandboxRequestException"/>, <see cref="ImageNotFoundException"/>,
    /// <see cref="ImagePullException"/>, <see cref="SandboxCapacityException"/>, <see cref="SandboxPrivilegeException"/>,
    /// <see cref="SandboxSessionPausedException"/> and <see cref="SandboxConnectionException"/>; <see langword="false"/> for others. A runner sets it to <see langword="true"/> before, and to <see langword="false"/> after it has told the
    /// sandbox to start the command.
    /// </value>
    /// </summary>
    public bool IsRetrySafe { get; set; }

    /// <summary>Returns the usual text of an exception, followed by the run and the image.</summary>
    public override string ToString()
    {
        string text = base.ToString();
        return RunId is null && Image is null
            ? text
            : $"{text}{Environment.NewLine}Run {UntrustedText.Show(RunId ?? "?")} of image {UntrustedText.Show(Image ?? "?")}; {(IsRetrySafe ? "the command was not started, so that a retry is safe" : "the command may have run")}.";
    }

    /// <summary>Sets the run that failed. Runs can share one failure, such as a failed pull; each gets its own exception.</summary>
    /// <returns>This exception, or a copy of it if it already belongs to another run.</returns>
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
/// The exception for a request that is invalid. Its command was not started, except if <see cref="SandboxRequest.StandardInputStream"/> could not
/// be read while it ran.
/// </summary>
public sealed class InvalidSandboxRequestException : SandboxException
{
    /// <summary>Creates an exception with all faults of a request.</summary>
    /// <param name="faults">The faults; at least one.</param>
    /// <exception cref="ArgumentException">There is no fault.</exception>
    public InvalidSandboxRequestException(params IEnumerable<SandboxFault> faults)
        : this(faults, innerException: null)
    {
    }

    /// <summary>Creates an exception with all faults of a request.</summary>
    /// <param name="faults">The faults; at least one.</param>
    /// <param name="innerException">The cause, or <see langword="null"/>.</param>
    /// <exception cref="ArgumentException">There is no fault.</exception>
    public InvalidSandboxRequestException(IEnumerable<SandboxFault> faults, Exception? innerException)
        : this(faults is null ? throw new ArgumentNullException(nameof(faults)) : [.. faults], detail: null, innerException)
    {
    }

    /// <summary>Creates an exception with one fault.</summary>
    /// <param name="field">The invalid property, for example <c>Limits.MemoryBytes</c>.</param>
    /// <param name="message">Description of the fault and its remedy, for the client.</param>
    public InvalidSandboxRequestException(string field, string message)
        : this(field, message, detail: null, inner: null)
    {
    }

    /// <summary>Creates an exception with one fault.</summary>
    /// <param name="field">The invalid property.</param>
    /// <param name="message">Description of the fault, for the client.</param>
    /// <param name="detail">Further details for the log only, or <see langword="null"/>.</param>
    /// <param name="inner">The cause, or <see langword="null"/>.</param>
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

    /// <summary>All faults of the request, at least one. They may be shown to clients, like <see cref="SandboxException.PublicMessage"/>.</summary>
    public IReadOnlyList<SandboxFault> Faults { get; }

    private static string Describe(SandboxFault[] faults) => faults.Length > 0
        ? string.Join(" ", faults.Select(fault => fault.ToString()))
        : throw new ArgumentException("There must be at least one fault.", nameof(faults));
}

/// <summary>A fault of a request or of options. Two faults are equal if they have the same property and the same message.</summary>
/// <param name="Field">The invalid property, for example <c>Limits.MemoryBytes</c> or <c>Files[0].Path</c>.</param>
/// <param name="Message">Description of the fault and its remedy, as a sentence.</param>
public sealed record SandboxFault(string Field, string Message)
{
    private readonly string? _format;

    /// <summary>
    /// Creates a fault whose message names other properties, so that a facade can use its own names for them; see <see cref="FormatMessage"/>.
    /// </summary>
    /// <param name="field">The invalid property.</param>
    /// <param name="format">The message as a composite format: <c>{0}</c> stands for the first of the other properties.</param>
    /// <param name="relatedFields">The other properties, for example <c>Limits.WallClock</c>.</param>
    public SandboxFault(string field, string format, IReadOnlyList<string> relatedFields)
        : this(field, Fill(format, relatedFields, name => name))
    {
        _format = format;
        RelatedFields = relatedFields;
    }

    /// <summary>Description of the fault and its remedy, as a sentence.</summary>
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

    /// <summary>Formats the message with other names for <see cref="RelatedFields"/>, such as those of an HTTP request.</summary>
    /// <param name="nameOf">Returns the name to use for a property.</param>
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

/// <summary>
/// The exception for an image that no allowed source has, or that is not in the local store while <see cref="Images.PullPolicy.Never"/> applies. A
/// retry is safe.
/// </summary>
public sealed class ImageNotFoundException : SandboxException
{
    /// <summary>Creates an exception.</summary>
    /// <param name="message">Description of the failure, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    public ImageNotFoundException(string message)
        : this(message, innerException: null)
    {
    }

    /// <summary>Creates an exception.</summary>
    /// <param name="message">Description of the failure, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    /// <param name="innerException">The cause, or <see langword="null"/>.</param>
    public ImageNotFoundException(string message, Exception? innerException)
        : base(message, "The image was not found.", innerException) => IsRetrySafe = true;
}

/// <summary>
/// The exception for an image that could not be pulled or unpacked. The failure is not cached: the next run pulls again, except for layers that the
/// store already has. A retry is safe.
/// </summary>
public sealed class ImagePullException : SandboxException
{
    /// <summary>Creates an exception.</summary>
    /// <param name="message">Description of the failure, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    public ImagePullException(string message)
        : this(message, innerException: null)
    {
    }

    /// <summary>Creates an exception.</summary>
    /// <param name="message">Description of the failure, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    /// <param name="innerException">The cause, or <see langword="null"/>.</param>
    public ImagePullException(string message, Exception? innerException)
        : base(message, "The image could not be pulled or unpacked.", innerException) => IsRetrySafe = true;
}

/// <summary>
/// The exception for a run or a session that finds no capacity: too many runs are queued, it was queued too long, its network mode is exhausted, or a
/// bound of sessions is reached. A retry is safe: try again after <see cref="RetryAfter"/>.
/// </summary>
public sealed class SandboxCapacityException : SandboxException
{
    private static readonly TimeSpan DefaultRetryAfter = TimeSpan.FromSeconds(1);

    /// <summary>Creates an exception with a <see cref="RetryAfter"/> of 1 s.</summary>
    /// <param name="message">Description of the failure. Clients see it unless <see cref="SandboxException.PublicMessage"/> is set.</param>
    public SandboxCapacityException(string message)
        : this(message, DefaultRetryAfter, innerException: null)
    {
    }

    /// <summary>Creates an exception with a <see cref="RetryAfter"/> of 1 s.</summary>
    /// <param name="message">Description of the failure. Clients see it unless <see cref="SandboxException.PublicMessage"/> is set.</param>
    /// <param name="innerException">The cause, or <see langword="null"/>.</param>
    public SandboxCapacityException(string message, Exception? innerException)
        : this(message, DefaultRetryAfter, innerException)
    {
    }

    /// <summary>Creates an exception.</summary>
    /// <param name="message">Description of the failure. Clients see it unless <see cref="SandboxException.PublicMessage"/> is set.</param>
    /// <param name="retryAfter">Estimated time until there is capacity again; 0 or more.</param>
    /// <param name="innerException">The cause, or <see langword="null"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="retryAfter"/> is negative.</exception>
    public SandboxCapacityException(string message, TimeSpan retryAfter, Exception? innerException = null)
        : base(message, message, innerException)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(retryAfter, TimeSpan.Zero);
        RetryAfter = retryAfter;
        IsRetrySafe = true;
    }

    /// <summary>
    /// Estimated time until there is capacity again, from the length of the queue and the duration of recent runs. Boxer's runner sets 1 s to 10
    /// min.
    /// </summary>
    public TimeSpan RetryAfter { get; }
}

/// <summary>
/// The exception for a run that needs a privilege which this process lacks; the message names it. A retry is safe, but fails until the host is set
/// up differently.
/// </summary>
public sealed class SandboxPrivilegeException : SandboxException
{
    /// <summary>Creates an exception.</summary>
    /// <param name="message">Description of the missing privilege and the remedy, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    public SandboxPrivilegeException(string message)
        : this(message, innerException: null)
    {
    }

    /// <summary>Creates an exception.</summary>
    /// <param name="message">Description of the missing privilege and the remedy, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    /// <param name="innerException">The cause, or <see langword="null"/>.</param>
    public SandboxPrivilegeException(string message, Exception? innerException)
        : base(message, "This host cannot run sandboxes as it is set up.", innerException) => IsRetrySafe = true;
}

/// <summary>
/// The exception for a sandbox that could not be started or that failed through no fault of its command, and for a run whose runner was disposed.
/// Everything created for the run is cleaned up. A retry is safe if the command was not started: <see cref="SandboxException.IsRetrySafe"/>.
/// </summary>
public sealed class SandboxRuntimeException : SandboxException
{
    /// <summary>Creates an exception.</summary>
    /// <param name="message">Description of the failure, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    public SandboxRuntimeException(string message)
        : this(message, innerException: null)
    {
    }

    /// <summary>Creates an exception.</summary>
    /// <param name="message">Description of the failure, for the log. Set <see cref="SandboxException.PublicMessage"/> for clients.</param>
    /// <param name="innerException">The cause, or <see langword="null"/>.</param>
    public SandboxRuntimeException(string message, Exception? innerException)
        : base(message, "The sandbox could not be started, or broke.", innerException)
    {
    }
}
