using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Sessions;

/// <summary>Calls, freezes, pauses and ends of a session at the same moment.</summary>
public sealed class SessionRaceTests
{
    private const int Rounds = 200;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_call_that_begins_while_the_session_is_frozen_finds_it_awake()
    {
        await using var open = new OpenSession(request => request with { FreezeAfter = TimeSpan.FromTicks(1), IdleTimeout = TimeSpan.FromHours(1) });
        for (int i = 0; i < Rounds; i++)
        {
            Task freeze = Task.Run(() => open.Time.Advance(TimeSpan.FromTicks(10)), Cancel);
            Task<SandboxFileInfo?> call = Task.Run(() => open.Session.Files.StatAsync("x", Cancel), Cancel);
            await Task.WhenAll(freeze, call);
        }

        Assert.Equal(0, open.Sandbox.CallsWhileFrozen);
    }

    [Fact]
    public async Task A_pause_and_a_resume_at_the_moment_of_calls_leave_the_session_usable()
    {
        await using var open = new OpenSession(request => request with { IdleTimeout = TimeSpan.FromHours(1) });
        for (int i = 0; i < Rounds; i++)
        {
            Task pause = Task.Run(() => open.Session.PauseAsync(Cancel), Cancel);
            Task resume = Task.Run(() => open.Session.ResumeAsync(Cancel), Cancel);
            Task call = Task.Run(() => open.Session.Files.StatAsync("x", Cancel), Cancel);
            await Task.WhenAll(pause, resume);
            await call.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
            Assert.True(call.IsCompletedSuccessfully || call.Exception?.InnerException is SandboxSessionPausedException, call.Exception?.ToString());
            await open.Session.ResumeAsync(Cancel);
            await open.Session.Files.StatAsync("x", Cancel);
        }

        Assert.Equal(0, open.Sandbox.CallsWhileFrozen);
    }

    [Fact]
    public async Task Ends_at_the_same_moment_give_one_end_and_one_clean_up()
    {
        for (int i = 0; i < 50; i++)
        {
            await using var open = new OpenSession(request => request with { Lifetime = TimeSpan.FromMinutes(10) });
            (Task<SandboxResult> result, _) = await open.ExecAsync(cancellationToken: Cancel);
            await Task.WhenAll(
                Task.Run(() => open.Session.CloseAsync(Cancel), Cancel),
                Task.Run(() => open.Session.CloseAsync(Cancel), Cancel),
                Task.Run(() => open.Sandbox.Die(Boxer.Runtime.Kept.KeptSandboxEnd.MemoryLimit), Cancel),
                Task.Run(() => open.Time.Advance(TimeSpan.FromMinutes(11)), Cancel),
                Task.Run(() => open.StopRunnerAsync(), Cancel));
            await ((Task)result).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);

            SandboxSessionEnd end = open.Session.End!.Value;
            Assert.True(open.IsCleanedUp);
            Assert.Equal(end, open.Table.Find(open.Session.Id)!.End);
            Assert.True(result.IsCompletedSuccessfully || (result.Exception?.InnerException as SandboxSessionEndedException)?.End == end, result.Exception?.ToString());
        }
    }

    [Fact]
    public async Task Calls_at_the_moment_of_the_end_are_results_or_typed()
    {
        for (int i = 0; i < 50; i++)
        {
            await using var open = new OpenSession();
            Task<SandboxResult>[] calls = [.. Enumerable.Range(0, 4).Select(_ => Task.Run(() => open.Session.ExecAsync(new SandboxCommand("x"), Cancel), Cancel))];
            Task<ISandboxProcess> start = Task.Run(() => open.Session.StartAsync(new SandboxCommand("x"), Cancel), Cancel);
            Task<SandboxConnection> connect = Task.Run(() => open.Session.ConnectAsync(1, Cancel), Cancel);
            await open.Session.CloseAsync(Cancel);
            foreach (Task call in (Task[])[.. calls, start, connect])
            {
                await call.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
                Assert.True(call.IsCompletedSuccessfully || call.Exception?.InnerException is SandboxSessionEndedException { End: SandboxSessionEnd.Closed }, call.Exception?.ToString());
            }

            await Until.IsSoAsync(() => open.IsCleanedUp, 30);
            Assert.Equal(0, open.Admission.Ledger.PromisedProcessors);
        }
    }
}
