using System.Globalization;
using System.Text;
using Boxer.Common;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.AspNetCore.Files;

/// <summary>
/// The files of one client, by path. The index in memory is what exists: nothing is looked up on disk by a path that a client named,
/// and what is opened is resolved by the kernel below the space's directory, without symbolic links. Safe for concurrent use.
/// </summary>
internal sealed class FileSpace
{
    internal const string StagingName = "staging";

    private const string DataName = "data";

    private const int CopyBytes = 81_920;

    private static readonly EnumerationOptions Below = new()
    {
        RecurseSubdirectories = true,
        AttributesToSkip = FileAttributes.ReparsePoint,
        IgnoreInaccessible = false,
        ReturnSpecialDirectories = false,
    };

    private readonly Dictionary<string, StoredFile> _files = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();
    private readonly string _path;
    private readonly string _data;
    private readonly string _staging;
    private readonly FileStoreLimits _limits;

    // Staged and detached files count too, and directories as files: what is bounded is the disk.
    private long _bytes;
    private long _count;

    private FileSpace(string path, FileStoreLimits limits)
    {
        _path = path;
        _data = Path.Combine(path, DataName);
        _staging = Path.Combine(path, StagingName);
        _limits = limits;
    }

    /// <summary>
    /// Says what is wrong with a path: it must be relative and clean, at most 4,094 bytes of UTF-8 with names of at most 255, without
    /// NUL, empty names, <c>.</c> and <c>..</c>.
    /// </summary>
    /// <param name="path">The path.</param>
    /// <returns><see langword="null"/> if it can be used, else the rest of a sentence that starts with the path.</returns>
    public static string? FindPathFault(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        return StoredPath.FindFault(path);
    }

    /// <summary>Takes bytes in, to be given a path by <see cref="StagedFile.Publish"/>.</summary>
    /// <param name="content">The bytes, read to their end as they come.</param>
    /// <param name="maxBytes">The most that one file may have.</param>
    /// <param name="cancellationToken">Gives up; nothing is kept.</param>
    /// <exception cref="FileStoreFullException">More than <paramref name="maxBytes"/>, or the space is full.</exception>
    public async Task<StagedFile> StageAsync(Stream content, long maxBytes, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(content);
        ArgumentOutOfRangeException.ThrowIfNegative(maxBytes);
        Reserve(bytes: 0, files: 1);
        StagedFile staged = new(this, StagingPath());
        try
        {
            FileStream target = new(
                staged.Location,
                new FileStreamOptions
                {
                    Mode = FileMode.CreateNew,
                    Access = FileAccess.Write,
                    BufferSize = 0,
                    Options = FileOptions.Asynchronous,
                    UnixCreateMode = PrivateDirectory.FileMode,
                });
            await using (target.ConfigureAwait(false))
            {
                byte[] buffer = new byte[CopyBytes];
                int read;
                while ((read = await content.ReadAsync(buffer, cancellationToken).ConfigureAwait(false)) > 0)
                {
                    if (staged.Size + read > maxBytes)
                    {
                        throw new FileStoreFullException($"The file has more than {maxBytes} bytes, the most that one file may have.");
                    }

                    Reserve(read, files: 0);
                    staged.Size += read;
                    await target.WriteAsync(buffer.AsMemory(0, read), cancellationToken).ConfigureAwait(false);
                }
            }

            return staged;
        }
        catch
        {
            staged.Dispose();
            throw;
        }
    }

    /// <summary>Opens a file for reading. What is read stays the same if the file is replaced or deleted meanwhile.</summary>
    /// <param name="path">Its path.</param>
    /// <returns><see langword="null"/> if there is none.</returns>
    public Stream? OpenRead(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        lock (_lock)
        {
            return _files.TryGetValue(path, out StoredFile? file) ? Open(file) : null;
        }
    }

    /// <summary>Deletes a file, or everything below a directory.</summary>
    /// <param name="path">Its path.</param>
    /// <returns>How many files were deleted.</returns>
    public int Delete(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        string below = path + "/";
        lock (_lock)
        {
            List<StoredFile> found =
                [.. _files.Values.Where(file => file.Path == path || file.Path.StartsWith(below, StringComparison.Ordinal))];
            found.ForEach(Remove);
            return found.Count;
        }
    }

    /// <summary>Holds the files that a run uses, and a place for its outputs.</summary>
    /// <param name="paths">The uploads that the run gets, each once.</param>
    /// <exception cref="InvalidSandboxRequestException">
    /// Some cannot be had; every fault is listed as <c>Files[i]</c>, and nothing is held.
    /// </exception>
    public RunFiles BeginRun(IReadOnlyList<string> paths) => BeginRun(new RunUploads { Files = paths });

