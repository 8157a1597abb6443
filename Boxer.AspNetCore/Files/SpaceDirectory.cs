using System.Text;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.AspNetCore.Files;

/// <summary>
/// The directory of one <see cref="FileSpace"/> on disk: <c>data</c> has the files under their own paths, <c>staging</c> has files that are arriving
/// or no longer in the index, and outputs of running commands. Directories are created and removed as files need them, and count towards the quota.
/// Calls that change <c>data</c> must hold the space's lock.
/// </summary>
internal sealed class SpaceDirectory
{
    internal const string StagingName = "staging";

    private const string DataName = "data";

    private static readonly EnumerationOptions Below = new()
    {
        RecurseSubdirectories = true,
        AttributesToSkip = FileAttributes.ReparsePoint,
        IgnoreInaccessible = false,
        ReturnSpecialDirectories = false,
    };

    private static readonly EnumerationOptions Here = new()
    {
        AttributesToSkip = FileAttributes.ReparsePoint,
        IgnoreInaccessible = false,
        ReturnSpecialDirectories = false,
    };

    private readonly string _path;
    private readonly string _staging;
    private readonly FileQuota _quota;

    /// <summary>Creates the directory where it is missing.</summary>
    /// <exception cref="SandboxPrivilegeException">Other users may access the directory.</exception>
    public SpaceDirectory(string path, FileQuota quota)
    {
        _path = path;
        _staging = Path.Combine(path, StagingName);
        _quota = quota;
        Data = Path.Combine(path, DataName);
        PrivateDirectory.Ensure(path);
        PrivateDirectory.Ensure(Data);
        PrivateDirectory.Ensure(_staging);
    }

    /// <summary>The directory of the files in the index.</summary>
    public string Data { get; }

    /// <summary>Gets a new path in the staging directory.</summary>
    public string NewStagingPath() => Path.Combine(_staging, Guid.NewGuid().ToString("N"));

    /// <summary>Gets a new path for the outputs of a run. It is as long as the final path, so that every file path that fits here fits there too.</summary>
    public string NewOutputsPath()
    {
        int length = $"{DataName}/{StoredPath.OutputDirectory}/boxer-{Guid.Empty}".Length - $"{StagingName}/".Length;
        return NewStagingPath() + new string('-', length - Guid.Empty.ToString("N").Length);
    }

    /// <summary>Opens a file. The kernel resolves its path below the space's directory, without symbolic links.</summary>
    public FileStream OpenRead(StoredFile file)
    {
        byte[] path = Encoding.UTF8.GetBytes(Path.GetRelativePath(_path, file.Location) + '\0');

        // The directory is opened each time: there may be a space for every user of an application, and descriptors are scarce.
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
                : throw new IOException($"{file.Location} is no longer a regular file.");
        }
        catch
        {
            handle.Dispose();
            throw;
        }
    }

    /// <summary>Finds the regular files below a directory, by their paths in it. Links and other entries are ignored and never followed.</summary>
    public static IEnumerable<StoredFile> FindFiles(string directory)
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

    /// <summary>Counts the directories below a directory.</summary>
    public static int CountDirectories(string directory) => Directory.EnumerateDirectories(directory, "*", Below).Count();

    /// <summary>Creates the missing parents of a location. Each counts as a file; none is created if they exceed the quota.</summary>
    /// <exception cref="FileStoreFullException">The quota is exceeded.</exception>
    public void CreateParents(string location)
    {
        int missing = 0;
        string parent = Path.GetDirectoryName(location)!;
        for (string directory = parent; !Directory.Exists(directory); directory = Path.GetDirectoryName(directory)!)
        {
            missing++;
        }

        _quota.Reserve(bytes: 0, missing);
        PrivateDirectory.Create(parent);
    }

    /// <summary>Removes the parents of a location that are empty.</summary>
    public void RemoveEmptyParents(string location)
    {
        for (string parent = Path.GetDirectoryName(location)!; parent.Length > Data.Length; parent = Path.GetDirectoryName(parent)!)
        {
            if (!Directory.Exists(parent) || Directory.EnumerateFileSystemEntries(parent).Any())
            {
                return;
            }

            Directory.Delete(parent);
            _quota.Release(bytes: 0, files: 1);
        }
    }

    /// <summary>Removes the empty directories below a directory.</summary>
    public static void RemoveEmptyDirectories(string directory)
    {
        // Not through symbolic links: those lead out of the directory.
        foreach (string below in Directory.GetDirectories(directory, "*", Here))
        {
            RemoveEmptyDirectories(below);
            if (!Directory.EnumerateFileSystemEntries(below).Any())
            {
                Directory.Delete(below);
            }
        }
    }

    /// <summary>Moves new content to the location of a file. The old file keeps its content while a run reads it, and stays in place if the move fails.</summary>
    /// <param name="old">The file at the location; <see langword="null"/> if there is none.</param>
    /// <param name="content">The location of the new content.</param>
    /// <param name="location">The location of the file.</param>
    public void Replace(StoredFile? old, string content, string location)
    {
        if (old is not { Leases: > 0 })
        {
            File.Move(content, location, overwrite: true);
            if (old is not null)
            {
                old.Detached = true;
                _quota.Release(old.Size, files: 1);
            }

            return;
        }

        string kept = NewStagingPath();
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

    /// <summary>Deletes a file that is no longer in the index: at once, or when the last run that reads it releases it.</summary>
    public void Remove(StoredFile file)
    {
        string location = file.Location;
        file.Detached = true;
        if (file.Leases > 0)
        {
            string kept = NewStagingPath();
            File.Move(location, kept);
            file.Location = kept;
        }
        else
        {
            DeleteContent(file);
        }

        RemoveEmptyParents(location);
    }

    /// <summary>Deletes the content of a file from the disk.</summary>
    public void DeleteContent(StoredFile file)
    {
        File.Delete(file.Location);
        _quota.Release(file.Size, files: 1);
    }
}
