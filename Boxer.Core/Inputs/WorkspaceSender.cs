using System.Buffers;
using System.IO.Compression;
using System.Runtime.CompilerServices;
using Boxer.Common;
using Boxer.Images.Layers;
using Boxer.Runtime.Init;
using Boxer.Validation;

namespace Boxer.Inputs;

/// <summary>Sends the inputs of a workspace to PID 1, or an archive to a file worker, entry by entry as they are read. Its exceptions name the entry that is wrong.</summary>
internal sealed class WorkspaceSender : IDisposable
{
    private const uint DirectoryMode = 0x1ED; // 0755
    private const uint FileMode = 0x1A4; // 0644
    private const uint Permissions = 0x1FF;

    // A header with its long names and its padding.
    private const int ArchiveBytesOfEntry = 4_096;
    private const int MaxArchiveOverhead = 4 << 20;
    private readonly CheckedWorkspace _workspace;
    private readonly FrameBuffer _frames;
    private readonly DateTimeOffset _now;
    private readonly Action<string> _onField;
    private readonly InitFrameType _parentType;
    private readonly WorkspaceTree _tree;

    // Directories get their times at the end, because creating entries in them changes these.
    private readonly Dictionary<string, (uint Mode, long Seconds, uint Nanoseconds)> _directories = new(StringComparer.Ordinal);
    private string _field = "Workspace";

    // The entry of an archive that is being sent, for messages.
    private LayerEntry? _current;

    /// <param name="workspace">The workspace.</param>
    /// <param name="init">The channel to PID 1, after START.</param>
    /// <param name="now">The modification time of entries that have none.</param>
    /// <param name="onField">Called with the property of the request that is being sent.</param>
    internal WorkspaceSender(CheckedWorkspace workspace, InitChannel init, DateTimeOffset now, Action<string> onField)
        : this(workspace, init.SendFramesAsync, now, onField, InitFrameType.TreeDirectory)
    {
    }

    /// <param name="workspace">The directory and its bounds.</param>
    /// <param name="send">Sends frames.</param>
    /// <param name="now">The modification time of entries that have none.</param>
    /// <param name="onField">Called with the property of the request that is being sent.</param>
    /// <param name="parentType">Type of the frames for directories that an entry needs.</param>
    internal WorkspaceSender(
        CheckedWorkspace workspace, Func<ReadOnlyMemory<byte>, CancellationToken, Task> send, DateTimeOffset now, Action<string> onField, InitFrameType parentType)
    {
        _workspace = workspace;
        _frames = new FrameBuffer(send);
        _now = now;
        _onField = onField;
        _parentType = parentType;
        _tree = new WorkspaceTree(workspace);
    }

    /// <summary>Called with the bytes of content that the next frames bring. Its exceptions end the operation.</summary>
    internal Action<long>? Growing { get; init; }

