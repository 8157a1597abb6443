using System.Buffers;
using System.Buffers.Binary;
using System.Text;
using Boxer.Common;

namespace Boxer.Runtime.Init;

/// <summary>
/// The frames of PROTOCOL.md, to and from bytes. Nothing here touches a socket, and nothing here knows the order of frames:
/// <see cref="InitChannel"/> does the one, <see cref="InitConversation"/> the other.
/// </summary>
internal static class InitProtocol
{
    /// <summary>The version of the protocol, which READY tells.</summary>
    internal const ushort Version = 4;

    // Versions of the layout of frames: PlanVersion is for START and WARM_UP, ReportVersion for ENDED and OUTPUT_FILE, FrameVersion for all others.
    private const ushort FrameVersion = 1;
    private const ushort PlanVersion = 4;
    private const ushort ReportVersion = 2;

    /// <summary>The uid and gid that PID 1 moves itself to. No run may use it as user, group or supplementary group.</summary>
    internal const uint ReservedId = 0x7FFF_FF00;

    /// <summary>Number of ids in the user namespace of a command of user 0: it has 0 to one less, as users and as groups.</summary>
    internal const uint MappedIds = 65_536;

    /// <summary>The descriptor in the sandbox that the control socket must be.</summary>
    internal const int ControlDescriptor = 3;

    /// <summary>Bytes before the payload.</summary>
    internal const int HeaderSize = 8;

    /// <summary>The most bytes of a START payload.</summary>
    internal const int MaxStartPayload = 6 << 20;

    /// <summary>The most bytes of any other payload, in both directions.</summary>
    internal const int MaxPayload = 64 << 10;

    /// <summary>The most strings of command and environment together.</summary>
    internal const int MaxStrings = 65_536;

    /// <summary>The most supplementary groups.</summary>
    internal const int MaxGroups = 1_024;

    /// <summary>The most entries of each other list of START.</summary>
    internal const int MaxItems = 64;

    /// <summary>The deepest directory that is walked; the output directory itself is 0.</summary>
    internal const int MaxOutputDepth = 64;

    /// <summary>The least memory that programs can be shown, in bytes.</summary>
    internal const long LeastMemory = 1_024;

    private const int MaxStage = 256;
    private const int MaxErrno = 4_095;

    /// <summary>
    /// The capabilities that PID 1 needs in the bounding, effective and permitted sets of the OCI spec, by their OCI names.
    /// No command gets any of them here; one of user 0 gets some in a user namespace of its own, which cannot be more than these.
    /// </summary>
    internal static IReadOnlyList<string> RequiredCapabilities { get; } =
    [
        "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
        "CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_RESOURCE",
    ];

