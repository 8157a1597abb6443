using System.Net.Sockets;
using Boxer.Runtime.Init;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Attacks of a guest on PID 1 while it serves a session.</summary>
public sealed partial class SessionRunTests
{
    [Theory]
    [InlineData(User, 0ul)]
    [InlineData(0u, 0ul)]
    [InlineData(0u, (ulong)InitCapabilities.All)]
    public async Task Guest_cannot_attack_PID_1_while_it_relays_for_others(uint user, ulong capabilities)
    {
        await using SessionSandbox session = await OpenAsync();
        int victim = await session.StartAsync(SessionSandbox.Command(user, "yes"));
        int terminal = await session.StartAsync(Terminal with { User = new InitIdentity(user, user, []) });
        await session.StartedAsync(victim);
        await session.StartedAsync(terminal);
        (Socket ours, Socket theirs) = SocketPair();
        using (ours)
        {
            int worker = await session.StartFilesAsync(new InitIdentity(user, user, []), theirs.SafeHandle);
            theirs.Dispose();
            await session.StartedAsync(worker);
            string[] command = capabilities == 0 ? ["attack"] : ["attack", "with-capabilities"];
            SessionExec attack = SessionSandbox.Command(user, command) with
            {
                User = new InitIdentity(user, user, [], (InitCapabilities)capabilities),
                Environment = ["PATH=/bin", "SESSION=1"],
            };
            int id = await session.StartWithCreditAsync(attack);
            SessionItemEvent end = await session.EndAsync(id);
            Assert.Equal("tried\n", session.Output(id));
            Assert.Equal(7, Assert.IsType<SessionProcessEnded>(end).ExitCode);
        }
    }

    [Theory]
    [InlineData(User, User - 1)]
    [InlineData(User, 0u)]
    [InlineData(0u, User)]
    public async Task Guest_cannot_attack_the_children_of_PID_1_that_start_or_serve_files(uint user, uint other)
    {
        await using SessionSandbox session = await OpenAsync();
        (Socket ours, Socket theirs) = SocketPair();
        using (ours)
        {
            int worker = await session.StartFilesAsync(new InitIdentity(user, user, []), theirs.SafeHandle);
            theirs.Dispose();
            await session.StartedAsync(worker);
            int attack = await session.StartWithCreditAsync(SessionSandbox.Command(user, "attack", "starting", "5"));
            await session.StartedAsync(attack);
            while (!session.HasRead<SessionProcessEnded>(ended => ended.Id == attack))
            {
                await session.RunAsync(SessionSandbox.Command(user, "true"));
                await session.ExecAsync(SessionSandbox.Command(other, "true"));
            }

            Assert.Equal("tried some\n", session.Output(attack));
            Assert.False(session.HasRead<SessionProcessEnded>(ended => ended.Id == worker));
        }
    }

    [Theory]
    [InlineData("attack")]
    [InlineData("attack", "starting", "3")]
    public async Task Guest_cannot_attack_a_child_that_stays_in_PID_1s_memory(params string[] command)
    {
        await using SessionSandbox session = await OpenAsync();
        await session.ExecAsync(Shell("mkfifo fifo && chmod 755 fifo"));
        int stuck = await session.StartWithCreditAsync(SessionSandbox.Command(User, "/work/fifo"));
        SessionExec attack = SessionSandbox.Command(User, command) with { Environment = ["PATH=/bin", "SESSION=1"] };
        int id = await session.StartWithCreditAsync(attack);
        await session.EndAsync(id);
        Assert.Equal(command.Length == 1 ? "tried\n" : "tried some\n", session.Output(id));
        await session.SignalAsync(stuck, 9, wholeSession: true);
        await session.EndAsync(stuck);

        // One plan was long, and the next one is another.
        Assert.Equal("100000\n", (await session.RunAsync(SessionSandbox.Command(User, "sh", "-c", "echo ${#1}", "sh", new string('x', 100_000)))).Output);
        Assert.Equal("x\n", (await session.RunAsync(SessionSandbox.Command(User, "echo", "x"))).Output);
    }

    [Fact]
    public async Task A_guest_that_changes_the_scheduling_of_PID_1_does_not_change_that_of_commands()
    {
        await using SessionSandbox session = await OpenAsync();
        SessionExec show = Shell("read -r all </proc/self/stat; set -- ${all##*)}; echo ${17}");
        string before = (await session.ExecAsync(show)).Output;
        await session.ExecAsync(SessionSandbox.Command(User, "attack", "nice"));
        Assert.Equal(before, (await session.ExecAsync(show)).Output);
    }

    [Fact]
    public async Task PID_1_is_not_user_0s_while_another_child_is_in_its_memory()
    {
        await using SessionSandbox session = await OpenAsync();
        await session.ExecAsync(Shell("mkfifo fifo && chmod 755 fifo"));
        int stuck = await session.StartWithCreditAsync(SessionSandbox.Command(User, "/work/fifo"));
        int root = await session.StartWithCreditAsync(SessionSandbox.Command(0, "sh", "-c", "ls -ldn /proc/1/fd /proc/1/ns; exit 0"));

        // Other commands start meanwhile.
        Assert.Equal("x\n", (await session.RunAsync(SessionSandbox.Command(User, "echo", "x"))).Output);
        Assert.False(session.HasRead<SessionProcessStarted>(start => start.Id == root));
        await session.SignalAsync(stuck, 9, wholeSession: true);
        await session.EndAsync(stuck);
        Assert.Equal(0, Assert.IsType<SessionProcessEnded>(await session.EndAsync(root)).ExitCode);
        string[] owners = [.. session.Output(root).Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[2])];

        // The reserved id is not mapped in the namespace of user 0.
        Assert.Equal(["65534", "65534"], owners);
    }

    [Fact]
    public async Task A_command_that_starts_after_one_of_user_0_leaves_PID_1_to_the_reserved_user()
    {
        await using SessionSandbox session = await OpenAsync();
        await session.ExecAsync(Shell("mkfifo fifo && chmod 755 fifo"));
        int root = await session.StartWithCreditAsync(SessionSandbox.Command(0, "sh", "-c", "echo ready; while read line; do ls -ldn /proc/1/fd; done"));
        await session.OutputAsync(root, "ready\n");
        int stuck = await session.StartWithCreditAsync(SessionSandbox.Command(User, "/work/fifo"));
        Assert.Equal("x\n", (await session.RunAsync(SessionSandbox.Command(User, "echo", "x"))).Output);
        await session.InputAsync(root, "\n");
        string[] fields = (await session.OutputAsync(root, "/proc/1/fd\n"))["ready\n".Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal("65534", fields[2]);
        await session.SignalAsync(stuck, 9, wholeSession: true);
        await session.EndAsync(stuck);
    }
}
