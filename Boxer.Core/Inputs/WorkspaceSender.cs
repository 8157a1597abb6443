using System.Buffers;
using System.IO.Compression;
using System.Runtime.CompilerServices;
using Boxer.Common;
using Boxer.Images.Layers;
using Boxer.Runtime.Init;
using Boxer.Validation;

namespace Boxer.Inputs;

/// <summary>
/// Sends the inputs of a workspace to PID 1, entry by entry as they come. What is wrong with them is said by the name of the entry. Small frames go
/// together.
/// </summary>
internal sealed class WorkspaceSender : IDisposable
{
    private const uint DirectoryMode = 0x1ED; // 0755
    private const uint FileMode = 0x1A4; // 0644
    private const uint Permissions = 0x1FF;

    // A header, its long names and its padding.
    private const int ArchiveBytesOfEntry = 4_096;
    private const int MaxArchiveOverhead = 4 << 20;
    private readonly CheckedWorkspace _workspace;
    private readonly InitChannel _init;
    private readonly DateTimeOffset _now;
    private readonly Action<string> _onField;
    private readonly WorkspaceTree _tree;
    private readonly byte[] _buffer = ArrayPool<byte>.Shared.Rent(InitProtocol.HeaderSize + InitProtocol.MaxPayload);

    // Directories get their times at the end, because making entries in them changes these.
    private readonly Dictionary<string, (uint Mode, long Seconds, uint Nanoseconds)> _directories = new(StringComparer.Ordinal);
    private string _field = "Workspace";
    private int _filled;

    /// <param name="workspace">The workspace.</param>
    /// <param name="init">PID 1, which has its work.</param>
    /// <param name="now">The modification time of what has none.</param>
    /// <param name="onField">Called with the property of the request that is being sent.</param>
    internal WorkspaceSender(CheckedWorkspace workspace, InitChannel init, DateTimeOffset now, Action<string> onField)
    {
        _onField = onField;
        _workspace = workspace;
        _init = init;
        _now = now;
        _tree = new WorkspaceTree(workspace);
    }

