using System.Threading.Channels;

namespace Boxer.Testing;

/// <summary>The files of a fake session: entries by absolute path, in memory. Safe for concurrent use.</summary>
internal sealed class FakeFileTree
{
    private const UnixFileMode FileMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead | UnixFileMode.OtherRead;
    private const UnixFileMode DirectoryMode = FileMode | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;
    private readonly Lock _lock = new();
    private readonly TimeProvider _time;
    private readonly string _workingDirectory;
    private readonly SortedDictionary<string, Entry> _entries = new(StringComparer.Ordinal);
    private readonly List<(string Path, ChannelWriter<SandboxFileChange> Changes)> _watches = [];

    internal FakeFileTree(string workingDirectory, TimeProvider time)
    {
        _time = time;
        _workingDirectory = workingDirectory;
        _entries["/"] = NewDirectory();
        MakeDirectory(workingDirectory);
    }

    /// <summary>Puts the files and the workspace of a request into the tree.</summary>
    internal async Task FillAsync(SandboxSessionRequest request, CancellationToken cancellationToken)
    {
        foreach (SandboxFile file in request.Files)
        {
            await AddAsync("/", file, cancellationToken).ConfigureAwait(false);
        }

        if (request.Workspace is not { } workspace)
        {
            return;
        }

        MakeDirectory(workspace.Path);
        foreach (SandboxInput input in workspace.Inputs)
        {
            if (input.IsArchive)
            {
                FakeArchives.Unpack(this, workspace.Path, await RequestContents.ReadAsync(input.OpenReadAsync, cancellationToken).ConfigureAwait(false));
                continue;
            }

            foreach (SandboxFile file in input.Files)
            {
                await AddAsync(workspace.Path, file, cancellationToken).ConfigureAwait(false);
            }
        }
    }

    internal byte[] Read(string path)
    {
        lock (_lock)
        {
            Entry entry = Get(path);
            return entry.Type switch
            {
                SandboxFileType.File => entry.Content,
                SandboxFileType.Directory => throw new SandboxFileException(path, SandboxFileError.IsADirectory),
                _ => throw new SandboxFileException(path, SandboxFileError.NotSupported),
            };
        }
    }

    internal void Write(string path, byte[] content, UnixFileMode? mode) => Put(path, old => new Entry(SandboxFileType.File, mode ?? old?.Mode ?? FileMode, _time.GetUtcNow()) { Content = content });

    internal void Link(string path, string target) => Put(path, _ => new Entry(SandboxFileType.SymbolicLink, UnixFileMode.None, _time.GetUtcNow()) { Target = target });

    internal SandboxFileInfo? Stat(string path)
    {
        lock (_lock)
        {
            return _entries.TryGetValue(Resolve(path), out Entry? entry) ? entry.Describe(path) : null;
        }
    }

    /// <summary>Lists the entries below a directory, each directory before its entries. Paths are relative to it.</summary>
    internal SandboxFileList List(string path, int depth)
    {
        lock (_lock)
        {
            if (Get(path).Type != SandboxFileType.Directory)
            {
                throw new SandboxFileException(path, SandboxFileError.NotADirectory);
            }

            string prefix = Resolve(path).TrimEnd('/') + "/";
            return new SandboxFileList(
            [
                .. _entries.Where(entry => entry.Key.Length > prefix.Length && entry.Key.StartsWith(prefix, StringComparison.Ordinal))
                    .Select(entry => entry.Value.Describe(entry.Key[prefix.Length..]))
                    .Where(entry => entry.Path.Count(letter => letter == '/') < depth),
            ]);
        }
    }

    internal void MakeDirectory(string path)
    {
        lock (_lock)
        {
            string full = Resolve(path);
            for (int slash = full.IndexOf('/', 1); slash > 0; slash = full.IndexOf('/', slash + 1))
            {
                AddDirectory(full[..slash], path);
            }

            AddDirectory(full, path);
        }
    }

    internal void Move(string path, string newPath)
    {
        lock (_lock)
        {
            Entry moved = Get(path);
            string from = Resolve(path), to = Resolve(newPath);
            if (!_entries.TryGetValue(ParentOf(to), out Entry? parent))
            {
                throw new SandboxFileException(newPath, SandboxFileError.NotFound);
            }

            if (parent.Type != SandboxFileType.Directory)
            {
                throw new SandboxFileException(newPath, SandboxFileError.NotADirectory);
            }

            if (_entries.TryGetValue(to, out Entry? old) && (old.Type == SandboxFileType.Directory || moved.Type == SandboxFileType.Directory) && from != to)
            {
                throw new SandboxFileException(newPath, SandboxFileError.AlreadyExists);
            }

            if (from == "/" || to.StartsWith(from + "/", StringComparison.Ordinal))
            {
                throw new SandboxFileException(newPath, SandboxFileError.Other, "A directory cannot be moved into itself.");
            }

            foreach ((string key, Entry entry) in Below(from))
            {
                _entries.Remove(key);
                _entries[to + key[from.Length..]] = entry;
            }

            Report(SandboxFileChangeKind.Deleted, from);
            Report(SandboxFileChangeKind.Created, to);
        }
    }

