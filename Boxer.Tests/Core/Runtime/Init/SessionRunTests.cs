using System.Globalization;
using Boxer.Processes;
using Boxer.Runtime.Init;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Sessions of the real boxer-init as PID 1 of a real runsc.</summary>
[Slow]
public sealed partial class SessionRunTests(InitFixture fixture) : SessionTests, IClassFixture<InitFixture>
{
    private static readonly SessionExec Terminal = SessionSandbox.Command(User, "sh") with { Streams = SessionStreams.Terminal, Columns = 100, Rows = 40 };

    private protected override async Task<SessionSandbox> OpenAsync()
    {
        if (fixture.Unable is { } reason)
        {
            Assert.Skip(reason);
        }

        return await SessionSandbox.OpenAsync(await InitSandbox.BootAsync(fixture.Root), SessionSandbox.Open(User));
    }

    [Fact]
    public async Task Open_makes_home_and_workspace_in_the_root_and_mounts_the_rest()
    {
        await using SessionSandbox session = await OpenAsync();
        string output = (await session.ExecAsync(Shell(
            "hostname; cat /etc/hosts; stat -c '%a %u %n' /work /home/user /tmp; while read a b c d; do case $b in /work|/home/user|/tmp) echo $b;; esac; done </proc/mounts"))).Output;

        Assert.Equal("boxer\n127.0.0.1 localhost\n755 65534 /work\n755 65534 /home/user\n1777 0 /tmp\n/tmp\n", output);
    }

    [Fact]
    public async Task Limits_of_a_running_process_can_be_set()
    {
        await using SessionSandbox session = await OpenAsync();
        int id = await session.StartWithCreditAsync(Shell("echo ready; read line; ulimit -n"));
        await session.OutputAsync(id, "ready\n");
        Assert.Equal(0, await session.LimitAsync(id, new InitResourceLimit(InitResource.OpenFiles, 33, 33)));
        await session.InputAsync(id, "go\n");
        Assert.EndsWith("\n33\n", await session.OutputAsync(id, "33\n"), StringComparison.Ordinal);
    }

    [Fact]
    public async Task User_0_runs_beside_another_user()
    {
        await using SessionSandbox session = await OpenAsync();
        int other = await session.StartWithCreditAsync(Shell("echo ready; sleep 1000"));
        await session.OutputAsync(other, "ready\n");
        int root = await session.StartWithCreditAsync(SessionSandbox.Command(0, "sh", "-c", "id -u; cat /proc/self/uid_map; exit 8"));

        Assert.Equal(8, Assert.IsType<SessionProcessEnded>(await session.EndAsync(root)).ExitCode);
        Assert.Matches(@"^0\n\s*0\s+0\s+65536\n$", session.Output(root));
    }

    [Theory]
    [InlineData(User)]
    [InlineData(0u)]
    public async Task Open_after_a_warm_up_takes_files_and_a_workspace_and_finds_nothing_of_the_warm_up(uint user)
    {
        if (fixture.Unable is { } reason)
        {
            Assert.Skip(reason);
        }

        InitSandbox sandbox = await InitSandbox.BootAsync(fixture.Root);
        await sandbox.Channel.WarmUpAsync(
            InitSandbox.Start(user, "sh", "-c", "echo x > /tmp/x; echo x > /home/user/x") with { WorkingDirectory = "/work/below" }, TestContext.Current.CancellationToken);
        byte[] files =
        [
            .. InitEncoder.EncodeFileBegin("/in/tool", executable: true), .. InitEncoder.EncodeEmpty(InitFrameType.FileEnd),
            .. InitEncoder.EncodeTreeEntry(InitFrameType.TreeDirectory, 0x1ED, 1_000, 0, "d", null),
            .. InitEncoder.EncodeTreeEntry(InitFrameType.TreeLink, 0x1FF, 1_000, 0, "d/l", "../x"),
        ];
        await using SessionSandbox session = await SessionSandbox.OpenAsync(
            sandbox, SessionSandbox.Open(user) with { WorkingDirectory = "/work/below" }, files);
        (SessionItemEvent end, string output, string error) = await session.ExecAsync(SessionSandbox.Command(
            user, "sh", "-c", "pwd; ls /tmp /home/user; stat -c '%a %u %n' /in/tool d ../work/below; readlink /work/d/l; cat /sys/fs/cgroup/memory/memory.limit_in_bytes") with
        { WorkingDirectory = "/work" });

        Assert.Equal(0, Assert.IsType<SessionProcessEnded>(end).ExitCode);
        Assert.Equal("", error);
        Assert.Equal($"/work\n/home/user:\n\n/tmp:\n555 0 /in/tool\n755 {user} d\n755 {user} ../work/below\n../x\n268435456\n", output);
    }

