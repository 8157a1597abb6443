using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Sessions;

/// <summary>States and clocks of a session, with a fake sandbox and a fake clock.</summary>
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
    public async Task A_call_does_not_wait_for_a_freeze_that_takes_long()
    {
        await using var open = new OpenSession();
        open.Sandbox.FreezeDelays = int.MaxValue;
        open.Time.Advance(2 * Second);
        await Until.IsSoAsync(() => open.Sandbox.FreezeAttempts > 0, 30);
        await open.CallAsync();
        Assert.Equal(1, open.Sandbox.Thaws);

        // The freeze is begun again when the session is idle again.
        open.Sandbox.FreezeDelays = 0;
        open.Time.Advance(2 * Second);
        await Until.IsSoAsync(() => open.Sandbox.IsFrozen, 30);
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
}
