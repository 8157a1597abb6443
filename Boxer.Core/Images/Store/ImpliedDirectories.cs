using System.Runtime.InteropServices;
using System.Text;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Images;

/// <summary>A layer as it is unpacked for overlayfs.</summary>
/// <param name="Path">Its directory.</param>
/// <param name="Implied">Directories that it has no entry for: Latin-1, so that every byte of a name is a character.</param>
internal sealed record LayerTree(string Path, IReadOnlySet<string> Implied);

/// <summary>
/// Owners and modes of directories that a layer has no entry for, because only what is in them changed. Overlayfs shows the topmost
/// directory of a name, so such a one would hide what lower layers say; a tree on top of all layers says it again.
/// </summary>
/// <param name="layers">The layers, from the top down.</param>
/// <param name="cancellationToken">Gives up.</param>
internal sealed class ImpliedDirectories(IReadOnlyList<LayerTree> layers, CancellationToken cancellationToken)
{
    private const ulong Inside = Fcntl.RESOLVE_BENEATH | Fcntl.RESOLVE_NO_SYMLINKS | Fcntl.RESOLVE_NO_XDEV;
    private readonly Dictionary<string, Found> _found = new(StringComparer.Ordinal);

    /// <summary>Makes the tree.</summary>
    /// <param name="target">An existing directory, empty: it stays so where nothing is hidden.</param>
    public void Make(string target)
    {
        // The shorter names first, so that what is above a directory is known before it.
        string[] meant = [.. layers.SelectMany(layer => layer.Implied).Distinct(StringComparer.Ordinal).OrderBy(path => path.Length)
            .Where(path => Find(path) is { IsShown: true, Status: not null })];
        using SafeFileHandle root = Fcntl.openat(Fcntl.AT_FDCWD, target, Fcntl.O_RDONLY | Fcntl.O_DIRECTORY | Fcntl.O_CLOEXEC, 0);
        Check.Result(root.IsInvalid ? -1 : 0, "open", target);
        var made = new SortedSet<string>(StringComparer.Ordinal);
        foreach (string path in meant)
        {
            foreach (string above in Prefixes(path).Where(made.Add))
            {
                Check.Result(SysStat.mkdirat(root, Bytes(above), 0x1ED), "mkdir"); // 0755
            }
        }

        // From the bottom up: making a directory changes the time of the one above.
        foreach (string path in made.Reverse())
        {
            SetAttributes(root, path);
        }
    }

    private unsafe void SetAttributes(SafeFileHandle root, string path)
    {
        if (Find(path).Status is not { } status)
        {
            return;
        }

        using SafeFileHandle directory = Fcntl.openat2(root, Bytes(path), Fcntl.O_RDONLY | Fcntl.O_DIRECTORY, Inside);
        Check.Result(directory.IsInvalid ? -1 : 0, "open");
        Check.Result(Unistd.fchown(directory, status.stx_uid, status.stx_gid), "chown");
        Check.Result(SysStat.fchmod(directory, status.stx_mode & 0xFFFu), "chmod");
        SysStat.timespec_t* times = stackalloc SysStat.timespec_t[2];
        times[0] = new() { tv_nsec = SysStat.UTIME_OMIT };
        times[1] = new() { tv_sec = status.stx_mtime.tv_sec, tv_nsec = status.stx_mtime.tv_nsec };
        Check.Result(SysStat.futimens(directory, times), "futimens");
    }

    /// <summary>What the layers say about a directory.</summary>
    private Found Find(string path)
    {
        if (_found.TryGetValue(path, out Found known))
        {
            return known;
        }

        cancellationToken.ThrowIfCancellationRequested();
        int end = path.LastIndexOf('/');

        // What is below a directory that one layer has alone is that layer's alone, too: most are, and need not be looked for.
        Found found = end > 0 && Find(path[..end]) is { Layers: 1, Status: null } ? new(true, null, 1) : Search(path);
        _found.Add(path, found);
        return found;
    }

    private Found Search(string path)
    {
        int count = 0;
        foreach (LayerTree layer in layers)
        {
            (SysStat.statx_t? status, bool hidesLower) = Look(layer, path);
            if (status is not null)
            {
                count++;
                if (!layer.Implied.Contains(path))
                {
                    return new(true, status, count);
                }
            }

            if (hidesLower)
            {
                break;
            }
        }

        return new(count > 0, null, count);
    }

    /// <summary>Looks for a directory in one layer.</summary>
    /// <returns>The directory, if the layer has it, and whether the layer hides what lower ones have of it.</returns>
    private static (SysStat.statx_t? Status, bool HidesLower) Look(LayerTree layer, string path)
    {
        SafeFileHandle current = Fcntl.openat(Fcntl.AT_FDCWD, layer.Path, Fcntl.O_RDONLY | Fcntl.O_DIRECTORY | Fcntl.O_CLOEXEC, 0);
        try
        {
            Check.Result(current.IsInvalid ? -1 : 0, "open", layer.Path);
            bool isOpaque = false;
            foreach (string name in path.Split('/'))
            {
                // An opaque directory hides what lower layers have in it, and not what they say about it.
                isOpaque |= OverlayMounts.IsOpaque(current);
                SafeFileHandle next = Fcntl.openat(current, Bytes(name), Fcntl.O_RDONLY | Fcntl.O_DIRECTORY | Fcntl.O_NOFOLLOW | Fcntl.O_CLOEXEC, 0);
                if (next.IsInvalid)
                {
                    // Whatever else is there, a whiteout or a file, is in the way of lower layers.
                    int errno = Marshal.GetLastPInvokeError();
                    return (null, isOpaque || errno is Errno.ENOTDIR or Errno.ELOOP || (errno == Errno.ENOENT ? false : throw new NativeException("openat", errno, null)));
                }

                current.Dispose();
                current = next;
            }

            Check.Result(SysStat.statx(current, "\0"u8, Fcntl.AT_EMPTY_PATH, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status), "statx");
            return (status, isOpaque);
        }
        finally
        {
            current.Dispose();
        }
    }

    private static IEnumerable<string> Prefixes(string path)
    {
        for (int i = 1; i < path.Length; i++)
        {
            if (path[i] == '/')
            {
                yield return path[..i];
            }
        }

        yield return path;
    }

    private static byte[] Bytes(string path) => [.. Encoding.Latin1.GetBytes(path), 0];

    /// <param name="IsShown">Whether the root has it.</param>
    /// <param name="Status">What the topmost layer with an entry says; <see langword="null"/> where none has one.</param>
    /// <param name="Layers">How many layers have it that show.</param>
    private readonly record struct Found(bool IsShown, SysStat.statx_t? Status, int Layers);
}
