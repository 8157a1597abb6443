using System.Globalization;
using System.Text;
using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>
/// Completes an image's /etc/passwd and /etc/group for the user of the command: programs look up their user, its home and its group there.
/// </summary>
internal static class GuestAccounts
{
    private const int IdField = 2;
    private const int HomeField = 5;

    /// <summary>
    /// Creates the two files. A uid or gid without an entry gets one; the entry of the user gets the home if <paramref name="replacesHome"/> is set. The
    /// rest stays as it is, byte for byte.
    /// </summary>
    /// <param name="accounts">The image's accounts.</param>
    /// <param name="user">The user of the command.</param>
    /// <param name="home">The home of the user.</param>
    /// <param name="replacesHome">Whether an existing entry gets this home.</param>
    /// <returns>The files that the image has as regular files of at most 1 MiB. Others are not changed.</returns>
    internal static IEnumerable<InitTextFile> Write(ImageAccounts accounts, ImageUser user, string home, bool replacesHome)
    {
        string name = user.Name ?? Number(user.Uid);
        if (Plain(accounts.Passwd) is { } passwd)
        {
            string entry = $"{name}:x:{Number(user.Uid)}:{Number(user.Gid)}::{(IsField(home) ? home : "/")}:/bin/sh";
            yield return new InitTextFile("/etc/passwd", Complete(passwd, user.Uid, user.Name, entry, replacesHome && IsField(home) ? home : null));
        }

        if (Plain(accounts.Group) is { } group)
        {
            yield return new InitTextFile("/etc/group", Complete(group, user.Gid, null, $"{(user.Gid == user.Uid ? name : Number(user.Gid))}:x:{Number(user.Gid)}:", null));
        }
    }

    private static byte[]? Plain(AccountFile file) => file is { IsPlain: true, IsTooLarge: false } ? file.Content : null;

    private static byte[] Complete(byte[] file, uint id, string? name, string entry, string? home)
    {
        byte[] wantedId = Encoding.ASCII.GetBytes(Number(id));
        byte[]? wantedName = name is null ? null : Encoding.UTF8.GetBytes(name);
        for (int start = 0; start < file.Length;)
        {
            int length = file.AsSpan(start).IndexOf((byte)'\n');
            length = length < 0 ? file.Length - start : length;
            ReadOnlySpan<byte> line = file.AsSpan(start, length);
            if (Field(line, IdField).SequenceEqual(wantedId) && (wantedName is null || Field(line, 0).SequenceEqual(wantedName)))
            {
                return home is null ? file : [.. file[..start], .. WithHome(line, home), .. file[(start + length)..]];
            }

            start += length + 1;
        }

        return [.. file, .. Encoding.UTF8.GetBytes((file.Length == 0 || file[^1] == '\n' ? "" : "\n") + entry + "\n")];
    }

    private static byte[] WithHome(ReadOnlySpan<byte> line, string home)
    {
        // Latin-1 keeps every byte as it is.
        List<string> fields = [.. Encoding.Latin1.GetString(line).Split(':')];
        while (fields.Count <= HomeField)
        {
            fields.Add("");
        }

        fields[HomeField] = Encoding.Latin1.GetString(Encoding.UTF8.GetBytes(home));
        return Encoding.Latin1.GetBytes(string.Join(':', fields));
    }

    /// <returns>The field; empty if the line has fewer fields.</returns>
    private static ReadOnlySpan<byte> Field(ReadOnlySpan<byte> line, int number)
    {
        for (; number > 0; number--)
        {
            int colon = line.IndexOf((byte)':');
            if (colon < 0)
            {
                return [];
            }

            line = line[(colon + 1)..];
        }

        int end = line.IndexOf((byte)':');
        return end < 0 ? line : line[..end];
    }

    private static bool IsField(string text) => !text.Any(character => character == ':' || char.IsControl(character));

    private static string Number(uint id) => id.ToString(CultureInfo.InvariantCulture);
}
