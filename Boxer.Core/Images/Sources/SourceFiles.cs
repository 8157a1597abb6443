using System.Runtime.InteropServices;
using System.Text;
using Boxer.Common;
using Boxer.Images.Layers;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Images.Sources;

/// <summary>The files of a source of images, by name.</summary>
internal interface ISourceFiles : IDisposable
{
    /// <summary>Opens a file.</summary>
    /// <param name="name">The file's name, with slashes.</param>
    /// <returns>A seekable stream; <see langword="null"/> if there is no such file.</returns>
    /// <exception cref="InvalidDataException">It is not a regular file.</exception>
    Stream? Open(string name);
}

/// <summary>Files below a directory, whose content may be hostile: symbolic links are not followed, and opening a FIFO does not block.</summary>
internal sealed class DirectoryFiles : ISourceFiles
{
    private readonly SafeFileHandle _directory;

    /// <summary>Opens a directory.</summary>
    /// <param name="path">The directory.</param>
    /// <exception cref="IOException">The directory cannot be opened.</exception>
    public DirectoryFiles(string path)
    {
        _directory = DirectoryHandle.OpenNamed(path);
    }

    /// <inheritdoc/>
    public Stream? Open(string name)
    {
        SafeFileHandle file = Fcntl.openat2(
            _directory, Encoding.UTF8.GetBytes(name + "\0"), Fcntl.O_RDONLY | Fcntl.O_NONBLOCK, Fcntl.RESOLVE_BENEATH | Fcntl.RESOLVE_NO_SYMLINKS);
        if (file.IsInvalid)
        {
            int errno = Marshal.GetLastPInvokeError();
            file.Dispose();
            return errno is Errno.ENOENT or Errno.ENOTDIR ? null
                : errno is Errno.ELOOP ? throw new InvalidDataException($"{name} is a symbolic link, or below one")
                : throw new NativeException("openat2", errno, name);
        }

        if (SysStat.statx(file, "\0"u8, Fcntl.AT_EMPTY_PATH, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status) != 0 || status.Type != SysStat.S_IFREG)
        {
            file.Dispose();
            throw new InvalidDataException($"{name} is not a regular file");
        }

        return new FileStream(file, FileAccess.Read, 0);
    }

    /// <inheritdoc/>
    public void Dispose() => _directory.Dispose();
}

/// <summary>
/// Files in a tar archive. A link to another file of the archive is followed by name, once: old versions of <c>docker save</c> wrote links for
/// repeated layers.
/// </summary>
internal sealed class ArchiveFiles : ISourceFiles
{
    private const int MaxEntries = 100_000;

    // Tools name files by digests and need far less.
    private const int MaxNameBytes = 16 * 1024 * 1024;
    private readonly string _path;
    private readonly Dictionary<string, (long Offset, long Length)> _files = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _links = new(StringComparer.Ordinal);

    private ArchiveFiles(string path)
    {
        _path = path;
    }

    /// <summary>Opens an archive, and finds the positions of its files.</summary>
    /// <param name="path">The archive, not compressed.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="InvalidDataException">The archive is malformed.</exception>
    public static async Task<ArchiveFiles> OpenAsync(string path, CancellationToken cancellationToken)
    {
        var files = new ArchiveFiles(path);
        FileStream archive = File.OpenRead(path);
        await using (archive.ConfigureAwait(false))
        {
            var reader = new LayerArchiveReader(archive);
            int entries = 0;
            long names = 0;
            while (await reader.ReadEntryAsync(cancellationToken).ConfigureAwait(false) is { } entry)
            {
                if (++entries > MaxEntries)
                {
                    throw new InvalidDataException($"the archive has more than {MaxEntries} entries");
                }

                names += entry.Name.Length + entry.LinkName.Length;
                if (names > MaxNameBytes)
                {
                    throw new InvalidDataException($"the names in the archive are together longer than {MaxNameBytes} bytes");
                }

                // The last entry of a name counts, as in unpacking.
                string name = Normalize("", UntrustedText.Decode(entry.Name));
                files._files.Remove(name);
                files._links.Remove(name);
                switch (entry.Type)
                {
                    case LayerEntryType.File when entry.Chunks is null:
                        files._files[name] = (reader.Position, entry.Size);
                        break;
                    case LayerEntryType.SymbolicLink:
                        files._links[name] = Normalize(name, UntrustedText.Decode(entry.LinkName));
                        break;
                    case LayerEntryType.HardLink:
                        files._links[name] = Normalize("", UntrustedText.Decode(entry.LinkName));
                        break;
                    default:
                        break;
                }
            }
        }

        return files;
    }

    /// <inheritdoc/>
    public Stream? Open(string name)
    {
        if (name.Contains('\0', StringComparison.Ordinal))
        {
            throw new InvalidDataException("a name has a NUL in it");
        }

        string wanted = Normalize("", name);
        return _files.TryGetValue(_links.GetValueOrDefault(wanted, wanted), out (long Offset, long Length) place)
            ? new FilePart(File.OpenRead(_path), place.Offset, place.Length)
            : null;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        // Opened files belong to their openers.
    }

    // Works on the text only; no file of this host is looked up.
    private static string Normalize(string beside, string name) =>
        Path.GetFullPath(name, "/" + Path.GetDirectoryName(beside))[1..];
}
