using System.Formats.Tar;
using System.Text;
using Boxer.Native;
using Boxer.Runtime.Kept;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>The guest prepares its files against the caller of a file worker.</summary>
[Slow]
public sealed class FileWorkerAttackTests(FileWorkerFixture fixture) : IClassFixture<FileWorkerFixture>
{
    private const int NotSupported = 95; // EOPNOTSUPP

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Links_into_proc_and_sys_lead_nowhere(bool inSandbox)
    {
        await using WorkerProcess process = await WorkerProcess.StartAsync(
            fixture,
            inSandbox,
            "ln -s /proc/1/fd fds; ln -s /proc/self/fd/0 fd; ln -s /proc/self/exe exe; ln -s /proc/self/root root; ln -s /proc/self/cwd/x cwd; ln -s /sys sys; ln -s /proc/thread-self/../../../proc proc; "
            + "mkdir d; ln -s ../../../../../../../proc d/up; ln -s proc/version indirect; printf x > x");
        FileWorker worker = process.Worker;
        string files = process.Files;

        foreach (string path in (string[])
                 [
                     "/proc/self/status", "/proc/version", "/sys/kernel", "/proc/self/fd/0", $"{files}/fd", $"{files}/exe", $"{files}/root/bin/sh", $"{files}/cwd", $"{files}/fds/0",
                     $"{files}/proc/version", $"{files}/d/up/version", $"{files}/indirect", "/dev/../proc/version",
                 ])
        {
            if (path.Contains("..", StringComparison.Ordinal))
            {
                await Assert.ThrowsAsync<ArgumentException>(() => worker.OpenReadAsync(path, Token));
                continue;
            }

            await RefusedAsync(worker.OpenReadAsync(path, Token));
            await RefusedAsync(worker.WriteAsync(path, new MemoryStream([1]), null, Token));
            await RefusedAsync(worker.ReadArchiveAsync(path, 1 << 20, Token));
        }

        foreach (string path in (string[])["/proc", "/sys", $"{files}/fds", $"{files}/root", $"{files}/sys", $"{files}/proc", $"{files}/d/up", "/proc/self/task"])
        {
            await RefusedAsync(worker.ListAsync(path, 2, 100, Token));
            await RefusedAsync(worker.MakeDirectoryAsync($"{path}/new", Token));
            await RefusedAsync(worker.WriteArchiveAsync(path, new MemoryStream(Tar("x")), 1 << 20, _ => { }, Token));
            await RefusedAsync(worker.RemoveAsync($"{path}/1", Token));
            await RefusedAsync(worker.MoveAsync($"{path}/1", $"{files}/moved", Token));
            await RefusedAsync(WatchAsync(worker, path));
        }

        await RefusedAsync(worker.StatAsync("/proc", Token));
        await RefusedAsync(worker.StatAsync("/proc/self/exe", Token));

        // The links themselves are entries as others.
        Assert.Equal("/proc/1/fd", (await worker.StatAsync($"{files}/fds", Token))!.LinkTarget);
        (IReadOnlyList<GuestFile> entries, bool isIncomplete) = await worker.ListAsync("/", 2, 100_000, Token);
        Assert.True(isIncomplete);
        Assert.DoesNotContain(entries, entry => entry.Path.StartsWith("proc/", StringComparison.Ordinal) || entry.Path.StartsWith("sys/", StringComparison.Ordinal));
        await worker.RemoveAsync($"{files}/root", Token);
        Assert.Null(await worker.StatAsync($"{files}/root", Token));
        Assert.NotNull(await worker.StatAsync("/bin", Token));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Fifos_sockets_and_devices_are_not_opened(bool inSandbox)
    {
        await using WorkerProcess process = await WorkerProcess.StartAsync(
            fixture, inSandbox, "mkfifo fifo; ln -s fifo link; ln -s /dev/zero zero; printf x > f; " + (inSandbox ? "mkfifo socket" : "python3 -c 'import socket; socket.socket(1).bind(\"socket\")'"));
        FileWorker worker = process.Worker;

        foreach (string path in (string[])["fifo", "link", "zero", "socket"])
        {
            await FailsAsync(NotSupported, worker.OpenReadAsync($"{process.Files}/{path}", Token));
            await FailsAsync(NotSupported, worker.WriteAsync($"{process.Files}/{path}", new MemoryStream([1]), null, Token));
            await FailsAsync(NotSupported, worker.ReadArchiveAsync($"{process.Files}/{path}", 1 << 20, Token));
        }

        byte[] archive = await ReadAllAsync(await worker.ReadArchiveAsync(process.Files, 1 << 20, Token));
        Assert.Equal(["f", "link"], Names(archive).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Remove_follows_no_link_also_if_a_directory_becomes_one(bool inSandbox)
    {
        // Names of the tree change between a directory and a link to one that must stay.
        await using WorkerProcess process = await WorkerProcess.StartAsync(
            fixture,
            inSandbox,
            "mkdir -p keep/below tree; printf x > keep/f; ln -s ../keep tree/link; "
            + "(while [ -e . ]; do i=0; while [ $i -lt 20 ]; do mkdir -p tree/$i/a; ln -sfn ../keep tree/$i.l; i=$((i+1)); done; "
            + "i=0; while [ $i -lt 20 ]; do mv tree/$i/a tree/$i/b; ln -s ../../keep tree/$i/a; mv tree/$i tree/x; ln -s ../keep tree/$i; rm tree/$i; mv tree/x tree/$i; i=$((i+1)); done; done) 2>/dev/null &");
        FileWorker worker = process.Worker;
        for (int round = 0; round < 20; round++)
        {
            try
            {
                await worker.RemoveAsync($"{process.Files}/tree", Token);
            }
            catch (GuestFileException exception)
            {
                // The guest makes entries as fast as they are removed.
                Assert.Contains(exception.Errno, (int[])[Errno.ENOTEMPTY, Errno.ENOENT, Errno.ENOTDIR, Errno.ELOOP]);
            }
        }

        (IReadOnlyList<GuestFile> entries, _) = await worker.ListAsync($"{process.Files}/keep", 1, 10, Token);
        Assert.Equal(["below", "f"], entries.Select(entry => entry.Path).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_written_tree_follows_no_link_also_if_a_directory_becomes_one(bool inSandbox)
    {
        await using WorkerProcess process = await WorkerProcess.StartAsync(
            fixture,
            inSandbox,
            "mkdir -p keep to/real; ln -s ../keep to/link; (while [ -e . ]; do mv to/d to/e; ln -s ../keep to/d; rm to/d; mv to/e to/d; done) 2>/dev/null &");
        FileWorker worker = process.Worker;
        await FailsAsync(Errno.ENOTDIR, worker.WriteArchiveAsync($"{process.Files}/to", new MemoryStream(Tar("link/x")), 1 << 20, _ => { }, Token));
        for (int round = 0; round < 15; round++)
        {
            try
            {
                await worker.WriteArchiveAsync($"{process.Files}/to", new MemoryStream(Tar([.. Enumerable.Range(0, 20).Select(number => $"d/{number}/f")])), 1 << 20, _ => { }, Token);
            }
            catch (GuestFileException exception)
            {
                Assert.Contains(exception.Errno, (int[])[Errno.ENOTDIR, Errno.ENOENT, Errno.ELOOP, Errno.EEXIST, Errno.EISDIR]);
            }
        }

        Assert.Empty((await worker.ListAsync($"{process.Files}/keep", 1, 10, Token)).Entries);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Hostile_names_and_depths_are_listed_or_left_out_and_can_be_removed(bool inSandbox)
    {
        await using WorkerProcess process = await WorkerProcess.StartAsync(
            fixture,
            inSandbox,
            "mkdir odd; cd odd; : > \"$(printf 'a\\nb')\"; : > \"$(printf 'bad\\377')\"; : > ' '; : > '-rf'; : > '\\'; cd ..; mkdir deep; cd deep; i=0; "
            + "while [ $i -lt 1000 ]; do mkdir d && : > f && cd -P d || exit 1; i=$((i+1)); done; chmod 0 .");
        FileWorker worker = process.Worker;

        (IReadOnlyList<GuestFile> entries, bool isIncomplete) = await worker.ListAsync($"{process.Files}/odd", 1, 100, Token);
        Assert.True(isIncomplete);
        Assert.Equal([" ", "-rf", "\\", "a\nb"], entries.Select(entry => entry.Path).Order(StringComparer.Ordinal));
        Assert.Equal("", Encoding.UTF8.GetString(await ReadAllAsync(await worker.OpenReadAsync($"{process.Files}/odd/a\nb", Token))));
        (entries, isIncomplete) = await worker.ListAsync($"{process.Files}/deep", 64, 100_000, Token);
        Assert.Equal(128, entries.Count);
        Assert.False(isIncomplete);
        await worker.RemoveAsync($"{process.Files}/deep", Token);
        await worker.RemoveAsync($"{process.Files}/odd", Token);
        (entries, _) = await worker.ListAsync(process.Files, 1, 10, Token);
        Assert.Empty(entries);
        await FailsAsync(Errno.ENOENT, worker.OpenReadAsync("/" + string.Join('/', Enumerable.Repeat("d", 2_000)), Token));
    }

    [Fact]
    public async Task Twenty_thousand_entries_stay_within_the_bounds()
    {
        await using WorkerProcess process = await WorkerProcess.StartAsync(
            fixture, inSandbox: false, "mkdir many; cd many; python3 -c 'for i in range(20000): open(str(i), \"w\").close()'");
        (IReadOnlyList<GuestFile> entries, bool isIncomplete) = await process.Worker.ListAsync($"{process.Files}/many", 1, 10_000, Token);
        Assert.Equal(10_000, entries.Count);
        Assert.True(isIncomplete);
        await process.Worker.RemoveAsync($"{process.Files}/many", Token);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_file_that_grows_has_an_end_and_a_huge_one_can_be_abandoned(bool inSandbox)
    {
        await using WorkerProcess process = await WorkerProcess.StartAsync(
            fixture, inSandbox, "printf x > grows; (while [ -e . ] && head -c 100000 /bin/busybox >> grows; do if [ $(stat -c %s grows) -gt 50000000 ]; then : > grows; fi; done) & truncate -s 10737418240 huge");
        FileWorker worker = process.Worker;

        // It also becomes shorter at times, which is an end too.
        _ = await ReadAllAsync(await worker.OpenReadAsync($"{process.Files}/grows", Token));
        await FailsAsync(Errno.EFBIG, worker.ReadArchiveAsync($"{process.Files}/huge", 1 << 30, Token));
        Assert.Equal(10_737_418_240, (await worker.StatAsync($"{process.Files}/huge", Token))!.Size);
        await using (Stream huge = await worker.OpenReadAsync($"{process.Files}/huge", Token))
        {
            byte[] some = new byte[1 << 20];
            await huge.ReadExactlyAsync(some, Token);
            Assert.All(some, value => Assert.Equal(0, value));
            Assert.False(worker.Ended.IsCompleted);
        }

        Assert.True(worker.Ended.IsCompleted);
        await Assert.ThrowsAsync<IOException>(() => worker.StatAsync(process.Files, Token));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Cancelled_operations_end_the_worker_and_waiting_ones_do_not(bool inSandbox)
    {
        await using WorkerProcess process = await WorkerProcess.StartAsync(fixture, inSandbox, "printf content > f");
        FileWorker worker = process.Worker;
        using var cancel = new CancellationTokenSource();
        await using (Stream open = await worker.OpenReadAsync($"{process.Files}/f", Token))
        {
            Task<GuestFile?> waiting = worker.StatAsync($"{process.Files}/f", cancel.Token);
            await cancel.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
            Assert.Equal("content", Encoding.UTF8.GetString(await ReadAllAsync(open)));
        }

        Assert.False(worker.Ended.IsCompleted);
        using var second = new CancellationTokenSource();
        Task write = worker.WriteAsync($"{process.Files}/f", new EndlessStream(second), null, second.Token);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => write);
        Assert.True(worker.Ended.IsCompleted);
    }

    private static async Task WatchAsync(FileWorker worker, string path)
    {
        await foreach (GuestFileChange change in worker.WatchAsync(path, Token))
        {
            Assert.Fail(change.ToString());
        }
    }

    private static Task RefusedAsync(Task operation) => FailsAsync(Errno.EACCES, operation);

    private static async Task FailsAsync(int errno, Task operation) => Assert.Equal(errno, (await Assert.ThrowsAsync<GuestFileException>(() => operation)).Errno);

    private static async Task<byte[]> ReadAllAsync(Stream stream)
    {
        await using (stream)
        {
            var bytes = new MemoryStream();
            await stream.CopyToAsync(bytes, Token);
            return bytes.ToArray();
        }
    }

    private static List<string> Names(byte[] archive)
    {
        using var reader = new TarReader(new MemoryStream(archive));
        List<string> names = [];
        while (reader.GetNextEntry() is { } entry)
        {
            names.Add(entry.Name);
        }

        return names;
    }

    private static byte[] Tar(params string[] files)
    {
        var bytes = new MemoryStream();
        using (var tar = new TarWriter(bytes, leaveOpen: true))
        {
            foreach (string name in files)
            {
                tar.WriteEntry(new PaxTarEntry(TarEntryType.RegularFile, name) { DataStream = new MemoryStream([1]) });
            }
        }

        return bytes.ToArray();
    }

    // Cancels the write after a few reads.
    private sealed class EndlessStream(CancellationTokenSource cancel) : Boxer.Common.ForwardStream
    {
        private int _reads;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (++_reads == 3)
            {
                await cancel.CancelAsync();
            }

            cancellationToken.ThrowIfCancellationRequested();
            return buffer.Length;
        }
    }
}
