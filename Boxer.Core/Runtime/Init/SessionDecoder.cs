namespace Boxer.Runtime.Init;

/// <summary>Decodes the session frames of PID 1, for <see cref="InitDecoder"/>. It treats them as hostile.</summary>
internal static class SessionDecoder
{
    private const int OutputHeader = 8;
    private const int MaxIds = InitProtocol.MaxPayload / 4;

    /// <summary>Decodes the payload of a frame other than OUTPUT.</summary>
    /// <param name="type">Type from the header.</param>
    /// <param name="reader">The payload.</param>
    /// <exception cref="InitProtocolException">The payload is malformed.</exception>
    internal static InitEvent Decode(InitFrameType type, ref PayloadReader reader) => type switch
    {
        // C# evaluates arguments in their written order, which is the order of the fields in the frame.
        InitFrameType.Opened => new InitOpened(),
        InitFrameType.ProcessStarted => new SessionProcessStarted(Id(ref reader), reader.Number("process id", 2, int.MaxValue)),
        InitFrameType.ProcessNotStarted => new SessionProcessNotStarted(Id(ref reader), reader.Enumeration<InitStage>("stage"), reader.Number("errno", 1, InitDecoder.MaxErrno)),
        InitFrameType.ProcessEnded => DecodeEnded(ref reader),
        InitFrameType.OutputEnd => new SessionOutputEnd(Id(ref reader), reader.Enumeration<SessionStream>("stream")),
        InitFrameType.Connected => new SessionConnected(Id(ref reader)),
        InitFrameType.NotConnected => new SessionNotConnected(Id(ref reader), reader.Number("errno", 1, InitDecoder.MaxErrno)),
        InitFrameType.InputTaken => new SessionInputTaken(Id(ref reader), reader.Number("number of bytes", 1, InitProtocol.InputWindow)),
        InitFrameType.Closed => new SessionClosed(Id(ref reader), reader.Number("errno", 0, InitDecoder.MaxErrno)),
        InitFrameType.ProcessLimitsSet => new SessionLimitsSet(Id(ref reader), reader.Number("errno", 0, InitDecoder.MaxErrno)),
        InitFrameType.UsageReport => new SessionUsageReport(reader.UnsignedNumber("tag"), reader.LongNumber("disk space", long.MaxValue)),
        InitFrameType.ProcessUsageReport => new SessionProcessUsage(
            reader.UnsignedNumber("tag"), Id(ref reader), reader.Duration("processor time"), reader.Number("number of processes", 0, int.MaxValue)),
        InitFrameType.Quiet => new SessionQuiet(reader.UnsignedNumber("tag"), DecodeIds(ref reader)),
        _ => throw new InitProtocolException($"PID 1 sent a frame of the unknown type 0x{(ushort)type:X4}."),
    };

    /// <summary>Decodes an OUTPUT frame.</summary>
    /// <param name="payload">Whole payload, to which the result refers.</param>
    /// <exception cref="InitProtocolException">The payload is malformed.</exception>
    internal static SessionOutput DecodeOutput(ReadOnlyMemory<byte> payload)
    {
        if (payload.Length <= OutputHeader)
        {
            throw new InitProtocolException("PID 1 sent output without data.");
        }

        var reader = new PayloadReader(payload.Span[..OutputHeader], InitFrameType.Output);
        return new SessionOutput(Id(ref reader), reader.Enumeration<SessionStream>("stream"), payload[OutputHeader..]);
    }

    private static int Id(ref PayloadReader reader) => reader.Number("id", 1, int.MaxValue);

    private static SessionProcessEnded DecodeEnded(ref PayloadReader reader)
    {
        int id = Id(ref reader);
        bool isExit = reader.Number("kind of end", 0, 1) == 0;
        int status = isExit ? reader.Number("exit code", 0, 255) : reader.Number("signal", 1, 64);
        return new SessionProcessEnded(id)
        {
            ExitCode = isExit ? status : null,
            Signal = isExit ? null : status,
            UserCpu = reader.Duration("user time"),
            SystemCpu = reader.Duration("system time"),
            MaxResidentBytes = reader.LongNumber("resident set", long.MaxValue),
            LeftBehind = reader.Number("processes left behind", 0, int.MaxValue),
            IsTmpfsFull = reader.Number("full file systems", 0, 1) == 1,
        };
    }

    private static int[] DecodeIds(ref PayloadReader reader)
    {
        int[] ids = new int[reader.Number("number of ids", 0, MaxIds)];
        for (int i = 0; i < ids.Length; i++)
        {
            // 0 stands for processes of no command.
            ids[i] = reader.Number("id", 0, int.MaxValue);
        }

        return ids;
    }
}
