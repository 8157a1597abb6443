using System.Runtime.InteropServices;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Linux;

/// <summary>
/// Creates files and directories at a temporary path and renames them to their final path. A file at its final path is therefore always
/// complete, whenever the process or the machine stops.
/// </summary>
internal static class WholeFile
{
    /// <summary>Writes a file.</summary>
    /// <param name="target">Final path. An existing file or symbolic link is replaced; the link is not followed.</param>
    /// <param name="temporary">
    /// Path on the same file system that no other writer uses. A leftover of a killed writer is replaced. On failure the file is removed.
    /// </param>
    /// <param name="write">Writes the content.</param>
    /// <param name="mode">Mode of the file, independent of the umask.</param>
    /// <param name="isDurable">Whether the file must survive a crash of the machine.</param>
    /// <exception cref="IOException">The file cannot be written. An earlier file at the final path still exists.</exception>
    internal static void Write(string target, string temporary, Action<FileStream> write, UnixFileMode mode = PrivateDirectory.FileMode, bool isDurable = false)
    {
        try
        {
            // The file must be new: an existing file or link must not be written to.
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
    /// <param name="target">Final path.</param>
    /// <param name="lines">Lines of the file.</param>
    internal static void WriteLines(string target, IEnumerable<string> lines) => Write(target, target + ".new", file =>
    {
        using var writer = new StreamWriter(file, leaveOpen: true);
        foreach (string line in lines)
        {
            writer.Write(line);
            writer.Write('\n');
        }
    });

    /// <summary>Moves a file to its final path and replaces an existing file.</summary>
    /// <param name="temporary">Path of the new file.</param>
    /// <param name="target">Final path, in an existing directory.</param>
    /// <param name="isDurable">Whether the file must survive a crash of the machine.</param>
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

    /// <summary>Moves a directory to its final path, so that it survives a crash of the machine.</summary>
    /// <param name="temporary">Path of the new directory.</param>
    /// <param name="target">Final path, in an existing directory.</param>
    /// <returns><see langword="false"/> if another writer has created the final path first.</returns>
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
