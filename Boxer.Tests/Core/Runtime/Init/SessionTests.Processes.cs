using Boxer.Runtime.Init;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Processes: signals, usage, orphans and ends.</summary>
public abstract partial class SessionTests
{
    [Fact]
    public async Task Processes_that_are_left_behind_are_counted_and_live_on()
    {
        await using SessionSandbox session = await OpenAsync();
        (SessionItemEvent end, string output, _) = await session.RunAsync(Shell("(trap '' PIPE; sleep 1000) & (sleep 1000; echo never) & echo said; exit 0"));

        Assert.True(Assert.IsType<SessionProcessEnded>(end).LeftBehind >= 2);
        Assert.Equal("said\n", output);
        Assert.True(await session.CountProcessesAsync() >= 2);
    }

    [Fact]
    public async Task Sigkill_of_a_session_ends_a_fork_bomb()
    {
        await using SessionSandbox session = await OpenAsync();
        int bomb = await session.StartWithCreditAsync(SessionSandbox.Command(User, "attack", "bomb"));
        await session.OutputAsync(bomb, "begun\n");
        while (await session.CountProcessesAsync() < 30)
        {
            // The bomb grows to its limit of processes.
        }

        await session.SignalAsync(bomb, 9, wholeSession: true);
        SessionProcessEnded end = Assert.IsType<SessionProcessEnded>(await session.EndAsync(bomb));
        Assert.Equal((9, 0), (end.Signal, end.LeftBehind));
        await Until.IsSoAsync(async () => await session.CountProcessesAsync() == 0, 60);
    }

    [Fact]
    public async Task Signals_reach_the_group_of_the_first_process()
    {
        await using SessionSandbox session = await OpenAsync();
        int id = await session.StartWithCreditAsync(Shell("trap 'echo got; exit 6' USR1; echo ready; while :; do sleep 0.05; done"));
        await session.OutputAsync(id, "ready\n");
        await session.SignalAsync(id, 10, wholeSession: false);

        Assert.Equal(6, Assert.IsType<SessionProcessEnded>(await session.EndAsync(id)).ExitCode);
        Assert.Equal("ready\ngot\n", session.Output(id));
    }

    [Fact]
    public async Task A_guest_that_stops_every_starting_process_delays_only_its_own_user()
    {
        await using SessionSandbox session = await OpenAsync();
        int attack = await session.StartWithCreditAsync(SessionSandbox.Command(User, "attack", "starting", "1000", "stop"));
        await session.StartedAsync(attack);
        var stopped = new List<int>();
        for (int i = 0; i < 8; i++)
        {
            stopped.Add(await session.StartWithCreditAsync(SessionSandbox.Command(User, "sleep", "1000")));
        }

        Assert.Equal("x\n", (await session.RunAsync(SessionSandbox.Command(User - 1, "echo", "x"))).Output);
        foreach (int id in stopped)
        {
            await session.SignalAsync(id, 9, wholeSession: true);
            Assert.Equal(9, Assert.IsType<SessionProcessEnded>(await session.EndAsync(id)).Signal);
        }
    }

    [Fact]
    public async Task Thirty_two_commands_run_at_once()
    {
        await using SessionSandbox session = await OpenAsync();
        var ids = new List<int>();
        for (int i = 0; i < 32; i++)
        {
            ids.Add(await session.StartWithCreditAsync(Shell($"echo {i}; cat; exit {i}")));
        }

        foreach (int id in ids)
        {
            await session.StartedAsync(id);
            await session.EndInputAsync(id);
        }

        for (int i = 0; i < ids.Count; i++)
        {
            Assert.Equal(i, Assert.IsType<SessionProcessEnded>(await session.EndAsync(ids[i])).ExitCode);
            Assert.Equal($"{i}\n", session.Output(ids[i]));
        }
    }

    [Fact]
    public async Task Usage_of_a_session_includes_processes_that_were_reaped()
    {
        await using SessionSandbox session = await OpenAsync();
        int id = await session.StartWithCreditAsync(Shell("i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done; (i=0; while [ $i -lt 30000 ]; do i=$((i+1)); done) & wait; echo done; read line"));
        await session.OutputAsync(id, "done\n");
        SessionProcessUsage usage = await session.UsageAsync(id);
        Assert.Equal(1, usage.Processes);
        Assert.True(usage.Cpu > TimeSpan.Zero);
        await session.EndInputAsync(id);
        SessionProcessEnded end = Assert.IsType<SessionProcessEnded>(await session.EndAsync(id));
        Assert.True(end.UserCpu + end.SystemCpu >= usage.Cpu);
    }

    [Fact]
    public async Task Orphans_are_reaped()
    {
        await using SessionSandbox session = await OpenAsync();
        for (int i = 0; i < 5; i++)
        {
            await session.RunAsync(Shell("for i in 1 2 3 4 5; do (sleep 0.01 &) ; done; exit 0"));
        }

        // The last ones sleep for some milliseconds. The table shows zombies too.
        await Until.IsSoAsync(async () => await session.CountProcessesAsync() == 0, 60);
    }

    [Fact]
    public async Task More_orphans_than_PID_1_reaps_at_once_are_reaped()
    {
        await using SessionSandbox session = await OpenAsync();

        // Counts the table on request, and starts no process: the end of one would be a reason to reap the others.
        int counter = await session.StartWithCreditAsync(Shell("cd /proc; echo ready; while read line; do set -- [0-9]*; echo \"[$#]\"; done"));
        await session.OutputAsync(counter, "ready\n");
        SessionExec litter = SessionSandbox.Command(User, "attack", "litter", "300") with { ResourceLimits = [new(InitResource.Processes, 500, 500)] };
        Assert.Equal("littered\n", (await session.RunAsync(litter)).Output);
        await Until.IsSoAsync(
            async () =>
            {
                string before = session.Output(counter);
                await session.InputAsync(counter, "\n");
                return (await session.OutputAsync(counter, before + "["))[before.Length..].StartsWith("[2]", StringComparison.Ordinal);
            },
            60);
    }

    [Fact]
    public async Task Kill_and_the_end_of_the_socket_end_everything()
    {
        await using SessionSandbox killed = await OpenAsync();
        await killed.StartedAsync(await killed.StartWithCreditAsync(Shell("trap '' TERM HUP; sleep 1000 & wait")));
        await killed.SendAsync(InitEncoder.EncodeEmpty(InitFrameType.Kill));
        while (await killed.Sandbox.Channel.ReadEventAsync(TestContext.Current.CancellationToken) is not InitClosed)
        {
            // Output that came before.
        }

        Assert.Equal(0, await killed.Sandbox.WaitAsync());

        await using SessionSandbox left = await OpenAsync();
        await left.StartedAsync(await left.StartWithCreditAsync(Shell("trap '' TERM HUP; sleep 1000 & wait")));
        await left.Sandbox.Channel.DisposeAsync();
        Assert.Equal(0, await left.Sandbox.WaitAsync());
    }
}
