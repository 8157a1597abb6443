using Boxer.Runtime.Kept;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Sessions;

/// <summary>States, clocks and ends of a session, with a fake sandbox and a fake clock.</summary>
public sealed class SessionStateTests
{
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task An_idle_session_is_frozen_after_FreezeAfter_and_thawed_by_the_next_call()
    {
        await using var open = new OpenSession();
        await open.CallAsync();
        Assert.Equal(SandboxSessionState.Idle, open.Session.State);
        open.Time.Advance(Second - TimeSpan.FromTicks(2));
        Assert.False(open.Sandbox.IsFrozen);

        open.Time.Advance(TimeSpan.FromTicks(4));
        await Until.IsSoAsync(() => open.Sandbox.IsFrozen, 30);
        Assert.Equal(SandboxSessionState.Idle, open.Session.State);

        await open.CallAsync();
        Assert.False(open.Sandbox.IsFrozen);
        Assert.Equal(0, open.Sandbox.CallsWhileFrozen);
    }

    [Fact]
    public async Task A_session_that_was_never_called_is_frozen_too()
    {
        await using var open = new OpenSession();
        open.Time.Advance(2 * Second);

        await Until.IsSoAsync(() => open.Sandbox.IsFrozen, 30);
    }

    [Fact]
    public async Task FreezeAfter_null_never_freezes()
    {
        await using var open = new OpenSession(request => request with { FreezeAfter = null });
        await open.CallAsync();
        open.Time.Advance(TimeSpan.FromMinutes(4));

        Assert.Equal(0, open.Sandbox.Freezes);
    }

    [Fact]
    public async Task A_host_that_cannot_freeze_keeps_the_session_awake_and_usable()
    {
        await using var open = new OpenSession();
        open.Sandbox.FreezeFault = new IOException("no freezer");
        open.Time.Advance(10 * Second);
        await open.CallAsync();

        Assert.Equal(SandboxSessionState.Idle, open.Session.State);
    }

    [Fact]
    public async Task Where_nothing_freezes_a_pause_stops_the_clocks_alone_and_the_disk_limit_holds()
    {
        await using var open = new OpenSession(canFreeze: false);
        await open.StartAsync();
        await open.Session.PauseAsync(Cancel);
        open.Time.Advance(TimeSpan.FromHours(2));
        Assert.Equal((0, SandboxSessionState.Paused), (open.Sandbox.Freezes, open.Session.State));

        int reads = open.Sandbox.UsageReads;
        open.Time.Advance(2 * Second);
        await Until.IsSoAsync(() => open.Sandbox.UsageReads > reads, 30);
    }

    [Fact]
    public async Task Who_waits_for_a_process_or_reads_it_keeps_the_session_and_begins_before_a_pause()
    {
        await using var open = new OpenSession();
        (ISandboxProcess process, FakeGuestProcess guest) = await open.StartAsync();
        Task<SandboxProcessEnd> waiting = process.WaitAsync(Cancel);
        open.Time.Advance(TimeSpan.FromMinutes(10));
        Assert.Null(open.Session.End);

        await open.Session.PauseAsync(Cancel);
        await Assert.ThrowsAsync<SandboxSessionPausedException>(() => process.WaitAsync(Cancel));
        await Assert.ThrowsAsync<SandboxSessionPausedException>(async () => await process.EventsAsync(cancellationToken: Cancel).GetAsyncEnumerator(Cancel).MoveNextAsync());

        await open.Session.ResumeAsync(Cancel);
        guest.End(Termination.Exited(0));
        Assert.Equal(0, (await waiting).Termination.ExitCode);
        await open.Session.PauseAsync(Cancel);
        Assert.Equal(0, (await process.WaitAsync(Cancel)).Termination.ExitCode);
    }

