using System.Formats.Tar;
using Boxer.Inputs;
using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>
/// Writes the changed entries of a workspace into a tar archive. <see cref="InitConversation"/> has checked their names and bounds, because the guest may
/// control PID 1 by now.
/// </summary>
internal sealed class WorkspaceChanges : IFileReceiver, IDisposable
{
    // The end-of-archive mark.
    private const int EndBytes = 1_024;

    // Linux shows all permissions for every symbolic link.
    private const UnixFileMode AllPermissions = (UnixFileMode)0x1FF;
    private readonly string _workspace;
    private readonly long _maxBytes;
    private readonly MemoryStream _bytes = new();
    private readonly TarWriter _tar;
    private readonly List<string> _notes = [];
    private InitOutputFile? _file;
    private MemoryStream? _content;
    private long _linksOutside;
    private long _tooLarge;
    private bool _hasEntries;

    /// <param name="workspace">The absolute path of the workspace.</param>
    /// <param name="maxBytes">Maximum size of the archive, in bytes.</param>
    internal WorkspaceChanges(string workspace, long maxBytes)
    {
        _workspace = workspace;
        _maxBytes = maxBytes;
        _tar = new TarWriter(_bytes, TarEntryFormat.Pax, leaveOpen: true);
    }

    /// <summary>The archive, after <see cref="Complete"/>; empty if nothing was changed.</summary>
    internal ReadOnlyMemory<byte> Archive { get; private set; }

    /// <summary>The reason why entries are missing; <see langword="null"/> if none are.</summary>
    internal string? Incomplete
    {
        get
        {
            string[] notes =
            [
                .. _notes,
                .. _tooLarge == 0 ? (string[])[] : [$"{_tooLarge} entries did not fit in the limit of bytes."],
                .. _linksOutside == 0 ? (string[])[] : [$"{_linksOutside} symbolic links led out of the workspace."],
            ];
            return notes.Length > 0 ? string.Join(" ", notes) : null;
        }
    }

    /// <inheritdoc/>
    public ValueTask AcceptAsync(InitEvent message, CancellationToken cancellationToken)
    {
        switch (message)
        {
            case InitOutputDirectory directory:
                Write(new PaxTarEntry(TarEntryType.Directory, directory.Path) { Mode = (UnixFileMode)directory.Mode });
                break;
            case InitOutputLink link when WorkspaceTree.StaysInside(link.Path, link.Target, _workspace):
                Write(new PaxTarEntry(TarEntryType.SymbolicLink, link.Path) { LinkName = link.Target, Mode = AllPermissions });
                break;
            case InitOutputLink:
                _linksOutside++;
                break;
            case InitOutputFile file:
                (_file, _content) = (file, new MemoryStream((int)file.Size));
                EndFile();
                break;
            case InitOutputData data:
                _content!.Write(data.Data.Span);
                EndFile();
                break;
            case InitOutputTruncated truncated:
                (_file, _content) = (null, null);
                _notes.Add(OutputFiles.Describe(truncated));
                break;
        }

        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask InterruptAsync(string reason)
    {
        (_file, _content) = (null, null);
        _notes.Add(reason);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask FailAsync(Exception fault) => InterruptAsync("This host could not take them all.");

    /// <summary>Ends the archive.</summary>
    internal void Complete()
    {
        _tar.Dispose();
        Archive = _hasEntries ? _bytes.ToArray() : default;
    }

    /// <inheritdoc/>
    public void Dispose() => _tar.Dispose();

    private void EndFile()
    {
        if (_content!.Length < _file!.Size)
        {
            return;
        }

        _content.Position = 0;
        Write(new PaxTarEntry(TarEntryType.RegularFile, _file.Path) { Mode = (UnixFileMode)_file.Mode, ModificationTime = _file.ModifiedAt, DataStream = _content });
        (_file, _content) = (null, null);
    }

    // Headers count too: names and targets of links may be longer than the content of the files.
    private void Write(PaxTarEntry entry)
    {
        long before = _bytes.Length;
        _tar.WriteEntry(entry);
        if (_bytes.Length > _maxBytes - EndBytes)
        {
            _bytes.SetLength(before);
            _tooLarge++;
        }
        else
        {
            _hasEntries = true;
        }
    }
}
