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
    [InlineData(User)]
    [InlineData(0u)]
    public async Task Guest_cannot_attack_the_children_of_PID_1_that_start_or_serve_files(uint user)
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
                await session.ExecAsync(SessionSandbox.Command(user == 0 ? User : 0, "true"));
            }

            Assert.Equal("tried some\n", session.Output(attack));
            Assert.False(session.HasRead<SessionProcessEnded>(ended => ended.Id == worker));
        }
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
}
