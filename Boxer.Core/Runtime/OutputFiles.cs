using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>
/// Takes the files that PID 1 streams, in memory or into a directory of this host. Names were checked when they were decoded; the
/// bounds are checked here again, because PID 1 may be a guest's by now.
/// </summary>
internal sealed class OutputFiles
{
    private readonly long _maxBytes;
    private readonly int _maxEntries;
    private readonly string? _directory;
    private readonly List<SandboxOutputFile> _files = [];
    private readonly List<string> _notes = [];
    private InitOutputFile? _current;
    private Stream? _stream;
    private long _bytes;
    private int _entries;

    /// <param name="outputs">Where they go.</param>
    /// <param name="limits">The bounds.</param>
    internal OutputFiles(SandboxOutputs outputs, ResourceLimits limits)
    {
        _directory = outputs.Directory;
        _maxBytes = limits.OutputFilesBytes!.Value;
        _maxEntries = limits.OutputFilesCount!.Value;
    }

    internal IReadOnlyList<SandboxOutputFile> Files => _files;

    /// <summary>Why something is missing, or <see langword="null"/>.</summary>
    internal string? Incomplete => _notes.Count == 0 ? null : string.Join(" ", _notes);

    /// <exception cref="InitProtocolException">PID 1 sends more than it was allowed to.</exception>
    /// <exception cref="IOException">This host cannot take it.</exception>
    internal async ValueTask AcceptAsync(InitEvent message, CancellationToken cancellationToken)
    {
        switch (message)
        {
            case InitOutputDirectory directory:
                CountEntry();
                if (_directory is not null)
                {
                    Directory.CreateDirectory(Path.Join(Root(), directory.Path));
                }

                break;
            case InitOutputFile file:
                CountEntry();
                _bytes += file.Size;
                if (_bytes > _maxBytes)
                {
                    throw new InitProtocolException($"PID 1 sent more than {_maxBytes} bytes of output files.");
                }

                _current = file;
                _stream = _directory is null
                    ? new MemoryStream()
                    : new FileStream(Path.Join(Root(), file.Path), FileMode.CreateNew, FileAccess.Write);
                await EndFileAsync().ConfigureAwait(false);
                break;
            case InitOutputData data:
                await _stream!.WriteAsync(data.Data, cancellationToken).ConfigureAwait(false);
                await EndFileAsync().ConfigureAwait(false);
                break;
            case InitOutputTruncated truncated:
                await AbandonAsync().ConfigureAwait(false);
                _notes.Add(Describe(truncated));
                break;
        }
    }

    /// <summary>Notes why nothing more comes; a file that is not whole is thrown away.</summary>
    internal async ValueTask GiveUpAsync(string reason)
    {
        await AbandonAsync().ConfigureAwait(false);
        _notes.Add(reason);
    }

    /// <summary>Throws everything away, because nobody will be told where it is.</summary>
    internal async ValueTask DiscardAsync()
    {
        await AbandonAsync().ConfigureAwait(false);
        _files.Clear();
        if (_directory is not null && _entries > 0 && Directory.Exists(_directory))
        {
            Directory.Delete(_directory, recursive: true);
        }
    }

    private void CountEntry()
    {
        if (++_entries > _maxEntries)
        {
            throw new InitProtocolException($"PID 1 sent more than {_maxEntries} output files and directories.");
        }
    }

    private string Root()
    {
        if (_files.Count == 0 && _entries <= 1)
        {
            Directory.CreateDirectory(_directory!, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }

        return _directory!;
    }

    private async ValueTask EndFileAsync()
    {
        if (_current is null || _stream!.Position < _current.Size)
        {
            return;
        }

        _files.Add(new SandboxOutputFile
        {
            Path = _current.Path,
            Size = _current.Size,
            Content = _stream is MemoryStream memory ? memory.GetBuffer().AsMemory(0, (int)memory.Length) : default,
            HostPath = _directory is null ? null : Path.Join(_directory, _current.Path),
        });
        await _stream.DisposeAsync().ConfigureAwait(false);
        (_current, _stream) = (null, null);
    }

    private async ValueTask AbandonAsync()
    {
        if (_stream is null)
        {
            return;
        }

        await _stream.DisposeAsync().ConfigureAwait(false);
        if (_directory is not null)
        {
            File.Delete(Path.Join(_directory, _current!.Path));
        }

        (_current, _stream) = (null, null);
    }

    private static string Describe(InitOutputTruncated truncated) => truncated.Reason switch
    {
        InitTruncation.Bytes => $"{truncated.Count} files did not fit in the limit of bytes.",
        InitTruncation.Entries => "There were more files and directories than the limit.",
        InitTruncation.Depth => $"{truncated.Count} directories were nested too deep.",
        InitTruncation.Path => $"{truncated.Count} names were too long or not UTF-8.",
        InitTruncation.NotRegular => $"{truncated.Count} entries were neither files nor directories.",
        _ => $"{truncated.Count} files could not be read.",
    };
}