    /// <summary>Sends all of them.</summary>
    /// <exception cref="InvalidSandboxRequestException">One is refused, or cannot be read.</exception>
    internal async Task SendAsync(CancellationToken cancellationToken)
    {
        for (int i = 0; i < _workspace.Inputs.Count; i++)
        {
            SandboxInput input = _workspace.Inputs[i];
            string name = $"Workspace.Inputs[{i}]";
            Name(name);
            if (input.IsArchive)
            {
                await SendArchiveAsync(input, cancellationToken).ConfigureAwait(false);
            }

            for (int j = 0; j < input.Files.Count; j++)
            {
                Name($"{name}.Files[{j}]");
                await SendFileAsync(input.Files[j], cancellationToken).ConfigureAwait(false);
            }
        }

        foreach ((string path, (uint mode, long seconds, uint nanoseconds)) in _directories)
        {
            await AppendAsync(InitEncoder.EncodeTreeEntry(InitFrameType.TreeDirectory, mode, seconds, nanoseconds, path), cancellationToken).ConfigureAwait(false);
        }

        await FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public void Dispose() => ArrayPool<byte>.Shared.Return(_buffer);

    private void Name(string input)
    {
        _field = input;
        _onField(input);
    }

    private async Task SendFileAsync(SandboxFile file, CancellationToken cancellationToken)
    {
        try
        {
            Stream content = await file.OpenReadAsync(cancellationToken).ConfigureAwait(false);
            await using (content.ConfigureAwait(false))
            {
                await MakeAsync(_tree.AddFile(file.Path), cancellationToken).ConfigureAwait(false);
                await AppendAsync(EntryOfNow(InitFrameType.TreeFile, file.Executable ? DirectoryMode : FileMode, file.Path), cancellationToken).ConfigureAwait(false);
                byte[] piece = ArrayPool<byte>.Shared.Rent(InitProtocol.MaxPayload);
                try
                {
                    int read;
                    while ((read = await content.ReadAsync(piece.AsMemory(0, InitProtocol.MaxPayload), cancellationToken).ConfigureAwait(false)) > 0)
                    {
                        _tree.Grow(file.Path, read);
                        await AppendDataAsync(piece.AsMemory(0, read), cancellationToken).ConfigureAwait(false);
                    }
                }
                finally
                {
                    ArrayPool<byte>.Shared.Return(piece);
                }
            }

            await AppendAsync(InitEncoder.EncodeEmpty(InitFrameType.FileEnd), cancellationToken).ConfigureAwait(false);
        }
        catch (InvalidDataException exception)
        {
            throw new InvalidSandboxRequestException(_field, $"\"{UntrustedText.Show(file.Path)}\": {exception.Message}.");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(exception);
        }
    }

    private async Task SendArchiveAsync(SandboxInput input, CancellationToken cancellationToken)
    {
        LayerEntry? entry = null;
        LayerArchiveReader? reader = null;
        try
        {
            Stream content = await input.OpenReadAsync(cancellationToken).ConfigureAwait(false);
            await using ConfiguredAsyncDisposable owned = content.ConfigureAwait(false);
            var whole = new PeekStream(content);
            await using ConfiguredAsyncDisposable peeked = whole.ConfigureAwait(false);
            bool isCompressed = (await whole.PeekAsync(2, cancellationToken).ConfigureAwait(false)).Span is [0x1f, 0x8b, ..];
            Stream plain = isCompressed ? new GZipStream(whole, CompressionMode.Decompress, leaveOpen: true) : whole;
            await using ConfiguredAsyncDisposable opened = plain.ConfigureAwait(false);
            using var bounded = new BoundedStream(plain, _workspace.MaxBytes + ((long)_workspace.MaxEntries * ArchiveBytesOfEntry) + MaxArchiveOverhead);
            reader = new LayerArchiveReader(bounded);
            while ((entry = await ReadEntryAsync(reader).ConfigureAwait(false)) is not null)
            {
                await SendEntryAsync(reader, entry, cancellationToken).ConfigureAwait(false);
            }

            // One that was cut off between two entries would otherwise be taken for the whole. The rest is read for the checksum of gzip.
            if (!reader.HasEndMark)
            {
                throw new InvalidSandboxRequestException(_field, "the archive is empty or cut off: it has no end-of-archive mark.");
            }

            await reader.DrainAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (InvalidDataException exception)
        {
            string which = entry is null ? "the archive is refused" : $"the entry {LayerPath.Show(entry.Name)} is refused";
            bool isNoArchive = reader is { IsAtFirstHeader: true } && exception.InnerException is null;
            string hint = isNoArchive ? "it is neither a tar archive nor one compressed with gzip: " : "";
            throw new InvalidSandboxRequestException(_field, $"{which}: {hint}{exception.Message}.");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw Unreadable(exception);
        }

        async ValueTask<LayerEntry?> ReadEntryAsync(LayerArchiveReader archive)
        {
            entry = null;
            return await archive.ReadEntryAsync(cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task SendEntryAsync(LayerArchiveReader reader, LayerEntry entry, CancellationToken cancellationToken)
    {
        string path = WorkspaceTree.Parse(entry.Name);
        if (path.Length == 0)
        {
            // The workspace itself, which is there with its own mode.
            if (entry.Type != LayerEntryType.Directory)
            {
                throw new InvalidDataException("only a directory can be the workspace itself");
            }

            return;
        }

        switch (entry.Type)
        {
            case LayerEntryType.Directory:
                await MakeAsync([.. _tree.AddDirectory(path), path], cancellationToken).ConfigureAwait(false);
                _directories[path] = (entry.Mode & Permissions, entry.ModifiedSeconds, (uint)entry.ModifiedNanoseconds);
                break;
            case LayerEntryType.File:
                await MakeAsync(_tree.AddFile(path), cancellationToken).ConfigureAwait(false);
                _tree.Grow(path, entry.Size);
                await AppendAsync(Entry(InitFrameType.TreeFile, path), cancellationToken).ConfigureAwait(false);
                await SendContentAsync(reader, entry, cancellationToken).ConfigureAwait(false);
                await AppendAsync(InitEncoder.EncodeEmpty(InitFrameType.FileEnd), cancellationToken).ConfigureAwait(false);
                break;
            case LayerEntryType.SymbolicLink:
                await SendLinkAsync(WorkspaceTree.Decode(entry.LinkName)).ConfigureAwait(false);
                break;
            case LayerEntryType.HardLink:
                string source = WorkspaceTree.Parse(entry.LinkName);
                (long size, string? target) = _tree.FindLinked(source);
                if (source == path)
                {
                    throw new InvalidDataException("it is a hard link to itself");
                }

                if (target is not null)
                {
                    // The copy may be in another directory, from where the link leads elsewhere.
                    await SendLinkAsync(target).ConfigureAwait(false);
                    break;
                }

                await MakeAsync(_tree.AddFile(path), cancellationToken).ConfigureAwait(false);
                _tree.Grow(path, size);
                await AppendAsync(Entry(InitFrameType.TreeCopy, path, source), cancellationToken).ConfigureAwait(false);
                break;
            default:
                throw new InvalidDataException("it is a device or a FIFO, which a workspace cannot have");
        }

        async Task SendLinkAsync(string target)
        {
            await MakeAsync(_tree.AddLink(path, target), cancellationToken).ConfigureAwait(false);
            await AppendAsync(Entry(InitFrameType.TreeLink, path, target), cancellationToken).ConfigureAwait(false);
        }

        byte[] Entry(InitFrameType type, string name, string? other = null) =>
            InitEncoder.EncodeTreeEntry(type, entry.Mode & Permissions, entry.ModifiedSeconds, (uint)entry.ModifiedNanoseconds, name, other);
    }

    // Holes of sparse files are sent as zeros.
    private async Task SendContentAsync(LayerArchiveReader reader, LayerEntry entry, CancellationToken cancellationToken)
    {
        long at = 0;
        foreach (SparseChunk chunk in entry.Chunks ?? [new(0, entry.Size)])
        {
            await SendZerosAsync(chunk.Offset - at, cancellationToken).ConfigureAwait(false);
            for (long left = chunk.Length; left > 0;)
            {
                ReadOnlyMemory<byte> data = await reader.ReadDataAsync(Math.Min(left, InitProtocol.MaxPayload), cancellationToken).ConfigureAwait(false);
                await AppendDataAsync(data, cancellationToken).ConfigureAwait(false);
                left -= data.Length;
            }

            at = chunk.Offset + chunk.Length;
        }

        await SendZerosAsync(entry.Size - at, cancellationToken).ConfigureAwait(false);
    }

    private async Task SendZerosAsync(long count, CancellationToken cancellationToken)
    {
        byte[] zeros = new byte[(int)Math.Min(count, InitProtocol.MaxPayload)];
        for (; count > 0; count -= Math.Min(count, zeros.Length))
        {
            await AppendDataAsync(zeros.AsMemory(0, (int)Math.Min(count, zeros.Length)), cancellationToken).ConfigureAwait(false);
        }
    }

    private async Task MakeAsync(IReadOnlyList<string> directories, CancellationToken cancellationToken)
    {
        foreach (string directory in directories)
        {
            await AppendAsync(EntryOfNow(InitFrameType.TreeDirectory, DirectoryMode, directory), cancellationToken).ConfigureAwait(false);
        }
    }

    private byte[] EntryOfNow(InitFrameType type, uint mode, string path) => InitEncoder.EncodeTreeEntry(type, mode, _now.ToUnixTimeSeconds(), 0, path);

    private async Task AppendDataAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        byte[] header = new byte[InitProtocol.HeaderSize];
        InitProtocol.WriteHeader(header, InitFrameType.FileData, data.Length);
        if (header.Length + data.Length > _buffer.Length - _filled)
        {
            await FlushAsync(cancellationToken).ConfigureAwait(false);
        }

        Append(header);
        Append(data.Span);
    }

    private async Task AppendAsync(ReadOnlyMemory<byte> frame, CancellationToken cancellationToken)
    {
        if (frame.Length > _buffer.Length - _filled)
        {
            await FlushAsync(cancellationToken).ConfigureAwait(false);
        }

        Append(frame.Span);
    }

    private void Append(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_buffer.AsSpan(_filled));
        _filled += bytes.Length;
    }

    private async Task FlushAsync(CancellationToken cancellationToken)
    {
        await _init.SendFramesAsync(_buffer.AsMemory(0, _filled), cancellationToken).ConfigureAwait(false);
        _filled = 0;
    }

    private InvalidSandboxRequestException Unreadable(Exception exception) => new(_field, "its content cannot be read.", exception.Message, exception);
}
