using System.Text;
using Boxer.AspNetCore.Files;

namespace Boxer.Tests.AspNetCore.Files;

public sealed class FileSpaceTests : IDisposable
{
    private readonly string _root = Path.Combine(Directory.CreateTempSubdirectory("boxer-files-").FullName, "home", "files");
    private readonly FileStore _store;
    private readonly FileSpace _space;

    public FileSpaceTests()
    {
        _store = FileStore.Open(_root, new FileStoreLimits { MaxBytes = 100, MaxFiles = 5 });
        _space = _store.GetSpace("one");
    }

    public void Dispose()
    {
        _store.Dispose();
        Directory.Delete(Path.GetFullPath(Path.Combine(_root, "../..")), recursive: true);
    }

    [Fact]
    public async Task Directories_and_created_parents_are_private()
    {
        await PutAsync("a/b/c", "x");

        foreach (string directory in Directory.EnumerateDirectories(_root, "*", SearchOption.AllDirectories).Append(_root).Append(Path.GetDirectoryName(_root)!))
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(directory));
        }

        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(_root, "one/data/a/b/c")));
    }

    [Fact]
    public void Open_fails_while_another_process_has_the_root()
    {
        Assert.Throws<IOException>(() => FileStore.Open(_root, new FileStoreLimits()));
        _store.Dispose();
        FileStore.Open(_root, new FileStoreLimits()).Dispose();
    }

    [Theory]
    [InlineData("")]
    [InlineData("..")]
    [InlineData("A")]
    [InlineData("a/b")]
    [InlineData("a\n")]
    public void GetSpace_rejects_names_that_leave_the_root(string name) => Assert.Throws<ArgumentException>(() => _store.GetSpace(name));

    [Fact]
    public async Task A_space_keeps_no_descriptor_open()
    {
        await PutAsync("a", "x");
        _space.OpenRead("a")!.Dispose();

        Assert.DoesNotContain(
            Directory.EnumerateFileSystemEntries("/proc/self/fd").Select(descriptor => new FileInfo(descriptor).LinkTarget),
            target => target?.StartsWith(Path.Combine(_root, "one"), StringComparison.Ordinal) ?? false);
    }

    [Fact]
    public async Task BeginRun_gives_concurrent_runs_the_whole_upload()
    {
        await PutAsync("shared", "content");
        using RunFiles first = _space.BeginRun(new RunUploads { Files = ["shared"] });
        using RunFiles second = _space.BeginRun(new RunUploads { Files = ["shared"] });

        first.DeleteInputs();
        first.Dispose();

        Assert.Null(_space.OpenRead("shared"));
        Assert.Equal("content", await ReadAsync(second.Inputs[0]));
        second.DeleteInputs();
        second.Dispose();
        Assert.Empty(OnDisk());
    }

    [Fact]
    public async Task A_run_reads_the_content_from_its_start_and_does_not_delete_a_later_upload()
    {
        await PutAsync("a", "old");
        using RunFiles run = _space.BeginRun(new RunUploads { Files = ["a"] });

        await PutAsync("a", "new");

        Assert.Equal("old", await ReadAsync(run.Inputs[0]));
        Assert.Equal("old", await ReadAsync(run.Inputs[0]));
        run.DeleteInputs();
        run.Dispose();
        Assert.Equal("new", await ReadAsync(_space.OpenRead("a")!));
        Assert.Equal(["one/data/a"], OnDisk());
    }

    [Fact]
    public async Task OpenRead_keeps_its_content_when_the_file_is_replaced_or_deleted()
    {
        await PutAsync("a", "first");
        Stream download = _space.OpenRead("a")!;
        await PutAsync("a", "second");
        _space.Delete("a");

        Assert.Equal("first", await ReadAsync(download));
    }

    [Fact]
    public async Task Delete_removes_empty_directories()
    {
        await PutAsync("d/e/f", "x");
        Assert.Equal(1, _space.Delete("d/e/f"));

        await PutAsync("d", "now a file");

        Assert.Equal("now a file", await ReadAsync(_space.OpenRead("d")!));
    }

    [Fact]
    public async Task Delete_of_a_directory_deletes_only_files_below_it()
    {
        await PutAsync("d/a", "x");
        await PutAsync("d/b/c", "x");
        await PutAsync("dd", "x");

        Assert.Equal(2, _space.Delete("d"));
        Assert.Equal(0, _space.Delete("d"));
        Assert.Equal(["one/data/dd"], OnDisk());
    }

    [Fact]
    public async Task The_quota_counts_everything_on_disk_and_releases_deleted_files()
    {
        await PutAsync("a", new string('x', 60));
        await Assert.ThrowsAsync<FileStoreFullException>(() => PutAsync("b", new string('x', 60)));
        using (RunFiles run = _space.BeginRun(new RunUploads { Files = ["a"] }))
        {
            // The run may still read the deleted file, so it still counts.
            _space.Delete("a");
            await Assert.ThrowsAsync<FileStoreFullException>(() => PutAsync("b", new string('x', 60)));
        }

        await PutAsync("b", new string('x', 60));
        using StagedFile staged = await StageAsync(new string('x', 40));
        await Assert.ThrowsAsync<FileStoreFullException>(() => PutAsync("c", "x"));
        staged.Dispose();
        await PutAsync("c", "x");
    }

    [Fact]
    public async Task The_quota_counts_existing_files_after_a_restart()
    {
        await PutAsync("a", new string('x', 60));
        _store.Dispose();
        using FileStore again = FileStore.Open(_root, new FileStoreLimits { MaxBytes = 100 });

        await Assert.ThrowsAsync<FileStoreFullException>(
            () => again.GetSpace("one").StageAsync(new MemoryStream(new byte[60]), 1_000, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task StageAsync_leaves_nothing_when_the_upload_fails()
    {
        await Assert.ThrowsAsync<IOException>(() => _space.StageAsync(new BrokenStream(), 1_000, TestContext.Current.CancellationToken));

        Assert.Empty(OnDisk());
        await PutAsync("a", new string('x', 100));
    }

    [Fact]
    public async Task Links_in_the_directory_are_ignored()
    {
        await PutAsync("a", "x");
        _store.Dispose();
        string data = Path.Combine(_root, "one/data");
        File.CreateSymbolicLink(Path.Combine(data, "link"), "/etc/passwd");
        Directory.CreateSymbolicLink(Path.Combine(data, "dir"), "/etc");
        using FileStore again = FileStore.Open(_root, new FileStoreLimits());
        FileSpace space = again.GetSpace("one");

        Assert.NotNull(space.OpenRead("a"));
        Assert.Null(space.OpenRead("link"));
        Assert.Null(space.OpenRead("dir/passwd"));
    }

    [Fact]
    public async Task OpenRead_does_not_follow_links()
    {
        await PutAsync("d/a", "x");
        string file = Path.Combine(_root, "one/data/d/a");
        File.Delete(file);
        File.CreateSymbolicLink(file, "/etc/passwd");

        Assert.ThrowsAny<IOException>(() => _space.OpenRead("d/a"));

        File.Delete(file);
        Directory.Delete(Path.GetDirectoryName(file)!);
        Directory.CreateDirectory(Path.Combine(_root, "elsewhere"));
        await File.WriteAllTextAsync(Path.Combine(_root, "elsewhere/a"), "secret", TestContext.Current.CancellationToken);
        Directory.CreateSymbolicLink(Path.GetDirectoryName(file)!, Path.Combine(_root, "elsewhere"));

        Assert.ThrowsAny<IOException>(() => _space.OpenRead("d/a"));
    }

    [Fact]
    public async Task Directories_count_as_files_and_are_released()
    {
        await PutAsync("a/b/c/file", "x");

        await Assert.ThrowsAsync<FileStoreFullException>(() => PutAsync("d/file", "x"));
        Assert.False(Directory.Exists(Path.Combine(_root, "one", "data", "d")));

        Assert.Equal(1, _space.Delete("a"));
        await PutAsync("d/e/f/g", "x");
    }

    [Fact]
    public async Task Publish_rejects_paths_that_are_too_deep_or_too_long_and_leaves_nothing()
    {
        InvalidSandboxRequestException deep = await Assert.ThrowsAsync<InvalidSandboxRequestException>(
            () => PutAsync(string.Join('/', Enumerable.Repeat("a", 68)), "x"));
        Assert.Contains("has 68 names; at most 67 are allowed.", deep.Message, StringComparison.Ordinal);

        InvalidSandboxRequestException longest = await Assert.ThrowsAsync<InvalidSandboxRequestException>(
            () => PutAsync(string.Join('/', Enumerable.Repeat(new string('a', 254), 16)), "x"));
        Assert.EndsWith("The path is too long for this host's disk; choose a shorter one.", longest.PublicMessage, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(_root, "aaaa*", SearchOption.AllDirectories));
    }

    [Fact]
    public void Open_rejects_a_root_that_is_a_link()
    {
        string link = Path.Combine(Path.GetDirectoryName(_root)!, "link");
        Directory.CreateSymbolicLink(link, "/etc");

        Assert.Throws<SandboxPrivilegeException>(() => FileStore.Open(link, new FileStoreLimits()));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Publish_keeps_the_old_file_when_the_move_fails(bool inUse)
    {
        await PutAsync("a", "old");
        using RunFiles? run = inUse ? _space.BeginRun(new RunUploads { Files = ["a"] }) : null;
        StagedFile staged = await _space.StageAsync(new MemoryStream("new"u8.ToArray()), 100, TestContext.Current.CancellationToken);
        Directory.GetFiles(Path.Combine(_root, "one/staging")).ToList().ForEach(File.Delete);

        Assert.ThrowsAny<IOException>(() => staged.Publish("a"));
        staged.Dispose();

        using StreamReader reader = new(_space.OpenRead("a")!);
        Assert.Equal("old", await reader.ReadToEndAsync(TestContext.Current.CancellationToken));
        await PutAsync("a", "newer");
        using StreamReader after = new(_space.OpenRead("a")!);
        Assert.Equal("newer", await after.ReadToEndAsync(TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task A_staged_file_can_be_published_once()
    {
        StagedFile staged = await StageAsync("x");
        staged.Publish("a");

        Assert.Throws<InvalidOperationException>(() => staged.Publish("b"));
        staged.Dispose();
        Assert.NotNull(_space.OpenRead("a"));
    }

    [Fact]
    public void BeginRun_lists_all_faults()
    {
        InvalidSandboxRequestException exception =
            Assert.Throws<InvalidSandboxRequestException>(() => _space.BeginRun(new RunUploads { Files = ["missing", "../up", "output/x"] }));

        Assert.Equal(["Files[0]", "Files[1]", "Files[2]"], exception.Faults.Select(fault => fault.Field));
    }

    private List<string> OnDisk() =>
    [
        .. Directory.EnumerateFiles(_root, "*", SearchOption.AllDirectories)
            .Select(file => Path.GetRelativePath(_root, file))
            .Where(file => file != "lock"),
    ];

    private Task<StagedFile> StageAsync(string text) =>
        _space.StageAsync(new MemoryStream(Encoding.UTF8.GetBytes(text)), 1_000, TestContext.Current.CancellationToken);

    private async Task PutAsync(string path, string text)
    {
        using StagedFile staged = await StageAsync(text);
        staged.Publish(path);
    }

    private static async Task<string> ReadAsync(SandboxFile file) => await ReadAsync(await file.OpenReadAsync(CancellationToken.None));

    private static async Task<string> ReadAsync(Stream stream)
    {
        using StreamReader reader = new(stream);
        return await reader.ReadToEndAsync(TestContext.Current.CancellationToken);
    }

    private sealed class BrokenStream : MemoryStream
    {
        private bool _read;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await Task.Yield();
            if (_read)
            {
                throw new IOException("gone");
            }

            _read = true;
            buffer.Span[..10].Clear();
            return 10;
        }
    }
}
