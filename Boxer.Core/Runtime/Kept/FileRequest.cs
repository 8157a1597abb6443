using Boxer.Common;
using Boxer.Runtime.Init;

namespace Boxer.Runtime.Kept;

/// <summary>Encodes requests to a file worker. Paths are clean and absolute, or the root; others throw <see cref="ArgumentException"/>.</summary>
internal static class FileRequest
{
    // Keeps the mode of an existing file.
    private const uint KeepMode = 0xFFFF;
    private const uint Permissions = 0x1FF;

    /// <summary>Encodes a request that has a path only.</summary>
    /// <param name="type">Type of the request.</param>
    /// <param name="path">The path.</param>
    internal static byte[] Encode(InitFrameType type, string path) => Encode(type, _ => { }, path);

    /// <summary>Encodes FILES_WRITE.</summary>
    /// <param name="path">The file.</param>
    /// <param name="mode">Mode, of which only the permission bits are used; <see langword="null"/>: see <see cref="IFileWorker.WriteAsync"/>.</param>
    internal static byte[] Write(string path, uint? mode) => Encode(InitFrameType.FilesWrite, writer => writer.U32(mode is { } bits ? bits & Permissions : KeepMode), path);

    /// <summary>Encodes FILES_LIST.</summary>
    /// <param name="path">The directory.</param>
    /// <param name="depth">Number of levels, 1 to <see cref="InitProtocol.MaxOutputDepth"/>.</param>
    /// <param name="maxEntries">Maximum number of entries.</param>
    internal static byte[] List(string path, int depth, int maxEntries)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(depth, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(depth, InitProtocol.MaxOutputDepth);
        ArgumentOutOfRangeException.ThrowIfNegative(maxEntries);
        return Encode(
            InitFrameType.FilesList,
            writer =>
            {
                writer.U32((uint)depth);
                writer.U32((uint)maxEntries);
            },
            path);
    }

    /// <summary>Encodes FILES_READ_TREE.</summary>
    /// <param name="path">The directory or file.</param>
    /// <param name="maxBytes">Maximum number of bytes of all files.</param>
    /// <param name="maxEntries">Maximum number of entries.</param>
    internal static byte[] ReadTree(string path, long maxBytes, int maxEntries)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(maxBytes);
        ArgumentOutOfRangeException.ThrowIfNegative(maxEntries);
        return Encode(
            InitFrameType.FilesReadTree,
            writer =>
            {
                writer.U64((ulong)maxBytes);
                writer.U32((uint)maxEntries);
            },
            path);
    }

    /// <summary>Encodes FILES_WATCH.</summary>
    /// <param name="path">The directory or file.</param>
    internal static byte[] Watch(string path) => Encode(InitFrameType.FilesWatch, writer => writer.U32(InitProtocol.MaxOutputDepth), path);

    /// <summary>Encodes FILES_MOVE.</summary>
    /// <param name="from">The old path.</param>
    /// <param name="to">The new path.</param>
    internal static byte[] Move(string from, string to)
    {
        Check(from);
        return Encode(InitFrameType.FilesMove, writer => writer.Text(from), to);
    }

    private static byte[] Encode(InitFrameType type, Action<PayloadWriter> fields, string path)
    {
        Check(path);
        var writer = new PayloadWriter();
        fields(writer);
        writer.Text(path);
        return writer.ToFrame(type, InitProtocol.MaxPayload);
    }

    private static void Check(string path)
    {
        if (path != "/" && CleanPath.TryParse(path, PathKind.Absolute, out _) != PathFaults.None)
        {
            throw new ArgumentException($"'{path}' is not a clean absolute path of at most {CleanPath.MaxBytes} bytes.", nameof(path));
        }
    }
}
