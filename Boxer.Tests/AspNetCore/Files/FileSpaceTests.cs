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
    public async Task Only_the_owner_can_enter_and_parents_that_were_made_too()
    {
        await PutAsync("a/b/c", "x");

        foreach (string directory in Directory.EnumerateDirectories(_root, "*", SearchOption.AllDirectories).Append(_root).Append(Path.GetDirectoryName(_root)!))
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute, File.GetUnixFileMode(directory));
        }

        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(Path.Combine(_root, "one/data/a/b/c")));
    }

    [Fact]
    public void A_second_process_on_the_same_root_is_refused_until_the_first_lets_go()
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
    public void Names_of_spaces_cannot_leave_the_root(string name) => Assert.Throws<ArgumentException>(() => _store.GetSpace(name));

    [Fact]
    public async Task A_space_holds_no_descriptor()
    {
        await PutAsync("a", "x");
        _space.OpenRead("a")!.Dispose();

        Assert.DoesNotContain(
            Directory.EnumerateFileSystemEntries("/proc/self/fd").Select(descriptor => new FileInfo(descriptor).LinkTarget),
            target => target?.StartsWith(Path.Combine(_root, "one"), StringComparison.Ordinal) ?? false);
    }

    [Fact]
    public async Task Two_runs_that_use_one_upload_at_once_both_read_the_whole_of_it()
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
    public async Task A_run_reads_what_was_there_when_it_began_and_does_not_delete_what_came_later()
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
    public async Task An_open_download_goes_on_when_its_file_is_replaced_or_deleted()
    {
        await PutAsync("a", "first");
        Stream download = _space.OpenRead("a")!;
        await PutAsync("a", "second");
        _space.Delete("a");

        Assert.Equal("first", await ReadAsync(download));
    }

    [Fact]
    public async Task Empty_directories_go_with_their_last_file()
    {
        await PutAsync("d/e/f", "x");
        Assert.Equal(1, _space.Delete("d/e/f"));

        await PutAsync("d", "now a file");

        Assert.Equal("now a file", await ReadAsync(_space.OpenRead("d")!));
    }

    [Fact]
    public async Task Deleting_a_directory_deletes_what_is_below_it_only()
    {
        await PutAsync("d/a", "x");
        await PutAsync("d/b/c", "x");
        await PutAsync("dd", "x");

        Assert.Equal(2, _space.Delete("d"));
        Assert.Equal(0, _space.Delete("d"));
        Assert.Equal(["one/data/dd"], OnDisk());
    }

    [Fact]
    public async Task All_that_is_on_disk_counts_and_what_goes_makes_room()
    {
        await PutAsync("a", new string('x', 60));
        await Assert.ThrowsAsync<FileStoreFullException>(() => PutAsync("b", new string('x', 60)));
        using (RunFiles run = _space.BeginRun(new RunUploads { Files = ["a"] }))
        {
            // Deleted, but a run may still read it: it is still on the disk.
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
    public async Task What_was_there_before_counts_after_a_restart()
    {
        await PutAsync("a", new string('x', 60));
        _store.Dispose();
        using FileStore again = FileStore.Open(_root, new FileStoreLimits { MaxBytes = 100 });

        await Assert.ThrowsAsync<FileStoreFullException>(
            () => again.GetSpace("one").StageAsync(new MemoryStream(new byte[60]), 1_000, TestContext.Current.CancellationToken));
    }

    [Fact]
    public async Task An_upload_that_breaks_off_leaves_nothing()
    {
        await Assert.ThrowsAsync<IOException>(() => _space.StageAsync(new BrokenStream(), 1_000, TestContext.Current.CancellationToken));

        Assert.Empty(OnDisk());
        await PutAsync("a", new string('x', 100));
    }

    [Fact]
    public async Task Links_and_pipes_that_somebody_put_there_are_not_found()
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
    public async Task A_file_that_became_a_link_is_not_followed()
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
    public async Task Directories_count_as_files_and_are_given_back()
    {
        await PutAsync("a/b/c/file", "x");

        await Assert.ThrowsAsync<FileStoreFullException>(() => PutAsync("d/file", "x"));
        Assert.False(Directory.Exists(Path.Combine(_root, "one", "data", "d")));

        Assert.Equal(1, _space.Delete("a"));
        await PutAsync("d/e/f/g", "x");
    }

    [Fact]
    public async Task Paths_that_are_too_deep_or_too_long_for_the_disk_are_refused_and_leave_nothing()
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
    public void A_root_that_is_a_link_is_refused()
    {
        string link = Path.Combine(Path.GetDirectoryName(_root)!, "link");
        Directory.CreateSymbolicLink(link, "/etc");

        Assert.Throws<SandboxPrivilegeException>(() => FileStore.Open(link, new FileStoreLimits()));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task What_was_there_stays_where_the_new_cannot_be_put_in_its_place(bool inUse)
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
    public async Task A_staged_file_has_one_path_only()
    {
        StagedFile staged = await StageAsync("x");
        staged.Publish("a");

        Assert.Throws<InvalidOperationException>(() => staged.Publish("b"));
        staged.Dispose();
        Assert.NotNull(_space.OpenRead("a"));
    }

    [Fact]
    public void Faults_of_a_run_are_listed_all_at_once()
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
