using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>When real sessions freeze, and what keeps them from their idle timeout.</summary>
[Collection(Sandboxes.Name)]
public sealed class SessionIdleTests(SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task KeepAliveWhileRunning_stops_the_idle_timeout_while_a_started_process_lives()
    {
        await using IOwnedSandboxSession kept = await OpenAsync(request => request.KeepAliveWhileRunning = true);
        ISandboxProcess process = await kept.StartAsync("sleep", "1000");
        await using IOwnedSandboxSession other = await OpenAsync(_ => { });
        await other.StartAsync("sleep", "1000");

        // The other one was used later, and ends.
        await Until.IsSoAsync(() => other.End is not null, 60);
        Assert.Equal(SandboxSessionEnd.IdleTimeout, other.End);
        Assert.Equal((null, SandboxSessionState.Running), (kept.End, kept.State));

        await process.DisposeAsync();
        await Until.IsSoAsync(() => kept.End is not null, 60);
        Assert.Equal(SandboxSessionEnd.IdleTimeout, kept.End);

        Task<IOwnedSandboxSession> OpenAsync(Action<SandboxSessionRequest> change) => this.OpenAsync(request =>
        {
            request.IdleTimeout = TimeSpan.FromSeconds(3);
            change(request);
        });
    }

    [Fact]
    public async Task FreezeAfter_null_keeps_a_session_awake_and_0_freezes_it_at_once()
    {
        const string Count = "(while :; do echo; sleep 0.05; done) >/tmp/count 2>&1 &";
        (IOwnedSandboxSession awake, string awakeSandbox) = await OpenOneAsync(null);
        await using IAsyncDisposable first = awake;
        (IOwnedSandboxSession frozen, string frozenSandbox) = await OpenOneAsync(TimeSpan.Zero);
        await using IAsyncDisposable second = frozen;
        (IOwnedSandboxSession usual, string usualSandbox) = await OpenOneAsync(TimeSpan.FromSeconds(1));
        await using IAsyncDisposable third = usual;

        for (int call = 1; call <= 5; call++)
        {
            Assert.Equal($"{call}\n", (await frozen.ExecAsync("sh", "-c", $"echo {call}")).StandardOutput);
            await Until.IsSoAsync(() => SandboxCgroups.IsFrozen(frozenSandbox), 60);
        }

        await awake.ExecAsync("sh", "-c", Count);
        await usual.ExecAsync("sh", "-c", Count);
        await Until.IsSoAsync(() => SandboxCgroups.IsFrozen(usualSandbox), 60);
        Assert.False(SandboxCgroups.IsFrozen(awakeSandbox));
        Assert.Equal([SandboxSessionState.Idle, SandboxSessionState.Idle], new[] { awake.State, usual.State });

        async Task<(IOwnedSandboxSession, string)> OpenOneAsync(TimeSpan? freezeAfter)
        {
            string[] others = OwnTraces.Sandboxes();
            IOwnedSandboxSession session = await OpenAsync(request => request.FreezeAfter = freezeAfter);
            return (session, Assert.Single(OwnTraces.Sandboxes().Except(others, StringComparer.Ordinal)));
        }
    }

    private Task<IOwnedSandboxSession> OpenAsync(Action<SandboxSessionRequest> change)
    {
        var request = new SandboxSessionRequest(PythonImage.Name);
        change(request);
        return shared.Runner.OpenAsync(request, Cancel);
    }
}
