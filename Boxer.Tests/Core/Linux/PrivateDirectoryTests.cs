using Boxer.Linux;
using Boxer.Native;
using Boxer.Tests.Support;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Tests.Core.Linux;

/// <summary>Directories that only the user of this process can enter.</summary>
public sealed class PrivateDirectoryTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Ensure_makes_missing_directories_private()
    {
        PrivateDirectory.Ensure(_scratch["a/b/c/"]);
        PrivateDirectory.Ensure(_scratch["a/b/c"]);

        Assert.All((string[])["a", "a/b", "a/b/c"], path => Assert.Equal(PrivateDirectory.Mode, File.GetUnixFileMode(_scratch[path])));
    }

    [Theory]
    [InlineData(UnixFileMode.GroupExecute)]
    [InlineData(UnixFileMode.OtherRead)]
    [InlineData(UnixFileMode.GroupWrite)]
    public void Ensure_rejects_a_directory_that_others_can_enter(UnixFileMode more)
    {
        Directory.CreateDirectory(_scratch["open"]);
        File.SetUnixFileMode(_scratch["open"], PrivateDirectory.Mode | more);

        SandboxPrivilegeException fault = Assert.Throws<SandboxPrivilegeException>(() => PrivateDirectory.Ensure(_scratch["open"]));
        Assert.Contains("can be entered by other users", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Ensure_rejects_a_directory_of_another_user_even_if_it_is_unreadable()
    {
        Assert.SkipWhen(Unistd.geteuid() != 0, "Needs root: the owner is changed.");
        Directory.CreateDirectory(_scratch["theirs"], PrivateDirectory.Mode);
        using (SafeFileHandle theirs = DirectoryHandle.Open(_scratch["theirs"]))
        {
            Check.Result(Unistd.fchown(theirs, 12_345, 12_345), "chown");
        }

        SandboxPrivilegeException fault = Assert.Throws<SandboxPrivilegeException>(() => PrivateDirectory.Ensure(_scratch["theirs"]));
        Assert.Contains("belongs to the user 12345", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Ensure_rejects_a_link_and_a_file()
    {
        PrivateDirectory.Ensure(_scratch["real"]);
        Directory.CreateSymbolicLink(_scratch["link"], _scratch["real"]);
        File.WriteAllText(_scratch["file"], "");

        Assert.Contains("is a symbolic link", Assert.Throws<SandboxPrivilegeException>(() => PrivateDirectory.Ensure(_scratch["link"])).Message, StringComparison.Ordinal);
        Assert.Contains("cannot be created", Assert.Throws<SandboxPrivilegeException>(() => PrivateDirectory.Ensure(_scratch["file"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Open_returns_the_checked_directory()
    {
        using SafeFileHandle checkedOne = PrivateDirectory.Open(_scratch["one"]);
        ulong inode = FileIdentity.Of(_scratch["one"])!.Value.Inode;
        Directory.Move(_scratch["one"], _scratch["moved"]);
        Directory.CreateSymbolicLink(_scratch["one"], "/etc");

        Assert.Equal(inode, DirectoryHandle.Status(checkedOne).stx_ino);
        using SafeFileHandle nothing = DirectoryHandle.TryOpenInTree(checkedOne, "../../etc\0"u8);
        Assert.True(nothing.IsInvalid);
    }
}
