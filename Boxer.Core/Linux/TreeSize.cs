using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Linux;

/// <summary>Measures the disk space of trees. They can be deeper than the limit of paths. Symbolic links are not followed.</summary>
internal static class TreeSize
{
    private const int BlockBytes = 512;

    /// <summary>Measures a file, or a directory with everything below it.</summary>
    /// <param name="path">Trusted path. No process may move entries below it meanwhile.</param>
    /// <returns>Bytes on the disk; 0 if the path does not exist.</returns>
    /// <exception cref="NativeException">An entry cannot be read.</exception>
    public static long Measure(string path)
    {
        if (SysStat.statx(Fcntl.AT_FDCWD, path, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status) != 0)
        {
            return 0;
        }

        long bytes = (long)status.stx_blocks * BlockBytes;
        if (status.Type != SysStat.S_IFDIR)
        {
            return bytes;
        }

        using var walk = new Walk(path);
        return bytes + walk.MeasureAll();
    }

    /// <summary>Walk of a tree. One directory is open at a time; the walk returns to its parent through "..".</summary>
    private sealed class Walk(string path) : IDisposable
    {
        // A file with several names counts once.
        private readonly HashSet<ulong> _linked = [];
        private readonly Stack<Queue<byte[]>> _waiting = new();
        private SafeFileHandle _current = DirectoryHandle.Open(path);
        private long _bytes;

        internal long MeasureAll()
        {
            _waiting.Push(MeasureCurrent());
            while (_waiting.TryPeek(out Queue<byte[]>? siblings))
            {
                if (siblings.TryDequeue(out byte[]? below))
                {
                    Move(below);
                    _waiting.Push(MeasureCurrent());
                    continue;
                }

                _waiting.Pop();
                if (_waiting.Count > 0)
                {
                    Move("..\0"u8);
                }
            }

            return _bytes;
        }

        public void Dispose() => _current.Dispose();

        // Returns the subdirectories, which are still to be measured.
        private Queue<byte[]> MeasureCurrent()
        {
            var directories = new Queue<byte[]>();
            foreach (byte[] name in Dirent.ReadNames(_current))
            {
                Check.Result(SysStat.statx(_current, name, Fcntl.AT_SYMLINK_NOFOLLOW, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status), "statx");
                if (status.Type == SysStat.S_IFDIR)
                {
                    directories.Enqueue(name);
                }

                if (status.Type == SysStat.S_IFDIR || status.stx_nlink == 1 || _linked.Add(status.stx_ino))
                {
                    _bytes += (long)status.stx_blocks * BlockBytes;
                }
            }

            return directories;
        }

        private void Move(ReadOnlySpan<byte> name)
        {
            SafeFileHandle next = DirectoryHandle.Open(_current, name);
            _current.Dispose();
            _current = next;
        }
    }
}
