using System.Text;
using Boxer.Runtime;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Runtime;

/// <summary>The accounts of an image are read once, and only from inside its root.</summary>
public sealed class ImageAccountsTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    public ImageAccountsTests()
    {
        Directory.CreateDirectory(_scratch["root/etc"]);
        File.WriteAllText(_scratch["outside"], "root:x:0:0::/:/bin/sh\n");
    }

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void A_file_is_read_once()
    {
        File.WriteAllText(_scratch["root/etc/passwd"], "a");
        var accounts = new ImageAccounts(_scratch["root"]);
        Assert.Equal("a"u8, accounts.Passwd.Content!);

        File.WriteAllText(_scratch["root/etc/passwd"], "b");
        File.WriteAllText(_scratch["root/etc/group"], "g");

        Assert.Equal(("a", true, false), (Encoding.ASCII.GetString(accounts.Passwd.Content!), accounts.Passwd.IsPlain, accounts.Passwd.IsTooLarge));
        Assert.Equal("g"u8, accounts.Group.Content!);
    }

    [Theory]
    [InlineData(1 << 16, true, false)]
    [InlineData((1 << 16) + 1, false, false)]
    [InlineData(1 << 20, false, false)]
    [InlineData((1 << 20) + 1, false, true)]
    [InlineData(1 << 24, false, true)]
    public void Queued_runs_keep_small_files_only(int bytes, bool isKept, bool isTooLarge)
    {
        File.WriteAllBytes(_scratch["root/etc/passwd"], new byte[bytes]);
        var accounts = new ImageAccounts(_scratch["root"]);
        AccountFile first = accounts.Passwd;

        Assert.Equal(isTooLarge, first.IsTooLarge);
        Assert.Equal(Math.Min(bytes, (1 << 20) + 1), first.Content!.Length);
        Assert.Equal(isKept, ReferenceEquals(first, accounts.Passwd));
    }

    [Fact]
    public void Links_stay_in_the_root_and_only_regular_files_are_read()
    {
        File.CreateSymbolicLink(_scratch["root/etc/passwd"], "/etc/real");
        File.WriteAllText(_scratch["root/etc/real"], "inside");
        Directory.CreateDirectory(_scratch["root/etc/group"]);
        var accounts = new ImageAccounts(_scratch["root"]);
        Assert.Equal(("inside", false), (Encoding.ASCII.GetString(accounts.Passwd.Content!), accounts.Passwd.IsPlain));
        Assert.Equal(new AccountFile(null, false), accounts.Group);

        File.Delete(_scratch["root/etc/passwd"]);
        File.CreateSymbolicLink(_scratch["root/etc/passwd"], "../../outside");
        Assert.Null(new ImageAccounts(_scratch["root"]).Passwd.Content);
        File.Delete(_scratch["root/etc/passwd"]);
        File.CreateSymbolicLink(_scratch["root/etc/passwd"], _scratch["outside"]);
        Assert.Null(new ImageAccounts(_scratch["root"]).Passwd.Content);
    }
}
