using System.Globalization;
using System.Text;
using Boxer.Common;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Images;

/// <summary>Who a command runs as.</summary>
/// <param name="Uid">The user id.</param>
/// <param name="Gid">The group id.</param>
/// <param name="Groups">Supplementary group ids.</param>
/// <param name="Home">The home directory that the image's passwd names: absolute and clean; else <see langword="null"/>.</param>
/// <param name="Name">The name in the image's passwd; <see langword="null"/> where the uid is not in it.</param>
internal sealed record ImageUser(uint Uid, uint Gid, IReadOnlyList<uint> Groups, string? Home, string? Name);

/// <summary>
/// Resolves users by an image's own /etc/passwd and /etc/group, which are hostile: they are opened inside the root whatever their
/// symbolic links say, must be regular files of at most 1 MiB, and nothing in them reaches a command but numbers, the user's name and
/// a clean home directory.
/// </summary>
internal static class ImageUsers
{
    private const int MaxFileBytes = 1024 * 1024;
    private const int MaxLineBytes = 64 * 1024;
    private const int MaxGroups = 256;

    /// <summary>
    /// Resolves <c>user</c>, <c>uid</c>, <c>user:group</c> or <c>uid:gid</c> in any mix, as Docker does, with two exceptions on purpose:
    /// digits always mean an id, never a name that an image made of digits; and a uid that is not in passwd has the gid of the same
    /// number instead of 0, also where passwd is over 1 MiB. Supplementary groups are those that list the user, unless a group is given.
    /// </summary>
    /// <param name="rootPath">The root of the image on this host.</param>
    /// <param name="user">The user; not empty.</param>
    /// <exception cref="InvalidSandboxRequestException">The text is no user, or the image does not know it.</exception>
    public static ImageUser Resolve(string rootPath, string user)
    {
        int colon = user.IndexOf(':', StringComparison.Ordinal);
        string owner = colon < 0 ? user : user[..colon];
        string? group = colon < 0 ? null : user[(colon + 1)..];
        if (owner.Length == 0 || group is { Length: 0 } || user.Any(char.IsControl) || user.Length > 512)
        {
            throw new InvalidSandboxRequestException("User", "must be a name, a uid, or either with :group, for example \"app\", \"1000\" or \"1000:1000\".");
        }

        using SafeFileHandle root = OpenRoot(rootPath);

        uint? uid = ReadId(owner, "user");
        string[]? entry = null;
        foreach (string[] fields in Read(root, "etc/passwd\0"u8, "/etc/passwd", isNeeded: uid is null))
        {
            if (fields.Length >= 4 && TryId(fields[2], out uint id) && TryId(fields[3], out _) && (uid is null ? fields[0] == owner : id == uid))
            {
                entry = fields;
                break;
            }
        }

        if (uid is null && entry is null)
        {
            throw new InvalidSandboxRequestException("User", $"the image has no user \"{owner}\" in /etc/passwd; give a uid, or a name that is in it.");
        }

        uint resolvedUid = uid ?? ParseId(entry![2]);
        string? name = entry is not null && entry[0].Length > 0 && !entry[0].Any(char.IsControl) ? entry[0] : null;
        string? home = entry is { Length: >= 6 } ? CleanHome(entry[5]) : null;
        if (group is null)
        {
            uint gid = entry is not null ? ParseId(entry[3]) : resolvedUid;
            return new(resolvedUid, gid, name is null ? [] : GroupsOf(root, name, gid), home, name);
        }

        if (ReadId(group, "group") is { } givenGid)
        {
            return new(resolvedUid, givenGid, [], home, name);
        }

        foreach (string[] fields in Read(root, "etc/group\0"u8, "/etc/group"))
        {
            if (fields.Length >= 3 && fields[0] == group && TryId(fields[2], out uint id))
            {
                return new(resolvedUid, id, [], home, name);
            }
        }

        throw new InvalidSandboxRequestException("User", $"the image has no group \"{group}\" in /etc/group; give a gid, or a name that is in it.");
    }

    private static List<uint> GroupsOf(SafeFileHandle root, string name, uint primary)
    {
        var groups = new List<uint>();
        foreach (string[] fields in Read(root, "etc/group\0"u8, "/etc/group"))
        {
            if (fields.Length >= 4 && TryId(fields[2], out uint id) && id != primary && !groups.Contains(id) && fields[3].Split(',').Contains(name))
            {
                if (groups.Count == MaxGroups)
                {
                    throw new InvalidSandboxRequestException("User", $"the image's /etc/group puts \"{name}\" in more than {MaxGroups} groups; give user:group.");
                }

                groups.Add(id);
            }
        }

        return groups;
    }

