using System.Formats.Tar;
using System.Text;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary><see cref="ISandboxFiles"/> in real sandboxes: watches, archives, and links that a hostile command leaves.</summary>
[Collection(Sandboxes.Name)]
public sealed class SandboxFilesTests(SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task WatchAsync_yields_changes_of_commands_and_of_Files_until_it_is_left_or_the_session_ends()
    {
        await using IOwnedSandboxSession session = await OpenAsync();
        await session.Files.MakeDirectoryAsync("/tmp/watched/sub", Cancel);
        List<SandboxFileChange> seen = [];
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        Task watch = WatchAsync(session, "/tmp/watched", seen, stop.Token);
        await WaitAsync(seen, new(SandboxFileChangeKind.Started, ""));

        await session.ExecAsync("sh", "-c", "cd /tmp/watched; echo a >one; echo b >sub/two; mv one three; rm sub/two");
        await session.Files.WriteAsync("/tmp/watched/four", "4", cancellationToken: Cancel);
        await WaitAsync(seen, new(SandboxFileChangeKind.Created, "four"));
        Assert.Equal(SandboxFileChangeKind.Started, Copy(seen)[0].Kind);
        Assert.Subset(new HashSet<SandboxFileChange>(Copy(seen)), new HashSet<SandboxFileChange>(
        [
            new(SandboxFileChangeKind.Created, "one"), new(SandboxFileChangeKind.Changed, "one"), new(SandboxFileChangeKind.Created, "sub/two"),
            new(SandboxFileChangeKind.Deleted, "one"), new(SandboxFileChangeKind.Created, "three"), new(SandboxFileChangeKind.Deleted, "sub/two"),
        ]));
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => watch);

        Task until = WatchAsync(session, "/tmp", [], Cancel);
        await session.CloseAsync(Cancel);
        Assert.Equal(SandboxSessionEnd.Closed, (await Assert.ThrowsAsync<SandboxSessionEndedException>(() => until)).End);
    }

    [Fact]
    public async Task WatchAsync_yields_Overflow_if_more_than_1000_changes_wait()
    {
        const int MaxChanges = 1_000;
        await using IOwnedSandboxSession session = await OpenAsync();
        await using IAsyncEnumerator<SandboxFileChange> changes = session.Files.WatchAsync("/tmp", Cancel).GetAsyncEnumerator(Cancel);
        Assert.True(await changes.MoveNextAsync());
        Assert.Equal(SandboxFileChangeKind.Started, changes.Current.Kind);
        await session.ExecAsync("python3", "-c", "[open('/tmp/file-%d' % i, 'w').close() for i in range(3000)]");
        int before = 0;
        while (changes.Current.Kind != SandboxFileChangeKind.Overflow)
        {
            // The first is that of the start.
            Assert.InRange(++before, 1, MaxChanges + 1);
            Assert.True(await changes.MoveNextAsync());
        }
    }

    [Fact]
    public async Task An_archive_that_is_read_is_written_elsewhere_with_modes_and_inner_links_and_belongs_to_the_user()
    {
        await using IOwnedSandboxSession session = await OpenAsync();
        await session.ExecAsync("sh", "-c", "mkdir -p /tmp/from/d/empty; cd /tmp/from; echo x >d/run; chmod 750 d/run; head -c 200000 /dev/urandom >big; ln -s d/run in; ln -s /etc/passwd out; ln -s ../../etc up; mkfifo pipe");
        await using (Stream archive = await session.Files.ReadArchiveAsync("/tmp/from", Cancel))
        {
            await session.Files.WriteArchiveAsync("/tmp/to", archive, Cancel);
        }

        const string Describe = "find . -mindepth 1 ! -type p ! -lname '/*' ! -lname '../*' -printf '%P %y %m %U %l\\n' | sort; cat big in | md5sum";
        SandboxResult from = await session.ExecAsync("sh", "-c", "cd /tmp/from; " + Describe);
        SandboxResult to = await session.ExecAsync("sh", "-c", "cd /tmp/to; " + Describe);
        Assert.Contains("d/run f 750 65534", to.StandardOutput, StringComparison.Ordinal);
        Assert.Contains("in l 777 65534 d/run", to.StandardOutput, StringComparison.Ordinal);
        Assert.Equal(from.StandardOutput, to.StandardOutput);
        SandboxFileList all = await session.Files.ListAsync("/tmp/to", depth: 3, Cancel);
        Assert.Equal(["big", "d", "d/empty", "d/run", "in"], all.Entries.Select(entry => entry.Path).Order(StringComparer.Ordinal));

        // A single file is an archive, too.
        await using Stream single = await session.Files.ReadArchiveAsync("/tmp/from/d/run", Cancel);
        await using var reader = new TarReader(single);
        TarEntry entry = (await reader.GetNextEntryAsync(copyData: true, Cancel))!;
        Assert.Equal(("run", "x\n"), (entry.Name, await new StreamReader(entry.DataStream!).ReadToEndAsync(Cancel)));
        Assert.Null(await reader.GetNextEntryAsync(cancellationToken: Cancel));
    }

    [Theory]
    [InlineData("0")]
    [InlineData("65534")]
    public async Task No_path_and_no_link_leads_to_proc_or_sys(string user)
    {
        await using IOwnedSandboxSession session = await OpenAsync(user);
        await session.ExecAsync("sh", "-c", "mkdir /tmp/l; cd /tmp/l; ln -s /proc/1/environ environ; ln -s /proc/self/root root; ln -s /proc/1 one; ln -s /proc proc; ln -s /sys sys; ln -s /tmp/l/proc twice; ln -s /proc/self/fd/0 fd; ln -s /proc/self/cwd cwd");
        byte[] archive = new Archive().File("file", "content").ToBytes();
        foreach (string file in (string[])["/proc/1/environ", "/proc/self/mem", "/sys/kernel/mm", "/proc/self/root/etc/passwd", "environ", "fd", "root/etc/passwd", "one/environ", "proc/1/environ", "proc/self/root/etc/passwd", "sys/devices", "twice/version", "cwd/file"])
        {
            string path = Path.Join(file.StartsWith('/') ? "" : "/tmp/l/", file);
            await RefusedAsync(path, "read", () => session.Files.OpenReadAsync(path, Cancel));
            await RefusedAsync(path, "tar", async () => await (await session.Files.ReadArchiveAsync(path, Cancel)).CopyToAsync(Stream.Null, Cancel));
            await RefusedAsync(path, "write", () => session.Files.WriteAsync(path, Encoding.UTF8.GetBytes("x"), mode: null, Cancel));
            await RefusedAsync(path + "/new", "write below", () => session.Files.WriteAsync(path + "/new", Encoding.UTF8.GetBytes("x"), mode: null, Cancel));
            await RefusedAsync(path + "/new", "make", () => session.Files.MakeDirectoryAsync(path + "/new", Cancel));
            await RefusedAsync(path, "list", () => session.Files.ListAsync(path, 2, Cancel));
            await RefusedAsync(path, "unpack", () => session.Files.WriteArchiveAsync(path, new MemoryStream(archive), Cancel));
            await RefusedAsync(path + "/new", "move", () => session.Files.MoveAsync("/tmp/l/proc", path + "/new", Cancel));
            await RefusedAsync(path, "watch", async () => await session.Files.WatchAsync(path, Cancel).GetAsyncEnumerator(Cancel).MoveNextAsync());
            if (file.Contains('/', StringComparison.Ordinal))
            {
                await RefusedAsync(path, "stat", () => session.Files.StatAsync(path, Cancel));
                await RefusedAsync(path, "remove", () => session.Files.RemoveAsync(path, Cancel));
            }
        }

        // The links themselves are listed, described and removed.
        SandboxFileList links = await session.Files.ListAsync("/tmp/l", depth: 64, Cancel);
        Assert.Equal(["cwd", "environ", "fd", "one", "proc", "root", "sys", "twice"], links.Entries.Select(entry => entry.Path).Order(StringComparer.Ordinal));
        Assert.Equal((SandboxFileType.SymbolicLink, "/proc/self/root"), await session.Files.StatAsync("/tmp/l/root", Cancel) is { } root ? (root.Type, root.LinkTarget) : default);
        await session.Files.RemoveAsync("/tmp/l", Cancel);
        Assert.Equal("ok\n", (await session.ExecAsync("sh", "-c", "test -e /proc/1/environ && test -d /sys && echo ok")).StandardOutput);
    }

    private static async Task RefusedAsync(string path, string operation, Func<Task> act)
    {
        Exception? fault = await Record.ExceptionAsync(act);
        Assert.True(fault is SandboxFileException { Reason: SandboxFileError.AccessDenied }, $"{operation} {path}: {fault?.ToString() ?? "done"}");
    }

    private static async Task WatchAsync(ISandboxSession session, string path, List<SandboxFileChange> seen, CancellationToken cancellationToken)
    {
        await foreach (SandboxFileChange change in session.Files.WatchAsync(path, cancellationToken))
        {
            lock (seen)
            {
                seen.Add(change);
            }
        }
    }

    private static Task WaitAsync(List<SandboxFileChange> seen, SandboxFileChange change) => Until.IsSoAsync(() => Copy(seen).Contains(change), 60);

    private static SandboxFileChange[] Copy(List<SandboxFileChange> seen)
    {
        lock (seen)
        {
            return [.. seen];
        }
    }

    private Task<IOwnedSandboxSession> OpenAsync(string? user = null) => shared.Runner.OpenAsync(new(PythonImage.Name) { User = user }, Cancel);
}
