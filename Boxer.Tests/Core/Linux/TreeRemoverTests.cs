using Boxer.Linux;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Linux;

public sealed class TreeRemoverTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Remove_does_nothing_if_the_path_does_not_exist()
    {
        TreeRemover.Remove(Path.Join(_scratch.Path, "missing"));
        TreeRemover.Remove(Path.Join(_scratch.Path, "missing", "below"));
    }

    [Fact]
    public void Remove_throws_if_it_cannot_open_the_parent()
    {
        string file = Path.Join(_scratch.Path, "file");
        File.WriteAllText(file, "");

        Assert.Equal(Errno.ENOTDIR, Assert.Throws<NativeException>(() => TreeRemover.Remove(Path.Join(file, "below"))).Errno);
    }
}