    [Fact]
    public async Task A_living_process_keeps_the_session_awake_and_an_ended_one_does_not()
    {
        await using var open = new OpenSession();
        (ISandboxProcess process, FakeGuestProcess guest) = await open.StartAsync();
        Assert.Equal(SandboxSessionState.Running, open.Session.State);
        open.Time.Advance(10 * Second);
        Assert.Equal(0, open.Sandbox.Freezes);

        guest.End(Termination.Exited(0));
        await process.WaitAsync(Cancel);
        await Until.IsSoAsync(() => open.Session.State == SandboxSessionState.Idle, 30);
        open.Time.Advance(2 * Second);
        await Until.IsSoAsync(() => open.Sandbox.IsFrozen, 30);
    }

    [Fact]
    public async Task An_open_connection_keeps_the_session_from_freezing_and_from_its_idle_timeout()
    {
        await using var open = new OpenSession();
        SandboxConnection connection = await open.Session.ConnectAsync(80, Cancel);
        open.Time.Advance(TimeSpan.FromMinutes(30));
        Assert.Equal(SandboxSessionState.Running, open.Session.State);
        Assert.Equal(0, open.Sandbox.Freezes);

        await connection.DisposeAsync();
        Assert.Equal(SandboxSessionState.Idle, open.Session.State);
        Assert.True(open.Sandbox.Connections[0].IsDisposed);
        open.Time.Advance(TimeSpan.FromMinutes(6));
        await Until.IsSoAsync(() => open.Session.End == SandboxSessionEnd.IdleTimeout, 30);
    }

    [Fact]
    public async Task The_idle_timeout_runs_from_the_end_of_the_last_call()
    {
        await using var open = new OpenSession();
        open.Time.Advance(TimeSpan.FromMinutes(4));
        (Task<SandboxResult> result, FakeExec exec) = await open.ExecAsync(cancellationToken: Cancel);
        open.Time.Advance(TimeSpan.FromMinutes(20));
        Assert.Equal(open.Session.CreatedAt + open.Session.Lifetime, open.Session.ExpiresAt);
        exec.End();
        await result;
        Assert.Equal(open.Time.GetUtcNow() + TimeSpan.FromMinutes(5), open.Session.ExpiresAt);
        open.Time.Advance(TimeSpan.FromMinutes(4.9));
        Assert.Null(open.Session.End);

        open.Time.Advance(TimeSpan.FromMinutes(0.2));
        await Until.IsSoAsync(() => open.Session.End == SandboxSessionEnd.IdleTimeout, 30);
        await Until.IsSoAsync(() => open.IsCleanedUp, 30);
        Assert.Null(open.Session.ExpiresAt);
    }

    [Theory]
    [InlineData(false, SandboxSessionEnd.IdleTimeout)]
    [InlineData(true, null)]
    public async Task KeepAliveWhileRunning_stops_the_idle_timeout_while_a_process_lives(bool keepsAlive, SandboxSessionEnd? end)
    {
        await using var open = new OpenSession(request => request with { KeepAliveWhileRunning = keepsAlive });
        (ISandboxProcess process, FakeGuestProcess guest) = await open.StartAsync();
        open.Time.Advance(TimeSpan.FromMinutes(20));
        await Until.IsSoAsync(() => open.Session.End == end, 30);
        if (!keepsAlive)
        {
            return;
        }

        guest.End(Termination.Exited(0));
        await process.WaitAsync(Cancel);
        await Until.IsSoAsync(() => open.Session.State == SandboxSessionState.Idle, 30);
        open.Time.Advance(TimeSpan.FromMinutes(4));
        Assert.Null(open.Session.End);
        open.Time.Advance(TimeSpan.FromMinutes(2));
        await Until.IsSoAsync(() => open.Session.End == SandboxSessionEnd.IdleTimeout, 30);
    }

