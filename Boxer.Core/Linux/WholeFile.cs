using System.Runtime.InteropServices;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Linux;

/// <summary>
/// Makes files and directories beside their place and renames them into it, so that whatever is in place is whole, whenever the process or the
/// machine ends.
/// </summary>
internal static class WholeFile
{
    /// <summary>Writes a file.</summary>
    /// <param name="target">Its place. A file that is there is replaced; a symbolic link that is there is replaced, not followed.</param>
    /// <param name="temporary">
    /// A path on the same file system, for this writer alone. What a killed writer left there is replaced, and on failure nothing is left.
    /// </param>
    /// <param name="write">Writes its content.</param>
    /// <param name="mode">Its mode, whatever the umask is.</param>
    /// <param name="isDurable">Whether it is to survive a crash of the machine.</param>
    /// <exception cref="IOException">It cannot be written; what was in its place is still there.</exception>
    internal static void Write(string target, string temporary, Action<FileStream> write, UnixFileMode mode = PrivateDirectory.FileMode, bool isDurable = false)
    {
        try
        {
            // The new file is nobody else's: one that is there, or a link, is not written to.
            File.Delete(temporary);
            using (var file = new FileStream(temporary, new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write, Share = FileShare.None, UnixCreateMode = PrivateDirectory.FileMode }))
            {
                write(file);
                file.Flush();
                if (mode != PrivateDirectory.FileMode)
                {
                    File.SetUnixFileMode(file.SafeFileHandle, mode);
                }
            }

            Commit(temporary, target, isDurable);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>Writes lines of text.</summary>
    /// <inheritdoc cref="Write"/>
    /// <param name="target">The place of the file.</param>
    /// <param name="lines">The lines.</param>
    internal static void WriteLines(string target, IEnumerable<string> lines) => Write(target, target + ".new", file =>
    {
        using var writer = new StreamWriter(file, leaveOpen: true);
        foreach (string line in lines)
        {
            writer.Write(line);
            writer.Write('\n');
        }
    });

    /// <summary>Puts a file into its place, over one that is there.</summary>
    /// <param name="temporary">The file that was made.</param>
    /// <param name="target">Its place, in a directory that exists.</param>
    /// <param name="isDurable">Whether it is to survive a crash of the machine.</param>
    internal static void Commit(string temporary, string target, bool isDurable)
    {
        if (isDurable)
        {
            using SafeFileHandle made = File.OpenHandle(temporary, FileMode.Open, FileAccess.ReadWrite);
            RandomAccess.FlushToDisk(made);
        }

        Check.Result(Stdio.rename(temporary, target), "rename", target);
        if (isDurable)
        {
            Sync(Path.GetDirectoryName(target)!);
        }
    }

    /// <summary>Puts a directory into its place, so that it survives a crash of the machine.</summary>
    /// <param name="temporary">The directory that was made.</param>
    /// <param name="target">Its place, in a directory that exists.</param>
    /// <returns><see langword="false"/> if another one is there, by somebody who was faster.</returns>
    internal static bool TryCommitDirectory(string temporary, string target)
    {
        using (SafeFileHandle made = DirectoryHandle.Open(temporary))
        {
            Check.Result(Unistd.syncfs(made), "syncfs", temporary);
        }

        if (Stdio.rename(temporary, target) != 0)
        {
            int errno = Marshal.GetLastPInvokeError();
            return errno is Errno.EEXIST or Errno.ENOTEMPTY ? false : throw new NativeException("rename", errno, target);
        }

        Sync(Path.GetDirectoryName(target)!);
        return true;
    }

    private static void Sync(string directory)
    {
        using SafeFileHandle handle = DirectoryHandle.OpenNamed(directory);
        Check.Result(Unistd.fsync(handle), "fsync", directory);
    }
}
