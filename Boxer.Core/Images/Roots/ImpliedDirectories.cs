using System.Runtime.InteropServices;
using System.Text;
using Boxer.Images.Layers;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Images.Roots;

/// <summary>A layer that is unpacked for overlayfs.</summary>
/// <param name="Path">Its directory.</param>
/// <param name="Implied">Its implied directories, in Latin-1: every byte of a name is one character.</param>
internal sealed record LayerTree(string Path, IReadOnlySet<string> Implied);

/// <summary>
/// Restores owners and modes of implied directories: directories that a layer has no entry for, because only their content changed. Overlayfs shows
/// the owner and mode of the topmost layer, so an implied directory would hide those of lower layers. A tree on top of all layers has them again.
/// </summary>
internal sealed class ImpliedDirectories : IDisposable
{
    // Memory of a name in bytes, beside its characters: in the set of its layer, in the sets of this class, and for its attributes.
    private const int NameOverhead = 384;
    private const ulong Inside = Fcntl.RESOLVE_NO_SYMLINKS | Fcntl.RESOLVE_NO_XDEV;
    private readonly IReadOnlyList<LayerTree> _layers;
    private readonly List<SafeFileHandle> _roots = [];
    private readonly FoundDirectory _root;
    private readonly Dictionary<string, FoundDirectory> _found = new(StringComparer.Ordinal);

    /// <summary>Estimates the maximum memory of a set of directories, in bytes.</summary>
    /// <param name="count">Number of directories in all layers.</param>
    /// <param name="bytes">Bytes of all their paths.</param>
    public static long MemoryOf(long count, long bytes) => (3 * bytes) + (NameOverhead * count);

    /// <summary>Opens the layers.</summary>
    /// <param name="layers">The layers, from the top down.</param>
    public ImpliedDirectories(IReadOnlyList<LayerTree> layers)
    {
        _layers = layers;
        try
        {
            foreach (LayerTree layer in layers)
            {
                _roots.Add(DirectoryHandle.OpenNamed(layer.Path));
            }

            _root = new(null, [.. _roots.Select((root, index) => new LayerDirectory(index, OpaqueDirectory.IsMarked(root)))]);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Creates the tree.</summary>
    /// <param name="target">An existing, empty directory. It stays empty if no owner or mode is hidden.</param>
    /// <param name="budget">Limits of the image.</param>
    /// <param name="cancellationToken">Cancels the operation; the tree is left incomplete.</param>
    public void Make(string target, UnpackBudget budget, CancellationToken cancellationToken)
    {
        var made = new HashSet<string>(StringComparer.Ordinal);

        // Shorter paths first, so that parents are found before their children.
        foreach (string path in _layers.SelectMany(layer => layer.Implied).Distinct(StringComparer.Ordinal).OrderBy(path => path.Length))
        {
            cancellationToken.ThrowIfCancellationRequested();

            // Overlayfs already shows the right attributes of a directory that only one layer has, or whose topmost layer has an entry.
            if (Find(path) is { Attributes: not null, Layers.Length: > 1 })
            {
                for (string? above = path; above is not null && made.Add(above); above = Above(above))
                {
                }
            }
        }

        using SafeFileHandle root = DirectoryHandle.OpenNamed(target);
        string[] paths = [.. made.OrderBy(path => path.Length)];
        foreach (string path in paths)
        {
            cancellationToken.ThrowIfCancellationRequested();
            budget.TakeEntry(LayerRecord.BlockBytes);
            Check.Result(SysStat.mkdirat(root, Bytes(path), 0x1ED), "mkdir"); // 0755
        }

        // Children first: creating a directory changes the time of its parent.
        foreach (string path in paths.Reverse())
        {
            SetAttributes(root, path);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _roots.ForEach(root => root.Dispose());

    private unsafe void SetAttributes(SafeFileHandle root, string path)
    {
        if (Find(path).Attributes is not { } attributes)
        {
            return;
        }

        using SafeFileHandle directory = DirectoryHandle.TryOpenInTree(root, Bytes(path), Inside);
        Check.Result(directory.IsInvalid ? -1 : 0, "open");
        Check.Result(Unistd.fchown(directory, attributes.Uid, attributes.Gid), "chown");
        Check.Result(SysStat.fchmod(directory, attributes.Mode), "chmod");
        SysStat.timespec_t* times = stackalloc SysStat.timespec_t[2];
        times[0] = new() { tv_nsec = SysStat.UTIME_OMIT };
        times[1] = attributes.Time;
        Check.Result(SysStat.futimens(directory, times), "futimens");
    }

    /// <summary>Finds the layers and attributes of a directory.</summary>
    private FoundDirectory Find(string path)
    {
        if (_found.TryGetValue(path, out FoundDirectory? known))
        {
            return known;
        }

        FoundDirectory above = Above(path) is { } parent ? Find(parent) : _root;


        // Most directories are in one layer only, without an entry: they have no attributes, and need no look at the disk.
        FoundDirectory found = above.Layers.Length == 1 && _layers[above.Layers[0].Layer].Implied.Contains(path)
            ? above with { Attributes = null }
            : Look(path, above);
        _found.Add(path, found);
        return found;
    }

    private FoundDirectory Look(string path, FoundDirectory above)
    {
        DirectoryAttributes? attributes = null;
        var layers = new List<LayerDirectory>();
        foreach (LayerDirectory parent in above.Layers)
        {
            using SafeFileHandle directory = DirectoryHandle.TryOpenInTree(_roots[parent.Layer], Bytes(path), Inside);
            if (!directory.IsInvalid)
            {
                layers.Add(new(parent.Layer, OpaqueDirectory.IsMarked(directory)));
                if (attributes is null && !_layers[parent.Layer].Implied.Contains(path))
                {
                    SysStat.statx_t status = DirectoryHandle.Status(directory);
                    attributes = new(status.stx_uid, status.stx_gid, status.stx_mode & 0xFFFu, new() { tv_sec = status.stx_mtime.tv_sec, tv_nsec = status.stx_mtime.tv_nsec });
                }
            }
            else if (Marshal.GetLastPInvokeError() is var errno and not Errno.ENOENT)
            {
                if (errno is not (Errno.ENOTDIR or Errno.ELOOP))
                {
                    throw new NativeException("openat2", errno, null);
                }

                // A whiteout, a file or a link hides the directory in lower layers.
                break;
            }

            // An opaque parent hides the directory in lower layers. (An opaque directory hides only its content there, not its attributes.)
            if (parent.IsOpaque)
            {
                break;
            }
        }

        return new(attributes, [.. layers]);
    }

    private static string? Above(string path) => path.LastIndexOf('/') is var end and > 0 ? path[..end] : null;

    private static byte[] Bytes(string path) => [.. Encoding.Latin1.GetBytes(path), 0];

    /// <summary>A directory in one layer.</summary>
    /// <param name="Layer">Index of the layer.</param>
    /// <param name="IsOpaque">Whether the directory hides its content in lower layers.</param>
    private readonly record struct LayerDirectory(int Layer, bool IsOpaque);

    [StructLayout(LayoutKind.Auto)]
    private readonly record struct DirectoryAttributes(uint Uid, uint Gid, uint Mode, SysStat.timespec_t Time);

    /// <summary>A directory of the image.</summary>
    /// <param name="Attributes">Its attributes in the topmost layer with an entry; <see langword="null"/> if no layer has an entry.</param>
    /// <param name="Layers">The visible layers that have it, from the top down; none if the image does not have it.</param>
    private sealed record FoundDirectory(DirectoryAttributes? Attributes, LayerDirectory[] Layers);
}
