using System.Runtime.InteropServices;
using System.Text;
using Boxer.Images.Layers;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Images.Roots;

/// <summary>Read-only overlay mounts (kernel's Documentation/filesystems/overlayfs.rst) below one directory.</summary>
/// <param name="directory">The directory.</param>
internal sealed class OverlayMounts(string directory)
{
    private readonly Lock _lock = new();
    private readonly HashSet<string> _mounted = new(StringComparer.Ordinal);

    /// <summary>Tries whether this process can make whiteouts and overlay mounts in a directory.</summary>
    /// <param name="scratch">A new path in that directory, which is removed again.</param>
    /// <returns>The reason why it cannot; <see langword="null"/> if it can.</returns>
    public static string? GetUnavailableReason(string scratch)
    {
        try
        {
            string lower = Directory.CreateDirectory(Path.Combine(scratch, "lower")).FullName;
            string upper = Directory.CreateDirectory(Path.Combine(scratch, "upper")).FullName;
            string target = Directory.CreateDirectory(Path.Combine(scratch, "root")).FullName;
            File.WriteAllBytes(Path.Combine(lower, "hidden"), []);
            using (SafeFileHandle parent = DirectoryHandle.Open(upper))
            {
                Check.Result(SysStat.mknodat(parent, "hidden\0"u8, SysStat.S_IFCHR, 0), "mknod");
                OpaqueDirectory.Mark(parent);
            }

            Mount([upper, lower], target);
            bool hides = !File.Exists(Path.Combine(target, "hidden"));
            Detach(target);
            return hides ? null : "overlayfs does not honour whiteouts here";
        }
        catch (IOException fault)
        {
            return fault.Message;
        }
        finally
        {
            TreeRemover.Remove(scratch);
        }
    }

    /// <summary>Mounts layers, unless they are mounted at this name already.</summary>
    /// <param name="name">Name of the mount point.</param>
    /// <param name="layers">Directories of the layers, from the top down; at least two.</param>
    /// <returns>Path of the mount point.</returns>
    /// <exception cref="IOException">The mount failed.</exception>
    public string Mount(string name, IReadOnlyList<string> layers)
    {
        string target = Path.Combine(directory, name);
        lock (_lock)
        {
            if (!_mounted.Contains(target))
            {
                Directory.CreateDirectory(target);
                Mount(layers, target);
                _mounted.Add(target);
            }
        }

        return target;
    }

    /// <summary>Unmounts a mount of <see cref="Mount(string, IReadOnlyList{string})"/>, if there is one.</summary>
    /// <param name="name">Name of the mount point.</param>
    public void Unmount(string name)
    {
        string target = Path.Combine(directory, name);
        lock (_lock)
        {
            if (_mounted.Remove(target))
            {
                Detach(target);
            }
        }
    }

    /// <summary>Unmounts all mounts.</summary>
    /// <returns>Mount points that are still in use. Each disappears with its last user.</returns>
    public IReadOnlyList<string> UnmountAll()
    {
        lock (_lock)
        {
            string[] busy = [.. _mounted.Where(target => !Detach(target))];
            _mounted.Clear();
            return busy;
        }
    }

    /// <summary>Unmounts everything below a directory, and removes the mount points.</summary>
    /// <param name="directory">A directory that no living process uses; it need not exist.</param>
    public static void UnmountBelow(string directory)
    {
        foreach (string target in MountTable.Below(directory))
        {
            Detach(target);
        }
    }

    /// <returns><see langword="false"/> if the mount is still in use.</returns>
    private static bool Detach(string target)
    {
        bool idle = SysMount.umount2(target, 0) == 0;
        if (!idle)
        {
            int errno = Marshal.GetLastPInvokeError();
            Check.Result(errno == Errno.EBUSY ? SysMount.umount2(target, SysMount.MNT_DETACH) : throw new NativeException("umount", errno, target), "umount", target);
        }

        Directory.Delete(target);
        return idle;
    }

    private static void Mount(IReadOnlyList<string> layers, string target)
    {
        var handles = new List<SafeFileHandle>();
        try
        {
            // Paths of descriptors are short, so that all fit into the page of options of mount(2), and have no characters that separate options.
            var lower = new StringBuilder("lowerdir=");
            foreach (string layer in layers)
            {
                SafeFileHandle handle = DirectoryHandle.OpenToResolve(layer);
                lower.Append(handles.Count > 0 ? ":" : "").Append("/proc/self/fd/").Append(handle.DangerousGetHandle());
                handles.Add(handle);
            }

            Check.Result(
                SysMount.mount("boxer-image", target, "overlay", SysMount.MS_RDONLY | SysMount.MS_NOSUID | SysMount.MS_NODEV, lower.ToString()),
                "mount", target);
        }
        finally
        {
            handles.ForEach(handle => handle.Dispose());
        }
    }
}
