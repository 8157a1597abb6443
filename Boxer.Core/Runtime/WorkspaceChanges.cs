using System.Formats.Tar;
using Boxer.Inputs;
using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>
/// Puts the changed entries of a workspace, which PID 1 streams, into a tar archive. Names and bounds were checked when they were decoded
/// (<see cref="InitConversation"/>), because PID 1 may be a guest's by now.
/// </summary>
internal sealed class WorkspaceChanges : IFileReceiver, IDisposable
{
    // The mark of the end.
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
    private long _linksOut;
    private long _withoutRoom;
    private bool _hasEntries;

    /// <param name="workspace">The absolute path of the workspace.</param>
    /// <param name="maxBytes">The most bytes of the archive.</param>
    internal WorkspaceChanges(string workspace, long maxBytes)
    {
        _workspace = workspace;
        _maxBytes = maxBytes;
        _tar = new TarWriter(_bytes, TarEntryFormat.Pax, leaveOpen: true);
    }

    /// <summary>The archive; empty where nothing was changed.</summary>
    internal ReadOnlyMemory<byte> Archive { get; private set; }

    /// <summary>Why something is missing, or <see langword="null"/>.</summary>
    internal string? Incomplete
    {
        get
        {
            string[] notes =
            [
                .. _notes,
                .. _withoutRoom == 0 ? (string[])[] : [$"{_withoutRoom} entries did not fit in the limit of bytes."],
                .. _linksOut == 0 ? (string[])[] : [$"{_linksOut} symbolic links led out of the workspace."],
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
                _linksOut++;
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
    public ValueTask GiveUpAsync(string reason)
    {
        (_file, _content) = (null, null);
        _notes.Add(reason);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    public ValueTask FailAsync(Exception fault) => GiveUpAsync("This host could not take them all.");

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

    // Headers count too: names and targets of links may be longer than what is in the files.
    private void Write(PaxTarEntry entry)
    {
        long before = _bytes.Length;
        _tar.WriteEntry(entry);
        if (_bytes.Length > _maxBytes - EndBytes)
        {
            _bytes.SetLength(before);
            _withoutRoom++;
        }
        else
        {
            _hasEntries = true;
        }
    }
}
