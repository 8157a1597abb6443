using System.Text;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime;

/// <summary>
/// An image's /etc/passwd and /etc/group, read once for a run. They are untrusted: symbolic links are followed inside the root only, and the files
/// must be regular.
/// </summary>
/// <param name="rootPath">The root of the image on this host.</param>
internal sealed class ImageAccounts(string rootPath)
{
    /// <summary>Maximum size of a file that is read, in bytes.</summary>
    internal const int MaxFileBytes = 1 << 20;

    // A queued run keeps the files in memory. Larger ones, which no usual image has, are read again.
    private const int KeptBytes = 64 << 10;
    private AccountFile? _passwd;
    private AccountFile? _group;

    /// <summary>The file /etc/passwd.</summary>
    internal AccountFile Passwd => Get(ref _passwd, "etc/passwd\0"u8);

    /// <summary>The file /etc/group.</summary>
    internal AccountFile Group => Get(ref _group, "etc/group\0"u8);

    /// <summary>Whether a directory of the image has content and belongs to another user: it cannot be a home to write to.</summary>
    /// <param name="directory">An absolute path in the image.</param>
    /// <param name="uid">The user.</param>
    internal bool IsOfOthers(string directory, uint uid)
    {
        using SafeFileHandle root = DirectoryHandle.OpenNamedToResolve(rootPath);
        using SafeFileHandle home = DirectoryHandle.TryOpenInTree(root, Encoding.UTF8.GetBytes(directory + "\0"));
        return !home.IsInvalid
            && SysStat.statx(home, "\0"u8, Fcntl.AT_EMPTY_PATH, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status) == 0
            && status.stx_uid != uid
            && Dirent.ReadNames(home).Count > 0;
    }

    private AccountFile Get(ref AccountFile? kept, ReadOnlySpan<byte> path)
    {
        if (kept is not null)
        {
            return kept;
        }

        AccountFile read;
        using (SafeFileHandle root = DirectoryHandle.OpenNamedToResolve(rootPath))
        {
            byte[]? plain = ReadFile(root, path, Fcntl.RESOLVE_NO_SYMLINKS);
            read = new AccountFile(plain ?? ReadFile(root, path, resolve: 0), plain is not null);
        }

        kept = read.Content is null or { Length: <= KeptBytes } ? read : null;
        return read;
    }

    // Reads at most one byte more than is allowed, to detect a larger file. O_NONBLOCK: opening a FIFO does not wait for a writer.
    private static byte[]? ReadFile(SafeFileHandle root, ReadOnlySpan<byte> path, ulong resolve)
    {
        using SafeFileHandle file = Fcntl.openat2(
            root, path, Fcntl.O_RDONLY | Fcntl.O_NONBLOCK, Fcntl.RESOLVE_IN_ROOT | Fcntl.RESOLVE_NO_MAGICLINKS | resolve);
        if (file.IsInvalid
            || SysStat.statx(file, "\0"u8, Fcntl.AT_EMPTY_PATH, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status) != 0
            || status.Type != SysStat.S_IFREG)
        {
            return null;
        }

        var content = new byte[Math.Min(status.stx_size, MaxFileBytes) + 1];
        int length = 0;
        int read;
        while (length < content.Length && (read = RandomAccess.Read(file, content.AsSpan(length), length)) > 0)
        {
            length += read;
        }

        return content[..length];
    }
}

/// <summary>A file of accounts.</summary>
/// <param name="Content">The content; <see langword="null"/> if there is no such regular file. One byte more than is allowed stands for a larger file.</param>
/// <param name="IsPlain">Whether the path leads through no symbolic link.</param>
internal sealed record AccountFile(byte[]? Content, bool IsPlain)
{
    /// <summary>Whether the file is larger than <see cref="ImageAccounts.MaxFileBytes"/>.</summary>
    internal bool IsTooLarge => Content is { Length: > ImageAccounts.MaxFileBytes };
}
