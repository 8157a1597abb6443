using Boxer.Linux;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Linux;

/// <summary>Files and directories at their final path are complete.</summary>
public sealed class WholeFileTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Write_creates_and_replaces_a_file(bool isDurable)
    {
        Assert.SkipWhen(isDurable && Unistd.geteuid() != 0, "Needs root: only root opens a file for writing whose mode is read-only.");
        string target = _scratch["file"];
        WholeFile.Write(target, _scratch["temporary"], file => file.Write("one"u8), isDurable: isDurable);
        WholeFile.Write(target, _scratch["temporary"], file => file.Write("two"u8), UnixFileMode.UserRead | UnixFileMode.OtherRead, isDurable);

        Assert.Equal("two", File.ReadAllText(target));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.OtherRead, File.GetUnixFileMode(target));
        Assert.Equal([target], Directory.GetFileSystemEntries(_scratch.Path));
    }

    [Fact]
    public void Write_that_fails_leaves_the_earlier_file_and_nothing_else()
    {
        string target = _scratch["file"];
        File.WriteAllText(target, "old");

        Assert.Throws<IOException>(() => WholeFile.Write(target, _scratch["temporary"], file =>
        {
            file.Write("ha"u8);
            throw new IOException("the disk is full");
        }));
        Assert.Throws<NativeException>(() => WholeFile.Write(_scratch["missing/file"], _scratch["temporary"], file => file.Write("x"u8)));

        Assert.Equal("old", File.ReadAllText(target));
        Assert.Equal([target], Directory.GetFileSystemEntries(_scratch.Path));
    }

    [Fact]
    public void Write_replaces_a_leftover_of_a_killed_writer()
    {
        File.WriteAllText(_scratch["file.new"], "half of a longer tex");

        WholeFile.WriteLines(_scratch["file"], ["a", "b"]);

        Assert.Equal("a\nb\n", File.ReadAllText(_scratch["file"]));
        Assert.False(File.Exists(_scratch["file.new"]));
    }

    [Fact]
    public void Write_replaces_links_without_following_them()
    {
        string outside = _scratch["outside"];
        File.WriteAllText(outside, "kept");
        File.CreateSymbolicLink(_scratch["file"], outside);
        File.CreateSymbolicLink(_scratch["file.new"], outside);

        WholeFile.WriteLines(_scratch["file"], ["new"]);

        Assert.Equal("kept", File.ReadAllText(outside));
        Assert.Null(new FileInfo(_scratch["file"]).LinkTarget);
        Assert.Equal("new\n", File.ReadAllText(_scratch["file"]));
    }

    [Fact]
    public void TryCommitDirectory_moves_a_directory_unless_the_target_exists()
    {
        string target = _scratch["target"];
        Directory.CreateDirectory(_scratch["one/a"]);
        Directory.CreateDirectory(_scratch["two/b"]);

        Assert.True(WholeFile.TryCommitDirectory(_scratch["one"], target));
        Assert.False(WholeFile.TryCommitDirectory(_scratch["two"], target));

        Assert.True(Directory.Exists(Path.Join(target, "a")));
        Assert.True(Directory.Exists(_scratch["two/b"]));
    }
}
