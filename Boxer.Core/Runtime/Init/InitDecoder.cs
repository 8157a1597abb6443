using Boxer.Common;

namespace Boxer.Runtime.Init;

/// <summary>Decodes frames of PID 1. It treats them as hostile: the guest may control PID 1.</summary>
internal static class InitDecoder
{
    private const int MaxStage = 256;

    /// <summary>Highest error number of a system call.</summary>
    internal const int MaxErrno = 4_095;

    /// <summary>Decodes the payload of a frame. Does not check the order of frames.</summary>
    /// <param name="type">Type from the header.</param>
    /// <param name="payload">Whole payload; <see cref="InitOutputData"/> and <see cref="SessionOutput"/> refer to it.</param>
    /// <exception cref="InitProtocolException">The type is unknown, or the payload is malformed.</exception>
    internal static InitEvent Decode(InitFrameType type, ReadOnlyMemory<byte> payload)
    {
        switch (type)
        {
            case InitFrameType.OutputData:
                return payload.Length > 0 ? new InitOutputData(payload) : throw new InitProtocolException("PID 1 sent output data without data.");
            case InitFrameType.Output:
                return SessionDecoder.DecodeOutput(payload);
        }

        var reader = new PayloadReader(payload.Span, type);

        // C# evaluates named arguments in their written order, which is the order of the fields in the frame.
        InitEvent result = type switch
        {
            InitFrameType.Ready => new InitReady(reader.Number("protocol version", 1, ushort.MaxValue)),
            InitFrameType.Started => new InitStarted(),
            InitFrameType.NotStarted => new InitNotStarted(reader.Enumeration<InitStage>("stage"), reader.Number("errno", 1, MaxErrno)),
            InitFrameType.FileFailed => new InitFileFailed(Errno: reader.Number("errno", 1, MaxErrno), Path: reader.Text("path", CleanPath.MaxBytes)),
            InitFrameType.Ended => DecodeEnded(ref reader),
            InitFrameType.Probed => new InitProbed(reader.Number("descriptors", 0, InitProtocol.Streams)),
            InitFrameType.WarmedUp => new InitWarmedUp(reader.Enumeration<InitWarmUpEnd>("kind"), reader.Number("value", 0, MaxErrno)),
            InitFrameType.OutputDirectory => new InitOutputDirectory(Mode: reader.Mode(), Path: reader.OutputPath()),
            InitFrameType.OutputFile => new InitOutputFile(
                Mode: reader.Mode(), Size: reader.LongNumber("size", long.MaxValue), ModifiedAt: reader.Time(), Path: reader.OutputPath()),
            InitFrameType.OutputLink => new InitOutputLink(Target: LinkTarget(ref reader), Path: reader.OutputPath()),
            InitFrameType.OutputTruncated => new InitOutputTruncated(reader.Enumeration<InitTruncation>("reason"), OmittedCount(ref reader)),
            InitFrameType.OutputDone => new InitOutputDone(),
            InitFrameType.Fault => new InitFault(Errno: reader.Number("errno", 0, MaxErrno), Stage: Printable(reader.Text("stage", MaxStage))),
            InitFrameType.Opened or (>= InitFrameType.ProcessStarted and <= InitFrameType.Quiet) => SessionDecoder.Decode(type, ref reader),
            _ => throw new InitProtocolException($"PID 1 sent a frame of the unknown type 0x{(ushort)type:X4}."),
        };
        reader.End();
        return result;
    }

    private static string LinkTarget(ref PayloadReader reader)
    {
        string target = reader.Text("target", CleanPath.MaxBytes);
        return target.Length > 0 ? target : throw new InitProtocolException("PID 1 sent a link to nothing.");
    }

    private static long OmittedCount(ref PayloadReader reader)
    {
        long count = reader.LongNumber("count", long.MaxValue);
        return count > 0 ? count : throw new InitProtocolException("PID 1 left out 0 entries.");
    }

    private static InitEnded DecodeEnded(ref PayloadReader reader)
    {
        int kind = reader.Number("kind of end", 0, 1);
        int status = kind == 0 ? reader.Number("exit code", 0, 255) : reader.Number("signal", 1, 64);
        TimeSpan user = reader.Duration("user time");
        TimeSpan system = reader.Duration("system time");
        long resident = reader.LongNumber("resident set", long.MaxValue);
        int full = reader.Number("full file systems", 0, 1);
        int tasks = reader.Number("processes and threads", 0, int.MaxValue);
        return new InitEnded
        {
            ExitCode = kind == 0 ? status : null,
            Signal = kind == 1 ? status : null,
            UserCpu = user,
            SystemCpu = system,
            MaxResidentBytes = resident,
            IsTmpfsFull = full == 1,
            TasksAtKill = tasks,
        };
    }

    private static string Printable(string text) => string.Create(text.Length, text, static (span, source) =>
    {
        for (int i = 0; i < span.Length; i++)
        {
            span[i] = source[i] is >= ' ' and <= '~' ? source[i] : '?';
        }
    });
}
