using System.Formats.Tar;
using Boxer.Inputs;
using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>
/// Puts the changed entries of a workspace, which PID 1 streams, into a tar archive. Names and bounds were checked when they were decoded
/// (<see cref="InitConversation"/>), because PID 1 may be a guest's by now.
/// </summary>
internal sealed class WorkspaceChanges : IDisposable
{
    // What Linux shows for every symbolic link.
    private const UnixFileMode AllPermissions = (UnixFileMode)0x1FF;
    private readonly string _workspace;
    private readonly MemoryStream _bytes = new();
    private readonly TarWriter _tar;
    private readonly List<string> _notes = [];
    private InitOutputFile? _file;
    private MemoryStream? _content;
    private long _linksOut;
    private bool _hasEntries;

    /// <param name="workspace">The absolute path of the workspace.</param>
    internal WorkspaceChanges(string workspace)
    {
        _workspace = workspace;
        _tar = new TarWriter(_bytes, TarEntryFormat.Pax, leaveOpen: true);
    }

    /// <summary>The archive; empty where nothing was changed.</summary>
    internal ReadOnlyMemory<byte> Archive { get; private set; }

    /// <summary>Why something is missing, or <see langword="null"/>.</summary>
    internal string? Incomplete
    {
        get
        {
            IEnumerable<string> notes = _linksOut == 0 ? _notes : _notes.Append($"{_linksOut} symbolic links led out of the workspace.");
            return notes.Any() ? string.Join(" ", notes) : null;
        }
    }

    /// <summary>Takes what came.</summary>
    internal void Accept(InitEvent message)
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
                (_file, _content) = (file, new MemoryStream());
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
    }

    /// <summary>Notes why nothing more comes.</summary>
    internal void GiveUp(string reason) => _notes.Add(reason);

    /// <summary>Ends the archive.</summary>
    internal void Complete()
    {
        _tar.Dispose();
        Archive = _hasEntries ? _bytes.GetBuffer().AsMemory(0, (int)_bytes.Length) : default;
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

    private void Write(PaxTarEntry entry)
    {
        _hasEntries = true;
        _tar.WriteEntry(entry);
    }
}
