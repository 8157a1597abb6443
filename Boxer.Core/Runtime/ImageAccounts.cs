using System.Text;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime;

/// <summary>
/// An image's /etc/passwd and /etc/group, read once for a run. They are hostile: they are opened inside the root whatever their symbolic links
/// say, and must be regular files.
/// </summary>
/// <param name="rootPath">The root of the image on this host.</param>
internal sealed class ImageAccounts(string rootPath)
{
    /// <summary>Most bytes of a file that is looked into.</summary>
    internal const int MaxFileBytes = 1 << 20;

    // A queued run waits with them. Larger ones, which no usual image has, are read again.
    private const int KeptBytes = 64 << 10;
    private AccountFile? _passwd;
    private AccountFile? _group;

    /// <summary>The file /etc/passwd.</summary>
    internal AccountFile Passwd => Get(ref _passwd, "etc/passwd\0"u8);

    /// <summary>The file /etc/group.</summary>
    internal AccountFile Group => Get(ref _group, "etc/group\0"u8);

    /// <summary>Whether a directory of the image has something in it that a user does not own: it is no home to write to.</summary>
    /// <param name="directory">An absolute path in it.</param>
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

    // Reads at most one byte more than is allowed, so that a larger file shows. O_NONBLOCK: opening a FIFO does not wait for a writer.
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
/// <param name="Content">Its bytes; <see langword="null"/> where there is no such regular file. One byte more than is allowed stands for a larger file.</param>
/// <param name="IsPlain">Whether it is no symbolic link and below none.</param>
internal sealed record AccountFile(byte[]? Content, bool IsPlain)
{
    /// <summary>Whether it has more than <see cref="ImageAccounts.MaxFileBytes"/>.</summary>
    internal bool IsTooLarge => Content is { Length: > ImageAccounts.MaxFileBytes };
}