    internal void Remove(string path)
    {
        lock (_lock)
        {
            _ = Get(path);
            string full = Resolve(path);
            if (full == "/")
            {
                throw new SandboxFileException(path, SandboxFileError.AccessDenied);
            }

            foreach ((string key, _) in Below(full))
            {
                _entries.Remove(key);
            }

            Report(SandboxFileChangeKind.Deleted, full);
        }
    }

    /// <summary>Reports the changes of an entry and of everything below it until the result is disposed.</summary>
    internal Watch StartWatch(string path)
    {
        lock (_lock)
        {
            _ = Get(path);
            var changes = Channel.CreateUnbounded<SandboxFileChange>();
            (string, ChannelWriter<SandboxFileChange>) watch = (Resolve(path), changes.Writer);
            _watches.Add(watch);
            return new Watch(changes.Reader, () =>
            {
                lock (_lock)
                {
                    _watches.Remove(watch);
                }
            });
        }
    }

    private async Task AddAsync(string directory, SandboxFile file, CancellationToken cancellationToken)
    {
        byte[] content = await RequestContents.ReadAsync(file.OpenReadAsync, cancellationToken).ConfigureAwait(false);
        Write($"{directory}/{file.Path}", content, file.Executable ? DirectoryMode : FileMode);
    }

    private void Put(string path, Func<Entry?, Entry> make)
    {
        lock (_lock)
        {
            string full = Resolve(path);
            if (_entries.TryGetValue(full, out Entry? old) && old.Type == SandboxFileType.Directory)
            {
                throw new SandboxFileException(path, SandboxFileError.IsADirectory);
            }

            MakeDirectory(ParentOf(full));
            _entries[full] = make(old);
            Report(old is null ? SandboxFileChangeKind.Created : SandboxFileChangeKind.Changed, full);
        }
    }

    private void AddDirectory(string full, string path)
    {
        if (!_entries.TryGetValue(full, out Entry? existing))
        {
            _entries[full] = NewDirectory();
            Report(SandboxFileChangeKind.Created, full);
        }
        else if (existing.Type != SandboxFileType.Directory)
        {
            throw new SandboxFileException(path, SandboxFileError.NotADirectory);
        }
    }

    private void Report(SandboxFileChangeKind kind, string full)
    {
        foreach ((string watched, ChannelWriter<SandboxFileChange> changes) in _watches)
        {
            string prefix = watched.TrimEnd('/') + "/";
            if (full == watched)
            {
                changes.TryWrite(new SandboxFileChange(kind, ""));
            }
            else if (full.StartsWith(prefix, StringComparison.Ordinal))
            {
                changes.TryWrite(new SandboxFileChange(kind, full[prefix.Length..]));
            }
        }
    }

    private Entry Get(string path) => _entries.TryGetValue(Resolve(path), out Entry? entry) ? entry : throw new SandboxFileException(path, SandboxFileError.NotFound);

    private KeyValuePair<string, Entry>[] Below(string full) =>
        [.. _entries.Where(entry => entry.Key == full || entry.Key.StartsWith(full + "/", StringComparison.Ordinal))];

    // A path has no '..', as in a sandbox.
    private string Resolve(string path)
    {
        string[] names = [.. (path.StartsWith('/') ? path : $"{_workingDirectory}/{path}").Split('/').Where(name => name is not ("" or "."))];
        return path.Length > 0 && !names.Contains("..", StringComparer.Ordinal)
            ? "/" + string.Join('/', names)
            : throw new InvalidSandboxRequestException("Path", "must not be empty, and must not contain '..'.");
    }

    private static string ParentOf(string full) => full.LastIndexOf('/') is > 0 and var slash ? full[..slash] : "/";

    private Entry NewDirectory() => new(SandboxFileType.Directory, DirectoryMode, _time.GetUtcNow());

    internal sealed class Watch(ChannelReader<SandboxFileChange> changes, Action end) : IDisposable
    {
        internal ChannelReader<SandboxFileChange> Changes => changes;

        public void Dispose() => end();
    }

    private sealed record Entry(SandboxFileType Type, UnixFileMode Mode, DateTimeOffset ModifiedAt)
    {
        internal byte[] Content { get; init; } = [];

        internal string? Target { get; init; }

        internal SandboxFileInfo Describe(string path) =>
            new() { Path = path, Type = Type, Size = Content.Length, Mode = Mode, ModifiedAt = ModifiedAt, LinkTarget = Target };
    }
}
