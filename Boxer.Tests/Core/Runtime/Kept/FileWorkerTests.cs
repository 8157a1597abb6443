using System.Formats.Tar;
using System.Text;
using Boxer.Native;
using Boxer.Runtime.Kept;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>The real file worker, on this machine and in gVisor.</summary>
[Slow]
public sealed class FileWorkerTests(FileWorkerFixture fixture) : IClassFixture<FileWorkerFixture>
{
    private const int AccessDenied = Errno.EACCES;
    private const int NotSupported = 95; // EOPNOTSUPP

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Files_are_written_read_described_moved_and_removed(bool inSandbox)
    {
        await using WorkerProcess process = await WorkerProcess.StartAsync(fixture, inSandbox, "printf old > there; chmod 750 there; ln there hard; ln -s there link");
        FileWorker worker = process.Worker;
        string files = process.Files;

        await worker.WriteAsync($"{files}/a/b/new", Bytes("hello"), null, Token);
        await worker.WriteAsync($"{files}/a/mode", Bytes(""), 0x180, Token); // 0600
        await worker.WriteAsync($"{files}/link", Bytes("changed"), null, Token);
        Assert.Equal("hello", await ReadAsync(worker, $"{files}/a/b/new"));

        // The file itself was written: its mode, its other name and the link are still there.
        Assert.Equal("changed", await ReadAsync(worker, $"{files}/hard"));
        GuestFile there = Assert.IsType<GuestFile>(await worker.StatAsync($"{files}/there", Token));
        Assert.Equal(("750", 7L, GuestFileKind.File, 1000u), (Octal(there), there.Size, there.Kind, there.UserId));
        GuestFile link = Assert.IsType<GuestFile>(await worker.StatAsync($"{files}/link", Token));
        Assert.Equal((GuestFileKind.SymbolicLink, "there", $"{files}/link"), (link.Kind, link.LinkTarget, link.Path));
        Assert.Equal("644", Octal(await worker.StatAsync($"{files}/a/b/new", Token)));
        Assert.Equal("600", Octal(await worker.StatAsync($"{files}/a/mode", Token)));
        Assert.Equal("755", Octal(await worker.StatAsync($"{files}/a/b", Token)));
        Assert.Null(await worker.StatAsync($"{files}/missing", Token));
        Assert.Null(await worker.StatAsync($"{files}/there/below", Token));

        await worker.MakeDirectoryAsync($"{files}/d/e/f", Token);
        await worker.MakeDirectoryAsync($"{files}/d/e", Token);
        await worker.MoveAsync($"{files}/a", $"{files}/d/e/f/a", Token);
        await worker.MoveAsync($"{files}/link", $"{files}/hard", Token);
        (IReadOnlyList<GuestFile> entries, bool isIncomplete) = await worker.ListAsync(files, 64, 100, Token);
        Assert.False(isIncomplete);
        Assert.Equal(["d", "d/e", "d/e/f", "d/e/f/a", "d/e/f/a/b", "d/e/f/a/b/new", "d/e/f/a/mode", "hard", "there"], entries.Select(entry => entry.Path).Order(StringComparer.Ordinal));
        (entries, _) = await worker.ListAsync($"{files}/d", 2, 100, Token);
        Assert.Equal(["e", "e/f"], entries.Select(entry => entry.Path));
        (entries, isIncomplete) = await worker.ListAsync(files, 64, 4, Token);
        Assert.True(isIncomplete);
        Assert.Equal(4, entries.Count);

        await worker.RemoveAsync($"{files}/hard", Token);
        await worker.RemoveAsync($"{files}/d", Token);
        (entries, _) = await worker.ListAsync(files, 64, 100, Token);
        Assert.Equal("there", Assert.Single(entries).Path);
        Assert.False(worker.Ended.IsCompleted);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Failures_have_their_error_number_and_leave_the_worker_usable(bool inSandbox)
    {
        await using WorkerProcess process = await WorkerProcess.StartAsync(fixture, inSandbox, "mkdir d; echo x > d/f; ln -s loop loop; mkfifo fifo; printf x > secret; chmod 0 secret");
        FileWorker worker = process.Worker;
        string files = process.Files;

        await FailsAsync(Errno.ENOENT, ReadAsync(worker, $"{files}/missing"));
        await FailsAsync(Errno.EISDIR, ReadAsync(worker, $"{files}/d"));
        await FailsAsync(AccessDenied, ReadAsync(worker, $"{files}/secret"));
        await FailsAsync(Errno.ELOOP, ReadAsync(worker, $"{files}/loop"));
        await FailsAsync(NotSupported, ReadAsync(worker, $"{files}/fifo"));
        await FailsAsync(NotSupported, worker.WriteAsync($"{files}/fifo", Bytes("x"), null, Token));
        await FailsAsync(Errno.EISDIR, worker.WriteAsync($"{files}/d", Bytes("x"), null, Token));
        await FailsAsync(Errno.ENOTDIR, worker.WriteAsync($"{files}/d/f/below", Bytes("x"), null, Token));
        await FailsAsync(AccessDenied, worker.WriteAsync("/etc-of-root", Bytes("x"), null, Token));
        await FailsAsync(Errno.ENOTDIR, worker.ListAsync($"{files}/d/f", 1, 10, Token));
        await FailsAsync(Errno.ENOENT, worker.ListAsync($"{files}/missing", 1, 10, Token));
        await FailsAsync(Errno.ENOTDIR, worker.MakeDirectoryAsync($"{files}/d/f/g", Token));
        await FailsAsync(Errno.ENOENT, worker.MoveAsync($"{files}/missing", $"{files}/x", Token));
        await FailsAsync(Errno.ENOENT, worker.RemoveAsync($"{files}/missing", Token));
        await FailsAsync(Errno.EBUSY, worker.RemoveAsync("/", Token));
        await FailsAsync(Errno.ENOENT, worker.ReadArchiveAsync($"{files}/missing", 1 << 20, Token));
        await FailsAsync(Errno.ENOTDIR, worker.WriteArchiveAsync($"{files}/d/f", Bytes(await TarOfAsync(("x", "x"))), 1 << 20, _ => { }, Token));
        await FailsAsync(Errno.ENOENT, FirstChangeAsync(worker, $"{files}/missing"));
        Assert.Equal("x\n", await ReadAsync(worker, $"{files}/d/f"));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Archives_go_out_and_come_back(bool inSandbox)
    {
        await using WorkerProcess process = await WorkerProcess.StartAsync(
            fixture,
            inSandbox,
            "mkdir -p from/d/empty; dd if=/dev/zero of=from/d/large bs=1000 count=300 2>/dev/null || head -c 300000 /bin/busybox > from/d/large; printf x > from/f; chmod 705 from/f; "
            + "touch -d @1000000000 from/f; touch -d @-5 from/old; ln -s d/large from/inside; ln -s ../../etc from/outside; mkfifo from/fifo; chmod 500 from/d; mkdir -m 700 to; mkdir -m 711 to/d; printf keep > to/d/keep");
        FileWorker worker = process.Worker;
        string files = process.Files;

        byte[] archive = await ReadAllAsync(await worker.ReadArchiveAsync($"{files}/from", 1 << 20, Token));
        await worker.WriteArchiveAsync($"{files}/to", new MemoryStream(archive), 1 << 20, _ => { }, Token);
        (IReadOnlyList<GuestFile> entries, _) = await worker.ListAsync($"{files}/to", 64, 100, Token);

        Assert.Equal(
            ["d 500", "d/empty 755", "d/keep 644", "d/large 644 300000", "f 705 1", "inside 777 d/large", "old 644 0"],
            entries.Select(entry => $"{entry.Path} {Octal(entry)} {entry.LinkTarget ?? entry.Size.ToString(System.Globalization.CultureInfo.InvariantCulture)}"
                .Replace("empty 755 0", "empty 755", StringComparison.Ordinal).Replace("d 500 0", "d 500", StringComparison.Ordinal).Replace("keep 644 4", "keep 644", StringComparison.Ordinal)).Order(StringComparer.Ordinal));
        Assert.Equal(1_000_000_000, entries.Single(entry => entry.Path == "f").ModifiedAt.ToUnixTimeSeconds());
        Assert.Equal("700", Octal(await worker.StatAsync($"{files}/to", Token)));

        // A directory that an entry only needs stays as it is. The target is made if it is missing.
        await worker.WriteArchiveAsync($"{files}/new/to", Bytes(await TarOfAsync(("e/f", "content"))), 1 << 20, _ => { }, Token);
        await worker.WriteArchiveAsync($"{files}/to", Bytes(await TarOfAsync(("f", "replaced"))), 1 << 20, _ => { }, Token);
        Assert.Equal("content", await ReadAsync(worker, $"{files}/new/to/e/f"));
        Assert.Equal("replaced", await ReadAsync(worker, $"{files}/to/f"));
        await worker.MoveAsync($"{files}/to/d/keep", $"{files}/to/keep", Token).ContinueWith(_ => { }, Token);
        await worker.WriteArchiveAsync($"{files}/to", Bytes(await TarOfAsync(("d/x", "x"))), 1 << 20, _ => { }, Token).ContinueWith(_ => { }, Token);
        Assert.Equal("500", Octal(await worker.StatAsync($"{files}/to/d", Token)));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_single_file_is_an_archive_with_its_name(bool inSandbox)
    {
        await using WorkerProcess process = await WorkerProcess.StartAsync(fixture, inSandbox, "printf content > f; ln -s f link");
        await using var reader = new TarReader(new MemoryStream(await ReadAllAsync(await process.Worker.ReadArchiveAsync($"{process.Files}/link", 1 << 20, Token))));
        TarEntry entry = Assert.IsType<PaxTarEntry>(await reader.GetNextEntryAsync(copyData: true, Token));
        Assert.Equal(("link", 7L), (entry.Name, entry.Length));
        Assert.Null(await reader.GetNextEntryAsync(cancellationToken: Token));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Bounds_of_archives_hold(bool inSandbox)
    {
        await using WorkerProcess process = await WorkerProcess.StartAsync(
            fixture,
            inSandbox,
            "mkdir large many deep odd; head -c 100000 /bin/busybox > large/f; (cd many; i=0; while [ $i -lt 10001 ]; do : > $i; i=$((i+1)); done); "
            + "(cd deep; i=0; while [ $i -lt 70 ]; do mkdir d; cd d; i=$((i+1)); done); : > \"$(printf 'odd/\\377')\"");
        FileWorker worker = process.Worker;

        await FailsAsync(Errno.EFBIG, ReadTarAsync("large", 99_999));
        Assert.NotEmpty(await ReadTarAsync("large", 110_000));
        await FailsAsync(Errno.EFBIG, ReadTarAsync("deep", 1 << 30));
        await FailsAsync(84, ReadTarAsync("odd", 1 << 30)); // EILSEQ
        await FailsAsync(Errno.EFBIG, ReadTarAsync("many", 1 << 30));
        (IReadOnlyList<GuestFile> entries, bool isIncomplete) = await worker.ListAsync($"{process.Files}/odd", 1, 10, Token);
        Assert.Empty(entries);
        Assert.True(isIncomplete);

        // The worker does not know the length of the archive, so it ends.
        Assert.False(worker.Ended.IsCompleted);
        await FailsAsync(Errno.EFBIG, ReadTarAsync("large", 100_500));
        Assert.True(worker.Ended.IsCompleted);

        async Task<byte[]> ReadTarAsync(string path, long maxBytes) => await ReadAllAsync(await worker.ReadArchiveAsync($"{process.Files}/{path}", maxBytes, Token));
    }

    [Theory]
    [InlineData("../x")]
    [InlineData("/etc/../../x")]
    [InlineData("l|../../etc")]
    [InlineData("l|/etc")]
    public async Task An_archive_that_climbs_out_is_refused(string entry)
    {
        await using WorkerProcess process = await WorkerProcess.StartAsync(fixture, inSandbox: false);
        var bytes = new MemoryStream();
        using (var tar = new TarWriter(bytes, leaveOpen: true))
        {
            string[] parts = entry.Split('|');
            tar.WriteEntry(parts.Length == 2 ? new PaxTarEntry(TarEntryType.SymbolicLink, parts[0]) { LinkName = parts[1] } : new PaxTarEntry(TarEntryType.RegularFile, entry));
        }

        bytes.Position = 0;
        InvalidSandboxRequestException refused = await Assert.ThrowsAsync<InvalidSandboxRequestException>(
            () => process.Worker.WriteArchiveAsync($"{process.Files}/to", bytes, 1 << 20, _ => { }, Token));
        Assert.Equal("tar", Assert.Single(refused.Faults).Field);
        Assert.True(process.Worker.Ended.IsCompleted);
    }

    [Fact]
    public async Task A_full_disk_ends_a_write_early()
    {
        await using WorkerProcess process = await WorkerProcess.StartAsync(fixture, inSandbox: true);
        FileWorker worker = process.Worker;
        var endless = new CountingStream(64 << 20);

        await FailsAsync(Errno.ENOSPC, worker.WriteAsync("/small/f", endless, null, Token));
        Assert.True(endless.Read < 32 << 20, $"{endless.Read} bytes were read.");
        Assert.True((await worker.StatAsync("/small/f", Token))!.Size > 0);
        Assert.False(worker.Ended.IsCompleted);

        await worker.RemoveAsync("/small/f", Token);
        byte[] archive = Encoding.UTF8.GetBytes(await TarOfAsync(("a", "x"), ("b", new string('x', 3 << 20)), ("c", "x")));
        GuestFileException failed = await Assert.ThrowsAsync<GuestFileException>(() => worker.WriteArchiveAsync("/small", new MemoryStream(archive), 1 << 24, _ => { }, Token));
        Assert.Equal((Errno.ENOSPC, "/small/b"), (failed.Errno, failed.Path));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_watch_reports_changes_below(bool inSandbox)
    {
        // The changes are made again and again, because the script cannot know when the watch has begun.
        await using WorkerProcess process = await WorkerProcess.StartAsync(
            fixture,
            inSandbox,
            "mkdir -p w/here; (while sleep 0.1 && [ -e . ]; do printf x > w/f; printf y >> w/f; printf x > w/here/new; mkdir -p w/d/e; sleep 0.2; printf x > w/d/e/g; mv w/d w/moved; sleep 0.2; "
            + "printf x > w/moved/e/h; sleep 0.1; rm -r w/f w/here/new w/moved; done) &");
        HashSet<string> missing =
        [
            "Created f", "Changed f", "Removed f", "Created here/new", "Created d", "Created d/e", "Created d/e/g", "Removed d", "Created moved", "Created moved/e/h", "Removed moved/e/h",
        ];
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(Token);
        deadline.CancelAfter(TimeSpan.FromSeconds(60));
        await foreach (GuestFileChange change in process.Worker.WatchAsync($"{process.Files}/w", deadline.Token))
        {
            Assert.NotEqual(GuestFileChangeKind.Overflow, change.Kind);
            missing.Remove($"{change.Kind} {change.Path}");
            if (missing.Count == 0)
            {
                break;
            }
        }

        // The watch ends the worker.
        Assert.True(process.Worker.Ended.IsCompleted);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_watch_of_a_file_reports_its_own_changes(bool inSandbox)
    {
        await using WorkerProcess process = await WorkerProcess.StartAsync(fixture, inSandbox, "printf x > f; (while sleep 0.1 && [ -e . ]; do printf x >> f; done) &");
        List<GuestFileChange> seen = [];
        await foreach (GuestFileChange change in process.Worker.WatchAsync($"{process.Files}/f", Token))
        {
            seen.Add(change);
            if (seen.Count == 2)
            {
                break;
            }
        }

        Assert.Equal([new GuestFileChange(GuestFileChangeKind.Started, ""), new GuestFileChange(GuestFileChangeKind.Changed, "")], seen);
    }

    private static async Task FirstChangeAsync(FileWorker worker, string path)
    {
        await foreach (GuestFileChange change in worker.WatchAsync(path, Token))
        {
            Assert.Fail(change.ToString());
        }
    }

    private static async Task FailsAsync(int errno, Task operation) => Assert.Equal(errno, (await Assert.ThrowsAsync<GuestFileException>(() => operation)).Errno);

    private static async Task<string> ReadAsync(FileWorker worker, string path) => Encoding.UTF8.GetString(await ReadAllAsync(await worker.OpenReadAsync(path, Token)));

    private static async Task<byte[]> ReadAllAsync(Stream stream)
    {
        await using (stream)
        {
            var bytes = new MemoryStream();
            await stream.CopyToAsync(bytes, Token);
            return bytes.ToArray();
        }
    }

    private static MemoryStream Bytes(string text) => new(Encoding.UTF8.GetBytes(text));

    private static string Octal(GuestFile? file) => Convert.ToString(file!.Mode, 8);

    private static async Task<string> TarOfAsync(params (string Name, string Content)[] files)
    {
        var bytes = new MemoryStream();
        await using (var tar = new TarWriter(bytes, leaveOpen: true))
        {
            foreach ((string name, string content) in files)
            {
                await tar.WriteEntryAsync(new PaxTarEntry(TarEntryType.RegularFile, name) { DataStream = Bytes(content) }, Token);
            }
        }

        return Encoding.UTF8.GetString(bytes.ToArray());
    }

    private sealed class CountingStream(long length) : Boxer.Common.ForwardStream
    {
        internal new long Read { get; private set; }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            int count = (int)Math.Min(buffer.Length, length - Read);
            Read += count;
            buffer.Span[..count].Fill(1);
            return new ValueTask<int>(count);
        }
    }
}
