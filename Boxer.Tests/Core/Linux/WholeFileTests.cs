using Boxer.Linux;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Linux;

/// <summary>Files and directories that are whole or not there.</summary>
public sealed class WholeFileTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_file_is_written_and_replaced(bool isDurable)
    {
        string target = _scratch["file"];
        WholeFile.Write(target, _scratch["temporary"], file => file.Write("one"u8), isDurable: isDurable);
        WholeFile.Write(target, _scratch["temporary"], file => file.Write("two"u8), UnixFileMode.UserRead | UnixFileMode.OtherRead, isDurable);

        Assert.Equal("two", File.ReadAllText(target));
        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.OtherRead, File.GetUnixFileMode(target));
        Assert.Equal([target], Directory.GetFileSystemEntries(_scratch.Path));
    }

    [Fact]
    public void A_write_that_fails_leaves_what_was_there_and_nothing_else()
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
    public void A_killed_writers_leftover_is_replaced()
    {
        File.WriteAllText(_scratch["file.new"], "half of a longer tex");

        WholeFile.WriteLines(_scratch["file"], ["a", "b"]);

        Assert.Equal("a\nb\n", File.ReadAllText(_scratch["file"]));
        Assert.False(File.Exists(_scratch["file.new"]));
    }

    [Fact]
    public void Links_in_the_way_are_replaced_and_not_followed()
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
    public void A_directory_is_put_into_place_unless_another_one_is_there()
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
