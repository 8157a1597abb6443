using System.Runtime.InteropServices;
using System.Text;
using Boxer.Images.Layers;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Images.Roots;

/// <summary>A layer as it is unpacked for overlayfs.</summary>
/// <param name="Path">Its directory.</param>
/// <param name="Implied">Directories that it has no entry for: Latin-1, so that every byte of a name is a character.</param>
internal sealed record LayerTree(string Path, IReadOnlySet<string> Implied);

/// <summary>
/// Owners and modes of directories that a layer has no entry for, because only what is in them changed. Overlayfs shows the topmost
/// directory of a name, so such a one would hide what lower layers say; a tree on top of all layers says it again.
/// </summary>
internal sealed class ImpliedDirectories : IDisposable
{
    // What a name takes beside its characters: in the set of its layer, in those of this class, and what is found of it.
    private const int NameOverhead = 384;
    private const ulong Inside = Fcntl.RESOLVE_NO_SYMLINKS | Fcntl.RESOLVE_NO_XDEV;
    private readonly IReadOnlyList<LayerTree> _layers;
    private readonly List<SafeFileHandle> _roots = [];
    private readonly Found _root;
    private readonly Dictionary<string, Found> _found = new(StringComparer.Ordinal);

    /// <summary>The memory that directories take, at the most: their names as they are read and as characters, and what is found of them.</summary>
    /// <param name="count">How many there are in all layers.</param>
    /// <param name="bytes">The bytes of their paths.</param>
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

            _root = new(null, [.. _roots.Select((root, index) => new Place(index, OpaqueDirectory.IsMarked(root)))]);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Makes the tree.</summary>
    /// <param name="target">An existing directory, empty: it stays so where nothing is hidden.</param>
    /// <param name="budget">What the directories are taken from.</param>
    /// <param name="cancellationToken">Gives up.</param>
    public void Make(string target, UnpackBudget budget, CancellationToken cancellationToken)
    {
        var made = new HashSet<string>(StringComparer.Ordinal);

        // The shorter names first, so that what is above a directory is known before it.
        foreach (string path in _layers.SelectMany(layer => layer.Implied).Distinct(StringComparer.Ordinal).OrderBy(path => path.Length))
        {
            cancellationToken.ThrowIfCancellationRequested();

            // What one layer has alone, or its topmost one says, overlayfs shows as it is meant.
            if (Find(path) is { Said: not null, Places.Length: > 1 })
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

        // From the bottom up: making a directory changes the time of the one above.
        foreach (string path in paths.Reverse())
        {
            SetAttributes(root, path);
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _roots.ForEach(root => root.Dispose());

    private unsafe void SetAttributes(SafeFileHandle root, string path)
    {
        if (Find(path).Said is not { } said)
        {
            return;
        }

        using SafeFileHandle directory = DirectoryHandle.TryOpenInTree(root, Bytes(path), Inside);
        Check.Result(directory.IsInvalid ? -1 : 0, "open");
        Check.Result(Unistd.fchown(directory, said.Uid, said.Gid), "chown");
        Check.Result(SysStat.fchmod(directory, said.Mode), "chmod");
        SysStat.timespec_t* times = stackalloc SysStat.timespec_t[2];
        times[0] = new() { tv_nsec = SysStat.UTIME_OMIT };
        times[1] = said.Time;
        Check.Result(SysStat.futimens(directory, times), "futimens");
    }

    /// <summary>What the layers say about a directory.</summary>
    private Found Find(string path)
    {
        if (_found.TryGetValue(path, out Found? known))
        {
            return known;
        }

        Found above = Above(path) is { } parent ? Find(parent) : _root;
        Found found = above.Places.Length == 1 && _layers[above.Places[0].Layer].Implied.Contains(path)
            ? above with { Said = null } // That layer has it alone and says nothing of it: most are so, and need not be looked at.
            : Look(path, above);
        _found.Add(path, found);
        return found;
    }

    private Found Look(string path, Found above)
    {
        Attributes? said = null;
        var places = new List<Place>();
        foreach (Place place in above.Places)
        {
            using SafeFileHandle directory = DirectoryHandle.TryOpenInTree(_roots[place.Layer], Bytes(path), Inside);
            if (!directory.IsInvalid)
            {
                places.Add(new(place.Layer, OpaqueDirectory.IsMarked(directory)));
                if (said is null && !_layers[place.Layer].Implied.Contains(path))
                {
                    SysStat.statx_t status = DirectoryHandle.Status(directory);
                    said = new(status.stx_uid, status.stx_gid, status.stx_mode & 0xFFFu, new() { tv_sec = status.stx_mtime.tv_sec, tv_nsec = status.stx_mtime.tv_nsec });
                }
            }
            else if (Marshal.GetLastPInvokeError() is var errno and not Errno.ENOENT)
            {
                if (errno is not (Errno.ENOTDIR or Errno.ELOOP))
                {
                    throw new NativeException("openat2", errno, null);
                }

                // A whiteout, a file or a link is in the way of lower layers.
                break;
            }

            // An opaque directory hides what lower layers have in it, and not what they say about it.
            if (place.IsOpaque)
            {
                break;
            }
        }

        return new(said, [.. places]);
    }

    private static string? Above(string path) => path.LastIndexOf('/') is var end and > 0 ? path[..end] : null;

    private static byte[] Bytes(string path) => [.. Encoding.Latin1.GetBytes(path), 0];

    /// <param name="Layer">A layer that has the directory.</param>
    /// <param name="IsOpaque">Whether it hides there what lower layers have in it.</param>
    private readonly record struct Place(int Layer, bool IsOpaque);

    [StructLayout(LayoutKind.Auto)]
    private readonly record struct Attributes(uint Uid, uint Gid, uint Mode, SysStat.timespec_t Time);

    /// <param name="Said">What the topmost layer with an entry says; <see langword="null"/> where none has one.</param>
    /// <param name="Places">The layers that have it, as far as they show, from the top down; none where the root does not have it.</param>
    private sealed record Found(Attributes? Said, Place[] Places);
}