    [Fact]
    public async Task A_workspace_in_place_of_a_file_fails_with_its_path()
    {
        if (fixture.Unable is { } reason)
        {
            Assert.Skip(reason);
        }

        await using InitSandbox sandbox = await InitSandbox.BootAsync(fixture.Root);
        InitStart open = SessionSandbox.Open(User) with { Tmpfs = [new("/bin/sh", 0x1ED, User, User, InitTmpfsKind.Workspace)], WorkingDirectory = "/" };
        await sandbox.Channel.OpenAsync(InitEncoder.EncodeOpen(open), TestContext.Current.CancellationToken);
        Assert.Equal("/bin/sh", Assert.IsType<InitFileFailed>(await sandbox.Channel.ReadEventAsync(TestContext.Current.CancellationToken)).Path);
    }

    [Fact]
    public async Task Usage_counts_the_changed_root_and_the_tmpfs()
    {
        await using SessionSandbox session = await OpenAsync();
        long before = (await session.UsageAsync()).DiskBytes;
        await session.ExecAsync(Shell("dd if=/dev/zero of=/work/f bs=1M count=3; dd if=/dev/zero of=/tmp/f bs=1M count=2"));
        Assert.InRange((await session.UsageAsync()).DiskBytes - before, 5 << 20, (5 << 20) + (64 << 10));
        await session.ExecAsync(Shell("rm /work/f /tmp/f"));
        Assert.InRange((await session.UsageAsync()).DiskBytes, 0, before + (64 << 10));
    }

    [Fact]
    public async Task Ended_reports_a_full_tmpfs()
    {
        await using SessionSandbox session = await OpenAsync();
        (SessionItemEvent end, _, _) = await session.ExecAsync(Shell("cat /dev/zero > /tmp/x; exit 0"));
        Assert.True(Assert.IsType<SessionProcessEnded>(end).IsTmpfsFull);
        Assert.False(Assert.IsType<SessionProcessEnded>((await session.ExecAsync(Shell("rm /tmp/x"))).End).IsTmpfsFull);
    }

    [Fact]
    public async Task Terminal_has_a_size_jobs_and_the_keys_that_interrupt()
    {
        await using SessionSandbox session = await OpenAsync();
        int id = await session.StartWithCreditAsync(Terminal);
        await session.InputAsync(id, "stty size; tty\n");
        await session.OutputAsync(id, "40 100\r\n/dev/pts/");

        // The program that is asleep is in the foreground, not the shell.
        await session.InputAsync(id, "sh -c 'echo asleep; exec sleep 1000'\n");
        await session.OutputAsync(id, "\nasleep\r\n");
        await session.InputAsync(id, "\u0003");
        await session.InputAsync(id, "echo code $?\n");
        await session.OutputAsync(id, "code 130\r\n");
        await session.InputAsync(id, "sleep 1000 &\n");

        // Not SIGTERM: an interactive shell ignores it, and so does its child until it is a program of its own.
        await session.InputAsync(id, "jobs; kill -9 %1; wait; echo job''-over\n");
        await session.OutputAsync(id, "job-over\r\n");
        await session.InputAsync(id, "trap 'stty size' WINCH; echo trap''ped; while :; do sleep 0.05; done\n");
        await session.OutputAsync(id, "trapped\r\n");
        await session.SendAsync(SessionEncoder.EncodeResize(id, 120, 50));
        await session.OutputAsync(id, "50 120\r\n");
        await session.SignalAsync(id, 9, wholeSession: true);
        Assert.Equal(9, Assert.IsType<SessionProcessEnded>(await session.EndAsync(id)).Signal);
    }

