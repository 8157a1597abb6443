using System.Globalization;
using Boxer.Common;

namespace Boxer.Runtime;

/// <summary>The user of a command.</summary>
/// <param name="Uid">The user id.</param>
/// <param name="Gid">The group id.</param>
/// <param name="Groups">Supplementary group ids.</param>
/// <param name="Home">The home directory in the image's passwd, absolute and clean; <see langword="null"/>: none.</param>
/// <param name="Name">The name in the image's passwd; <see langword="null"/> if the uid is not in it.</param>
internal sealed record ImageUser(uint Uid, uint Gid, IReadOnlyList<uint> Groups, string? Home, string? Name);

/// <summary>
/// Resolves users by an image's own /etc/passwd and /etc/group, which are untrusted: only numbers, the name of the user and a clean home directory
/// reach a command.
/// </summary>
internal static class ImageUsers
{
    private const int MaxLineBytes = 64 * 1024;
    private const int MaxGroups = 256;

    /// <summary>
    /// Resolves <c>user</c>, <c>uid</c>, <c>user:group</c> or <c>uid:gid</c> in any mix, as Docker does, with two intended exceptions. Digits always
    /// mean an id, never a name that consists of digits. A uid that is not in passwd, or whose passwd is over 1 MiB, gets the gid of the same number
    /// instead of 0. Supplementary groups are those that list the user; if a group is given, there are none.
    /// </summary>
    /// <param name="accounts">The image's accounts.</param>
    /// <param name="user">The user.</param>
    /// <exception cref="InvalidSandboxRequestException">The image does not know the user or the group.</exception>
    public static ImageUser Resolve(ImageAccounts accounts, UserName user)
    {
        (_, string owner, uint? givenUid, string? group, uint? givenGid) = user;
        string[]? entry = FindEntry(accounts, owner, givenUid);
        uint uid = givenUid ?? ParseId(entry![2]);
        string? name = entry is not null && entry[0].Length > 0 && !entry[0].Any(char.IsControl) ? entry[0] : null;
        string? home = entry is { Length: >= 6 } ? CleanHome(entry[5]) : null;
        if (group is not null)
        {
            return new(uid, givenGid ?? FindGroup(accounts, group), [], home, name);
        }

        uint gid = entry is not null ? ParseId(entry[3]) : uid;
        return new(uid, gid, name is null ? [] : GroupsOf(accounts, name, gid), home, name);
    }

    private static string[]? FindEntry(ImageAccounts accounts, string owner, uint? uid)
    {
        foreach (string[] fields in Read(accounts.Passwd, "/etc/passwd", isNeeded: uid is null))
        {
            if (fields.Length >= 4 && UserName.TryId(fields[2], out uint id) && UserName.TryId(fields[3], out _) && (uid is null ? fields[0] == owner : id == uid))
            {
                return fields;
            }
        }

        return uid is not null
            ? null
            : throw new InvalidSandboxRequestException("User", $"the image has no user \"{owner}\" in /etc/passwd; give a uid, or a name that is in it.");
    }

    private static uint FindGroup(ImageAccounts accounts, string group)
    {
        foreach (string[] fields in Read(accounts.Group, "/etc/group"))
        {
            if (fields.Length >= 3 && fields[0] == group && UserName.TryId(fields[2], out uint id))
            {
                return id;
            }
        }

        throw new InvalidSandboxRequestException("User", $"the image has no group \"{group}\" in /etc/group; give a gid, or a name that is in it.");
    }

    private static List<uint> GroupsOf(ImageAccounts accounts, string name, uint primary)
    {
        var groups = new List<uint>();
        foreach (string[] fields in Read(accounts.Group, "/etc/group"))
        {
            if (fields.Length >= 4 && UserName.TryId(fields[2], out uint id) && id != primary && !groups.Contains(id) && fields[3].Split(',').Contains(name))
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

    private static uint ParseId(string text) => uint.Parse(text, NumberStyles.None, CultureInfo.InvariantCulture);

    private static string? CleanHome(string home)
    {
        home = home.Length > 1 ? home.TrimEnd('/') : home;
        bool isShown = !home.Any(c => char.IsControl(c) || c == '\uFFFD');
        return isShown && (home == "/" || CleanPath.TryParse(home, PathKind.Absolute, out _) == PathFaults.None) ? home : null;
    }

    /// <summary>Parses a user and resolves it.</summary>
    /// <inheritdoc cref="Resolve(ImageAccounts, UserName)"/>
    /// <exception cref="InvalidSandboxRequestException">The text is no user, or the image does not know the user.</exception>
    public static ImageUser Resolve(ImageAccounts accounts, string user) => Resolve(accounts, Parse(user));

    private static UserName Parse(string text) => UserName.TryParse(text, out IReadOnlyList<(UserFault Fault, string Part)> faults) ?? throw new InvalidSandboxRequestException(
        "User",
        faults.FirstOrDefault(fault => fault.Fault == UserFault.IdTooLarge) is { Part: { } id }
            ? $"the id {id} is too large; the largest is {UserName.MaxId}."
            : "must be a name, a uid, or either with :group, for example \"app\", \"1000\" or \"1000:1000\".");

    private static IEnumerable<string[]> Read(AccountFile file, string shown, bool isNeeded = true) =>
        !file.IsTooLarge ? Lines(file.Content ?? [])
        : isNeeded ? throw new InvalidSandboxRequestException("User", $"the image's {shown} is larger than {ImageAccounts.MaxFileBytes} bytes; the user cannot be looked up in it. Give a uid.")
        : [];

    private static IEnumerable<string[]> Lines(byte[] content)
    {
        for (int start = 0; start < content.Length;)
        {
            int length = content.AsSpan(start).IndexOf((byte)'\n');
            length = length < 0 ? content.Length - start : length;
            if (length is > 0 and <= MaxLineBytes)
            {
                yield return UntrustedText.Decode(content.AsSpan(start, length)).Split(':');
            }

            start += length + 1;
        }
    }
}
