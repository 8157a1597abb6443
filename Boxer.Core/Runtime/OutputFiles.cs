using System.Text;
using Boxer.Diagnostics;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Runtime.Init;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime;

/// <summary>
/// Receives the files under /output, in memory or into a directory of this host. <see cref="InitConversation"/> has checked their names and bounds,
/// because the guest may control PID 1 by now.
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
    private long _remaining;
    private long _unstorable;
    private bool _isDirectoryMade;

    /// <param name="outputs">The treatment of the files.</param>
    internal OutputFiles(OutputFilePolicy outputs)
    {
        _directory = outputs.Directory;
        _isCounted = !outputs.Collects;
    }

    /// <summary>The files that were received.</summary>
    internal IReadOnlyList<SandboxOutputFile> Files => _files;

    /// <summary>Number of files, if they are only counted.</summary>
    internal long Dropped { get; private set; }

    /// <summary>The reason why files are missing; <see langword="null"/> if none are.</summary>
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

    /// <summary>The failure of this host to write them, for the log: its message has paths of this host.</summary>
    internal Exception? Fault { get; private set; }

    /// <inheritdoc/>
    public async ValueTask AcceptAsync(InitEvent message, CancellationToken cancellationToken)
    {
        if (_isCounted)
        {
            // PID 1 was asked for at most 0 bytes: it reports the number of files that have content.
            Dropped += message is InitOutputFile ? 1 : message is InitOutputTruncated { Reason: not InitTruncation.Entries } cut ? Math.Min(cut.Count, int.MaxValue) : 0;
            return;
        }

        switch (message)
        {
            case InitOutputDirectory directory:
                if (_directory is not null)
                {
                    MakeDirectory();
                    Store(() => Directory.CreateDirectory(Path.Join(_directory, directory.Path)));
                }

                break;
            case InitOutputFile file:
                (_current, _remaining) = (file, file.Size);
                _stream = Open(file);
                await EndFileAsync().ConfigureAwait(false);
                break;
            case InitOutputData data:
                _remaining -= data.Data.Length;
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
    public async ValueTask InterruptAsync(string reason)
    {
        await AbandonAsync().ConfigureAwait(false);
        _notes.Add(reason);
    }

    /// <inheritdoc/>
    public ValueTask FailAsync(Exception fault)
    {
        Fault = fault;
        return InterruptAsync("This host could not write them all.");
    }

    /// <summary>Removes all files, for a run without a result. A failure is logged: it must not hide the exception of the run.</summary>
    /// <param name="logger">The log.</param>
    internal async ValueTask DiscardAsync(ILogger logger)
    {
        await AbandonAsync().ConfigureAwait(false);
        _files.Clear();
        if (!_isDirectoryMade)
        {
            return;
        }

        _isDirectoryMade = false;
        try
        {
            Directory.Delete(_directory!, recursive: true);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            Log.OutputsNotRemoved(logger, _directory!, exception);
        }
    }

    // The directory belongs to this run alone. One that somebody else created meanwhile is not used, and never removed.
    private void MakeDirectory()
    {
        if (!_isDirectoryMade)
        {
            using SafeFileHandle parent = DirectoryHandle.OpenNamedToResolve(Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(_directory!))!);
            string name = Path.GetFileName(Path.TrimEndingDirectorySeparator(_directory!));
            Check.Result(SysStat.mkdirat(parent, Encoding.UTF8.GetBytes(name + "\0"), 0x1C0), "mkdir", _directory);
            _isDirectoryMade = true;
        }
    }

    private Stream Open(InitOutputFile file)
    {
        if (_directory is null)
        {
            return new MemoryStream();
        }

        MakeDirectory();
        Stream? stream = null;
        Store(() => stream = new FileStream(Path.Join(_directory, file.Path), FileMode.CreateNew, FileAccess.Write));
        return stream ?? Stream.Null;
    }

    // A path that is short enough in the sandbox may be too long below the directory on this host. That is the guest's doing, not a failure of the run.
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
        if (_current is null || _remaining > 0)
        {
            return;
        }

        // Flushing may find the disk full: the file is then incomplete, and AbandonAsync removes it.
        await _stream!.FlushAsync().ConfigureAwait(false);
        UnixFileMode mode = (UnixFileMode)_current.Mode;
        if (_stream is FileStream file)
        {
            // The host's user can always read and delete the file and other users can never write it, even if the command set another mode.
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

    /// <summary>Describes why PID 1 left something out, as a sentence.</summary>
    /// <param name="truncated">The report of PID 1.</param>
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