    /// <summary>Holds the files that a run uses, and a place for its outputs.</summary>
    /// <param name="uploads">The uploads that the run gets.</param>
    /// <exception cref="InvalidSandboxRequestException">
    /// Some cannot be had; every fault is listed as <c>Files[i]</c>, <c>Workspace.Uploads[i]</c> or <c>Workspace.Archive</c>, and nothing is held.
    /// </exception>
    public RunFiles BeginRun(RunUploads uploads)
    {
        ArgumentNullException.ThrowIfNull(uploads);
        List<SandboxFault> faults = [];
        List<StoredFile> files = [];
        List<StoredFile> workspace = [];
        List<StoredFile> archives = [];
        lock (_lock)
        {
            FindAll("Files", uploads.Files, files, directories: null);
            FindAll("Workspace.Uploads", uploads.Workspace, workspace, FindDirectories(uploads.Workspace));
            if (uploads.WorkspaceArchive is { } archive)
            {
                Find("Workspace.Archive", archive, archives, directories: null);
            }

            if (faults.Count > 0)
            {
                throw new InvalidSandboxRequestException(faults);
            }

            foreach (StoredFile file in files.Concat(workspace).Concat(archives))
            {
                file.Leases++;
            }
        }

        return new RunFiles(this, files, workspace, archives.SingleOrDefault(), OutputsPath());

        void FindAll(string field, IReadOnlyList<string> paths, List<StoredFile> found, Dictionary<string, List<StoredFile>>? directories)
        {
            HashSet<string> seen = new(StringComparer.Ordinal);
            for (int i = 0; i < paths.Count; i++)
            {
                string item = string.Create(CultureInfo.InvariantCulture, $"{field}[{i}]");
                string path = directories is null ? paths[i] : NameOfDirectory(paths[i]);
                if (!seen.Add(path))
                {
                    faults.Add(new(item, $"'{path}' is listed twice; list each file once."));
                }
                else
                {
                    Find(item, path, found, directories);
                }
            }

            // A directory may have what is listed by itself too.
            StoredFile[] each = [.. found.Distinct()];
            found.Clear();
            found.AddRange(each);
        }

        void Find(string field, string path, List<StoredFile> found, Dictionary<string, List<StoredFile>>? directories)
        {
            if (StoredPath.FindFault(path) is { } fault)
            {
                faults.Add(new(field, $"The path {fault}"));
            }
            else if (StoredPath.IsOutput(path))
            {
                faults.Add(new(field, $"'{path}' is an output; download it and upload it under another path."));
            }
            else if (_files.TryGetValue(path, out StoredFile? file))
            {
                found.Add(file);
            }
            else if (directories?.GetValueOrDefault(path) is { Count: > 0 } below)
            {
                found.AddRange(below);
            }
            else
            {
                faults.Add(new(field, $"'{path}' was not uploaded, or was deleted after a run that did not persist; upload it first."));
            }
        }
    }

    // In one pass: a space may have very many files, and a request name very many directories.
    private Dictionary<string, List<StoredFile>> FindDirectories(IReadOnlyList<string> paths)
    {
        Dictionary<string, List<StoredFile>> directories = paths.Select(NameOfDirectory).Distinct(StringComparer.Ordinal)
            .Where(path => !_files.ContainsKey(path)).ToDictionary(path => path, _ => new List<StoredFile>(), StringComparer.Ordinal);
        foreach (StoredFile file in directories.Count > 0 ? _files.Values : Enumerable.Empty<StoredFile>())
        {
            for (int slash = file.Path.IndexOf('/', StringComparison.Ordinal); slash > 0; slash = file.Path.IndexOf('/', slash + 1))
            {
                directories.GetValueOrDefault(file.Path[..slash])?.Add(file);
            }
        }

        return directories;
    }

    private static string NameOfDirectory(string path) => path.Length > 1 ? path.TrimEnd('/') : path;

    internal static FileSpace Open(string path, FileStoreLimits limits)
    {
        PrivateDirectory.Ensure(path);
        FileSpace space = new(path, limits);
        PrivateDirectory.Ensure(space._data);
        PrivateDirectory.Ensure(space._staging);
        foreach (StoredFile file in FindFiles(space._data))
        {
            space.Add(file);
            space._bytes += file.Size;
            space._count++;
        }

        space._count += Directory.EnumerateDirectories(space._data, "*", Below).Count();
        return space;
    }

    internal Stream OpenRead(StoredFile file)
    {
        lock (_lock)
        {
            return Open(file);
        }
    }