    // The largest id is -1 for the kernel, "no change" (chown(2)).
    private static bool TryId(string text, out uint id) =>
        uint.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out id) && id <= int.MaxValue;

    private static uint ParseId(string text) => uint.Parse(text, NumberStyles.None, CultureInfo.InvariantCulture);

    private static uint? ReadId(string text, string what)
    {
        if (text.AsSpan().ContainsAnyExceptInRange('0', '9'))
        {
            return null;
        }

        return TryId(text, out uint id)
            ? id
            : throw new InvalidSandboxRequestException("User", $"the {what} id {text} is too large; the largest is {int.MaxValue}.");
    }

    /// <summary>Whether a directory of an image has something in it that a user does not own: it is no home to write to.</summary>
    /// <param name="rootPath">The root of the image on this host.</param>
    /// <param name="directory">An absolute path in it.</param>
    /// <param name="uid">The user.</param>
    public static bool IsOfOthers(string rootPath, string directory, uint uid)
    {
        using SafeFileHandle root = OpenRoot(rootPath);
        using SafeFileHandle home = Fcntl.openat2(
            root, Encoding.UTF8.GetBytes(directory + "\0"), Fcntl.O_RDONLY | Fcntl.O_DIRECTORY | Fcntl.O_NONBLOCK, Fcntl.RESOLVE_IN_ROOT | Fcntl.RESOLVE_NO_MAGICLINKS);
        return !home.IsInvalid
            && SysStat.statx(home, "\0"u8, Fcntl.AT_EMPTY_PATH, SysStat.STATX_BASIC_STATS, out SysStat.statx_t status) == 0
            && status.stx_uid != uid
            && Dirent.ReadNames(home).Count > 0;
    }

    /// <summary>Reads a file of an image that is no symbolic link, below none, and regular.</summary>
    /// <param name="rootPath">The root of the image on this host.</param>
    /// <param name="path">Its path below the root, with a NUL at its end.</param>
    /// <returns>Its content, or <see langword="null"/> where there is no such file or it is over 1 MiB.</returns>
    public static byte[]? ReadPlain(string rootPath, ReadOnlySpan<byte> path)
    {
        using SafeFileHandle root = OpenRoot(rootPath);
        return ReadFile(root, path, Fcntl.RESOLVE_NO_SYMLINKS) is { Length: <= MaxFileBytes } content ? content : null;
    }

    private static SafeFileHandle OpenRoot(string rootPath)
    {
        SafeFileHandle root = Fcntl.openat(Fcntl.AT_FDCWD, rootPath, Fcntl.O_PATH | Fcntl.O_DIRECTORY | Fcntl.O_CLOEXEC, 0);
        Check.Result(root.IsInvalid ? -1 : 0, "open", rootPath);
        return root;
    }

    private static string? CleanHome(string home)
    {
        home = home.Length > 1 ? home.TrimEnd('/') : home;
        bool isShown = !home.Any(c => char.IsControl(c) || c == '\uFFFD');
        return isShown && (home == "/" || CleanPath.TryParse(home, PathKind.Absolute, out _) == PathFaults.None) ? home : null;
    }

    private static IEnumerable<string[]> Read(SafeFileHandle root, ReadOnlySpan<byte> path, string shown, bool isNeeded = true)
    {
        byte[] content = ReadFile(root, path, resolve: 0) ?? [];
        if (content.Length > MaxFileBytes && isNeeded)
        {
            throw new InvalidSandboxRequestException("User", $"the image's {shown} is larger than {MaxFileBytes} bytes; the user cannot be looked up in it. Give a uid.");
        }

        return content.Length > MaxFileBytes ? [] : Lines(content);
    }

    private static IEnumerable<string[]> Lines(byte[] content)
    {
        for (int start = 0; start < content.Length;)
        {
            int length = content.AsSpan(start).IndexOf((byte)'\n');
            length = length < 0 ? content.Length - start : length;
            if (length is > 0 and <= MaxLineBytes)
            {
                yield return Encoding.UTF8.GetString(content, start, length).Split(':');
            }

            start += length + 1;
        }
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