    /// <summary>Writes a header.</summary>
    internal static void WriteHeader(Span<byte> destination, InitFrameType type, int payloadLength)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(destination, (uint)payloadLength);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[4..], (ushort)type);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[6..], type is InitFrameType.Start or InitFrameType.WarmUp ? PlanVersion : FrameVersion);
    }

    /// <summary>Reads a header of PID 1 and bounds its payload.</summary>
    /// <exception cref="InitProtocolException">The version, or the length for this type, is not allowed.</exception>
    internal static (InitFrameType Type, int PayloadLength) ReadHeader(ReadOnlySpan<byte> header)
    {
        uint length = BinaryPrimitives.ReadUInt32LittleEndian(header);
        var type = (InitFrameType)BinaryPrimitives.ReadUInt16LittleEndian(header[4..]);
        ushort version = BinaryPrimitives.ReadUInt16LittleEndian(header[6..]);
        ushort wanted = type is InitFrameType.Ended or InitFrameType.OutputFile ? ReportVersion : FrameVersion;
        if (version != wanted)
        {
            throw new InitProtocolException($"PID 1 sent a frame of version {version}; this side speaks {wanted}.");
        }

        if (length > MaxPayload)
        {
            throw new InitProtocolException($"PID 1 announced a frame of {length} bytes; the limit is {MaxPayload}.");
        }

        return (type, (int)length);
    }

    /// <summary>Encodes a START frame with its header.</summary>
    /// <exception cref="ArgumentException">A value breaks a bound of this class, or a string holds a NUL.</exception>
    internal static byte[] EncodeStart(InitStart start)
    {
        ArgumentNullException.ThrowIfNull(start);
        Check(start);
        var writer = new PayloadWriter();
        writer.U32(start.UserId);
        writer.U32(start.GroupId);
        writer.U64((ulong)start.Capabilities);
        writer.U32((uint)start.SupplementaryGroups.Count);
        foreach (uint group in start.SupplementaryGroups)
        {
            writer.U32(group);
        }

        writer.U32((uint)start.ResourceLimits.Count);
        foreach (InitResourceLimit limit in start.ResourceLimits)
        {
            writer.U32((uint)limit.Resource);
            writer.U64(limit.Soft);
            writer.U64(limit.Hard);
        }

        writer.Text(start.Hostname);
        writer.Text(start.WorkingDirectory);
        writer.U64((ulong)start.TmpfsBytes);
        writer.U32((uint)start.Tmpfs.Count);
        foreach (InitTmpfs tmpfs in start.Tmpfs)
        {
            writer.Text(tmpfs.Path);
            writer.U32(tmpfs.Mode);
            writer.U32(tmpfs.UserId);
            writer.U32(tmpfs.GroupId);
            writer.U32((uint)tmpfs.Kind);
        }

        writer.U32((uint)start.TextFiles.Count);
        foreach (InitTextFile file in start.TextFiles)
        {
            writer.Text(file.Path);
            writer.Bytes(file.Content.Span);
        }

        writer.Text(start.Outputs?.Path ?? "");
        writer.U64((ulong)(start.Outputs?.MaxBytes ?? 0));
        writer.U32((uint)(start.Outputs?.MaxEntries ?? 0));
        writer.U32((uint)start.Arguments.Count);
        foreach (string argument in start.Arguments)
        {
            writer.Text(argument);
        }

        writer.U32((uint)start.Environment.Count);
        foreach (string variable in start.Environment)
        {
            writer.Text(variable);
        }

        writer.U64((ulong)start.MemoryBytes);
        writer.U32((uint)start.CpuQuota);
        writer.U32(start.MergeOutput ? 1u : 0u);
        writer.U64((ulong)start.ChangeBytes);
        writer.U32((uint)start.ChangeEntries);
        return writer.ToFrame(InitFrameType.Start, MaxStartPayload);
    }

    /// <summary>Makes a WARM_UP frame of a START frame: their payloads are the same.</summary>
    /// <param name="start">The START frame with its header.</param>
    internal static byte[] ToWarmUp(ReadOnlyMemory<byte> start)
    {
        byte[] frame = start.ToArray();
        WriteHeader(frame, InitFrameType.WarmUp, frame.Length - HeaderSize);
        return frame;
    }

    /// <summary>Encodes a FILE_BEGIN frame with its header.</summary>
    /// <exception cref="ArgumentException">The path is not a clean absolute path.</exception>
    internal static byte[] EncodeFileBegin(string path, bool executable)
    {
        CheckPath(path, nameof(path));
        var writer = new PayloadWriter();
        writer.U32(executable ? 1u : 0u);
        writer.Text(path);
        return writer.ToFrame(InitFrameType.FileBegin, MaxPayload);
    }

    /// <summary>Encodes a frame that makes an entry of the workspace, with its header.</summary>
    /// <param name="type">One of the TREE frames.</param>
    /// <param name="mode">Permission bits.</param>
    /// <param name="seconds">When it was modified, in seconds since 1970.</param>
    /// <param name="nanoseconds">Nanoseconds after that.</param>
    /// <param name="path">The path, relative to the workspace.</param>
    /// <param name="other">The target of a link, or the path of the file that is copied.</param>
    /// <exception cref="ArgumentException">A path is not clean, or too long.</exception>
    internal static byte[] EncodeTreeEntry(InitFrameType type, uint mode, long seconds, uint nanoseconds, string path, string? other = null)
    {
        CheckPath("/" + path, nameof(path));
        var writer = new PayloadWriter();
        writer.U32(mode);
        writer.U64((ulong)seconds);
        writer.U32(nanoseconds);
        writer.Text(path);
        if (other is not null)
        {
            writer.Text(other);
        }

        return writer.ToFrame(type, MaxPayload);
    }

    /// <summary>Encodes a frame without payload, with its header.</summary>
    internal static byte[] EncodeEmpty(InitFrameType type)
    {
        byte[] frame = new byte[HeaderSize];
        WriteHeader(frame, type, 0);
        return frame;
    }

    /// <summary>Encodes a SIGNAL frame with its header.</summary>
    /// <exception cref="ArgumentOutOfRangeException"><paramref name="signal"/> is not 1 to 64.</exception>
    internal static byte[] EncodeSignal(int signal)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(signal, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(signal, 64);
        var writer = new PayloadWriter();
        writer.U32((uint)signal);
        return writer.ToFrame(InitFrameType.Signal, MaxPayload);
    }

    /// <summary>Decodes the payload of a frame of PID 1. The order of frames is not looked at.</summary>
    /// <param name="type">The type from the header.</param>
    /// <param name="payload">The whole payload; <see cref="InitOutputData"/> keeps a reference to it.</param>
    /// <exception cref="InitProtocolException">The type is unknown, or the payload is not well-formed.</exception>
    internal static InitEvent Decode(InitFrameType type, ReadOnlyMemory<byte> payload)
    {
        if (type == InitFrameType.OutputData)
        {
            return payload.Length > 0 ? new InitOutputData(payload) : throw new InitProtocolException("PID 1 sent output data without data.");
        }

        var reader = new PayloadReader(payload.Span, type);
        InitEvent result;
        switch (type)
        {
            case InitFrameType.Ready:
                result = new InitReady(reader.Number("protocol version", 1, ushort.MaxValue));
                break;
            case InitFrameType.Started:
                result = new InitStarted();
                break;
            case InitFrameType.NotStarted:
                result = new InitNotStarted(reader.Enumeration<InitStage>("stage"), reader.Number("errno", 1, MaxErrno));
                break;
            case InitFrameType.FileFailed:
                int fileErrno = reader.Number("errno", 1, MaxErrno);
                result = new InitFileFailed(reader.Text("path", CleanPath.MaxBytes), fileErrno);
                break;
            case InitFrameType.Ended:
                result = DecodeEnded(ref reader);
                break;
            case InitFrameType.WarmedUp:
                InitWarmUpEnd warmUpEnd = reader.Enumeration<InitWarmUpEnd>("kind");
                result = new InitWarmedUp(warmUpEnd, reader.Number("value", 0, MaxErrno));
                break;
            case InitFrameType.OutputDirectory:
                uint directoryMode = reader.Mode();
                result = new InitOutputDirectory(reader.OutputPath(), directoryMode);
                break;
            case InitFrameType.OutputFile:
                uint fileMode = reader.Mode();
                long size = reader.LongNumber("size", long.MaxValue);
                DateTimeOffset modifiedAt = reader.Time();
                result = new InitOutputFile(reader.OutputPath(), fileMode, size, modifiedAt);
                break;
            case InitFrameType.OutputLink:
                string target = reader.Text("target", CleanPath.MaxBytes);
                result = target.Length > 0 ? new InitOutputLink(reader.OutputPath(), target) : throw new InitProtocolException("PID 1 sent a link to nothing.");
                break;
            case InitFrameType.OutputTruncated:
                InitTruncation reason = reader.Enumeration<InitTruncation>("reason");
                long count = reader.LongNumber("count", long.MaxValue);
                result = count > 0 ? new InitOutputTruncated(reason, count) : throw new InitProtocolException("PID 1 left out 0 entries.");
                break;
            case InitFrameType.OutputDone:
                result = new InitOutputDone();
                break;
            case InitFrameType.Fault:
                int errno = reader.Number("errno", 0, MaxErrno);
                result = new InitFault(Printable(reader.Text("stage", MaxStage)), errno);
                break;
            default:
                throw new InitProtocolException($"PID 1 sent a frame of the unknown type 0x{(ushort)type:X4}.");
        }

        reader.End();
        return result;
    }

    private static InitEnded DecodeEnded(ref PayloadReader reader)
    {
        // A TimeSpan counts 100 ns in 63 bits, and both times are added.
        const long MaxMicroseconds = long.MaxValue / TimeSpan.TicksPerMicrosecond / 2;
        int kind = reader.Number("kind of end", 0, 1);
        int status = kind == 0 ? reader.Number("exit code", 0, 255) : reader.Number("signal", 1, 64);
        long user = reader.LongNumber("user time", MaxMicroseconds);
        long system = reader.LongNumber("system time", MaxMicroseconds);
        long resident = reader.LongNumber("resident set", long.MaxValue);
        int full = reader.Number("full file systems", 0, 1);
        int tasks = reader.Number("processes and threads", 0, int.MaxValue);
        return new InitEnded
        {
            ExitCode = kind == 0 ? status : null,
            Signal = kind == 1 ? status : null,
            UserCpu = new TimeSpan(user * TimeSpan.TicksPerMicrosecond),
            SystemCpu = new TimeSpan(system * TimeSpan.TicksPerMicrosecond),
            MaxResidentBytes = resident,
            IsTmpfsFull = full == 1,
            TasksAtKill = tasks,
        };
    }

    private static void Check(InitStart start)
    {
        CheckCount(start.Arguments.Count, 1, MaxStrings, nameof(start.Arguments));
        CheckCount(start.Arguments.Count + start.Environment.Count, 1, MaxStrings, nameof(start.Environment));
        CheckCount(start.SupplementaryGroups.Count, 0, MaxGroups, nameof(start.SupplementaryGroups));
        CheckCount(start.ResourceLimits.Count, 0, MaxItems, nameof(start.ResourceLimits));
        CheckCount(start.Tmpfs.Count, 0, MaxItems, nameof(start.Tmpfs));
        CheckCount(start.TextFiles.Count, 0, MaxItems, nameof(start.TextFiles));
        if (start.Arguments[0].Length == 0)
        {
            throw new ArgumentException("The program's name is empty.", nameof(start));
        }

        // -1 means "leave it" to setresuid(2) and chown(2).
        if (start.UserId is ReservedId or uint.MaxValue || start.GroupId is ReservedId or uint.MaxValue
            || start.SupplementaryGroups.Any(group => group is ReservedId or uint.MaxValue))
        {
            throw new ArgumentException($"Ids {ReservedId} and {uint.MaxValue} are reserved.", nameof(start));
        }

        if (start.UserId == 0 && (start.GroupId >= MappedIds || start.SupplementaryGroups.Any(group => group >= MappedIds)))
        {
            throw new ArgumentException($"User 0 has groups up to {MappedIds - 1} only.", nameof(start));
        }

        if ((start.Capabilities & ~InitCapabilities.All) != InitCapabilities.None || (start.Capabilities != InitCapabilities.None && start.UserId != 0))
        {
            throw new ArgumentException($"Capabilities are for user 0, and only those of {nameof(InitCapabilities.All)}.", nameof(start));
        }

        if (Encoding.UTF8.GetByteCount(start.Hostname) > 64)
        {
            throw new ArgumentException("The host name is longer than 64 bytes.", nameof(start));
        }

        if (start.WorkingDirectory != "/")
        {
            CheckPath(start.WorkingDirectory, nameof(start.WorkingDirectory));
        }

        if (start.TmpfsBytes < 1)
        {
            throw new ArgumentException("Directories in memory need a byte or more.", nameof(start));
        }

        foreach (InitTmpfs tmpfs in start.Tmpfs)
        {
            CheckPath(tmpfs.Path, nameof(start.Tmpfs));
            if (tmpfs.Mode > 0xFFF)
            {
                throw new ArgumentException($"The mode of {tmpfs.Path} is out of range.", nameof(start));
            }
        }

        foreach (InitTextFile file in start.TextFiles)
        {
            CheckPath(file.Path, nameof(start.TextFiles));
        }

        if (start.Outputs is { } outputs)
        {
            CheckPath(outputs.Path, nameof(start.Outputs));
            if (outputs.MaxBytes < 0 || outputs.MaxEntries < 0)
            {
                throw new ArgumentException("The bounds of the outputs are negative.", nameof(start));
            }
        }

        int workspaces = start.Tmpfs.Count(tmpfs => tmpfs.Kind == InitTmpfsKind.Workspace);
        if (workspaces > 1 || start.ChangeBytes < 0 || start.ChangeEntries < 0 || (start.ChangeEntries > 0 && workspaces == 0))
        {
            throw new ArgumentException("There is more than one workspace, or none whose changes can be sent.", nameof(start));
        }

        if (start.MemoryBytes < LeastMemory || start.CpuQuota < 1)
        {
            throw new ArgumentException("The memory or the processor time is out of range.", nameof(start));
        }
    }

    private static void CheckCount(int count, int min, int max, string name)
    {
        if (count < min || count > max)
        {
            throw new ArgumentException($"{name} has {count} entries; {min} to {max} are allowed.", name);
        }
    }

    private static void CheckPath(string path, string name)
    {
        // Halves of surrogate pairs are for those to refuse who know where the text is from: they become U+FFFD.
        if ((CleanPath.TryParse(path, PathKind.Absolute, out _) & ~PathFaults.NotUnicode) != PathFaults.None)
        {
            throw new ArgumentException($"'{path}' is not a clean absolute path of at most {CleanPath.MaxBytes} bytes.", name);
        }
    }

    private static string Printable(string text) => string.Create(text.Length, text, static (span, source) =>
    {
        for (int i = 0; i < span.Length; i++)
        {
            span[i] = source[i] is >= ' ' and <= '~' ? source[i] : '?';
        }
    });

    private sealed class PayloadWriter
    {
        private readonly ArrayBufferWriter<byte> _buffer = new(1024);

        internal PayloadWriter()
        {
            _buffer.GetSpan(HeaderSize)[..HeaderSize].Clear();
            _buffer.Advance(HeaderSize);
        }

        internal void U32(uint value)
        {
            BinaryPrimitives.WriteUInt32LittleEndian(_buffer.GetSpan(4), value);
            _buffer.Advance(4);
        }

        internal void U64(ulong value)
        {
            BinaryPrimitives.WriteUInt64LittleEndian(_buffer.GetSpan(8), value);
            _buffer.Advance(8);
        }

        internal void Bytes(ReadOnlySpan<byte> value)
        {
            U32((uint)value.Length);
            _buffer.Write(value);
        }

        // The NUL after it lets the C side use it in place.
        internal void Text(string value)
        {
            if (value.Contains('\0'))
            {
                throw new ArgumentException("A string holds a NUL character.", nameof(value));
            }

            int count = Encoding.UTF8.GetByteCount(value);
            U32((uint)count);
            Span<byte> span = _buffer.GetSpan(count + 1);
            Encoding.UTF8.GetBytes(value, span);
            span[count] = 0;
            _buffer.Advance(count + 1);
        }

        internal byte[] ToFrame(InitFrameType type, int maxPayload)
        {
            int length = _buffer.WrittenCount - HeaderSize;
            if (length > maxPayload)
            {
                throw new ArgumentException($"The {type} frame takes {length} bytes; at most {maxPayload} are allowed.");
            }

            byte[] frame = _buffer.WrittenSpan.ToArray();
            WriteHeader(frame, type, length);
            return frame;
        }
    }

    private ref struct PayloadReader(ReadOnlySpan<byte> payload, InitFrameType type)
    {
        private ReadOnlySpan<byte> _rest = payload;

        internal int Number(string field, int min, int max)
        {
            uint value = BinaryPrimitives.ReadUInt32LittleEndian(Take(4, field));
            return value >= min && value <= max ? (int)value : throw Bad(field);
        }

        internal long LongNumber(string field, long max)
        {
            ulong value = BinaryPrimitives.ReadUInt64LittleEndian(Take(8, field));
            return value <= (ulong)max ? (long)value : throw Bad(field);
        }

        internal T Enumeration<T>(string field)
            where T : struct, Enum
        {
            uint value = BinaryPrimitives.ReadUInt32LittleEndian(Take(4, field));
            var result = (T)Enum.ToObject(typeof(T), value);
            return Enum.IsDefined(result) ? result : throw Bad(field);
        }

        internal uint Mode() => (uint)Number("mode", 0, 0x1FF);

        // A command may set any; one that .NET does not know is the nearest that it does.
        internal DateTimeOffset Time()
        {
            long seconds = BinaryPrimitives.ReadInt64LittleEndian(Take(8, "time"));
            int nanoseconds = Number("nanoseconds", 0, 999_999_999);
            long most = DateTimeOffset.MaxValue.ToUnixTimeSeconds();
            return DateTimeOffset.FromUnixTimeSeconds(Math.Clamp(seconds, DateTimeOffset.MinValue.ToUnixTimeSeconds(), most)).AddTicks(nanoseconds / TimeSpan.NanosecondsPerTick);
        }

        internal string Text(string field, int max)
        {
            uint length = BinaryPrimitives.ReadUInt32LittleEndian(Take(4, field));
            if (length > max)
            {
                throw Bad(field);
            }

            ReadOnlySpan<byte> bytes = Take((int)length + 1, field);
            if (bytes.IndexOf((byte)0) != bytes.Length - 1)
            {
                throw Bad(field);
            }

            return UntrustedText.TryDecode(bytes[..^1], out string? text) ? text : throw Bad(field);
        }

        internal string OutputPath()
        {
            string path = Text("path", CleanPath.MaxBytes);
            return CleanPath.TryParse(path, PathKind.InDirectory, out _) == PathFaults.None ? path : throw Bad("path");
        }

        internal readonly void End()
        {
            if (!_rest.IsEmpty)
            {
                throw new InitProtocolException($"PID 1 sent a {type} frame with {_rest.Length} bytes too many.");
            }
        }

        private ReadOnlySpan<byte> Take(int count, string field)
        {
            if (_rest.Length < count)
            {
                throw new InitProtocolException($"PID 1 sent a {type} frame that ends within its {field}.");
            }

            ReadOnlySpan<byte> taken = _rest[..count];
            _rest = _rest[count..];
            return taken;
        }

        private readonly InitProtocolException Bad(string field) => new($"PID 1 sent a {type} frame with a {field} that is not allowed.");
    }
}

