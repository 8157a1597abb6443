using System.Text;
using Boxer.Common;
using Boxer.Linux;

namespace Boxer.AspNetCore.Files;

/// <summary>
/// The files of one client, by path. The index in memory decides which files exist: no path that a client sent is looked up on disk, and
/// files are opened below the space's directory without following symbolic links. Safe for concurrent use.
/// </summary>
internal sealed class FileSpace
{
    private const int CopyBytes = 81_920;

    private readonly Dictionary<string, StoredFile> _files = new(StringComparer.Ordinal);
    private readonly Lock _lock = new();
    private readonly FileQuota _quota;
    private readonly SpaceDirectory _directory;

    /// <summary>Opens a space with the files that are in its directory.</summary>
    /// <param name="path">The directory; created if it is missing.</param>
    /// <param name="limits">The limits of the space.</param>
    internal FileSpace(string path, FileStoreLimits limits)
    {
        _quota = new FileQuota(limits);
        _directory = new SpaceDirectory(path, _quota);
        foreach (StoredFile file in SpaceDirectory.FindFiles(_directory.Data))
        {
            Add(file);
            _quota.AddExisting(file.Size, files: 1);
        }

        _quota.AddExisting(bytes: 0, SpaceDirectory.CountDirectories(_directory.Data));
    }

    /// <summary>Stores bytes without a path. <see cref="StagedFile.Publish"/> gives them one.</summary>
    /// <param name="content">The bytes; read to their end.</param>
    /// <param name="maxBytes">Maximum size of the file, in bytes.</param>
    /// <param name="cancellationToken">Cancels the operation; nothing is kept.</param>
    /// <exception cref="FileStoreFullException">The file is larger than <paramref name="maxBytes"/>, or the space is full.</exception>
    public async Task<StagedFile> StageAsync(Stream content, long maxBytes, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(content);
        ArgumentOutOfRangeException.ThrowIfNegative(maxBytes);
        _quota.Reserve(bytes: 0, files: 1);
        StagedFile staged = new(this, _directory.NewStagingPath());
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
                        throw new FileStoreFullException($"The file is larger than {maxBytes} bytes, the maximum size of one file.");
                    }

                    _quota.Reserve(read, files: 0);
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

    /// <summary>Opens a file for reading. The stream keeps its content if the file is replaced or deleted meanwhile.</summary>
    /// <param name="path">The path of the file.</param>
    /// <returns>The content; <see langword="null"/> if the file does not exist.</returns>
    public Stream? OpenRead(string path)
    {
        ArgumentNullException.ThrowIfNull(path);
        lock (_lock)
        {
            return _files.TryGetValue(path, out StoredFile? file) ? _directory.OpenRead(file) : null;
        }
    }

    /// <summary>Deletes a file, or all files below a directory.</summary>
    /// <param name="path">The path.</param>
    /// <returns>The number of deleted files.</returns>
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

    /// <summary>Locks the uploads that a run uses, and creates a place for its outputs.</summary>
    /// <param name="uploads">The uploads that the run uses.</param>
    /// <exception cref="InvalidSandboxRequestException">
    /// Some uploads do not exist or cannot be used. All faults are listed, as <c>Files[i]</c>, <c>Workspace.Uploads[i]</c> or
    /// <c>Workspace.Archive</c>, and nothing is locked.
    /// </exception>
    public RunFiles BeginRun(RunUploads uploads)
    {
        ArgumentNullException.ThrowIfNull(uploads);
        UploadLookup lookup = new(_files);
        lock (_lock)
        {
            lookup.Find(uploads);
            foreach (StoredFile file in lookup.Files.Concat(lookup.Workspace).Concat(lookup.Archives))
            {
                file.Leases++;
            }
        }

        return new RunFiles(this, lookup.Files, lookup.Workspace, lookup.Archives.SingleOrDefault(), _directory.NewOutputsPath());
    }

    internal Stream OpenRead(StoredFile file)
    {
        lock (_lock)
        {
            return _directory.OpenRead(file);
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
            string location = FindLocation(path);
            StoredFile? old = _files.GetValueOrDefault(path);
            _directory.CreateParents(location);
            try
            {
                _directory.Replace(old, staged.Location, location);
            }
            catch
            {
                _directory.RemoveEmptyParents(location);
                throw;
            }

            Add(new StoredFile(path, location, staged.Size));
        }
    }

    internal void Discard(StagedFile staged)
    {
        File.Delete(staged.Location);
        _quota.Release(staged.Size, files: 1);
    }

    internal IReadOnlyList<StoredFileInfo> KeepOutputs(string collected, string runId)
    {
        string path = $"{StoredPath.OutputDirectory}/{runId}";
        if (StoredPath.FindFault(path) is not null || runId.Contains('/', StringComparison.Ordinal))
        {
            throw new ArgumentException("The identifier of a run must be a single path segment.", nameof(runId));
        }

        List<StoredFile> found = Directory.Exists(collected) ? [.. SpaceDirectory.FindFiles(collected)] : [];
        if (found.Count == 0)
        {
            return [];
        }

        string location = Path.Combine(_directory.Data, path);
        int maxBytes = CleanPath.MaxRelativeBytes - Encoding.UTF8.GetByteCount(location);
        if (found.Any(file => Encoding.UTF8.GetByteCount(file.Path) > maxBytes))
        {
            throw new FileStoreFullException("Some paths of outputs are too long for this host's disk; use shorter ones.");
        }

        SpaceDirectory.RemoveEmptyDirectories(collected);
        lock (_lock)
        {
            MoveOutputs(collected, location, found.Sum(file => file.Size), found.Count + 1 + SpaceDirectory.CountDirectories(collected));
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
                // Deleting can fail, so all files are released first.
                foreach (StoredFile file in inputs)
                {
                    file.Leases--;
                }

                foreach (StoredFile file in inputs.Distinct().Where(file => file.Detached && file.Leases == 0))
                {
                    _directory.DeleteContent(file);
                }
            }
        }
        finally
        {
            PrivateDirectory.DeleteTree(outputs);
        }
    }

    private string FindLocation(string path)
    {
        for (int slash = path.IndexOf('/', StringComparison.Ordinal); slash > 0; slash = path.IndexOf('/', slash + 1))
        {
            if (_files.ContainsKey(path[..slash]))
            {
                throw new InvalidSandboxRequestException("Path", $"'{path[..slash]}' is a file, so nothing can be below it; choose another path.");
            }
        }

        string location = Path.Combine(_directory.Data, path);
        if (Encoding.UTF8.GetByteCount(location) > CleanPath.MaxBytes)
        {
            throw new InvalidSandboxRequestException("Path", "The path is too long for this host's disk; choose a shorter one.");
        }

        return Directory.Exists(location)
            ? throw new InvalidSandboxRequestException("Path", $"'{path}' is a directory with files in it; choose another path.")
            : location;
    }

    private void MoveOutputs(string collected, string location, long bytes, int entries)
    {
        _quota.Reserve(bytes, entries);
        try
        {
            _directory.CreateParents(location);
            Directory.Move(collected, location);
        }
        catch
        {
            _quota.Release(bytes, entries);
            _directory.RemoveEmptyParents(location);
            throw;
        }
    }

    private void Add(StoredFile file) => _files[file.Path] = file;

    private void Remove(StoredFile file)
    {
        _files.Remove(file.Path);
        _directory.Remove(file);
    }
}
