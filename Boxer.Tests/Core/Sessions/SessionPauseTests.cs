using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Sessions;

/// <summary>Pauses and resumptions of a session, with a fake sandbox and a fake clock.</summary>
public sealed class SessionPauseTests
{
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

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
    public async Task A_resumed_session_is_awake_until_it_may_be_frozen()
    {
        await using var never = new OpenSession(request => request with { FreezeAfter = null });
        await never.Session.PauseAsync(Cancel);
        await never.Session.ResumeAsync(Cancel);
        Assert.False(never.Sandbox.IsFrozen);
        never.Time.Advance(TimeSpan.FromMinutes(2));
        Assert.False(never.Sandbox.IsFrozen);

        await using var later = new OpenSession(request => request with { FreezeAfter = TimeSpan.FromMinutes(1) });
        await later.Session.PauseAsync(Cancel);
        await later.Session.ResumeAsync(Cancel);
        Assert.False(later.Sandbox.IsFrozen);
        later.Time.Advance(TimeSpan.FromMinutes(1));
        await Until.IsSoAsync(() => later.Sandbox.IsFrozen, 30);
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

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task PauseAsync_that_cannot_freeze_throws_and_leaves_the_session_unpaused_with_its_clocks(bool isRefused)
    {
        await using var open = new OpenSession();
        (_, FakeGuestProcess guest) = await open.StartAsync();
        open.Sandbox.FreezeFault = isRefused ? new IOException("no freezer") : null;
        open.Sandbox.FreezeDelays = int.MaxValue;
        DateTimeOffset began = open.Time.GetUtcNow();
        DateTimeOffset expires = open.Session.ExpiresAt!.Value;
        Task first = open.Session.PauseAsync(Cancel);
        Task second = open.Session.PauseAsync(Cancel);
        await Until.IsSoAsync(
            () =>
            {
                open.Time.Advance(TimeSpan.FromMilliseconds(100));
                return first.IsCompleted && second.IsCompleted;
            },
            30);

        await Assert.ThrowsAsync<SandboxRuntimeException>(() => first);
        await Assert.ThrowsAsync<SandboxRuntimeException>(() => second);
        Assert.Equal((SandboxSessionState.Running, 0), (open.Session.State, open.Sandbox.Freezes));
        Assert.InRange(open.Session.ExpiresAt!.Value, expires, expires + (open.Time.GetUtcNow() - began));
        Assert.True(open.Sandbox.Thaws > 0);
        await open.CallAsync();
        guest.End(Termination.Exited(0));
        await Until.IsSoAsync(() => open.Session.State == SandboxSessionState.Idle, 30);
        open.Time.Advance(TimeSpan.FromMinutes(6));
        await Until.IsSoAsync(() => open.Session.End == SandboxSessionEnd.IdleTimeout, 30);
    }

    [Fact]
    public async Task PauseAsync_returns_when_everything_stands_still()
    {
        await using var open = new OpenSession();
        open.Sandbox.FreezeDelays = 3;
        Task first = open.Session.PauseAsync(Cancel);
        Task second = open.Session.PauseAsync(Cancel);
        Assert.Equal((false, false, 1), (first.IsCompleted, second.IsCompleted, open.Sandbox.FreezeAttempts));
        await Until.IsSoAsync(
            () =>
            {
                open.Time.Advance(TimeSpan.FromMilliseconds(1));
                return first.IsCompleted && second.IsCompleted;
            },
            30);
        await Task.WhenAll(first, second);
        Assert.Equal((SandboxSessionState.Paused, true, 4), (open.Session.State, open.Sandbox.IsFrozen, open.Sandbox.FreezeAttempts));
    }

    [Fact]
    public async Task ResumeAsync_ends_a_freeze_that_takes_long()
    {
        await using var open = new OpenSession();
        await open.StartAsync();
        open.Sandbox.FreezeDelays = int.MaxValue;
        Task pause = open.Session.PauseAsync(Cancel);
        await open.Session.ResumeAsync(Cancel);
        await pause;
        Assert.Equal((SandboxSessionState.Running, 1), (open.Session.State, open.Sandbox.Thaws));
        open.Time.Advance(Second);
        Assert.Equal(1, open.Sandbox.FreezeAttempts);
    }

    [Fact]
    public async Task ResumeAsync_ends_a_pause_of_an_idle_session_whose_freeze_takes_long()
    {
        await using var open = new OpenSession();
        open.Sandbox.FreezeDelays = int.MaxValue;
        Task pause = open.Session.PauseAsync(Cancel);
        Assert.False(pause.IsCompleted);
        await open.Session.ResumeAsync(Cancel);
        await pause.WaitAsync(TimeSpan.FromSeconds(30), Cancel);
        Assert.Equal(SandboxSessionState.Idle, open.Session.State);
        await open.CallAsync();
        Assert.Equal((false, 0), (open.Sandbox.IsFrozen, open.Sandbox.CallsWhileFrozen));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task PauseAsync_is_cancelled_also_while_the_processes_stop(bool isBusy)
    {
        await using var open = new OpenSession();
        if (isBusy)
        {
            await open.StartAsync();
        }

        open.Sandbox.FreezeDelays = int.MaxValue;
        using var cancelled = new CancellationTokenSource();
        Task pause = open.Session.PauseAsync(cancelled.Token);
        Assert.False(pause.IsCompleted);
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => pause.WaitAsync(TimeSpan.FromSeconds(30), Cancel));
        Assert.Equal(isBusy ? SandboxSessionState.Running : SandboxSessionState.Idle, open.Session.State);
        await open.CallAsync();
    }

    [Fact]
    public async Task The_idle_timeout_does_not_end_a_session_while_its_processes_stop_for_a_pause()
    {
        await using var open = new OpenSession();
        open.Sandbox.FreezeDelays = int.MaxValue;
        open.Time.Advance(open.Session.ExpiresAt!.Value - open.Time.GetUtcNow() - Second);
        Task pause = open.Session.PauseAsync(Cancel);
        open.Time.Advance(5 * Second);
        Assert.Equal((null, SandboxSessionState.Paused), (open.Session.End, open.Session.State));

        open.Sandbox.FreezeDelays = 0;
        await Until.IsSoAsync(
            () =>
            {
                open.Time.Advance(TimeSpan.FromMilliseconds(1));
                return pause.IsCompleted;
            },
            30);
        await pause;
        open.Time.Advance(TimeSpan.FromDays(1));
        Assert.Equal((null, true), (open.Session.End, open.Sandbox.IsFrozen));
        await open.Session.ResumeAsync(Cancel);
        Assert.Equal(open.Time.GetUtcNow() + Second, open.Session.ExpiresAt);
    }

    [Fact]
    public async Task A_pause_without_effect_stops_the_idle_timeout_but_not_the_lifetime()
    {
        await using var open = new OpenSession();
        open.Sandbox.FreezeDelays = int.MaxValue;
        DateTimeOffset expires = open.Session.ExpiresAt!.Value;
        Task pause = open.Session.PauseAsync(Cancel);
        open.Time.Advance(5 * Second);
        await open.Session.ResumeAsync(Cancel);
        await pause.WaitAsync(TimeSpan.FromSeconds(30), Cancel);
        Assert.Equal(expires + (5 * Second), open.Session.ExpiresAt);

        await open.Session.ExtendAsync(lifetime: 10 * Second, cancellationToken: Cancel);
        Assert.Equal(open.Time.GetUtcNow() + (5 * Second), open.Session.ExpiresAt);
    }

    [Fact]
    public async Task CloseAsync_ends_a_pause_whose_freeze_takes_long()
    {
        await using var open = new OpenSession();
        open.Sandbox.FreezeDelays = int.MaxValue;
        Task pause = open.Session.PauseAsync(Cancel);
        await open.Session.CloseAsync(Cancel);
        await Until.IsSoAsync(
            () =>
            {
                open.Time.Advance(TimeSpan.FromMilliseconds(1));
                return pause.IsCompleted;
            },
            30);
        Assert.Equal(SandboxSessionEnd.Closed, (await Assert.ThrowsAsync<SandboxSessionEndedException>(() => pause)).End);
        await Until.IsSoAsync(() => open.Sandbox.Thaws > 0, 30);
    }
}