/// <summary>The types of frames; the high bit is set in those of PID 1.</summary>
internal enum InitFrameType : ushort
{
    /// <summary>To PID 1: what to run, and the preparation.</summary>
    Start = 0x0001,

    /// <summary>To PID 1: an input file begins.</summary>
    FileBegin = 0x0002,

    /// <summary>To PID 1: its next bytes.</summary>
    FileData = 0x0003,

    /// <summary>To PID 1: it is complete.</summary>
    FileEnd = 0x0004,

    /// <summary>To PID 1: execute the command.</summary>
    Go = 0x0005,

    /// <summary>To PID 1: kill every process and report as usual.</summary>
    Kill = 0x0006,

    /// <summary>To PID 1: send a signal to the command's process group.</summary>
    Signal = 0x0007,

    /// <summary>To PID 1: what to run before the wait, to no end but that the sandbox's kernel has seen it.</summary>
    WarmUp = 0x0008,

    /// <summary>To PID 1: a directory of the workspace.</summary>
    TreeDirectory = 0x0009,

    /// <summary>To PID 1: a file of the workspace begins.</summary>
    TreeFile = 0x000A,

    /// <summary>To PID 1: a symbolic link of the workspace.</summary>
    TreeLink = 0x000B,

    /// <summary>To PID 1: a file of the workspace is copied.</summary>
    TreeCopy = 0x000C,

    /// <summary>PID 1 waits.</summary>
    Ready = 0x8001,

    /// <summary>The command was executed.</summary>
    Started = 0x8002,

    /// <summary>The command could not be executed.</summary>
    NotStarted = 0x8003,

    /// <summary>An input file could not be written.</summary>
    FileFailed = 0x8004,

    /// <summary>The command ended.</summary>
    Ended = 0x8005,

    /// <summary>A directory of the outputs.</summary>
    OutputDirectory = 0x8006,

    /// <summary>A file of the outputs.</summary>
    OutputFile = 0x8007,

    /// <summary>Its next bytes.</summary>
    OutputData = 0x8008,

    /// <summary>Something was left out.</summary>
    OutputTruncated = 0x8009,

    /// <summary>All outputs were sent.</summary>
    OutputDone = 0x800A,

    /// <summary>PID 1 gave up.</summary>
    Fault = 0x800B,

    /// <summary>The command of a warm-up is over, and PID 1 waits again.</summary>
    WarmedUp = 0x800C,

    /// <summary>A symbolic link of the workspace.</summary>
    OutputLink = 0x800D,
}