    [Fact]
    public async Task The_lifetime_ends_a_session_in_the_middle_of_a_call_with_a_typed_exception()
    {
        await using var open = new OpenSession();
        (Task<SandboxResult> result, _) = await open.ExecAsync(cancellationToken: Cancel);
        open.Time.Advance(TimeSpan.FromMinutes(61));

        SandboxSessionEndedException fault = await Assert.ThrowsAsync<SandboxSessionEndedException>(() => result);
        Assert.Equal((SandboxSessionEnd.Lifetime, open.Session.Id, false), (fault.End, fault.SessionId, fault.IsRetrySafe));
        fault = await Assert.ThrowsAsync<SandboxSessionEndedException>(open.CallAsync);
        Assert.Equal((SandboxSessionEnd.Lifetime, true), (fault.End, fault.IsRetrySafe));
        Assert.True(open.Sandbox.IsKilled);
    }

    [Fact]
    public async Task PauseAsync_stops_all_clocks_and_freezes_also_with_a_living_process()
    {
        await using var open = new OpenSession();
        (ISandboxProcess process, FakeGuestProcess guest) = await open.StartAsync();
        open.Time.Advance(TimeSpan.FromMinutes(2));
        await open.Session.PauseAsync(Cancel);
        Assert.True(open.Sandbox.IsFrozen);
        Assert.Equal(SandboxSessionState.Paused, open.Session.State);
        Assert.Null(open.Session.ExpiresAt);
        await Assert.ThrowsAsync<SandboxSessionPausedException>(open.CallAsync);
        await Assert.ThrowsAsync<SandboxSessionPausedException>(() => open.Session.Files.StatAsync("x", Cancel));
        await Assert.ThrowsAsync<SandboxSessionPausedException>(() => open.Session.ConnectAsync(1, Cancel));

        open.Time.Advance(TimeSpan.FromDays(7));
        await open.Session.PauseAsync(Cancel);
        Assert.Null(open.Session.End);
        await open.Session.ResumeAsync(Cancel);
        await open.Session.ResumeAsync(Cancel);

        Assert.False(open.Sandbox.IsFrozen);
        Assert.Equal(SandboxSessionState.Running, open.Session.State);
        Assert.Equal(open.Time.GetUtcNow() + TimeSpan.FromMinutes(3), open.Session.ExpiresAt);
        guest.End(Termination.Exited(0));
        await Until.IsSoAsync(() => process.End is not null, 30);
        open.Time.Advance(TimeSpan.FromMinutes(4));
        await Until.IsSoAsync(() => open.Session.End == SandboxSessionEnd.IdleTimeout, 30);
    }

    [Fact]
    public async Task PauseAsync_lets_calls_in_progress_end_and_rejects_new_ones()
    {
        await using var open = new OpenSession();
        (Task<SandboxResult> result, FakeExec exec) = await open.ExecAsync(cancellationToken: Cancel);
        Task pause = open.Session.PauseAsync(Cancel);
        Assert.False(pause.IsCompleted);
        Assert.False(open.Sandbox.IsFrozen);
        await Assert.ThrowsAsync<SandboxSessionPausedException>(open.CallAsync);

        exec.End();
        Assert.Equal(0, (await result).ExitCode);
        await pause;
        Assert.True(open.Sandbox.IsFrozen);
    }

