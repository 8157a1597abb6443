using System.Text;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Runtime.Init;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime;

/// <summary>
/// Takes the files that PID 1 streams, in memory or into a directory of this host. Names and bounds were checked when they were decoded
/// (<see cref="InitConversation"/>), because PID 1 may be a guest's by now.
/// </summary>
internal sealed class OutputFiles : IFileReceiver
{
    private const UnixFileMode OthersWrite = UnixFileMode.GroupWrite | UnixFileMode.OtherWrite;
    private readonly string? _directory;
    private readonly bool _isCounted;
    private readonly List<SandboxOutputFile> _files = [];
    private readonly List<string> _notes = [];
    private InitOutputFile? _current;
    private Stream? _stream;
    private long _left;
    private long _unstorable;
    private bool _made;

    /// <param name="outputs">Where they go.</param>
    internal OutputFiles(OutputFilePolicy outputs)
    {
        _directory = outputs.Directory;
        _isCounted = !outputs.Collects;
    }

    internal IReadOnlyList<SandboxOutputFile> Files => _files;

    /// <summary>How many there were, where they are only counted.</summary>
    internal long Dropped { get; private set; }

    /// <summary>Why something is missing, or <see langword="null"/>.</summary>
    internal string? Incomplete
    {
        get
        {
            if (_isCounted)
            {
                return null;
            }

            IEnumerable<string> notes = _unstorable == 0 ? _notes : _notes.Append($"{_unstorable} paths were too long for the directory on this host.");
            return notes.Any() ? string.Join(" ", notes) : null;
        }
    }

    /// <summary>What this host failed with to write them, for the log: it has paths of this host in it.</summary>
    internal Exception? Fault { get; private set; }

    /// <inheritdoc/>
    public async ValueTask AcceptAsync(InitEvent message, CancellationToken cancellationToken)
    {
        if (_isCounted)
        {
            // Room for 0 bytes was asked for: those with content come as a number.
            Dropped += message is InitOutputFile ? 1 : message is InitOutputTruncated { Reason: not InitTruncation.Entries } cut ? Math.Min(cut.Count, int.MaxValue) : 0;
            return;
        }

        switch (message)
        {
            case InitOutputDirectory directory:
                if (_directory is not null)
                {
                    MakeRoot();
                    Store(() => Directory.CreateDirectory(Path.Join(_directory, directory.Path)));
                }

                break;
            case InitOutputFile file:
                (_current, _left) = (file, file.Size);
                _stream = Open(file);
                await EndFileAsync().ConfigureAwait(false);
                break;
            case InitOutputData data:
                _left -= data.Data.Length;
                await _stream!.WriteAsync(data.Data, cancellationToken).ConfigureAwait(false);
                await EndFileAsync().ConfigureAwait(false);
                break;
            case InitOutputTruncated truncated:
                await AbandonAsync().ConfigureAwait(false);
                _notes.Add(Describe(truncated));
                break;
        }
    }

    /// <inheritdoc/>
    public async ValueTask GiveUpAsync(string reason)
    {
        await AbandonAsync().ConfigureAwait(false);
        _notes.Add(reason);
    }

    /// <inheritdoc/>
    public ValueTask FailAsync(Exception fault)
    {
        Fault = fault;
        return GiveUpAsync("This host could not write them all.");
    }

    /// <summary>Throws everything away, because nobody will be told where it is.</summary>
    internal async ValueTask DiscardAsync()
    {
        await AbandonAsync().ConfigureAwait(false);
        _files.Clear();
        if (_made)
        {
            _made = false;
            Directory.Delete(_directory!, recursive: true);
        }
    }

    // The directory is this run's alone: one that another made meanwhile is not shared, and never removed.
    private void MakeRoot()
    {
        if (!_made)
        {
            using SafeFileHandle parent = DirectoryHandle.OpenNamedToResolve(Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(_directory!))!);
            string name = Path.GetFileName(Path.TrimEndingDirectorySeparator(_directory!));
            Check.Result(SysStat.mkdirat(parent, Encoding.UTF8.GetBytes(name + "\0"), 0x1C0), "mkdir", _directory);
            _made = true;
        }
    }

    private Stream Open(InitOutputFile file)
    {
        if (_directory is null)
        {
            return new MemoryStream();
        }

        MakeRoot();
        Stream? stream = null;
        Store(() => stream = new FileStream(Path.Join(_directory, file.Path), FileMode.CreateNew, FileAccess.Write));
        return stream ?? Stream.Null;
    }

    // What fits in the sandbox may be too long below the directory on this host: the guest's doing, and no failure of the run.
    private void Store(Action action)
    {
        try
        {
            action();
        }
        catch (Exception exception) when (exception is PathTooLongException or DirectoryNotFoundException)
        {
            _unstorable++;
        }
    }

    private async ValueTask EndFileAsync()
    {
        if (_current is null || _left > 0)
        {
            return;
        }

        // What is still in its buffer may find the disk full: then it is not whole, and AbandonAsync finds it.
        await _stream!.FlushAsync().ConfigureAwait(false);
        UnixFileMode mode = (UnixFileMode)_current.Mode;
        if (_stream is FileStream file)
        {
            // Whatever the command set, this host's user can read and delete it, and no other can write it.
            File.SetUnixFileMode(file.SafeFileHandle, (mode & ~OthersWrite) | UnixFileMode.UserRead | UnixFileMode.UserWrite);
            File.SetLastWriteTimeUtc(file.SafeFileHandle, _current.ModifiedAt.UtcDateTime);
        }

        if (_stream != Stream.Null)
        {
            _files.Add(new SandboxOutputFile
            {
                Path = _current.Path,
                Size = _current.Size,
                Mode = mode,
                ModifiedAt = _current.ModifiedAt,
                Content = _stream is MemoryStream memory ? memory.GetBuffer().AsMemory(0, (int)memory.Length) : default,
                HostPath = _directory is null ? null : Path.Join(_directory, _current.Path),
            });
        }

        await _stream.DisposeAsync().ConfigureAwait(false);
        (_current, _stream) = (null, null);
    }

    private async ValueTask AbandonAsync()
    {
        if (_stream is null)
        {
            return;
        }

        (Stream stream, string path, _current, _stream) = (_stream, _current!.Path, null, null);
        try
        {
            await stream.DisposeAsync().ConfigureAwait(false);
        }
        catch (IOException exception)
        {
            Fault ??= exception;
        }

        try
        {
            if (_directory is not null && stream != Stream.Null)
            {
                File.Delete(Path.Join(_directory, path));
            }
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            Fault ??= exception;
        }
    }

    internal static string Describe(InitOutputTruncated truncated) => truncated.Reason switch
    {
        InitTruncation.Bytes => $"{truncated.Count} files did not fit in the limit of bytes.",
        InitTruncation.Entries => "There were more files and directories than the limit.",
        InitTruncation.Depth => $"{truncated.Count} directories were nested too deep.",
        InitTruncation.Path => $"{truncated.Count} names were too long or not UTF-8.",
        InitTruncation.NotRegular => $"{truncated.Count} entries were neither files nor directories.",
        _ => $"{truncated.Count} files could not be read.",
    };
}
