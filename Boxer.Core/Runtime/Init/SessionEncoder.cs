namespace Boxer.Runtime.Init;

/// <summary>Encodes the frames of a session to PID 1, each with its header.</summary>
internal static class SessionEncoder
{
    /// <summary>Maximum number of bytes of input in one frame.</summary>
    internal const int MaxInput = InitProtocol.MaxPayload - 4;

    /// <summary>Encodes an EXEC frame.</summary>
    /// <exception cref="ArgumentException">A value exceeds a limit of <see cref="InitProtocol"/>, or a string contains a NUL.</exception>
    internal static byte[] EncodeExec(int id, SessionExec exec)
    {
        ArgumentNullException.ThrowIfNull(exec);
        InitEncoder.CheckIdentity(exec.User);
        InitEncoder.CheckLimits(exec.ResourceLimits);
        InitEncoder.CheckCommand(exec.Arguments, exec.Environment);
        InitEncoder.CheckWorkingDirectory(exec.WorkingDirectory);
        PayloadWriter writer = Begin(id);
        writer.U32((uint)exec.Streams);
        writer.U32(exec.MergeOutput ? 1u : 0u);
        writer.U32((uint)CheckSize(exec.Columns, exec.Streams));
        writer.U32((uint)CheckSize(exec.Rows, exec.Streams));
        InitEncoder.WriteIdentity(writer, exec.User);
        InitEncoder.WriteLimits(writer, exec.ResourceLimits);
        writer.Text(exec.WorkingDirectory);
        InitEncoder.WriteTexts(writer, exec.Arguments);
        InitEncoder.WriteTexts(writer, exec.Environment);
        return writer.ToFrame(InitFrameType.Exec, InitProtocol.MaxStartPayload);
    }

    /// <summary>Encodes a PROCESS_SIGNAL frame.</summary>
    /// <param name="id">The command or file worker.</param>
    /// <param name="signal">Number of the signal, 1 to 64.</param>
    /// <param name="wholeSession">Whether every process of its session gets it, instead of the process group of its first process.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number is out of range.</exception>
    internal static byte[] EncodeSignal(int id, int signal, bool wholeSession)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(signal, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(signal, 64);
        PayloadWriter writer = Begin(id);
        writer.U32((uint)signal);
        writer.U32(wholeSession ? 1u : 0u);
        return writer.ToFrame(InitFrameType.ProcessSignal, InitProtocol.MaxPayload);
    }

    /// <summary>Encodes an INPUT frame.</summary>
    /// <param name="id">The command or connection.</param>
    /// <param name="data">1 to <see cref="MaxInput"/> bytes.</param>
    /// <exception cref="ArgumentException">There are no bytes, or too many.</exception>
    internal static byte[] EncodeInput(int id, ReadOnlySpan<byte> data)
    {
        if (data.IsEmpty)
        {
            throw new ArgumentException("There are no bytes.", nameof(data));
        }

        PayloadWriter writer = Begin(id);
        writer.Raw(data);
        return writer.ToFrame(InitFrameType.Input, InitProtocol.MaxPayload);
    }

    /// <summary>Encodes an INPUT_END or RELEASE frame.</summary>
    internal static byte[] EncodeId(InitFrameType type, int id) => Begin(id).ToFrame(type, InitProtocol.MaxPayload);

    /// <summary>Encodes a CREDIT frame.</summary>
    /// <param name="id">The command or connection.</param>
    /// <param name="stream">The stream.</param>
    /// <param name="bytes">Number of bytes, 1 to <see cref="InitProtocol.MaxCredit"/>.</param>
    /// <exception cref="ArgumentOutOfRangeException">The number is out of range.</exception>
    internal static byte[] EncodeCredit(int id, SessionStream stream, int bytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(bytes, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes, InitProtocol.MaxCredit);
        PayloadWriter writer = Begin(id);
        writer.U32((uint)stream);
        writer.U32((uint)bytes);
        return writer.ToFrame(InitFrameType.Credit, InitProtocol.MaxPayload);
    }

    /// <summary>Encodes a RESIZE frame.</summary>
    /// <exception cref="ArgumentException">The size is out of range.</exception>
    internal static byte[] EncodeResize(int id, int columns, int rows)
    {
        PayloadWriter writer = Begin(id);
        writer.U32((uint)CheckSize(columns, SessionStreams.Terminal));
        writer.U32((uint)CheckSize(rows, SessionStreams.Terminal));
        return writer.ToFrame(InitFrameType.Resize, InitProtocol.MaxPayload);
    }