    [Fact]
    public async Task PauseAsync_that_is_cancelled_undoes_the_pause()
    {
        await using var open = new OpenSession();
        (Task<SandboxResult> result, FakeExec exec) = await open.ExecAsync(cancellationToken: Cancel);
        using var cancelled = new CancellationTokenSource();
        Task pause = open.Session.PauseAsync(cancelled.Token);
        await cancelled.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => pause);
        exec.End();
        await result;
        Assert.Equal(SandboxSessionState.Idle, open.Session.State);
        await open.CallAsync();
    }

    [Fact]
    public async Task ResumeAsync_undoes_a_pause_that_waits_which_then_returns()
    {
        await using var open = new OpenSession();
        (Task<SandboxResult> result, FakeExec exec) = await open.ExecAsync(cancellationToken: Cancel);
        Task pause = open.Session.PauseAsync(Cancel);
        await open.Session.ResumeAsync(Cancel);
        await pause;
        Assert.Equal((SandboxSessionState.Running, 0), (open.Session.State, open.Sandbox.Freezes));

        // A later pause waits again.
        pause = open.Session.PauseAsync(Cancel);
        Assert.False(pause.IsCompleted);
        exec.End();
        await result;
        await pause;
        Assert.True(open.Sandbox.IsFrozen);
        Assert.Equal(SandboxSessionState.Paused, open.Session.State);
    }

    [Fact]
    public async Task PauseAsync_that_is_cancelled_leaves_the_pause_of_another_caller()
    {
        await using var open = new OpenSession();
        (Task<SandboxResult> result, FakeExec exec) = await open.ExecAsync(cancellationToken: Cancel);
        using var cancelled = new CancellationTokenSource();
        Task first = open.Session.PauseAsync(cancelled.Token);
        Task second = open.Session.PauseAsync(Cancel);
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);
        exec.End();
        await result;
        await second;
        Assert.Equal((SandboxSessionState.Paused, true), (open.Session.State, open.Sandbox.IsFrozen));
    }

    [Fact]
    public async Task CloseAsync_gives_the_place_of_the_session_back_before_its_sandbox_is_gone()
    {
        await using var open = new OpenSession();
        var blocks = new TaskCompletionSource();
        open.Sandbox.DisposalBlocks = blocks.Task;
        Assert.Throws<SandboxCapacityException>(() => open.Bounds.Enter(null, 1));
        await open.Session.CloseAsync(Cancel);
        open.Bounds.Enter(null, 1).Dispose();
        Assert.False(open.IsCleanedUp);
        blocks.SetResult();
    }

    [Fact]
    public async Task ExtendAsync_changes_both_times_and_a_time_that_has_passed_ends_the_session()
    {
        await using var open = new OpenSession();
        open.Time.Advance(TimeSpan.FromMinutes(4));
        await open.Session.ExtendAsync(TimeSpan.FromMinutes(10), TimeSpan.FromHours(2), Cancel);
        Assert.Equal((TimeSpan.FromMinutes(10), TimeSpan.FromHours(2)), (open.Session.IdleTimeout, open.Session.Lifetime));
        open.Time.Advance(TimeSpan.FromMinutes(5));
        Assert.Null(open.Session.End);

        await open.Session.ExtendAsync(lifetime: TimeSpan.FromMinutes(1), cancellationToken: Cancel);
        open.Time.Advance(TimeSpan.FromMilliseconds(1));
        await Until.IsSoAsync(() => open.Session.End == SandboxSessionEnd.Lifetime, 30);
        await Assert.ThrowsAsync<SandboxSessionEndedException>(() => open.Session.ExtendAsync(TimeSpan.FromMinutes(1), null, Cancel));
        await Assert.ThrowsAsync<SandboxSessionEndedException>(() => open.Session.PauseAsync(Cancel));
        await Assert.ThrowsAsync<SandboxSessionEndedException>(() => open.Session.ResumeAsync(Cancel));
    }

    [Theory]
    [InlineData(KeptSandboxEnd.MemoryLimit, TerminationKind.MemoryLimit, SandboxSessionEnd.MemoryLimit)]
    [InlineData(KeptSandboxEnd.Died, TerminationKind.SandboxDied, SandboxSessionEnd.SandboxDied)]
    internal async Task A_sandbox_that_dies_gives_commands_their_result_and_ends_the_session(KeptSandboxEnd death, TerminationKind termination, SandboxSessionEnd end)
    {
        await using var open = new OpenSession();
        (ISandboxProcess process, _) = await open.StartAsync();
        (Task<SandboxResult> result, FakeExec exec) = await open.ExecAsync(cancellationToken: Cancel);
        exec.Print("so far");
        open.Sandbox.Die(death);

        SandboxResult ended = await result;
        Assert.Equal((termination, "so far"), (ended.Termination.Kind, ended.StandardOutput));
        Assert.Equal(termination, (await process.WaitAsync(Cancel)).Termination.Kind);
        await Until.IsSoAsync(() => open.IsCleanedUp, 30);
        Assert.Equal(end, (await Assert.ThrowsAsync<SandboxSessionEndedException>(open.CallAsync)).End);
        Assert.Equal(end, open.Table.Find(open.Session.Id)!.End);
    }

    [Fact]
    public async Task CloseAsync_ends_what_is_in_flight_and_later_closes_change_nothing()
    {
        await using var open = new OpenSession();
        (Task<SandboxResult> result, _) = await open.ExecAsync(cancellationToken: Cancel);
        await Task.WhenAll(open.Session.CloseAsync(Cancel), open.Session.CloseAsync(Cancel), open.Session.DisposeAsync().AsTask());

        Assert.Equal(SandboxSessionEnd.Closed, (await Assert.ThrowsAsync<SandboxSessionEndedException>(() => result)).End);
        Assert.Equal((SandboxSessionState.Ended, SandboxSessionEnd.Closed), (open.Session.State, open.Session.End));
        await Until.IsSoAsync(() => open.IsCleanedUp && open.Sandbox.IsDisposed, 30);
        Assert.Empty(open.Table.List(null));
    }

    [Fact]
    public async Task CloseAsync_abandons_a_sandbox_that_hangs_after_two_seconds()
    {
        await using var open = new OpenSession();
        open.Sandbox.Hangs = true;
        (ISandboxProcess process, _) = await open.StartAsync();
        Task<SandboxFileInfo?> stat = open.Session.Files.StatAsync("x", Cancel);
        await stat;
        open.Sandbox.Workers[0].Blocks = new TaskCompletionSource();
        Task<IReadOnlyList<byte>> never = HangAsync();
        async Task<IReadOnlyList<byte>> HangAsync()
        {
            await open.Session.Files.StatAsync("x", CancellationToken.None);
            return [];
        }

        Task close = open.Session.CloseAsync(Cancel);
        SandboxSessionEndedException fault = await Assert.ThrowsAsync<SandboxSessionEndedException>(() => never);
        Assert.Equal(SandboxSessionEnd.Closed, fault.End);
        await Until.IsSoAsync(
            () =>
            {
                open.Time.Advance(Second);
                return close.IsCompletedSuccessfully && process.End is not null;
            },
            30);
        Assert.Equal(TerminationKind.SandboxDied, process.End!.Termination.Kind);
    }

    [Fact]
    public async Task The_disposal_of_the_runner_ends_the_session_as_HostStopped()
    {
        await using var open = new OpenSession();
        (Task<SandboxResult> result, _) = await open.ExecAsync(cancellationToken: Cancel);
        await open.StopRunnerAsync();

        Assert.Equal(SandboxSessionEnd.HostStopped, (await Assert.ThrowsAsync<SandboxSessionEndedException>(() => result)).End);
        Assert.True(open.IsCleanedUp);
    }

    [Fact]
    public async Task A_sandbox_that_cannot_be_thawed_ends_the_session()
    {
        await using var open = new OpenSession();
        open.Time.Advance(2 * Second);
        await Until.IsSoAsync(() => open.Sandbox.IsFrozen, 30);
        open.Sandbox.ThawFault = new IOException("gone");

        Assert.Equal(SandboxSessionEnd.SandboxDied, (await Assert.ThrowsAsync<SandboxSessionEndedException>(open.CallAsync)).End);
    }

    [Fact]
    public async Task A_late_timer_lets_no_call_pass_after_the_idle_timeout()
    {
        await using var open = new OpenSession(request => request with { IdleTimeout = Second, FreezeAfter = null });
        open.Time.Advance(2 * Second);

        Assert.Equal(SandboxSessionEnd.IdleTimeout, (await Assert.ThrowsAsync<SandboxSessionEndedException>(open.CallAsync)).End);
    }
}
