using System.Buffers.Binary;

namespace Boxer.Runtime.Init;

/// <summary>
/// Limits and headers of the frames of PROTOCOL.md. <see cref="InitEncoder"/> and <see cref="InitDecoder"/> convert frames to bytes and back,
/// <see cref="InitConversation"/> checks their order, <see cref="InitChannel"/> sends and receives them.
/// </summary>
internal static class InitProtocol
{
    /// <summary>Number of standard streams, and of descriptors that come with START.</summary>
    internal const int Streams = 3;

    /// <summary>Version of the protocol, which READY states.</summary>
    internal const ushort Version = 5;

    // Layout versions of frames: PlanVersion for START, WARM_UP and OPEN, ReportVersion for ENDED and OUTPUT_FILE, FrameVersion for all others.
    private const ushort FrameVersion = 1;
    private const ushort PlanVersion = 5;
    private const ushort ReportVersion = 2;

    /// <summary>Uid and gid of PID 1. No run may use it as user, group or supplementary group.</summary>
    internal const uint ReservedId = 0x7FFF_FF00;

    /// <summary>Number of uids and of gids, from 0 on, in the user namespace of a command of user 0.</summary>
    internal const uint MappedIds = 65_536;

    /// <summary>Number of bytes before the payload.</summary>
    internal const int HeaderSize = 8;

    /// <summary>Maximum number of bytes of the payload of START, WARM_UP, OPEN and EXEC.</summary>
    internal const int MaxStartPayload = 6 << 20;

    /// <summary>Maximum number of bytes of any other payload, in both directions.</summary>
    internal const int MaxPayload = 64 << 10;

    /// <summary>Maximum number of bytes of input that PID 1 has not reported as taken, for each command or connection of a session.</summary>
    internal const int InputWindow = 64 << 10;

    /// <summary>Maximum number of bytes of input that are sent all or none: half of <see cref="InputWindow"/> is free at the latest when PID 1 reports bytes as taken.</summary>
    internal const int WholeInput = 16 << 10;

    /// <summary>Maximum number of bytes of one CREDIT frame, and of the outstanding credit of a stream.</summary>
    internal const int MaxCredit = 16 << 20;

    /// <summary>Maximum number of arguments and environment variables together.</summary>
    internal const int MaxStrings = 65_536;

    /// <summary>Maximum number of supplementary groups.</summary>
    internal const int MaxGroups = 1_024;

    /// <summary>Maximum number of entries of each other list of START.</summary>
    internal const int MaxItems = 64;

    /// <summary>Maximum depth of output directories; the output directory itself has depth 0.</summary>
    internal const int MaxOutputDepth = 64;

    /// <summary>Minimum of the memory that programs read, in bytes.</summary>
    internal const long LeastMemory = 1_024;

    /// <summary>
    /// Capabilities that PID 1 needs in the bounding, effective and permitted sets of the OCI spec, by their OCI names.
    /// Commands get none of them. A command of user 0 has some in its own user namespace, where it cannot have others than these.
    /// </summary>
    internal static IReadOnlyList<string> RequiredCapabilities { get; } =
    [
        "CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL", "CAP_SETFCAP", "CAP_SETGID", "CAP_SETPCAP", "CAP_SETUID",
        "CAP_SYS_ADMIN", "CAP_SYS_CHROOT", "CAP_SYS_RESOURCE",
    ];

    /// <summary>Writes the header of a frame to PID 1.</summary>
    internal static void WriteHeader(Span<byte> destination, InitFrameType type, int payloadLength)
    {
        BinaryPrimitives.WriteUInt32LittleEndian(destination, (uint)payloadLength);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[4..], (ushort)type);
        BinaryPrimitives.WriteUInt16LittleEndian(destination[6..], type is InitFrameType.Start or InitFrameType.WarmUp or InitFrameType.Open ? PlanVersion : FrameVersion);
    }

    /// <summary>Reads the header of a frame of PID 1.</summary>
    /// <exception cref="InitProtocolException">The version is not the one of this type, or the payload is too long.</exception>
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
}
