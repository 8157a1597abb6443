using Boxer.Images.Layers;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Fuzz;

/// <summary>Unpacks each input into a new directory, and checks that directory and the files beside it.</summary>
internal sealed class LayerTarget
{
    private const int MaxEntries = 24;
    private const int MaxBytes = 1024 * 1024;

    // A few bytes can decompress to many, and unpacking those takes time.
    private const int MaxArchiveBytes = 4 * 1024 * 1024;

    private const uint NewDirectoryMode = 0x41ED; // a directory, 0755

    private readonly string _directory;
    private readonly string _root;
    private readonly string[] _outside;
    private readonly SysStat.statx_t[] _before;

    /// <summary>Prepares a directory.</summary>
    /// <param name="directory">Directory for this target alone, preferably on a tmpfs. Its content is deleted.</param>
    public LayerTarget(string directory)
    {
        _directory = Path.GetFullPath(directory);
        _root = Path.Combine(_directory, "root");
        string outside = Path.Combine(_directory, "outside");
        _outside = [outside, Path.Combine(outside, "file"), Path.Combine(outside, "directory"), Path.Combine(outside, "directory", "file")];
        _before = new SysStat.statx_t[_outside.Length];
        Prepare();
    }

    /// <summary>Unpacks one input.</summary>
    /// <param name="input">The input.</param>
    /// <returns>Description of the result, for people.</returns>
    /// <exception cref="Exception">The extractor broke an invariant, or failed in an unexpected way.</exception>
    public string Run(ReadOnlySpan<byte> input)
    {
        (LayerInputFlags flags, IReadOnlyList<byte[]> layers) = LayerInput.Parse(input);
        try
        {
            return Run(flags, layers);
        }
        catch
        {
            // Leftovers of this input must not fail the next one.
            Prepare();
            throw;
        }
    }

    private string Run(LayerInputFlags flags, IReadOnlyList<byte[]> layers)
    {
        bool isApplied = !flags.HasFlag(LayerInputFlags.Overlay);
        string outcome = "";
        for (int i = 0; i < layers.Count; i++)
        {
            string? refusal = Extract(layers[i], flags);
            outcome += refusal ?? "unpacked. ";
            bool isLast = i == layers.Count - 1 || refusal is not null;
            if (isLast || !isApplied)
            {
                CheckAndClear(flags, isApplied ? i + 1 : 1);
            }

            if (isLast)
            {
                break;
            }
        }

        return outcome;
    }

    private void Prepare()
    {
        TreeRemover.Remove(_directory);
        Directory.CreateDirectory(_root);
        Directory.CreateDirectory(_outside[2]);
        File.WriteAllText(_outside[1], "canary");
        File.WriteAllText(_outside[3], "canary");
        // Changes are detected by timestamps, and the clock of some kernels ticks only 100 times a second.
        Thread.Sleep(50);
        for (int i = 0; i < _outside.Length; i++)
        {
            _before[i] = Status(_outside[i]);
        }
    }

    private string? Extract(byte[] layer, LayerInputFlags flags)
    {
        var options = new LayerExtractionOptions
        {
            Whiteouts = flags.HasFlag(LayerInputFlags.Overlay) ? WhiteoutFormat.Overlay : WhiteoutFormat.Applied,
            KeepOwners = flags.HasFlag(LayerInputFlags.KeepOwners),
            MaxEntries = MaxEntries,
            MaxBytes = MaxBytes,
        };
        try
        {
            using var archive = new MemoryStream(layer);
            if (flags.HasFlag(LayerInputFlags.Seekable))
            {
                new LayerExtractor().ExtractAsync(archive, _root, options).GetAwaiter().GetResult();
                return null;
            }

            using var blob = new LimitedStream(archive, flags.HasFlag(LayerInputFlags.ShortReads) ? 100 : int.MaxValue, MaxArchiveBytes);
            using Stream plain = Decompression.OpenAsync(blob, null, CancellationToken.None).GetAwaiter().GetResult();
            using var limited = new LimitedStream(plain, int.MaxValue, MaxArchiveBytes);
            new LayerExtractor().ExtractAsync(limited, _root, options).GetAwaiter().GetResult();
            return null;
        }
        catch (Exception refusal) when (refusal is InvalidDataException or IOException)
        {
            return refusal.Message;
        }
    }

    private void CheckAndClear(LayerInputFlags flags, int layers)
    {
        for (int i = 0; i < _outside.Length; i++)
        {
            if (!IsSame(_before[i], Status(_outside[i])))
            {
                throw new InvariantException($"{_outside[i]} was changed");
            }
        }

        using SafeFileHandle parent = Open(_directory);
        if (Dirent.ReadNames(parent).Count != 2)
        {
            throw new InvariantException($"something was created beside {_root}");
        }

        using SafeFileHandle root = Open(_root);
        Tree tree = Tree.Check(root, flags);
        if (tree.Entries > MaxEntries * layers || tree.Bytes > MaxBytes * layers)
        {
            throw new InvariantException($"{layers} layers created {tree.Entries} files, directories and links with {tree.Bytes} bytes");
        }

        SysStat.statx_t status = Status(_root);
        if (tree.IsTouched || status.stx_mode != NewDirectoryMode || status.stx_uid != 0 || status.stx_gid != 0)
        {
            TreeRemover.Remove(parent, "root\0"u8, null);
            Check.Result(SysStat.mkdirat(parent, "root\0"u8, 0x1ED), "mkdir"); // 0755
        }
    }

    private static SafeFileHandle Open(string path)
    {
        SafeFileHandle directory = Fcntl.openat(Fcntl.AT_FDCWD, path, Fcntl.O_RDONLY | Fcntl.O_DIRECTORY | Fcntl.O_NOFOLLOW | Fcntl.O_CLOEXEC, 0);
        Check.Result(directory.IsInvalid ? -1 : 0, "open", path);
        return directory;
    }

    private static SysStat.statx_t Status(string path)
    {
        Check.Result(SysStat.statx(Fcntl.AT_FDCWD, path, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status), "statx", path);
        return status;
    }

    // The ctime covers content, entries, mode, owner, attributes and links.
    private static bool IsSame(SysStat.statx_t before, SysStat.statx_t after) =>
        (before.stx_ino, before.stx_mode, before.stx_uid, before.stx_gid, before.stx_size, before.stx_ctime.tv_sec, before.stx_ctime.tv_nsec)
        == (after.stx_ino, after.stx_mode, after.stx_uid, after.stx_gid, after.stx_size, after.stx_ctime.tv_sec, after.stx_ctime.tv_nsec);
}
