using System.Text;
using Boxer.Images;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Images;

/// <summary>Roots as one file, read back by the kernel's own EROFS.</summary>
public sealed class ErofsWriterTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();
    private bool _isMounted;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        if (_isMounted)
        {
            HostProgram.RunAsync("umount", _scratch["mounted"]).GetAwaiter().GetResult();
        }

        _scratch.Dispose();
    }

    [Fact]
    public async Task What_the_kernel_reads_is_the_tree()
    {
        // Names are bytes, and there are more in a directory than go into a block; sizes are around those of blocks.
        await BuildAsync("""
            import os
            os.mkdir("many")
            for i in range(3000):
                open(b"many/%d-\xff" % i, "w").close()
            os.mkdir("names")
            for length in (1, 2, 100, 254, 255):
                open("names/" + "n" * length, "w").close()
            for name in ("!", "..a", ".a", "-", "~", "é", "new\nline"):
                open("names/" + name, "w").close()
            os.mkdir("sizes")
            for size in (0, 1, 4095, 4096, 4097, 1 << 20, (1 << 20) + 1, 3333333):
                open("sizes/%d" % size, "wb").write(bytes(i * 7 % 251 for i in range(size)))
            with open("sizes/sparse", "wb") as file:
                file.seek(9 << 20)
                file.write(b"end")
            os.link("sizes/4097", "sizes/linked")
            os.mkdir("links")
            os.link("sizes/4097", "links/other")
            os.symlink("x" * 4095, "links/long")
            os.symlink("../sizes", "links/short")
            os.symlink("/nowhere", b"links/\xfe")
            for name, mode in (("setuid", 0o4755), ("sticky", 0o1777), ("none", 0)):
                open("sizes/" + name, "w").close()
                os.chmod("sizes/" + name, mode)
            os.chown("sizes/1", 65534, 1234567)
            os.utime("sizes/1", ns=(1, 1234567890123456789))
            os.utime("sizes/4096", ns=(1, -5000000000))
            deep = "deep"
            for i in range(90):
                os.mkdir(deep)
                deep += "/d"
            os.mkdir("empty")
            os.mkfifo("fifo")
            """);

        ErofsWriter.Write(_scratch["tree"], _scratch["image"], 1 << 30, Cancel);
        await MountAsync();

        File.Delete(_scratch["tree/fifo"]);
        string tree = await TreeListing.ReadAsync(_scratch["tree"]);
        Assert.Contains("sparse", tree, StringComparison.Ordinal);
        Assert.Equal(tree, await TreeListing.ReadAsync(_scratch["mounted"]));
    }

    [Fact]
    public async Task A_tree_that_is_too_large_or_too_deep_is_refused_before_anything_is_written()
    {
        await BuildAsync("import os; open('hole', 'wb').truncate(1 << 40)");
        Assert.Contains("bytes", Assert.Throws<InvalidDataException>(Write).Message, StringComparison.Ordinal);
        Assert.Equal(0, new FileInfo(_scratch["image"]).Length);
        File.Delete(_scratch["image"]);
        Directory.Delete(_scratch["tree"], recursive: true);

        await BuildAsync("import os\nfor i in range(103):\n    os.mkdir('d')\n    os.chdir('d')");
        Assert.Contains("deep", Assert.Throws<InvalidDataException>(Write).Message, StringComparison.Ordinal);
        Assert.Equal(0, new FileInfo(_scratch["image"]).Length);

        void Write() => ErofsWriter.Write(_scratch["tree"], _scratch["image"], 1 << 30, Cancel);
    }

    [Fact]
    public async Task It_can_be_given_up()
    {
        await BuildAsync("open('file', 'w').write('x')");
        Assert.ThrowsAny<OperationCanceledException>(() => ErofsWriter.Write(_scratch["tree"], _scratch["image"], 1 << 30, new CancellationToken(canceled: true)));
    }

    private async Task BuildAsync(string program)
    {
        Directory.CreateDirectory(_scratch["tree"]);
        await File.WriteAllTextAsync(_scratch["build.py"], program, Encoding.UTF8, Cancel);
        await HostProgram.RunAsync("sh", "-c", "cd \"$1\" && exec /usr/bin/python3 \"$2\"", "sh", _scratch["tree"], _scratch["build.py"]);
    }

    private async Task MountAsync()
    {
        Assert.SkipUnless(Unistd.geteuid() == 0, "Needs root: mounts.");
        Assert.SkipUnless((await File.ReadAllTextAsync("/proc/filesystems", Cancel)).Contains("erofs", StringComparison.Ordinal), "This kernel has no EROFS.");
        Directory.CreateDirectory(_scratch["mounted"]);
        await HostProgram.RunAsync("mount", "-t", "erofs", "-o", "loop,ro", _scratch["image"], _scratch["mounted"]);
        _isMounted = true;
    }
}
