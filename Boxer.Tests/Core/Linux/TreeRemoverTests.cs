using Boxer.Linux;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Linux;

public sealed class TreeRemoverTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public void Remove_does_nothing_where_there_is_nothing()
    {
        TreeRemover.Remove(Path.Join(_scratch.Path, "missing"));
        TreeRemover.Remove(Path.Join(_scratch.Path, "missing", "below"));
    }

    [Fact]
    public void Remove_says_that_it_cannot_look()
    {
        string file = Path.Join(_scratch.Path, "file");
        File.WriteAllText(file, "");

        Assert.Equal(Errno.ENOTDIR, Assert.Throws<NativeException>(() => TreeRemover.Remove(Path.Join(file, "below"))).Errno);
    }
}
