using System.Text;
using Boxer.Runtime;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Runtime;

public sealed class GuestAccountsTests : IDisposable
{
    private const string Passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\napp:x:1000:1001::/nonexistent:/bin/sh\nshort:x:1002:1002\nother:x:1000:1::/x:/bin/sh\n";
    private const string Group = "root:x:0:\nstaff:x:50:app\n";
    private readonly ScratchDirectory _root = new();

    public GuestAccountsTests()
    {
        Directory.CreateDirectory(_root["etc"]);
        File.WriteAllText(_root["etc/passwd"], Passwd);
        File.WriteAllText(_root["etc/group"], Group);
    }

    public void Dispose() => _root.Dispose();

    [Theory]
    [InlineData("5000", "/h", Passwd + "5000:x:5000:5000::/h:/bin/sh\n", Group + "5000:x:5000:\n")]
    [InlineData("5000:50", "/h", Passwd + "5000:x:5000:50::/h:/bin/sh\n", Group)]
    [InlineData("5000:6000", "/h:o", Passwd + "5000:x:5000:6000::/:/bin/sh\n", Group + "6000:x:6000:\n")]
    [InlineData("5000:50", "/h\nroot2:x:0:0::/", Passwd + "5000:x:5000:50::/:/bin/sh\n", Group)]
    public void An_id_without_an_entry_gets_one(string user, string home, string passwd, string group) =>
        Assert.Equal([passwd, group], Write(user, home, replacesHome: true));

    [Theory]
    [InlineData("app", true, "app:x:1000:1001::/home/ä:/bin/sh")]
    [InlineData("1000", true, "app:x:1000:1001::/home/ä:/bin/sh")]
    [InlineData("app", false, "app:x:1000:1001::/nonexistent:/bin/sh")]
    public void The_users_own_entry_gets_the_requested_home(string user, bool replacesHome, string entry) =>
        Assert.Equal([Passwd.Replace("app:x:1000:1001::/nonexistent:/bin/sh", entry, StringComparison.Ordinal), Group + "1001:x:1001:\n"], Write(user, "/home/ä", replacesHome));

    [Fact]
    public void An_entry_with_too_few_fields_is_completed() =>
        Assert.Equal(Passwd.Replace("short:x:1002:1002\n", "short:x:1002:1002::/h\n", StringComparison.Ordinal), Write("short", "/h", replacesHome: true)[0]);

    [Fact]
    public void Bytes_that_are_no_text_and_a_missing_end_of_line_are_kept()
    {
        byte[] passwd = [.. "a:x:1:1:"u8, 0xFF, 0xFE, .. ":/a:/bin/sh"u8];
        File.WriteAllBytes(_root["etc/passwd"], passwd);

        Assert.Equal([.. passwd, .. "\n7:x:7:7::/h:/bin/sh\n"u8], Files("7", "/h", replacesHome: true)[0]);
        Assert.Equal([.. "a:x:1:1:"u8, 0xFF, 0xFE, .. ":/h:/bin/sh"u8], Files("1", "/h", replacesHome: true)[0]);
    }

    [Fact]
    public void GuestAccounts_changes_only_plain_files_of_bounded_size()
    {
        File.Move(_root["etc/passwd"], _root["etc/real"]);
        File.CreateSymbolicLink(_root["etc/passwd"], "real");
        File.WriteAllBytes(_root["etc/group"], new byte[(1 << 20) + 1]);
        Assert.Empty(Files("1000:1", "/h", replacesHome: true));

        File.Delete(_root["etc/passwd"]);
        Directory.CreateDirectory(_root["etc/passwd"]);
        File.WriteAllBytes(_root["etc/group"], new byte[1 << 20]);
        Assert.Single(Files("1000:1", "/h", replacesHome: true));

        Directory.Move(_root["etc"], _root["elsewhere"]);
        Directory.CreateSymbolicLink(_root["etc"], "elsewhere");
        Assert.Empty(Files("1000:1", "/h", replacesHome: true));
    }

    private string[] Write(string user, string home, bool replacesHome) => [.. Files(user, home, replacesHome).Select(Encoding.UTF8.GetString)];

    private byte[][] Files(string user, string home, bool replacesHome)
    {
        // Plain ids need no file, so that one that is too large does no harm.
        ImageUser resolved = user.Contains(':', StringComparison.Ordinal)
            ? new ImageUser(uint.Parse(user.Split(':')[0], null), uint.Parse(user.Split(':')[1], null), [], null, null)
            : ImageUsers.Resolve(new ImageAccounts(_root.Path), user);
        return [.. GuestAccounts.Write(new ImageAccounts(_root.Path), resolved, home, replacesHome).Select(file => file.Content.ToArray())];
    }
}
