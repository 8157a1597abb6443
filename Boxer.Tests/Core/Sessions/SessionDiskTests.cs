using Boxer.Admission;
using Boxer.Sessions;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Sessions;

/// <summary>The disk limit of a session, with a fake sandbox.</summary>
public sealed class SessionDiskTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Over_the_disk_limit_commands_end_with_DiskLimit_and_writes_are_refused_until_files_are_removed()
    {
        await using var open = new OpenSession();
        (Task<SandboxResult> result, _) = await open.ExecAsync(cancellationToken: Cancel);
        open.Sandbox.DiskBytes = 1_001;
        open.Time.Advance(TimeSpan.FromSeconds(1));
        Assert.Equal(TerminationKind.DiskLimit, (await result).Termination.Kind);

        SandboxFileException fault = await Assert.ThrowsAsync<SandboxFileException>(() => open.Session.Files.WriteAsync("file", new MemoryStream(), null, Cancel));
        Assert.Equal(SandboxFileError.NoSpace, fault.Reason);
        fault = await Assert.ThrowsAsync<SandboxFileException>(() => open.Session.Files.MoveAsync("directory", "other", Cancel));
        Assert.Equal(SandboxFileError.NoSpace, fault.Reason);
        await open.Session.Files.RemoveAsync("file", Cancel);
        open.Sandbox.DiskBytes = 990;
        fault = await Assert.ThrowsAsync<SandboxFileException>(() => open.Session.Files.WriteAsync("file", new MemoryStream(new byte[11]), null, Cancel));
        Assert.Equal(SandboxFileError.NoSpace, fault.Reason);
        await open.Session.Files.WriteAsync("file", new MemoryStream(new byte[10]), null, Cancel);
        (Task<SandboxResult> other, FakeExec exec) = await open.ExecAsync(cancellationToken: Cancel);
        open.Time.Advance(TimeSpan.FromSeconds(1));
        exec.End();
        Assert.Equal(0, (await other).ExitCode);
    }

    [Fact]
    public async Task A_command_that_waited_for_processors_sees_the_disk_as_it_is_when_it_starts()
    {
        await using var open = new OpenSession(processors: 1);
        using AdmissionQueue.Ticket other = open.Admission.EnterSession("other");
        IDisposable taken = await other.AcquireProcessorsAsync(1, false, Cancel);
        Task<SandboxResult> result = open.Session.ExecAsync(new SandboxCommand("program"), Cancel);
        open.Sandbox.DiskBytes = 1_001;
        await Assert.ThrowsAsync<SandboxFileException>(() => open.Session.Files.WriteAsync("file", new MemoryStream(), null, Cancel));
        open.Sandbox.DiskBytes = 0;
        Assert.Empty(open.Sandbox.Execs);
        taken.Dispose();
        await Until.IsSoAsync(() => open.Sandbox.Execs.Count > 0, 30);
        open.Sandbox.Execs[0].End();
        Assert.Equal(0, (await result).ExitCode);
    }

    [Fact]
    public async Task A_frozen_session_is_not_asked_for_its_disk_use()
    {
        await using var open = new OpenSession();
        open.Time.Advance(TimeSpan.FromSeconds(1.5));
        await Until.IsSoAsync(() => open.Sandbox.IsFrozen, 30);
        int before = open.Sandbox.UsageReads;
        open.Time.Advance(TimeSpan.FromMinutes(1));

        Assert.Equal(before, open.Sandbox.UsageReads);
        Assert.Equal(0, open.Sandbox.CallsWhileFrozen);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_session_ends_if_its_use_grows_on_over_the_limit(bool grows)
    {
        await using var open = new OpenSession(request => request with { FreezeAfter = null, IdleTimeout = TimeSpan.FromHours(1) });
        open.Sandbox.DiskBytes = 1_001;
        for (int i = 0; i < 2 * SessionDisk.MaxGrowths && open.Session.End is null; i++)
        {
            int reads = open.Sandbox.UsageReads;
            await Until.IsSoAsync(
                () =>
                {
                    open.Time.Advance(TimeSpan.FromSeconds(1));
                    return open.Sandbox.UsageReads > reads || open.Session.End is not null;
                },
                30);
            open.Sandbox.DiskBytes += grows ? 1 : 0;
        }

        Assert.Equal(grows ? SandboxSessionEnd.SandboxDied : null, open.Session.End);
    }

    [Fact]
    public async Task Parallel_writes_share_the_free_space()
    {
        await using var open = new OpenSession();
        open.Sandbox.DiskBytes = 990;
        var slow = new SlowStream(7);
        Task writing = open.Session.Files.WriteAsync("slow", slow, null, Cancel);
        await slow.IsRead.Task;
        SandboxFileException fault = await Assert.ThrowsAsync<SandboxFileException>(() => open.Session.Files.WriteAsync("large", new MemoryStream(new byte[4]), null, Cancel));
        Assert.Equal((SandboxFileError.NoSpace, "large"), (fault.Reason, fault.Path));
        await open.Session.Files.WriteAsync("small", new MemoryStream(new byte[3]), null, Cancel);
        slow.End.SetResult();
        await writing;
        await open.Session.Files.WriteAsync("later", new MemoryStream(new byte[10]), null, Cancel);
    }

    [Fact]
    public async Task A_write_that_fits_ends_well_if_the_use_is_read_before_its_end()
    {
        await using var open = new OpenSession();
        open.Sandbox.DiskBytes = 990;
        var slow = new SlowStream(7);
        Task writing = open.Session.Files.WriteAsync("slow", slow, null, Cancel);
        await slow.IsRead.Task;
        int reads = open.Sandbox.UsageReads;
        open.Sandbox.DiskBytes = 997;
        open.Time.Advance(TimeSpan.FromSeconds(1));
        await Until.IsSoAsync(() => open.Sandbox.UsageReads > reads, 30);
        slow.End.SetResult();
        await writing;
    }

    [Fact]
    public async Task A_write_whose_content_pauses_reserves_nothing_for_bytes_that_were_written_long_ago()
    {
        await using var open = new OpenSession();
        open.Sandbox.DiskBytes = 990;
        var slow = new SlowStream(7);
        Task writing = open.Session.Files.WriteAsync("slow", slow, null, Cancel);
        await slow.IsRead.Task;
        open.Sandbox.DiskBytes = 997;
        await Assert.ThrowsAsync<SandboxFileException>(() => open.Session.Files.WriteAsync("early", new MemoryStream(new byte[3]), null, Cancel));
        for (int i = 0; i < 2; i++)
        {
            int reads = open.Sandbox.UsageReads;
            open.Time.Advance(TimeSpan.FromSeconds(1));
            await Until.IsSoAsync(() => open.Sandbox.UsageReads > reads, 30);
        }

        await open.Session.Files.WriteAsync("other", new MemoryStream(new byte[3]), null, Cancel);
        slow.End.SetResult();
        await writing;
    }

    private sealed class SlowStream(int bytes) : MemoryStream(new byte[bytes])
    {
        public TaskCompletionSource IsRead { get; } = new();

        public TaskCompletionSource End { get; } = new();

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            int read = base.Read(buffer.Span);
            if (read == 0)
            {
                IsRead.TrySetResult();
                await End.Task;
            }

            return read;
        }
    }
}
