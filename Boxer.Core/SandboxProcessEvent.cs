using System.Text;

namespace Boxer;

/// <summary>Base class for events of a process; see <see cref="ISandboxProcess.EventsAsync"/>. Later versions may add kinds: ignore unknown ones.</summary>
public abstract class SandboxProcessEvent
{
    private protected SandboxProcessEvent()
    {
    }
}

/// <summary>Reports output of a process as bytes.</summary>
public sealed class SandboxProcessOutput : SandboxProcessEvent
{
    /// <summary>Creates the event.</summary>
    /// <param name="offset">Number of output bytes of the process before these.</param>
    /// <param name="stream">The stream that the process wrote to.</param>
    /// <param name="data">The bytes; not copied.</param>
    /// <exception cref="ArgumentOutOfRangeException">The offset is negative.</exception>
    public SandboxProcessOutput(long offset, SandboxStream stream, ReadOnlyMemory<byte> data)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        Offset = offset;
        Stream = stream;
        Data = data;
    }

    /// <summary>Creates the event from text.</summary>
    /// <param name="offset">Number of output bytes of the process before these.</param>
    /// <param name="stream">The stream that the process wrote to.</param>
    /// <param name="text">The text; encoded as UTF-8.</param>
    /// <exception cref="ArgumentOutOfRangeException">The offset is negative.</exception>
    public SandboxProcessOutput(long offset, SandboxStream stream, string text)
        : this(offset, stream, Encoding.UTF8.GetBytes(text))
    {
    }

    /// <summary>
    /// Number of output bytes of the process before these, of all streams together. It is larger than <see cref="EndOffset"/> of the event before
    /// it if output in between was dropped.
    /// </summary>
    public long Offset { get; }

    /// <summary>Offset of the byte after these: the place to attach at again with <see cref="ISandboxProcess.EventsAsync"/>.</summary>
    public long EndOffset => Offset + Data.Length;

    /// <summary>The stream that the process wrote to; standard output for a terminal.</summary>
    public SandboxStream Stream { get; }

    /// <summary>The bytes. They never change. A multi-byte character may be split between two events.</summary>
    public ReadOnlyMemory<byte> Data { get; }

    /// <summary>Returns the stream, the offset and the number of bytes.</summary>
    public override string ToString() => $"{Stream} from {Offset}: {Data.Length} bytes";
}

/// <summary>Reports the end of a process. Always the last event.</summary>
public sealed class SandboxProcessEnded : SandboxProcessEvent
{
    /// <summary>Creates the event.</summary>
    /// <param name="end">How the process ended.</param>
    public SandboxProcessEnded(SandboxProcessEnd end)
    {
        ArgumentNullException.ThrowIfNull(end);
        End = end;
    }

    /// <summary>How the process ended.</summary>
    public SandboxProcessEnd End { get; }

    /// <summary>Returns a description of the end.</summary>
    public override string ToString() => $"ended: {End}";
}

/// <summary>Describes how a process of <see cref="ISandboxSession.StartAsync"/> ended.</summary>
public sealed class SandboxProcessEnd
{
    /// <summary>Creates an end. Set the properties that apply.</summary>
    /// <param name="termination">How the process ended.</param>
    public SandboxProcessEnd(Termination termination)
    {
        ArgumentNullException.ThrowIfNull(termination);
        Termination = termination;
    }

    /// <summary>How the process ended.</summary>
    public Termination Termination { get; }

    /// <summary>
    /// Number of processes of its POSIX session (setsid(2)) that were alive when it ended. They go on, and get SIGPIPE or SIGHUP when they write to
    /// its streams or its terminal.
    /// <value>Default 0.</value>
    /// </summary>
    public int LeftBehind { get; init; }

    /// <summary>Resource usage of the process and the children that it waited for.</summary>
    public SandboxUsage Usage { get; init; } = new();

    /// <summary>Returns how the process ended.</summary>
    public override string ToString() => LeftBehind == 0 ? Termination.ToString() : $"{Termination}, {LeftBehind} processes left behind";
}