    internal void Publish(StagedFile staged, string path)
    {
        if (StoredPath.FindFault(path) is { } fault)
        {
            throw new InvalidSandboxRequestException("Path", $"The path {fault}");
        }

        if (StoredPath.IsOutput(path))
        {
            throw new InvalidSandboxRequestException("Path", $"'{path}' is reserved for outputs of runs; choose another directory.");
        }

        lock (_lock)
        {
            for (int slash = path.IndexOf('/', StringComparison.Ordinal); slash > 0; slash = path.IndexOf('/', slash + 1))
            {
                if (_files.ContainsKey(path[..slash]))
                {
                    throw new InvalidSandboxRequestException("Path", $"'{path[..slash]}' is a file, so nothing can be below it; choose another path.");
                }
            }

            string location = Path.Combine(_data, path);
            if (Encoding.UTF8.GetByteCount(location) > CleanPath.MaxBytes)
            {
                throw new InvalidSandboxRequestException("Path", "The path is too long for this host's disk; choose a shorter one.");
            }

            if (Directory.Exists(location))
            {
                throw new InvalidSandboxRequestException("Path", $"'{path}' is a directory with files in it; choose another path.");
            }

            StoredFile? old = _files.GetValueOrDefault(path);
            CreateParents(location);
            try
            {
                Replace(old, staged.Location, location);
            }
            catch
            {
                RemoveEmptyParents(location);
                throw;
            }

            Add(new StoredFile(path, location, staged.Size));
        }
    }

    internal void Forget(StagedFile staged)
    {
        File.Delete(staged.Location);
        Unreserve(staged.Size, files: 1);
    }

    internal IReadOnlyList<StoredFileInfo> KeepOutputs(string collected, string runId)
    {
        string path = $"{StoredPath.OutputDirectory}/{runId}";
        if (StoredPath.FindFault(path) is not null || runId.Contains('/', StringComparison.Ordinal))
        {
            throw new ArgumentException("The identifier of a run is one clean name.", nameof(runId));
        }

        if (!Directory.Exists(collected))
        {
            return [];
        }

        List<StoredFile> found = [.. FindFiles(collected)];
        if (found.Count == 0)
        {
            return [];
        }

        int room = CleanPath.MaxRelativeBytes - Encoding.UTF8.GetByteCount(Path.Combine(_data, path));
        if (found.Any(file => Encoding.UTF8.GetByteCount(file.Path) > room))
        {
            throw new FileStoreFullException("Some paths of outputs are too long for this host's disk; use shorter ones.");
        }

        RemoveEmpty(collected);
        long bytes = found.Sum(file => file.Size);
        int entries = found.Count + 1 + Directory.EnumerateDirectories(collected, "*", Below).Count();
        Reserve(bytes, entries);
        lock (_lock)
        {
            string location = Path.Combine(_data, path);
            try
            {
                CreateParents(location);
                Directory.Move(collected, location);
            }
            catch
            {
                Unreserve(bytes, entries);
                RemoveEmptyParents(location);
                throw;
            }

            foreach (StoredFile file in found)
            {
                Add(new StoredFile($"{path}/{file.Path}", Path.Combine(location, file.Path), file.Size));
            }
        }

        return [.. found.Select(file => new StoredFileInfo($"{path}/{file.Path}", file.Size)).OrderBy(file => file.Path, StringComparer.Ordinal)];
    }

    internal void Delete(IReadOnlyList<StoredFile> inputs)
    {
        lock (_lock)
        {
            foreach (StoredFile file in inputs.Where(file => !file.Detached))
            {
                Remove(file);
            }
        }
    }

    internal void Release(IReadOnlyList<StoredFile> inputs, string outputs)
    {
        try
        {
            lock (_lock)
            {
                // All are let go of before any is deleted, which can fail.
                foreach (StoredFile file in inputs)
                {
                    file.Leases--;
                }

                foreach (StoredFile file in inputs.Distinct().Where(file => file.Detached && file.Leases == 0))
                {
                    DeleteContent(file);
                }
            }
        }
        finally
        {
            PrivateDirectory.DeleteTree(outputs);
        }
    }