    [Theory]
    [InlineData(User)]
    [InlineData(0u)]
    public async Task Terminal_belongs_to_the_user_and_ends_with_its_input(uint user)
    {
        await using SessionSandbox session = await OpenAsync();
        int id = await session.StartWithCreditAsync(Terminal with { Arguments = ["sh", "-c", "stat -c '%u %g' $(tty); cat; exit 7"], User = new InitIdentity(user, user, []) });
        await session.OutputAsync(id, $"{user} {user}\r\n");
        await session.InputAsync(id, "line\n");
        await session.EndInputAsync(id);
        Assert.Equal(7, Assert.IsType<SessionProcessEnded>(await session.EndAsync(id)).ExitCode);
        Assert.EndsWith("line\r\nline\r\n", session.Output(id), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_end_of_a_terminal_waits_for_nobody_who_holds_it_and_hangs_up_the_rest()
    {
        await using SessionSandbox session = await OpenAsync();
        int id = await session.StartWithCreditAsync(
            Terminal with { Arguments = ["sh", "-c", "trap '' HUP; (while :; do echo x; sleep 0.01; done) & trap - HUP; sleep 1234 & exit 3"] });
        SessionProcessEnded end = Assert.IsType<SessionProcessEnded>(await session.EndAsync(id));
        Assert.Equal(3, end.ExitCode);
        Assert.True(end.LeftBehind > 0);

        // The shell that lives on has the words among its arguments.
        while ((await session.RunAsync(SessionSandbox.Command(User, "ps"))).Output.Split('\n').Any(line => line.EndsWith(" sleep 1234", StringComparison.Ordinal)))
        {
            // It ends by SIGHUP.
        }
    }

    [Fact]
    public async Task Terminals_do_not_depend_on_files_in_dev_that_user_0_replaced()
    {
        await using SessionSandbox session = await OpenAsync();
        await session.ExecAsync(SessionSandbox.Command(0, "sh", "-c", "rm -f /dev/ptmx; mkfifo /dev/ptmx; mv /dev/pts /dev/moved; ln -s /work /dev/pts"));
        int id = await session.StartWithCreditAsync(Terminal with { Arguments = ["stty", "size"] });
        await session.EndAsync(id);
        Assert.Equal("40 100\r\n", session.Output(id));
    }

    [Theory]
    [InlineData(4)]
    [InlineData(6)]
    public async Task Connections_carry_bytes_both_ways_and_close_each_side_alone(int family)
    {
        await using SessionSandbox session = await OpenAsync();
        int refused = await session.ConnectAsync(family, 8080);
        Assert.Equal(111, Assert.IsType<SessionNotConnected>(await session.EndAsync(refused)).Errno);

        // The server answers only after it has read the end of the client's side.
        int server = await session.StartWithCreditAsync(SessionSandbox.Command(User, "attack", "serve", $"{family}"));
        await session.OutputAsync(server, "listening\n");
        int id = await session.ConnectAsync(family, 8080);
        await session.CreditAsync(id, SessionStream.Output, 1000);
        await session.InputAsync(id, new byte[50_000]);
        await session.EndInputAsync(id);
        Assert.Equal(0, Assert.IsType<SessionClosed>(await session.EndAsync(id)).Errno);
        Assert.Equal("50000\nbye\n", session.Output(id));
    }

    [Fact]
    public async Task A_released_connection_is_closed()
    {
        await using SessionSandbox session = await OpenAsync();
        int server = await session.StartWithCreditAsync(SessionSandbox.Command(User, "attack", "serve", "4"));
        await session.OutputAsync(server, "listening\n");
        int id = await session.ConnectAsync(4, 8080);
        await session.NextAsync<SessionConnected>();
        await session.ReleaseAsync(id);
        Assert.Equal(0, Assert.IsType<SessionClosed>(await session.EndAsync(id)).Errno);
        await session.OutputAsync(server, "read 0\n");
    }

    [Fact]
    public async Task Quiet_names_the_commands_that_hold_descriptors_of_the_host()
    {
        await using SessionSandbox session = await OpenAsync();
        await session.StartedAsync(await session.StartWithCreditAsync(SessionSandbox.Command(User, "sleep", "1000")));
        Assert.Empty((await session.QuiesceAsync()).Holders);
        using Pipe output = Pipe.ForReading();
        int id = session.NextId();
        session.Expect(id);
        await session.SendAsync(SessionEncoder.EncodeExec(id, SessionSandbox.Command(User, "sleep", "1000")), output.Theirs, output.Theirs, output.Theirs);
        await session.StartedAsync(id);
        Assert.Equal([id], (await session.QuiesceAsync()).Holders);

        // A child that is left behind with the descriptors has no id.
        await session.ExecAsync(Shell("sleep 1000 & exit 0"));
        Assert.Equal([0, id], (await session.QuiesceAsync()).Holders.Order());
    }

    [Fact]
    public async Task Hundreds_of_commands_leave_no_descriptor_and_no_memory_in_PID_1()
    {
        await using SessionSandbox session = await OpenAsync();
        for (int i = 0; i < 20; i++)
        {
            await RunSomeAsync(i);
        }

        (long memory, long descriptors) = await MeasureAsync();
        for (int i = 0; i < 250; i++)
        {
            await RunSomeAsync(i);
        }

        (long memoryAfter, long descriptorsAfter) = await MeasureAsync();
        Assert.Equal(descriptors, descriptorsAfter);
        Assert.InRange(memoryAfter, 0, memory + 16);

        async Task RunSomeAsync(int i)
        {
            SessionExec command = SessionSandbox.Command(User, "true");
            if (i % 10 < 8)
            {
                await session.ExecAsync(command);
                return;
            }

            int id = await session.StartWithCreditAsync(i % 10 == 8 ? command : Terminal with { Arguments = ["true"] });
            await session.InputAsync(id, new byte[1000]);
            await session.EndAsync(id);
        }

        // Pages of PID 1's address space, and its descriptors. Only user 0 with its capabilities can count them.
        async Task<(long Memory, long Descriptors)> MeasureAsync()
        {
            SessionExec count = SessionSandbox.Command(0, "sh", "-c", "read a b c </proc/1/statm; echo $a; ls /proc/1/fd | wc -l");
            string[] lines = (await session.ExecAsync(count with { User = new InitIdentity(0, 0, [], InitCapabilities.All) })).Output.Split('\n');
            return (long.Parse(lines[0], CultureInfo.InvariantCulture), long.Parse(lines[1], CultureInfo.InvariantCulture));
        }
    }
}
