using System.Formats.Tar;
using System.IO.Pipelines;
using Boxer.Common;
using Boxer.Inputs;
using Boxer.Native;
using Boxer.Runtime.Init;

namespace Boxer.Runtime.Kept;

/// <summary>
/// A tar archive of the entries that a worker sends, written as it is read. As in the changes of a workspace, symbolic links that lead out of the directory
/// are left out. Disposing it before its end ends the worker.
/// </summary>
internal sealed class FileArchiveStream : ForwardStream
{
    // Linux shows all permissions for every symbolic link.
    private const UnixFileMode AllPermissions = (UnixFileMode)0x1FF;
    private readonly FileChannel _channel;
    private readonly FileTurn _turn;
    private readonly string _path;
    private readonly FileEntries _entries;
    private readonly Pipe _pipe = new(new PipeOptions(pauseWriterThreshold: 256 << 10, resumeWriterThreshold: 128 << 10, useSynchronizationContext: false));
    private readonly Stream _archive;

    // Contents count for all entries, also for those that are left out.
    private long _left;

    /// <param name="channel">The channel, after the first answer.</param>
    /// <param name="first">The first answer.</param>
    /// <param name="path">The directory or file.</param>
    /// <param name="maxBytes">Maximum length of the archive.</param>
    /// <param name="maxEntries">Maximum number of entries.</param>
    /// <param name="turn">The operation; disposed with the stream.</param>
    internal FileArchiveStream(FileChannel channel, FileAnswer first, string path, long maxBytes, int maxEntries, FileTurn turn)
    {
        _channel = channel;
        _turn = turn;
        _path = path;
        _left = maxBytes;
        _entries = new FileEntries(maxEntries, InitProtocol.MaxOutputDepth);
        _archive = new ArchiveSink(_pipe.Writer, maxBytes, path);
        _ = WriteAsync(first);
    }

    /// <inheritdoc/>
    /// <exception cref="GuestFileException">An entry cannot be read, or the archive is too large (EFBIG).</exception>
    /// <exception cref="IOException">The worker has ended.</exception>
    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (buffer.IsEmpty)
        {
            return 0;
        }

        ReadResult result = await _pipe.Reader.ReadAsync(cancellationToken).ConfigureAwait(false);
        int count = (int)Math.Min(result.Buffer.Length, buffer.Length);
        System.Buffers.ReadOnlySequence<byte> taken = result.Buffer.Slice(0, count);
        System.Buffers.BuffersExtensions.CopyTo(taken, buffer.Span);
        _pipe.Reader.AdvanceTo(taken.End);
        return count;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        _turn.Dispose();
        _pipe.Reader.Complete();
        base.Dispose(disposing);
    }

    private async Task WriteAsync(FileAnswer answer)
    {
        try
        {
            var tar = new TarWriter(_archive, TarEntryFormat.Pax, leaveOpen: true);
            await using (tar.ConfigureAwait(false))
            {
                bool isFirst = true;
                while (answer is FileEntry { File: var file })
                {
                    await WriteEntryAsync(tar, file, isFirst).ConfigureAwait(false);
                    isFirst = false;
                    answer = await _channel.ReadAsync(CancellationToken.None).ConfigureAwait(false);
                }

                _turn.Complete(answer, _path);
            }

            await _pipe.Writer.CompleteAsync().ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            // The reader gets it.
            await _pipe.Writer.CompleteAsync(exception).ConfigureAwait(false);
        }
    }

    private async Task WriteEntryAsync(TarWriter tar, GuestFile file, bool isFirst)
    {
        // The path of a single file is empty.
        bool isAlone = file.Path.Length == 0 && isFirst && file.Kind == GuestFileKind.File;
        file = isAlone ? file with { Path = _path[(_path.LastIndexOf('/') + 1)..] } : file;
        bool isTaken = _entries.Accept(file);
        PaxTarEntry? entry = file.Kind switch
        {
            GuestFileKind.File => new PaxTarEntry(TarEntryType.RegularFile, file.Path) { Mode = Permissions(file), DataStream = new FileContentStream(_channel, file.Size, _path) },
            GuestFileKind.Directory => new PaxTarEntry(TarEntryType.Directory, file.Path) { Mode = Permissions(file) },
            GuestFileKind.SymbolicLink when file.LinkTarget is { Length: > 0 } target => WorkspaceTree.StaysInside(file.Path, target, _path)
                ? new PaxTarEntry(TarEntryType.SymbolicLink, file.Path) { LinkName = target, Mode = AllPermissions }
                : null,
            _ => throw FileChannel.Violation("it sent an entry that is neither file, directory nor link."),
        };
        _left -= file.Kind == GuestFileKind.File ? Math.Min(file.Size, long.MaxValue / 2) : 0;
        if (_entries.IsFull || _left < 0)
        {
            throw new GuestFileException(_path, Errno.EFBIG);
        }

        if (entry is not null && isTaken)
        {
            entry.ModificationTime = file.ModifiedAt < DateTimeOffset.UnixEpoch ? DateTimeOffset.UnixEpoch : file.ModifiedAt;
            await tar.WriteEntryAsync(entry).ConfigureAwait(false);
        }
        else if (entry?.DataStream is { } content)
        {
            await content.CopyToAsync(Null).ConfigureAwait(false);
        }
    }

    private static UnixFileMode Permissions(GuestFile file) => (UnixFileMode)file.Mode & AllPermissions;
}
