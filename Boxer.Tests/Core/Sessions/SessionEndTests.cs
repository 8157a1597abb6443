using Boxer.Runtime.Kept;
using Boxer.Sessions;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Sessions;

/// <summary>Ends of a session, with a fake sandbox and a fake clock.</summary>
public sealed class SessionEndTests
{
    private static readonly TimeSpan Second = TimeSpan.FromSeconds(1);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

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
        await Until.IsSoAsync(() => open.Sandbox.IsKilled, 60);
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
    public async Task A_command_of_a_sandbox_that_died_has_its_result_also_if_its_output_takes_seconds()
    {
        await using var open = new OpenSession();
        open.Sandbox.DrainsSlowly = true;
        (Task<SandboxResult> result, FakeExec exec) = await open.ExecAsync(cancellationToken: Cancel);
        open.Sandbox.Die(KeptSandboxEnd.MemoryLimit);
        await Until.IsSoAsync(() => open.Session.End == SandboxSessionEnd.MemoryLimit, 30);
        open.Time.Advance(SessionEnds.ResultPatience - Second);
        exec.Print("the last words");
        exec.End(Termination.Limit(TerminationKind.MemoryLimit));

        SandboxResult ended = await result;
        Assert.Equal((TerminationKind.MemoryLimit, "the last words"), (ended.Termination.Kind, ended.StandardOutput));
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
