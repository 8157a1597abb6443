using Boxer.Runtime.Kept;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Sessions;

/// <summary>The files of a session, with fake workers.</summary>
public sealed class SessionFilesTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Relative_paths_start_at_the_working_directory_and_the_user_is_the_sessions()
    {
        await using var open = new OpenSession();
        await open.Session.Files.WriteAsync("sub/file", new MemoryStream([1, 2, 3]), null, Cancel);
        FakeFileWorker worker = Assert.Single(open.Sandbox.Workers);
        Assert.Equal((1_000u, "/work/sub/file"), (worker.User.UserId, worker.Files.Keys.Single()));

        SandboxFileInfo info = (await open.Session.Files.StatAsync("sub/file", Cancel))!;
        Assert.Equal(("sub/file", 3, SandboxFileType.File), (info.Path, info.Size, info.Type));
        Assert.Null(await open.Session.Files.StatAsync("missing", Cancel));
        SandboxFileList list = await open.Session.Files.ListAsync("/work", 2, Cancel);
        Assert.True(list.IsIncomplete);
        Assert.Single(list.Entries);
        await open.Session.Files.MakeDirectoryAsync("a", Cancel);
        await open.Session.Files.MoveAsync("a", "b", Cancel);
        await open.Session.Files.RemoveAsync("b", Cancel);
        Assert.Single(open.Sandbox.Workers);
    }

    [Theory]
    [InlineData("/proc")]
    [InlineData("/proc/1/environ")]
    [InlineData("/sys/kernel")]
    [InlineData("//proc//self")]
    [InlineData("/./sys")]
    public async Task Paths_of_the_sandboxs_kernel_are_refused(string path)
    {
        await using var open = new OpenSession();
        Assert.Equal(SandboxFileError.AccessDenied, (await Assert.ThrowsAsync<SandboxFileException>(() => open.Session.Files.StatAsync(path, Cancel))).Reason);
        Assert.Equal(SandboxFileError.AccessDenied, (await Assert.ThrowsAsync<SandboxFileException>(() => open.Session.Files.MoveAsync("x", path, Cancel))).Reason);
        Assert.Empty(open.Sandbox.Workers);
    }

    [Theory]
    [InlineData(2, SandboxFileError.NotFound)]
    [InlineData(13, SandboxFileError.AccessDenied)]
    [InlineData(17, SandboxFileError.AlreadyExists)]
    [InlineData(20, SandboxFileError.NotADirectory)]
    [InlineData(21, SandboxFileError.IsADirectory)]
    [InlineData(27, SandboxFileError.TooLarge)]
    [InlineData(28, SandboxFileError.NoSpace)]
    [InlineData(95, SandboxFileError.NotSupported)]
    [InlineData(40, SandboxFileError.Other)]
    public async Task Failures_in_the_sandbox_have_a_reason_and_the_path_of_the_caller(int errno, SandboxFileError reason)
    {
        await using var open = new OpenSession();
        await open.Session.Files.StatAsync("x", Cancel);
        open.Sandbox.Workers[0].FailsWith = errno;

        SandboxFileException fault = await Assert.ThrowsAsync<SandboxFileException>(() => open.Session.Files.RemoveAsync("some/path", Cancel));
        Assert.Equal((reason, "some/path"), (fault.Reason, fault.Path));
    }

    [Fact]
    public async Task An_open_stream_keeps_the_session_in_use_and_its_worker_to_itself()
    {
        await using var open = new OpenSession();
        await open.Session.Files.WriteAsync("file", new MemoryStream([1]), null, Cancel);
        Stream stream = await open.Session.Files.OpenReadAsync("file", Cancel);
        Assert.Equal(SandboxSessionState.Running, open.Session.State);
        await open.Session.Files.StatAsync("file", Cancel);
        Assert.Equal(2, open.Sandbox.Workers.Count);

        await stream.DisposeAsync();
        await stream.DisposeAsync();
        Assert.Equal(SandboxSessionState.Idle, open.Session.State);
        await Assert.ThrowsAsync<SandboxFileException>(() => open.Session.Files.OpenReadAsync("missing", Cancel));
        Assert.Equal(SandboxSessionState.Idle, open.Session.State);
    }

    [Fact]
    public async Task Workers_end_before_the_session_is_frozen_and_ended_ones_are_replaced()
    {
        await using var open = new OpenSession();
        await open.Session.Files.StatAsync("x", Cancel);
        open.Sandbox.Workers[0].End();
        await open.Session.Files.StatAsync("x", Cancel);
        Assert.Equal(2, open.Sandbox.Workers.Count);

        open.Time.Advance(TimeSpan.FromSeconds(2));
        await Until.IsSoAsync(() => open.Sandbox.IsFrozen, 30);
        Assert.True(open.Sandbox.Workers[1].Ended.IsCompleted);
    }

    [Fact]
    public async Task Idle_and_ended_workers_are_disposed()
    {
        await using var open = new OpenSession();
        await open.Session.Files.StatAsync("x", Cancel);
        open.Sandbox.Workers[0].End();
        await open.Session.Files.StatAsync("x", Cancel);
        Assert.True(open.Sandbox.Workers[0].IsDisposed);
        Assert.False(open.Sandbox.Workers[1].IsDisposed);
        await open.Session.CloseAsync(Cancel);
        await Until.IsSoAsync(() => open.Sandbox.Workers[1].IsDisposed, 30);
    }

    [Fact]
    public async Task WatchAsync_reports_changes_and_bounds_the_watches()
    {
        await using var open = new OpenSession();
        List<IAsyncEnumerator<SandboxFileChange>> watches = [];
        for (int i = 0; i < 16; i++)
        {
            IAsyncEnumerator<SandboxFileChange> watch = open.Session.Files.WatchAsync("dir", Cancel).GetAsyncEnumerator(Cancel);
            Assert.True(await watch.MoveNextAsync());
            Assert.Equal(new SandboxFileChange(SandboxFileChangeKind.Deleted, "gone"), watch.Current);
            watches.Add(watch);
        }

        await using (IAsyncEnumerator<SandboxFileChange> extra = open.Session.Files.WatchAsync("dir", Cancel).GetAsyncEnumerator(Cancel))
        {
            await Assert.ThrowsAsync<SandboxCapacityException>(async () => await extra.MoveNextAsync());
        }

        Task<bool> next = watches[0].MoveNextAsync().AsTask();
        await open.Session.CloseAsync(Cancel);
        await Assert.ThrowsAsync<SandboxSessionEndedException>(() => next);
        foreach (IAsyncEnumerator<SandboxFileChange> watch in watches)
        {
            await watch.DisposeAsync();
        }
    }

    [Fact]
    public async Task A_content_that_fails_is_named()
    {
        await using var open = new OpenSession();
        InvalidSandboxRequestException fault = await Assert.ThrowsAsync<InvalidSandboxRequestException>(
            () => open.Session.Files.WriteAsync("file", new BrokenStream(), null, Cancel));
        Assert.Equal("Content", fault.Faults[0].Field);

        var options = new SessionOptions { MaxArchiveBytes = 5 };
        await using var small = new OpenSession(options: options);
        fault = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => small.Session.Files.WriteArchiveAsync("dir", new MemoryStream(new byte[6]), Cancel));
        Assert.Equal("Tar", fault.Faults[0].Field);
    }

    [Fact]
    public async Task A_worker_that_is_seen_to_end_before_its_sandbox_says_how_the_session_ended()
    {
        await using var open = new OpenSession();
        await open.Session.Files.StatAsync("x", Cancel);
        open.Sandbox.Workers[0].Blocks = new();
        open.Sandbox.Workers[0].Blocks!.SetException(new IOException("The worker has ended."));

        // A worker that ended alone is no end of the session.
        Task<SandboxFileInfo?> alone = open.Session.Files.StatAsync("x", Cancel);
        await Until.IsSoAsync(
            () =>
            {
                open.Time.Advance(TimeSpan.FromMilliseconds(100));
                return alone.IsCompleted;
            },
            60);

        await Assert.ThrowsAsync<SandboxRuntimeException>(() => alone);
        Assert.Null(open.Session.End);

        Task<SandboxFileInfo?> withSandbox = open.Session.Files.StatAsync("x", Cancel);
        open.Sandbox.Die(KeptSandboxEnd.MemoryLimit);
        Assert.Equal(SandboxSessionEnd.MemoryLimit, (await Assert.ThrowsAsync<SandboxSessionEndedException>(() => withSandbox)).End);
    }

    private sealed class BrokenStream : MemoryStream
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => throw new IOException("unreadable");

        public override Task CopyToAsync(Stream destination, int bufferSize, CancellationToken cancellationToken) => throw new IOException("unreadable");
    }
}
