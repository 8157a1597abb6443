using System.Text;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Linux;

/// <summary>
/// A directory that is one process's as long as that lives. A locked file beside it, <c>NAME.lock</c> (flock(2)), says so; the lock ends with the
/// process, however it ends. Another process that finds the lock free may claim the directory and remove it.
/// </summary>
/// <remarks>
/// The lock file is made before the directory and removed after it, so that no directory is without one, whenever a process is killed. Both are
/// in a directory that nobody else may enter (<see cref="PrivateDirectory"/>).
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

    /// <summary>Its path.</summary>
    internal string Path { get; }

    /// <summary>Its name.</summary>
    internal string Name => System.IO.Path.GetFileName(Path);

    /// <summary>Makes a directory and claims it.</summary>
    /// <param name="parent">The directory that it is made in, which is this process's user's alone.</param>
    /// <param name="makeName">Gives a new random name each time.</param>
    /// <exception cref="NativeException">It cannot be made; nothing is left.</exception>
    internal static ClaimedDirectory Create(string parent, Func<string> makeName)
    {
        while (true)
        {
            string path = System.IO.Path.Join(parent, makeName());

            // Between making and locking it, another process may have taken the file for a dead one's and removed it.
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

                // Somebody else's of the same name, whose lock file is gone: it is left alone.
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

    /// <summary>Names of the directories that are or were claimed, also of those that were not made or are removed already.</summary>
    /// <param name="parent">The directory that they are in.</param>
    internal static IReadOnlyList<string> FindNames(string parent) =>
        [.. Directory.EnumerateFiles(parent, "*" + LockSuffix).Select(path => System.IO.Path.GetFileName(path)[..^LockSuffix.Length])];

    /// <summary>Claims the directory of a dead process, to remove it and then <see cref="Forget"/> it.</summary>
    /// <param name="parent">The directory that it is in.</param>
    /// <param name="name">Its name.</param>
    /// <returns><see langword="null"/> where its process lives, or somebody else removes it.</returns>
    /// <exception cref="NativeException">The lock cannot be taken.</exception>
    internal static ClaimedDirectory? TryClaim(string parent, string name)
    {
        string path = System.IO.Path.Join(parent, name);
        FileLock? held = FileLock.TryTake(path + LockSuffix);
        if (held is { IsInPlace: true })
        {
            return new ClaimedDirectory(path, held);
        }

        // Another one was faster and has removed it meanwhile.
        held?.Dispose();
        return null;
    }

    /// <summary>Whether the process that claimed a directory lives.</summary>
    /// <param name="parent">The directory that it is in.</param>
    /// <param name="name">Its name.</param>
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

    /// <summary>Removes the lock file, after the directory was removed.</summary>
    internal void Forget() => File.Delete(_lock.Path);

    /// <summary>Releases the lock. A directory that is still there is left to the next claim.</summary>
    public void Dispose() => _lock.Dispose();

    // Not Directory.CreateDirectory, which is content with one that is there, or with a link.
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
