using System.Text;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Linux;

/// <summary>
/// Directory that belongs to one process while the process is alive. The process locks a file beside it, <c>NAME.lock</c> (flock(2)); the
/// kernel releases the lock at the end of the process. Another process that finds the lock free may claim the directory and remove it.
/// </summary>
/// <remarks>
/// The lock file is created before the directory and removed after it, so that every directory has one, whenever a process is killed. Both are
/// in a directory that no other user can enter (<see cref="PrivateDirectory"/>).
/// </remarks>
internal sealed class ClaimedDirectory : IDisposable
{
    private const string LockSuffix = ".lock";
    private const uint Mode = 0x1C0; // 0700
    private readonly FileLock _lock;

    private ClaimedDirectory(string path, FileLock @lock)
    {
        Path = path;
        _lock = @lock;
    }

    /// <summary>Path of the directory.</summary>
    internal string Path { get; }

    /// <summary>Name of the directory.</summary>
    internal string Name => System.IO.Path.GetFileName(Path);

    /// <summary>Creates a directory and claims it.</summary>
    /// <param name="parent">Parent directory, which only the user of this process can enter.</param>
    /// <param name="makeName">Returns a new random name at each call.</param>
    /// <exception cref="NativeException">The directory cannot be created; no lock file remains.</exception>
    internal static ClaimedDirectory Create(string parent, Func<string> makeName)
    {
        while (true)
        {
            string path = System.IO.Path.Join(parent, makeName());

            // Before this process locked the file, another one may have taken it for a leftover and removed it.
            FileLock? held = FileLock.TryCreate(path + LockSuffix);
            if (held is not { IsInPlace: true })
            {
                held?.Dispose();
                continue;
            }

            var claimed = new ClaimedDirectory(path, held);
            try
            {
                if (TryMake(parent, claimed.Name))
                {
                    return claimed;
                }

                // A directory of the same name exists whose lock file is missing. It belongs to another process.
                claimed.Forget();
                claimed.Dispose();
            }
            catch
            {
                claimed.Forget();
                claimed.Dispose();
                throw;
            }
        }
    }

    /// <summary>Finds the names of claimed directories, also of directories that do not exist yet or any more.</summary>
    /// <param name="parent">Parent directory.</param>
    internal static IReadOnlyList<string> FindNames(string parent) =>
        [.. Directory.EnumerateFiles(parent, "*" + LockSuffix).Select(path => System.IO.Path.GetFileName(path)[..^LockSuffix.Length])];

    /// <summary>Claims the directory of a dead process, to remove it and then <see cref="Forget"/> it.</summary>
    /// <param name="parent">Parent directory.</param>
    /// <param name="name">Name of the directory.</param>
    /// <returns><see langword="null"/> if its process is alive, or another process removes it.</returns>
    /// <exception cref="NativeException">The lock file cannot be locked.</exception>
    internal static ClaimedDirectory? TryClaim(string parent, string name)
    {
        string path = System.IO.Path.Join(parent, name);
        FileLock? held = FileLock.TryTake(path + LockSuffix);
        if (held is { IsInPlace: true })
        {
            return new ClaimedDirectory(path, held);
        }

        // Another process has removed it meanwhile.
        held?.Dispose();
        return null;
    }

    /// <summary>Whether the process that claimed a directory is alive.</summary>
    /// <param name="parent">Parent directory.</param>
    /// <param name="name">Name of the directory.</param>
    internal static bool IsAlive(string parent, string name)
    {
        string lockFile = System.IO.Path.Join(parent, name + LockSuffix);
        if (!File.Exists(lockFile))
        {
            return false;
        }

        using FileLock? held = FileLock.TryTake(lockFile);
        return held is null && File.Exists(lockFile);
    }

    /// <summary>Removes the lock file. Call it after removing the directory.</summary>
    internal void Forget() => File.Delete(_lock.Path);

    /// <summary>Releases the lock. If the directory still exists, another process can claim it.</summary>
    public void Dispose() => _lock.Dispose();

    // Not Directory.CreateDirectory: it also succeeds if the directory, or a link to one, exists.
    private static bool TryMake(string parent, string name)
    {
        using SafeFileHandle handle = DirectoryHandle.OpenNamedToResolve(parent);
        if (SysStat.mkdirat(handle, Encoding.UTF8.GetBytes(name + "\0"), Mode) == 0)
        {
            return true;
        }

        int errno = System.Runtime.InteropServices.Marshal.GetLastPInvokeError();
        return errno == Errno.EEXIST ? false : throw new NativeException("mkdir", errno, System.IO.Path.Join(parent, name));
    }
}