    private FileStream Open(StoredFile file)
    {
        byte[] path = Encoding.UTF8.GetBytes(Path.GetRelativePath(_path, file.Location) + '\0');

        // Not held: an application can have any number of users, each with a space, and this process has few descriptors.
        using SafeFileHandle directory = DirectoryHandle.OpenToResolve(_path);
        SafeFileHandle handle = Fcntl.openat2(
            directory,
            path,
            Fcntl.O_RDONLY | Fcntl.O_NONBLOCK,
            Fcntl.RESOLVE_IN_ROOT | Fcntl.RESOLVE_NO_SYMLINKS | Fcntl.RESOLVE_NO_XDEV);
        try
        {
            Check.Result(handle.IsInvalid ? -1 : 0, "openat2", file.Location);
            Check.Result(SysStat.statx(handle, "\0"u8, Fcntl.AT_EMPTY_PATH, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status), "statx");
            return status.Type == SysStat.S_IFREG
                ? new FileStream(handle, FileAccess.Read, bufferSize: 0)
                : throw new IOException($"{file.Location} is not a regular file any more.");
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    private string StagingPath() => Path.Combine(_staging, Guid.NewGuid().ToString("N"));

    // Padded to the length of the final directory, so that every path that fits here also fits there.
    private string OutputsPath()
    {
        int length = $"{DataName}/{StoredPath.OutputDirectory}/boxer-{Guid.Empty}".Length - $"{StagingName}/".Length;
        return StagingPath() + new string('-', length - Guid.Empty.ToString("N").Length);
    }

    /// <summary>The regular files below a directory, by their paths in it; links and other things are passed over, never followed.</summary>
    private static IEnumerable<StoredFile> FindFiles(string directory)
    {
        foreach (FileInfo file in new DirectoryInfo(directory).EnumerateFiles("*", Below))
        {
            if (SysStat.statx(Fcntl.AT_FDCWD, file.FullName, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status) == 0
                && status.Type == SysStat.S_IFREG)
            {
                yield return new StoredFile(Path.GetRelativePath(directory, file.FullName), file.FullName, (long)status.stx_size);
            }
        }
    }

    private void Add(StoredFile file) => _files[file.Path] = file;

    /// <summary>Takes a file out of the index; its content goes at once, or with the last run that reads it.</summary>
    private void Remove(StoredFile file)
    {
        _files.Remove(file.Path);
        string location = file.Location;
        file.Detached = true;
        if (file.Leases > 0)
        {
            string kept = StagingPath();
            File.Move(location, kept);
            file.Location = kept;
        }
        else
        {
            DeleteContent(file);
        }

        RemoveEmptyParents(location);
    }

    /// <summary>Puts new content in the place of old, which stays where that fails, and as long as a run reads it.</summary>
    private void Replace(StoredFile? old, string content, string location)
    {
        if (old is not { Leases: > 0 })
        {
            File.Move(content, location, overwrite: true);
            if (old is not null)
            {
                old.Detached = true;
                Unreserve(old.Size, files: 1);
            }

            return;
        }

        string kept = StagingPath();
        File.Move(location, kept);
        old.Location = kept;
        try
        {
            File.Move(content, location);
        }
        catch
        {
            File.Move(kept, location);
            old.Location = location;
            throw;
        }

        old.Detached = true;
    }

    private void DeleteContent(StoredFile file)
    {
        File.Delete(file.Location);
        Unreserve(file.Size, files: 1);
    }

    /// <summary>Makes the directories that a location lacks; each counts as a file, and none is left if they do not fit.</summary>
    private void CreateParents(string location)
    {
        int missing = 0;
        string parent = Path.GetDirectoryName(location)!;
        for (string directory = parent; !Directory.Exists(directory); directory = Path.GetDirectoryName(directory)!)
        {
            missing++;
        }

        Reserve(bytes: 0, missing);
        PrivateDirectory.Create(parent);
    }

    private static void RemoveEmpty(string directory)
    {
        foreach (string below in Directory.GetDirectories(directory))
        {
            RemoveEmpty(below);
            if (!Directory.EnumerateFileSystemEntries(below).Any())
            {
                Directory.Delete(below);
            }
        }
    }

    private void RemoveEmptyParents(string location)
    {
        for (string parent = Path.GetDirectoryName(location)!; parent.Length > _data.Length; parent = Path.GetDirectoryName(parent)!)
        {
            if (!Directory.Exists(parent) || Directory.EnumerateFileSystemEntries(parent).Any())
            {
                return;
            }

            Directory.Delete(parent);
            Unreserve(bytes: 0, files: 1);
        }
    }

    private void Reserve(long bytes, int files)
    {
        lock (_lock)
        {
            if (_bytes + bytes > _limits.MaxBytes)
            {
                throw new FileStoreFullException($"The file space is full: it may hold {_limits.MaxBytes} bytes. Delete files that are not needed.");
            }

            if (_count + files > _limits.MaxFiles)
            {
                throw new FileStoreFullException($"The file space is full: it may hold {_limits.MaxFiles} files. Delete files that are not needed.");
            }

            _bytes += bytes;
            _count += files;
        }
    }

    private void Unreserve(long bytes, int files)
    {
        lock (_lock)
        {
            _bytes -= bytes;
            _count -= files;
        }
    }
}
