using System.Text;
using Boxer.Native;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;
using Boxer.Tests.Core.Runtime.Init;
using Boxer.Tests.Support;
using static Boxer.Tests.Core.Runtime.Kept.RealGuest;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>File workers that the real PID 1 starts in a real sandbox.</summary>
[Slow]
public sealed class FileWorkerRunTests(InitFixture fixture) : IClassFixture<InitFixture>
{
    private static readonly InitIdentity Identity = new(User, User, []);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task OpenFilesAsync_starts_workers_with_the_identity_of_the_user()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        await using IFileWorker worker = await guest.Sandbox.OpenFilesAsync(Identity, Token);
        await using IFileWorker root = await guest.Sandbox.OpenFilesAsync(new InitIdentity(0, 0, [], InitCapabilities.All), Token);

        await worker.WriteAsync("/tmp/a/of-user", Bytes("from the host"), null, Token);
        await root.WriteAsync("/tmp/a/of-root", Bytes("secret"), 0x180, Token);
        Assert.Equal("from the host", Text((await guest.ExecAsync(Shell("cat /tmp/a/of-user; echo more > /tmp/a/of-command"))).Stdout));
        Assert.Equal("more\n", await ReadAsync(worker, "/tmp/a/of-command"));
        Assert.Equal(User, (await worker.StatAsync("/tmp/a/of-user", Token))!.UserId);
        Assert.Equal(0u, (await worker.StatAsync("/tmp/a/of-root", Token))!.UserId);
        await FailsAsync(Errno.EACCES, ReadAsync(worker, "/tmp/a/of-root"));
        await FailsAsync(Errno.EACCES, worker.WriteAsync("/etc/x", Bytes("x"), null, Token));
        await FailsAsync(Errno.EACCES, ReadAsync(worker, "/proc/1/environ"));
        await FailsAsync(Errno.EACCES, ReadAsync(root, "/proc/1/environ"));
        await FailsAsync(Errno.EACCES, ReadAsync(root, "/proc/self/exe"));
        await guest.AssertProcessesAsync(2);
    }

    [Fact]
    public async Task A_command_of_the_same_user_cannot_enter_a_worker()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        await using IFileWorker worker = await guest.Sandbox.OpenFilesAsync(Identity, Token);
        ExecOutcome outcome = await guest.ExecAsync(Shell(
            "for p in /proc/[0-9]*; do [ $p = /proc/1 ] || [ $p = /proc/$$ ] && continue; echo found; "
            + "for f in mem fd/0 fd/1 fd/2 fd/3 exe; do (head -c 1 <$p/$f) 2>/dev/null | busybox grep -q . && echo read $f; (: >$p/$f) 2>/dev/null && echo written $f; done; "
            + "for f in $p/fd/*; do echo $f; done | busybox sed 's#.*/##'; done"));

        // Its only descriptors are its socket and sockets without a peer, which no process can open by name.
        Assert.DoesNotContain("read", Text(outcome.Stdout), StringComparison.Ordinal);
        Assert.DoesNotContain("written", Text(outcome.Stdout), StringComparison.Ordinal);
        Assert.Contains("found", Text(outcome.Stdout), StringComparison.Ordinal);
        Assert.Null(await worker.StatAsync("/missing", Token));
    }

    [Fact]
    public async Task A_worker_that_the_guest_stops_or_kills_fails_its_operation_only()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        IFileWorker worker = await guest.Sandbox.OpenFilesAsync(Identity, Token);
        const string All = "for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p = 1 ] || [ $p = $$ ] || kill -SIGNAL $p; done";
        await guest.ExecAsync(Shell(All.Replace("SIGNAL", "STOP", StringComparison.Ordinal)));
        using (var patience = new CancellationTokenSource(TimeSpan.FromSeconds(1)))
        {
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => worker.StatAsync("/tmp", patience.Token));
        }

        Assert.True(worker.Ended.IsCompleted);

        // The stopped process was killed: the table has PID 1 and this command.
        await Until.IsSoAsync(async () => Text((await guest.ExecAsync(Shell("set -- /proc/[0-9]*; echo $#"))).Stdout) == "2\n", 60);
        worker = await guest.Sandbox.OpenFilesAsync(Identity, Token);
        await guest.ExecAsync(Shell(All.Replace("SIGNAL", "KILL", StringComparison.Ordinal)));
        await Assert.ThrowsAsync<IOException>(() => worker.StatAsync("/tmp", Token));
        await worker.Ended.WaitAsync(TimeSpan.FromSeconds(60), Token);
        worker = await guest.Sandbox.OpenFilesAsync(Identity, Token);
        Assert.NotNull(await worker.StatAsync("/tmp", Token));

        guest.Sandbox.Kill();
        await Assert.ThrowsAsync<KeptSandboxEndedException>(() => guest.Sandbox.OpenFilesAsync(Identity, Token));
    }

    [Fact]
    public async Task Many_workers_leave_nothing()
    {
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        const int Workers = 200;
        int before = Directory.GetFiles("/proc/self/fd").Length;
        for (int i = 0; i < Workers; i++)
        {
            await using IFileWorker worker = await guest.Sandbox.OpenFilesAsync(Identity, Token);
            await worker.WriteAsync($"/tmp/{i}", Bytes("x"), null, Token);
        }

        // Other tests of this process open descriptors too.
        Assert.InRange(Directory.GetFiles("/proc/self/fd").Length, 0, before + (Workers / 2));
        ExecOutcome outcome = await guest.ExecAsync(Shell("ls -d /proc/[0-9]* | busybox wc -l; ls /tmp | busybox wc -l"));
        Assert.Equal($"{Workers}", Text(outcome.Stdout).Trim().Split('\n')[1]);
    }

    [Fact]
    public async Task A_worker_lists_watches_and_removes_the_deepest_tree_with_its_descriptors()
    {
        const int Depth = 64;
        await using RealGuest guest = await RealGuest.OpenAsync(fixture);
        await using IFileWorker worker = await guest.Sandbox.OpenFilesAsync(Identity, Token);
        await guest.ExecAsync(Shell($"cd /tmp; i=0; while [ $i -lt {2 * Depth} ]; do mkdir d; cd d; i=$((i+1)); done"));
        await using (IFileWorker watching = await guest.Sandbox.OpenFilesAsync(Identity, Token))
        {
            await using IAsyncEnumerator<GuestFileChange> changes = watching.WatchAsync("/tmp/d", Token).GetAsyncEnumerator(Token);
            Assert.True(await changes.MoveNextAsync());
            Assert.Equal(GuestFileChangeKind.Started, changes.Current.Kind);
            await guest.ExecAsync(Shell("echo x >/tmp/d/d/d/f"));
            Assert.True(await changes.MoveNextAsync());
            Assert.Equal("d/d/f", changes.Current.Path);
        }

        (IReadOnlyList<GuestFile> entries, bool isIncomplete) = await worker.ListAsync("/tmp", Depth, 1_000, Token);
        Assert.Equal((Depth + 1, false), (entries.Count, isIncomplete));
        await worker.RemoveAsync("/tmp/d", Token);
        Assert.Empty((await worker.ListAsync("/tmp", 1, 10, Token)).Entries);
    }

    private static async Task FailsAsync(int errno, Task operation) => Assert.Equal(errno, (await Assert.ThrowsAsync<GuestFileException>(() => operation)).Errno);

    private static async Task<string> ReadAsync(IFileWorker worker, string path)
    {
        await using Stream stream = await worker.OpenReadAsync(path, Token);
        using var reader = new StreamReader(stream);
        return await reader.ReadToEndAsync(Token);
    }

    private static MemoryStream Bytes(string text) => new(Encoding.UTF8.GetBytes(text));

    private static string Text(ReadOnlyMemory<byte> bytes) => Encoding.UTF8.GetString(bytes.Span);
}