    /// <summary>Encodes a PROCESS_LIMITS frame.</summary>
    /// <exception cref="ArgumentException">There are too many limits.</exception>
    internal static byte[] EncodeLimits(int id, IReadOnlyList<InitResourceLimit> limits)
    {
        InitEncoder.CheckLimits(limits);
        PayloadWriter writer = Begin(id);
        InitEncoder.WriteLimits(writer, limits);
        return writer.ToFrame(InitFrameType.ProcessLimits, InitProtocol.MaxPayload);
    }

    /// <summary>Encodes a CONNECT frame.</summary>
    /// <param name="id">The connection.</param>
    /// <param name="family">4 for 127.0.0.1, 6 for ::1.</param>
    /// <param name="port">Port, 1 to 65535.</param>
    /// <exception cref="ArgumentOutOfRangeException">The port is out of range.</exception>
    internal static byte[] EncodeConnect(int id, int family, int port)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(port, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(port, ushort.MaxValue);
        PayloadWriter writer = Begin(id);
        writer.U32((uint)family);
        writer.U32((uint)port);
        return writer.ToFrame(InitFrameType.Connect, InitProtocol.MaxPayload);
    }

    /// <summary>Encodes a FILES frame.</summary>
    /// <exception cref="ArgumentException">The identity is not allowed.</exception>
    internal static byte[] EncodeFiles(int id, InitIdentity user)
    {
        InitEncoder.CheckIdentity(user);
        PayloadWriter writer = Begin(id);
        InitEncoder.WriteIdentity(writer, user);
        return writer.ToFrame(InitFrameType.Files, InitProtocol.MaxPayload);
    }

    /// <summary>Encodes a USAGE or QUIESCE frame.</summary>
    internal static byte[] EncodeTag(InitFrameType type, uint tag)
    {
        var writer = new PayloadWriter();
        writer.U32(tag);
        return writer.ToFrame(type, InitProtocol.MaxPayload);
    }

    /// <summary>Encodes a PROCESS_USAGE frame.</summary>
    internal static byte[] EncodeProcessUsage(uint tag, int id)
    {
        var writer = new PayloadWriter();
        writer.U32(tag);
        writer.U32((uint)id);
        return writer.ToFrame(InitFrameType.ProcessUsage, InitProtocol.MaxPayload);
    }

    private static PayloadWriter Begin(int id)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(id, 1);
        var writer = new PayloadWriter();
        writer.U32((uint)id);
        return writer;
    }

    private static int CheckSize(int size, SessionStreams streams) =>
        (streams == SessionStreams.Terminal ? size is >= 1 and <= ushort.MaxValue : size == 0)
            ? size
            : throw new ArgumentException($"A terminal has 1 to {ushort.MaxValue} columns and rows, other streams have none.", nameof(size));
}

/// <summary>A command of a session: the content of the EXEC frame.</summary>
internal sealed record SessionExec
{
    /// <summary>Command with its arguments, as those of <see cref="InitStart"/>.</summary>
    public required IReadOnlyList<string> Arguments { get; init; }

    /// <summary>Whole environment, as <c>NAME=value</c>.</summary>
    public IReadOnlyList<string> Environment { get; init; } = [];

    /// <summary>Absolute path of the working directory.</summary>
    public string WorkingDirectory { get; init; } = "/";

    /// <summary>The user.</summary>
    public required InitIdentity User { get; init; }

    /// <summary>Limits of setrlimit(2).</summary>
    public IReadOnlyList<InitResourceLimit> ResourceLimits { get; init; } = [];

    /// <summary>Kind of its streams.</summary>
    public SessionStreams Streams { get; init; }

    /// <summary>Whether standard error goes to standard output.</summary>
    public bool MergeOutput { get; init; }

    /// <summary>Columns of its terminal, 1 to 65,535; otherwise 0.</summary>
    public int Columns { get; init; }

    /// <summary>Rows of its terminal, 1 to 65,535; otherwise 0.</summary>
    public int Rows { get; init; }
}

/// <summary>Kinds of streams of a command of a session.</summary>
internal enum SessionStreams : uint
{
    /// <summary>Three descriptors of the host, which come with the EXEC frame.</summary>
    Descriptors = 0,

    /// <summary>Pipes that PID 1 relays.</summary>
    Relayed = 1,

    /// <summary>A terminal that PID 1 relays.</summary>
    Terminal = 2,
}

/// <summary>Streams of OUTPUT and CREDIT frames.</summary>
internal enum SessionStream : uint
{
    /// <summary>Standard output, output of a terminal, or bytes from a connection.</summary>
    Output = 1,

    /// <summary>Standard error.</summary>
    Error = 2,
}
