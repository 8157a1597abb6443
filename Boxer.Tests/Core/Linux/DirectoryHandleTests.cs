using System.Text;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Tests.Support;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Tests.Core.Linux;

/// <summary>Only directories are opened, whatever links lead to.</summary>
public sealed class DirectoryHandleTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    public DirectoryHandleTests()
    {
        Directory.CreateDirectory(_scratch["tree/real/below"]);
        Directory.CreateDirectory(_scratch["etc"]);
        File.WriteAllText(_scratch["tree/file"], "");
        Directory.CreateSymbolicLink(_scratch["tree/inside"], "real");
        Directory.CreateSymbolicLink(_scratch["tree/absolute"], "/real");
        Directory.CreateSymbolicLink(_scratch["tree/outside"], "../etc");
        Directory.CreateSymbolicLink(_scratch["tree/elsewhere"], _scratch["etc"]);
        Directory.CreateSymbolicLink(_scratch["tree/magic"], "/proc/self/root");
        Directory.CreateSymbolicLink(_scratch["link"], _scratch["tree"]);
    }

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData("tree", true, true)]
    [InlineData("link", false, true)]
    [InlineData("tree/file", false, false)]
    [InlineData("missing", false, false)]
    public void Open_rejects_links_and_OpenNamed_follows_them(string path, bool opens, bool opensNamed)
    {
        path = _scratch[path];
        Assert.Equal(opens, Opens(() => DirectoryHandle.Open(path)));
        Assert.Equal(opens, Opens(() => DirectoryHandle.OpenToResolve(path)));
        Assert.Equal(opensNamed, Opens(() => DirectoryHandle.OpenNamed(path)));
        Assert.Equal(opensNamed, Opens(() => DirectoryHandle.OpenNamedToResolve(path)));
    }

    [Theory]
    [InlineData("real", true, true)]
    [InlineData("real/below", true, true)]
    [InlineData("inside", false, true)]
    [InlineData("absolute", false, true)]
    [InlineData("outside", false, false)]
    [InlineData("elsewhere", false, false)]
    [InlineData("magic", false, false)]
    [InlineData("file", false, false)]
    [InlineData("../etc", true, false)]
    [InlineData("missing", false, false)]
    public void TryOpenInTree_stays_in_the_tree(string path, bool opensByName, bool opensInTree)
    {
        using SafeFileHandle tree = DirectoryHandle.Open(_scratch["tree"]);
        byte[] name = Encoding.UTF8.GetBytes(path + "\0");

        Assert.Equal(opensByName, Opens(() => DirectoryHandle.Open(tree, name)));
        using (SafeFileHandle tried = DirectoryHandle.TryOpen(tree, name))
        {
            Assert.Equal(opensByName, !tried.IsInvalid);
        }

        using SafeFileHandle found = DirectoryHandle.TryOpenInTree(tree, name);
        Assert.Equal(opensInTree, !found.IsInvalid);
        using SafeFileHandle plain = DirectoryHandle.TryOpenInTree(tree, name, Fcntl.RESOLVE_NO_SYMLINKS);
        Assert.Equal(opensInTree && opensByName, !plain.IsInvalid);
        if (opensInTree)
        {
            Assert.Equal(FileIdentity.Of(_scratch[path.StartsWith("real", StringComparison.Ordinal) ? "tree/" + path : "tree/real"])!.Value.Inode, DirectoryHandle.Status(found).stx_ino);
        }
    }

    [Fact]
    public void Open_returns_a_handle_that_children_do_not_inherit()
    {
        const int F_GETFD = 1;
        using SafeFileHandle tree = DirectoryHandle.Open(_scratch["tree"]);
        using SafeFileHandle inTree = DirectoryHandle.TryOpenInTree(tree, "real\0"u8);
        Assert.Equal(1, Fcntl.fcntl(tree, F_GETFD, 0));
        Assert.Equal(1, Fcntl.fcntl(inTree, F_GETFD, 0));
    }

    private static bool Opens(Func<SafeFileHandle> open)
    {
        try
        {
            open().Dispose();
            return true;
        }
        catch (NativeException)
        {
            return false;
        }
    }
}
