using Boxer.Runtime;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Runtime;

public sealed class ImageUsersTests : IDisposable
{
    private readonly ScratchDirectory _root = new();

    public ImageUsersTests()
    {
        Directory.CreateDirectory(_root["etc"]);
        File.WriteAllText(_root["etc/passwd"], """
            root:x:0:0:root:/root:/bin/sh
            broken
            app:x:1000:1001::/home/app/:/bin/sh
            0123:x:0:0::/root:/bin/sh
            dots:x:1002:1002::/home/../etc:/bin/sh
            relative:x:1003:1003::home:/bin/sh
            huge:x:4294967295:0::/:/bin/sh
            negative:x:-1:0::/:/bin/sh
            slash:x:1004:1004::/:/bin/sh
            """);
        File.WriteAllText(_root["etc/group"], """
            root:x:0:
            staff:x:50:app,other
            primary:x:1001:app
            video:x:44:other,app
            """);
    }

    [Theory]
    [InlineData("root", 0, 0, "", "/root", "root")]
    [InlineData("app", 1000, 1001, "50,44", "/home/app", "app")]
    [InlineData("1000", 1000, 1001, "50,44", "/home/app", "app")]
    [InlineData("app:staff", 1000, 50, "", "/home/app", "app")]
    [InlineData("app:7", 1000, 7, "", "/home/app", "app")]
    [InlineData("5000:video", 5000, 44, "", null, null)]
    [InlineData("5000", 5000, 5000, "", null, null)]
    [InlineData("5000:6000", 5000, 6000, "", null, null)]
    [InlineData("0123", 123, 123, "", null, null)]
    [InlineData("dots", 1002, 1002, "", null, "dots")]
    [InlineData("relative", 1003, 1003, "", null, "relative")]
    [InlineData("slash", 1004, 1004, "", "/", "slash")]
    public void Resolve_follows_the_images_accounts(string user, uint uid, uint gid, string groups, string? home, string? name)
    {
        ImageUser resolved = ImageUsers.Resolve(new ImageAccounts(_root.Path), user);

        Assert.Equal((uid, gid, groups, home, name), (resolved.Uid, resolved.Gid, string.Join(',', resolved.Groups), resolved.Home, resolved.Name));
    }

    [Theory]
    [InlineData("nobody", "no user \"nobody\"")]
    [InlineData("huge", "no user \"huge\"")]
    [InlineData("negative", "no user \"negative\"")]
    [InlineData("app:nobody", "no group \"nobody\"")]
    [InlineData("", "must be a name")]
    [InlineData(":1", "must be a name")]
    [InlineData("1:", "must be a name")]
    [InlineData("a\nb", "must be a name")]
    [InlineData("4294967295", "too large")]
    [InlineData("1:4294967295", "too large")]
    [InlineData("99999999999999999999", "too large")]
    public void Resolve_rejects_an_unknown_user_by_name(string user, string message)
    {
        InvalidSandboxRequestException fault = Assert.Throws<InvalidSandboxRequestException>(() => ImageUsers.Resolve(new ImageAccounts(_root.Path), user));

        Assert.Equal("User", Assert.Single(fault.Faults).Field);
        Assert.Contains(message, fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Symlinks_stay_in_the_root()
    {
        File.Delete(_root["etc/passwd"]);
        File.CreateSymbolicLink(_root["etc/passwd"], "/usr/passwd");
        Directory.CreateDirectory(_root["usr"]);
        File.WriteAllText(_root["usr/passwd"], "inside:x:7:8::/:/bin/sh\n");
        Assert.Equal(7u, ImageUsers.Resolve(new ImageAccounts(_root.Path), "inside").Uid);

        File.Delete(_root["etc/passwd"]);
        File.CreateSymbolicLink(_root["etc/passwd"], "../../../../../../etc/passwd");
        Assert.Throws<InvalidSandboxRequestException>(() => ImageUsers.Resolve(new ImageAccounts(_root.Path), "daemon"));

        File.Delete(_root["etc/passwd"]);
        File.CreateSymbolicLink(_root["etc/passwd"], "/proc/self/root/etc/passwd");
        Assert.Throws<InvalidSandboxRequestException>(() => ImageUsers.Resolve(new ImageAccounts(_root.Path), "daemon"));
    }

    [Fact]
    public void Only_a_small_regular_file_is_read_as_passwd()
    {
        File.Delete(_root["etc/passwd"]);
        Directory.CreateDirectory(_root["etc/passwd"]);
        Assert.Equal(9u, ImageUsers.Resolve(new ImageAccounts(_root.Path), "9").Gid);

        Directory.Delete(_root["etc/passwd"]);
        File.WriteAllBytes(_root["etc/passwd"], new byte[(1024 * 1024) + 1]);
        Assert.Contains("larger than", Assert.Throws<InvalidSandboxRequestException>(() => ImageUsers.Resolve(new ImageAccounts(_root.Path), "app")).Message, StringComparison.Ordinal);
        Assert.Equal((9u, 9u, null), (ImageUsers.Resolve(new ImageAccounts(_root.Path), "9").Uid, ImageUsers.Resolve(new ImageAccounts(_root.Path), "9").Gid, ImageUsers.Resolve(new ImageAccounts(_root.Path), "9").Name));

        File.WriteAllText(_root["etc/passwd"], new string('a', 100_000) + ":x:1:1\nok:x:2:2:::\n");
        Assert.Equal(2u, ImageUsers.Resolve(new ImageAccounts(_root.Path), "ok").Uid);
        File.Delete(_root["etc/passwd"]);
        Assert.Null(ImageUsers.Resolve(new ImageAccounts(_root.Path), "9").Name);
    }

    public void Dispose() => _root.Dispose();
}
