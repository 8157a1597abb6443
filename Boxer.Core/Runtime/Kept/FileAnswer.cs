using Boxer.Common;
using Boxer.Runtime.Init;

namespace Boxer.Runtime.Kept;

/// <summary>Answer of a file worker, checked for form.</summary>
internal abstract record FileAnswer
{
    private const int MaxErrno = 4_095;
    private const int MaxMode = 0xFFF;

    /// <summary>Decodes an answer. The worker is hostile: it runs with the rights of the guest.</summary>
    /// <param name="type">Type from the header.</param>
    /// <param name="payload">Whole payload; <see cref="FileData"/> refers to it.</param>
    /// <exception cref="InitProtocolException">The type is unknown, or the payload is malformed.</exception>
    internal static FileAnswer Decode(InitFrameType type, ReadOnlyMemory<byte> payload)
    {
        if (type == InitFrameType.FilesData)
        {
            return payload.Length > 0 ? new FileData(payload) : throw new InitProtocolException("A file worker sent data without data.");
        }

        var reader = new PayloadReader(payload.Span, type);

        // C# evaluates arguments in their written order, which is the order of the fields in the frame.
        FileAnswer answer = type switch
        {
            InitFrameType.FilesDone => new FileDone(),
            InitFrameType.FilesFailed => new FileFailed(reader.Number("errno", 1, MaxErrno), reader.Text("path", CleanPath.MaxBytes)),
            InitFrameType.FilesOpened => new FileOpened(reader.LongNumber("size", long.MaxValue)),
            InitFrameType.FilesEntry => DecodeEntry(ref reader),
            InitFrameType.FilesIncomplete => new FileIncomplete(),
            InitFrameType.FilesChange => DecodeChange(ref reader),
            _ => throw new InitProtocolException($"A file worker sent a frame of the unknown type 0x{(ushort)type:X4}."),
        };
        reader.End();
        return answer;
    }

    private static FileEntry DecodeEntry(ref PayloadReader reader)
    {
        var kind = reader.Enumeration<GuestFileKind>("kind");
        uint mode = (uint)reader.Number("mode", 0, MaxMode);
        uint user = reader.UnsignedNumber("user");
        uint group = reader.UnsignedNumber("group");
        long size = reader.LongNumber("size", long.MaxValue);
        DateTimeOffset modifiedAt = reader.Time();
        string target = reader.Text("target", CleanPath.MaxBytes);
        string path = Relative(ref reader);
        return new FileEntry(new GuestFile(path, kind, mode, user, group, size, modifiedAt, kind == GuestFileKind.SymbolicLink ? target : null));
    }

    private static FileChange DecodeChange(ref PayloadReader reader)
    {
        var kind = reader.Enumeration<GuestFileChangeKind>("kind");
        if (kind == GuestFileChangeKind.Started)
        {
            throw new InitProtocolException("A file worker sent the start of a watch as a change.");
        }

        return new FileChange(new GuestFileChange(kind, Relative(ref reader)));
    }

    private static string Relative(ref PayloadReader reader)
    {
        string path = reader.Text("path", CleanPath.MaxBytes);
        return path.Length == 0 || CleanPath.TryParse(path, PathKind.InDirectory, out _) == PathFaults.None
            ? path
            : throw new InitProtocolException("A file worker sent a path that is not clean.");
    }
}

/// <summary>The operation has succeeded.</summary>
internal sealed record FileDone : FileAnswer;

/// <summary>The operation has failed.</summary>
/// <param name="Errno">Error number, 1 to 4,095.</param>
/// <param name="Path">Path below that of the operation; empty for itself.</param>
internal sealed record FileFailed(int Errno, string Path) : FileAnswer;

/// <summary>The file is open, or the watch has begun.</summary>
/// <param name="Size">Size of the file in bytes.</param>
internal sealed record FileOpened(long Size) : FileAnswer;

/// <summary>Next bytes of a file.</summary>
/// <param name="Data">Bytes, at least one, valid until the next read of the channel.</param>
internal sealed record FileData(ReadOnlyMemory<byte> Data) : FileAnswer;

/// <summary>An entry.</summary>
/// <param name="File">The entry; its path is clean and relative, or empty.</param>
internal sealed record FileEntry(GuestFile File) : FileAnswer;

/// <summary>The list lacks entries.</summary>
internal sealed record FileIncomplete : FileAnswer;

/// <summary>A change of a watched directory or file.</summary>
/// <param name="Change">The change; its path is clean and relative, or empty.</param>
internal sealed record FileChange(GuestFileChange Change) : FileAnswer;