    /// <summary>Sends all inputs.</summary>
    /// <param name="cancellationToken">Cancels the operation; the channel is of no use afterwards.</param>
    /// <exception cref="InvalidSandboxRequestException">An input is rejected, or cannot be read.</exception>
    internal async Task SendAsync(CancellationToken cancellationToken)
    {
        for (int i = 0; i < _workspace.Inputs.Count; i++)
        {
            SandboxInput input = _workspace.Inputs[i];
            string name = $"Workspace.Inputs[{i}]";
            SetField(name);
            if (input.IsArchive)
            {
                await SendArchiveAsync(input, cancellationToken).ConfigureAwait(false);
            }

            for (int j = 0; j < input.Files.Count; j++)
            {
                SetField($"{name}.Files[{j}]");
                await SendFileAsync(input.Files[j], cancellationToken).ConfigureAwait(false);
            }
        }

        await FinishAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Sends one archive.</summary>
    /// <param name="archive">The archive, read to its end and not disposed.</param>
    /// <param name="field">The property of the request, for exceptions.</param>
    /// <param name="cancellationToken">Cancels the operation; the channel is of no use afterwards.</param>
    /// <exception cref="InvalidSandboxRequestException">The archive is rejected, or cannot be read.</exception>
    internal async Task SendArchiveAsync(Stream archive, string field, CancellationToken cancellationToken)
    {
        SetField(field);
        await SendArchiveAsync(() => new ValueTask<Stream>(archive), cancellationToken).ConfigureAwait(false);
        await FinishAsync(cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public void Dispose() => _frames.Dispose();

    // The last name comes first: a directory without permission to enter it would hide those below it.
    private async Task FinishAsync(CancellationToken cancellationToken)
    {
        foreach ((string path, (uint mode, long seconds, uint nanoseconds)) in _directories.OrderByDescending(directory => directory.Key, StringComparer.Ordinal))
        {
            await _frames.AddAsync(InitEncoder.EncodeTreeEntry(InitFrameType.TreeDirectory, mode, seconds, nanoseconds, path), cancellationToken).ConfigureAwait(false);
        }

        await _frames.FlushAsync(cancellationToken).ConfigureAwait(false);
    }

    private void SetField(string field)
    {
        _field = field;
        _onField(field);
    }

    private async Task SendFileAsync(SandboxFile file, CancellationToken cancellationToken)
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(InitProtocol.MaxPayload);
        try
        {
            Stream content = await file.OpenReadAsync(cancellationToken).ConfigureAwait(false);
            await using ConfiguredAsyncDisposable opened = content.ConfigureAwait(false);
            await AddParentsAsync(_tree.AddFile(file.Path), cancellationToken).ConfigureAwait(false);
            await _frames.AddAsync(NewFrame(InitFrameType.TreeFile, file.Executable ? DirectoryMode : FileMode, file.Path), cancellationToken).ConfigureAwait(false);
            int read;
            while ((read = await content.ReadAsync(buffer.AsMemory(0, InitProtocol.MaxPayload), cancellationToken).ConfigureAwait(false)) > 0)
            {
                Grow(file.Path, read);
                await _frames.AddDataAsync(buffer.AsMemory(0, read), cancellationToken).ConfigureAwait(false);
            }

            await _frames.AddAsync(InitEncoder.EncodeEmpty(InitFrameType.FileEnd), cancellationToken).ConfigureAwait(false);
        }
        catch (InvalidDataException exception)
        {
            throw new InvalidSandboxRequestException(_field, $"\"{UntrustedText.Show(file.Path)}\": {exception.Message}.");
        }
        catch (Exception exception) when (UnreadableContent.Is(exception, cancellationToken))
        {
            throw UnreadableContent.Rejection(_field, exception);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private async Task SendArchiveAsync(SandboxInput input, CancellationToken cancellationToken)
    {
        Stream? content = null;
        try
        {
            await SendArchiveAsync(async () => content = await input.OpenReadAsync(cancellationToken).ConfigureAwait(false), cancellationToken).ConfigureAwait(false);
        }
        finally
        {
            await CloseAsync(content, cancellationToken).ConfigureAwait(false);
        }
    }

    private async ValueTask CloseAsync(Stream? content, CancellationToken cancellationToken)
    {
        try
        {
            if (content is not null)
            {
                await content.DisposeAsync().ConfigureAwait(false);
            }
        }
        catch (Exception exception) when (UnreadableContent.Is(exception, cancellationToken))
        {
            throw UnreadableContent.Rejection(_field, exception);
        }
    }

    private async Task SendArchiveAsync(Func<ValueTask<Stream>> open, CancellationToken cancellationToken)
    {
        LayerArchiveReader? reader = null;
        try
        {
            var peekable = new PeekStream(await open().ConfigureAwait(false));
            await using ConfiguredAsyncDisposable peeked = peekable.ConfigureAwait(false);
            bool isCompressed = (await peekable.PeekAsync(2, cancellationToken).ConfigureAwait(false)).Span is [0x1f, 0x8b, ..];
            Stream plain = isCompressed ? new GZipStream(peekable, CompressionMode.Decompress, leaveOpen: true) : peekable;
            await using ConfiguredAsyncDisposable decompressed = plain.ConfigureAwait(false);
            using var bounded = new BoundedStream(plain, _workspace.MaxBytes + ((long)_workspace.MaxEntries * ArchiveBytesOfEntry) + MaxArchiveOverhead);
            reader = new LayerArchiveReader(bounded);
            await SendEntriesAsync(reader, cancellationToken).ConfigureAwait(false);
        }
        catch (InvalidDataException exception)
        {
            string which = _current is null ? "the archive is refused" : $"the entry {LayerPath.Show(_current.Name)} is refused";
            bool isNoArchive = reader is { IsAtFirstHeader: true } && exception.InnerException is null;
            string hint = isNoArchive ? "it is neither a tar archive nor one compressed with gzip: " : "";
            throw new InvalidSandboxRequestException(_field, $"{which}: {hint}{exception.Message}.");
        }
        catch (Exception exception) when (UnreadableContent.Is(exception, cancellationToken))
        {
            throw UnreadableContent.Rejection(_field, exception);
        }
    }

    private async Task SendEntriesAsync(LayerArchiveReader reader, CancellationToken cancellationToken)
    {
        do
        {
            _current = null;
            _current = await reader.ReadEntryAsync(cancellationToken).ConfigureAwait(false);
            if (_current is not null)
            {
                await SendEntryAsync(reader, _current, cancellationToken).ConfigureAwait(false);
            }
        }
        while (_current is not null);

        // An archive that was cut off between two entries would otherwise pass for a whole one.
        if (!reader.HasEndMark)
        {
            throw new InvalidSandboxRequestException(_field, "the archive is empty or cut off: it has no end-of-archive mark.");
        }

        // The rest is read for the checksum of gzip.
        await reader.DrainAsync(cancellationToken).ConfigureAwait(false);
    }

    private async Task SendEntryAsync(LayerArchiveReader reader, LayerEntry entry, CancellationToken cancellationToken)
    {
        string path = WorkspaceTree.Parse(entry.Name);
        if (path.Length == 0)
        {
            // The workspace itself exists already, with a mode of its own.
            if (entry.Type != LayerEntryType.Directory)
            {
                throw new InvalidDataException("only a directory can be the workspace itself");
            }

            return;
        }

        switch (entry.Type)
        {
            case LayerEntryType.Directory:
                await AddParentsAsync([.. _tree.AddDirectory(path), path], cancellationToken).ConfigureAwait(false);
                _directories[path] = (entry.Mode & Permissions, entry.ModifiedSeconds, (uint)entry.ModifiedNanoseconds);
                break;
            case LayerEntryType.File:
                await AddParentsAsync(_tree.AddFile(path), cancellationToken).ConfigureAwait(false);
                Grow(path, entry.Size);
                await _frames.AddAsync(Frame(InitFrameType.TreeFile, entry, path), cancellationToken).ConfigureAwait(false);
                await SendContentAsync(reader, entry, cancellationToken).ConfigureAwait(false);
                await _frames.AddAsync(InitEncoder.EncodeEmpty(InitFrameType.FileEnd), cancellationToken).ConfigureAwait(false);
                break;
            case LayerEntryType.SymbolicLink:
                await SendLinkAsync(entry, path, WorkspaceTree.Decode(entry.LinkName), cancellationToken).ConfigureAwait(false);
                break;
            case LayerEntryType.HardLink:
                await SendHardLinkAsync(entry, path, cancellationToken).ConfigureAwait(false);
                break;
            default:
                throw new InvalidDataException("it is a device or a FIFO, which a workspace cannot have");
        }
    }

    private async Task SendLinkAsync(LayerEntry entry, string path, string target, CancellationToken cancellationToken)
    {
        await AddParentsAsync(_tree.AddLink(path, target), cancellationToken).ConfigureAwait(false);
        await _frames.AddAsync(Frame(InitFrameType.TreeLink, entry, path, target), cancellationToken).ConfigureAwait(false);
    }

    // A workspace has no hard links: PID 1 copies the file, or creates the symbolic link again.
    private async Task SendHardLinkAsync(LayerEntry entry, string path, CancellationToken cancellationToken)
    {
        string source = WorkspaceTree.Parse(entry.LinkName);
        (long size, string? target) = _tree.FindLinked(source);
        if (source == path)
        {
            throw new InvalidDataException("it is a hard link to itself");
        }

        if (target is not null)
        {
            // Checked again for its new path: in another directory the target leads elsewhere.
            await SendLinkAsync(entry, path, target, cancellationToken).ConfigureAwait(false);
            return;
        }

        await AddParentsAsync(_tree.AddFile(path), cancellationToken).ConfigureAwait(false);
        Grow(path, size);
        await _frames.AddAsync(Frame(InitFrameType.TreeCopy, entry, path, source), cancellationToken).ConfigureAwait(false);
    }

    private void Grow(string path, long bytes)
    {
        _tree.Grow(path, bytes);
        Growing?.Invoke(bytes);
    }

    // Holes of sparse files are sent as zeros.
    private async Task SendContentAsync(LayerArchiveReader reader, LayerEntry entry, CancellationToken cancellationToken)
    {
        long position = 0;
        foreach (SparseChunk chunk in entry.Chunks ?? [new(0, entry.Size)])
        {
            await _frames.AddZerosAsync(chunk.Offset - position, cancellationToken).ConfigureAwait(false);
            for (long left = chunk.Length; left > 0;)
            {
                ReadOnlyMemory<byte> data = await reader.ReadDataAsync(Math.Min(left, InitProtocol.MaxPayload), cancellationToken).ConfigureAwait(false);
                await _frames.AddDataAsync(data, cancellationToken).ConfigureAwait(false);
                left -= data.Length;
            }

            position = chunk.Offset + chunk.Length;
        }

        await _frames.AddZerosAsync(entry.Size - position, cancellationToken).ConfigureAwait(false);
    }

    private async Task AddParentsAsync(IReadOnlyList<string> directories, CancellationToken cancellationToken)
    {
        foreach (string directory in directories)
        {
            await _frames.AddAsync(NewFrame(_parentType, DirectoryMode, directory), cancellationToken).ConfigureAwait(false);
        }
    }

    private byte[] NewFrame(InitFrameType type, uint mode, string path) => InitEncoder.EncodeTreeEntry(type, mode, _now.ToUnixTimeSeconds(), 0, path);

    private static byte[] Frame(InitFrameType type, LayerEntry entry, string path, string? other = null) =>
        InitEncoder.EncodeTreeEntry(type, entry.Mode & Permissions, entry.ModifiedSeconds, (uint)entry.ModifiedNanoseconds, path, other);
}
