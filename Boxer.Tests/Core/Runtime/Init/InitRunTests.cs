using System.Net.Sockets;
using System.Text;
using Boxer.Runtime.Init;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>The real boxer-init as PID 1 of a real runsc.</summary>
[Slow]
public sealed class InitRunTests(InitFixture fixture) : IClassFixture<InitFixture>
{
    [Theory]
    [InlineData(65534u)]
    [InlineData(0u)]
    public async Task Start_prepares_everything_that_the_command_finds(uint user)
    {
        InitRun run = await RunAsync(
            InitSandbox.Start(user, "sh", "-c", """
                id -u; id -g; id -G; hostname; pwd; cat /etc/hosts; cat /job/data; /job/tool
                stat -c '%a %u %n' /tmp /dev/shm /output /home/user /work /job /job/data /job/tool /etc/hosts
                grep -E 'Cap(Inh|Prm|Eff|Bnd)' /proc/self/status 2>/dev/null || while read l; do case $l in Cap*) echo "$l";; esac; done </proc/self/status
                echo text > /output/a; mkdir -p /output/d/e; echo deep > /output/d/e/f; echo err >&2; exit 7
                """) with
            {
                WorkingDirectory = "/work",
                SupplementaryGroups = [5, 6],
            },
            ("/job/data", false, "data\n"),
            ("/job/tool", true, "#!/bin/sh\necho tool\n"));

        Assert.Equal(7, run.Ended?.ExitCode);
        Assert.Equal("err\n", run.Stderr);
        string groups = $"{user} 5 6";
        Assert.Equal(
            $"""
            {user}
            {user}
            {groups}
            boxer
            /work
            127.0.0.1 localhost
            data
            tool
            1777 0 /tmp
            1777 0 /dev/shm
            755 {user} /output
            755 {user} /home/user
            755 {user} /work
            755 0 /job
            444 0 /job/data
            555 0 /job/tool
            644 0 /etc/hosts
            CapInh:	0000000000000000
            CapPrm:	0000000000000000
            CapEff:	0000000000000000
            CapBnd:	0000000000000000

            """,
            run.Stdout);
        Assert.Equal(new Dictionary<string, string>(StringComparer.Ordinal) { ["a"] = "text\n", ["d/e/f"] = "deep\n" }, run.Files());
        Assert.Contains(new InitOutputDirectory("d/e", 0x1ED), run.Events);
        Assert.Empty(run.Truncations);
        Assert.True(run.Ended!.UserCpu + run.Ended.SystemCpu > TimeSpan.Zero);
    }

    [Theory]
    [InlineData("missing", 2)]
    [InlineData("/missing", 2)]
    [InlineData("not-executable", 13)]
    [InlineData("/etc", 13)]
    [InlineData("unknown-format", 8)]
    public async Task NotStarted_has_the_errno_of_a_program_that_cannot_be_executed(string program, int errno)
    {
        InitRun run = await RunAsync(InitSandbox.Start(65534, program));
        Assert.Equal([new InitNotStarted(InitStage.Execute, errno)], run.Events);
    }

    [Fact]
    public async Task NotStarted_has_the_errno_of_a_working_directory_that_cannot_be_entered()
    {
        InitRun run = await RunAsync(InitSandbox.Start(65534, "true") with { WorkingDirectory = "/bin/sh/x" });
        Assert.Equal([new InitNotStarted(InitStage.WorkingDirectory, 20)], run.Events);
    }

    [Fact]
    public async Task Ended_distinguishes_exit_code_127_from_a_missing_program()
    {
        InitRun run = await RunAsync(InitSandbox.Start(65534, "sh", "-c", "exit 127"));
        Assert.Equal(127, run.Ended?.ExitCode);
    }

    [Fact]
    public async Task Ended_distinguishes_a_signal_from_an_exit_code()
    {
        InitRun run = await RunAsync(InitSandbox.Start(65534, "sh", "-c", "kill -SEGV $$"));
        Assert.Equal((null, 11), (run.Ended?.ExitCode, run.Ended?.Signal));
    }

    [Fact]
    public async Task Ended_comes_after_all_processes_of_the_command_were_killed()
    {
        InitRun run = await RunAsync(InitSandbox.Start(65534, "sh", "-c", "(while :; do echo x; sleep 0.01; done) & (sleep 1000 & sleep 1000) & exit 3"));
        Assert.Equal(3, run.Ended?.ExitCode);
    }

    [Fact]
    public async Task Kill_ends_all_processes_and_reports_the_end()
    {
        Skip();
        await using InitSandbox sandbox = await InitSandbox.BootAsync(fixture.Root);
        CancellationToken cancellationToken = TestContext.Current.CancellationToken;
        await sandbox.StartAsync(InitSandbox.Start(65534, "sh", "-c", "trap '' TERM; sleep 1000 & wait"));
        await sandbox.Channel.GoAsync(cancellationToken);
        Assert.IsType<InitStarted>(await sandbox.Channel.ReadEventAsync(cancellationToken));
        await sandbox.Channel.KillAsync(cancellationToken);
        InitRun run = await sandbox.CollectAsync();
        Assert.Equal(9, run.Ended?.Signal);
    }

    [Fact]
    public async Task Signal_reaches_the_command()
    {
        Skip();
        await using InitSandbox sandbox = await InitSandbox.BootAsync(fixture.Root);
        CancellationToken cancellationToken = TestContext.Current.CancellationToken;
        await sandbox.StartAsync(InitSandbox.Start(65534, "sleep", "1000"));
        await sandbox.Channel.GoAsync(cancellationToken);
        Assert.IsType<InitStarted>(await sandbox.Channel.ReadEventAsync(cancellationToken));
        await sandbox.Channel.SignalAsync(15, cancellationToken);
        InitRun run = await sandbox.CollectAsync();
        Assert.Equal(15, run.Ended?.Signal);
    }

    [Fact]
    public async Task Sandbox_ends_when_the_host_closes_the_socket()
    {
        Skip();
        await using InitSandbox sandbox = await InitSandbox.BootAsync(fixture.Root);
        CancellationToken cancellationToken = TestContext.Current.CancellationToken;
        await sandbox.StartAsync(InitSandbox.Start(65534, "sleep", "1000"));
        await sandbox.Channel.GoAsync(cancellationToken);
        Assert.IsType<InitStarted>(await sandbox.Channel.ReadEventAsync(cancellationToken));
        await sandbox.Channel.DisposeAsync();
        await sandbox.WaitAsync();
    }

    [Fact]
    public async Task FileFailed_names_a_file_that_does_not_fit_and_the_command_does_not_start()
    {
        InitRun run = await RunAsync(InitSandbox.Start(65534, "true"), ("/dev/shm/big", false, new string('x', 9 << 20)), ("/job/other", false, "x"));
        Assert.Equal([new InitFileFailed("/dev/shm/big", 28)], run.Events);
    }

    [Fact]
    public async Task FileFailed_names_a_file_in_place_of_a_directory()
    {
        InitRun run = await RunAsync(InitSandbox.Start(65534, "true"), ("/bin", false, "x"));
        Assert.Equal("/bin", Assert.IsType<InitFileFailed>(Assert.Single(run.Events)).Path);
    }

    [Fact]
    public async Task Fault_names_the_failed_step_of_the_preparation()
    {
        InitRun run = await RunAsync(InitSandbox.Start(65534, "true") with { Tmpfs = [new("/bin/sh/x", 0x1ED, 0, 0)] });
        Assert.Equal(new InitFault("mount /bin/sh/x", 20), run.Events[0]);
    }

    [Fact]
    public async Task Start_does_not_mount_over_a_directory_of_kind_UnlessUsed_with_entries()
    {
        InitRun run = await RunAsync(
            InitSandbox.Start(0, "sh", "-c", "ls /bin/true; touch /full/x; stat -c %u /full") with
            {
                Tmpfs = [new("/bin", 0x1ED, 0, 0, InitTmpfsKind.UnlessUsed), new("/full", 0x1ED, 0, 0, InitTmpfsKind.UnlessUsed)],
                Outputs = null,
            });
        Assert.Equal("/bin/true\n0\n", run.Stdout);
        Assert.Equal(0, run.Ended?.ExitCode);
    }

    [Fact]
    public async Task Ended_reports_a_full_tmpfs()
    {
        InitRun run = await RunAsync(InitSandbox.Start(65534, "sh", "-c", "cat /dev/zero > /tmp/x; exit 0"));
        Assert.True(run.Ended?.IsTmpfsFull);
        Assert.Contains("No space left", run.Stderr, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Outputs_are_regular_files_within_limits()
    {
        InitRun run = await RunAsync(
            InitSandbox.Start(65534, "sh", "-c", """
                cd /output; ln -s /etc/hosts link; mkfifo fifo; echo a > a; ln a hard
                dd if=/dev/zero of=sparse bs=1 count=0 seek=1000000000 2>/dev/null; echo x >> sparse
                printf bad > "$(printf 'n\377')"; d=.; for i in $(yes x 2>/dev/null | head -70); do d=$d/d; done; mkdir -p $d; chmod 000 a
                """));
        Assert.Equal(0, run.Ended?.ExitCode);
        Dictionary<string, string> files = run.Files();
        Assert.Equal(["a", "hard"], files.Keys.Order(StringComparer.Ordinal));
        Assert.Equal("a\n", files["hard"]);
        Assert.Equal(
            [new(InitTruncation.Bytes, 1), new(InitTruncation.Depth, 1), new(InitTruncation.Path, 1), new(InitTruncation.NotRegular, 2)],
            run.Truncations);
    }

    [Fact]
    public async Task Outputs_stop_at_the_maximum_number_of_entries()
    {
        InitRun run = await RunAsync(InitSandbox.Start(65534, "sh", "-c", "cd /output; for i in $(yes x | head -150); do n=x$n; : > ${#n}; done"));
        Assert.Equal(100, run.Files().Count);
        Assert.Equal([new(InitTruncation.Entries, 1)], run.Truncations);
    }

    [Fact]
    public async Task Outputs_do_not_follow_a_link_in_place_of_the_output_directory()
    {
        InitRun run = await RunAsync(InitSandbox.Start(0, "sh", "-c", "mv /output /elsewhere; ln -s /etc /output; echo kept > /elsewhere/a 2>/dev/null; exit 0"));
        Assert.DoesNotContain("hosts", run.Files().Keys);
    }

    [Theory]
    [InlineData(65534u, 0ul)]
    [InlineData(0u, 0ul)]
    [InlineData(0u, (ulong)InitCapabilities.All)]
    public async Task Guest_cannot_attack_pid_1(uint user, ulong capabilities)
    {
        string[] command = capabilities == 0 ? ["attack"] : ["attack", "with-capabilities"];
        InitRun run = await RunAsync(InitSandbox.Start(user, command) with { Capabilities = (InitCapabilities)capabilities });
        Assert.Equal("tried\n", run.Stdout);
        Assert.Equal(7, run.Ended?.ExitCode);
    }

    [Fact]
    public async Task User_0_with_capabilities_can_install_packages_in_a_namespace_of_65536_ids()
    {
        InitRun run = await RunAsync(
            InitSandbox.Start(0, "sh", "-c", "echo x > /tmp/f && chown 33:44 /tmp/f && chmod 600 /tmp/f && cat /tmp/f && stat -c '%u %g' /tmp/f && cat /proc/self/uid_map")
                with
            { Capabilities = InitCapabilities.All });
        Assert.StartsWith("x\n33 44\n", run.Stdout, StringComparison.Ordinal);
        Assert.Equal(["0", "0", "65536"], run.Stdout.Split('\n')[2].Split(' ', StringSplitOptions.RemoveEmptyEntries));
        Assert.Equal(0, run.Ended?.ExitCode);
    }

    [Fact]
    public async Task Garbage_ends_the_sandbox()
    {
        Skip();
        await using InitSandbox sandbox = await InitSandbox.BootAsync(fixture.Root);
        byte[] garbage = Encoding.ASCII.GetBytes("GET / HTTP/1.1\r\n\r\n");
        await sandbox.Socket.SendAsync(garbage, SocketFlags.None, TestContext.Current.CancellationToken);
        Assert.Equal(new InitFault("malformed version", 74), await sandbox.Channel.ReadEventAsync(TestContext.Current.CancellationToken));
        await sandbox.WaitAsync();
    }

    private void Skip()
    {
        if (fixture.Unable is { } reason)
        {
            Assert.Skip(reason);
        }
    }

    [Theory]
    [InlineData(65534u)]
    [InlineData(0u)]
    public async Task WarmUp_does_not_change_the_run(uint user)
    {
        Skip();
        await using InitSandbox sandbox = await InitSandbox.BootAsync(fixture.Root);
        CancellationToken cancellationToken = TestContext.Current.CancellationToken;
        const string Leave = "echo printed; echo printed >&2; touch /tmp/left /output/left /dev/shm/left; (sleep 1000 & sleep 1000) & exit 7";
        Assert.Equal(new InitWarmedUp(InitWarmUpEnd.Exited, 7), await sandbox.Channel.WarmUpAsync(InitSandbox.Start(user, "sh", "-c", Leave), cancellationToken));
        Assert.Equal(new InitWarmedUp(InitWarmUpEnd.NotStarted, 2), await sandbox.Channel.WarmUpAsync(InitSandbox.Start(user, "missing"), cancellationToken));
        Assert.Equal(new InitWarmedUp(InitWarmUpEnd.Signaled, 11), await sandbox.Channel.WarmUpAsync(InitSandbox.Start(user, "sh", "-c", "kill -SEGV $$"), cancellationToken));

        const string Look = "ls /tmp /output /dev/shm; ps; ls -l /proc/1/fd; for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & done 2>/dev/null; echo $!; id -u";
        InitStart start = InitSandbox.Start(user, "sh", "-c", Look);
        await using InitSandbox other = await InitSandbox.BootAsync(fixture.Root);
        InitRun cold = await other.RunAsync(start);
        InitRun warm = await sandbox.RunAsync(start);

        // Only process ids differ.
        Assert.Equal(WithoutNumbers(cold.Stdout), WithoutNumbers(warm.Stdout));
        Assert.Equal(WithoutNumbers(cold.Stderr), WithoutNumbers(warm.Stderr));
        Assert.Equal(0, warm.Ended?.ExitCode);
        Assert.DoesNotContain("left", warm.Stdout, StringComparison.Ordinal);

        static string WithoutNumbers(string text) => System.Text.RegularExpressions.Regex.Replace(text, "[ 0-9]+", "#", System.Text.RegularExpressions.RegexOptions.None, TimeSpan.FromSeconds(1));
    }

    [Theory]
    [InlineData(65534u, 0u)]
    [InlineData(0u, 65534u)]
    [InlineData(65534u, 1000u)]
    public async Task WarmUp_may_differ_from_the_run(uint warmedUser, uint user)
    {
        Skip();
        CancellationToken cancellationToken = TestContext.Current.CancellationToken;
        InitStart warmed = InitSandbox.Start(warmedUser, "sh", "-c", "touch /tmp/left /output/left; echo left >/etc/given || true") with
        {
            Capabilities = warmedUser == 0 ? InitCapabilities.All : InitCapabilities.None,
            TextFiles = [new("/etc/given", "warm"u8.ToArray()), new("/tmp/given", "warm"u8.ToArray())],
        };
        const string Look = "cat /etc/given /tmp/given /tmp/other; ls -A /tmp /output /dev/shm; stat -c '%n %u %a' /etc/given /output; df -k /tmp /output /dev/shm | awk '{ print $2, $6 }'; id -u";
        InitStart plain = InitSandbox.Start(user, "sh", "-c", Look) with
        {
            Capabilities = user == 0 ? InitCapabilities.All : InitCapabilities.None,
            TextFiles = [new("/etc/given", "run"u8.ToArray()), new("/tmp/given", "run\n"u8.ToArray()), new("/tmp/other", "more\n"u8.ToArray())],
        };
        InitStart[] variants =
        [
            plain,
            plain with { Tmpfs = [.. plain.Tmpfs.Take(3)] },
            plain with { TmpfsBytes = 3 << 20 },
            plain with { Tmpfs = [.. plain.Tmpfs.Reverse()] },
            plain with { Tmpfs = [.. plain.Tmpfs, new InitTmpfs("/home", 0x1C0, user, user, InitTmpfsKind.UnlessUsed)] },
        ];
        foreach (InitStart start in variants)
        {
            await using InitSandbox cold = await InitSandbox.BootAsync(fixture.Root);
            InitRun expected = await cold.RunAsync(start);
            await using InitSandbox warm = await InitSandbox.BootAsync(fixture.Root);
            Assert.Equal(InitWarmUpEnd.Exited, (await warm.Channel.WarmUpAsync(warmed, cancellationToken)).End);
            InitRun run = await warm.RunAsync(start);

            Assert.Equal((expected.Stdout, expected.Stderr, expected.Ended?.ExitCode), (run.Stdout, run.Stderr, run.Ended?.ExitCode));
            Assert.Contains("runrun\nmore\n", run.Stdout, StringComparison.Ordinal);
            Assert.DoesNotContain("left", run.Stdout, StringComparison.Ordinal);
        }
    }

    [Theory]
    [InlineData(65534u)]
    [InlineData(0u)]
    public async Task WarmUp_does_not_change_the_limit_of_processes(uint user)
    {
        Skip();
        const string Forks = "i=0; while [ $i -lt 40 ]; do sleep 1000 & i=$((i+1)); echo $i; done";
        InitStart start = InitSandbox.Start(user, "sh", "-c", Forks) with { ResourceLimits = [new(InitResource.Processes, 20, 20)] };
        await using InitSandbox other = await InitSandbox.BootAsync(fixture.Root);
        InitRun cold = await other.RunAsync(start);
        await using InitSandbox sandbox = await InitSandbox.BootAsync(fixture.Root);
        await sandbox.Channel.WarmUpAsync(start, TestContext.Current.CancellationToken);
        InitRun warm = await sandbox.RunAsync(start);

        Assert.NotEmpty(cold.Stdout);
        Assert.Equal(cold.Stdout, warm.Stdout);
    }

    [Fact]
    public async Task WarmUpAsync_can_be_cancelled()
    {
        Skip();
        await using InitSandbox sandbox = await InitSandbox.BootAsync(fixture.Root);
        using var soon = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        Task<InitWarmedUp> warming = sandbox.Channel.WarmUpAsync(InitSandbox.Start(65534, "sleep", "1000"), soon.Token);
        soon.CancelAfter(TimeSpan.FromMilliseconds(300));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => warming);
        await sandbox.Channel.KillAsync(TestContext.Current.CancellationToken);
        Assert.IsType<InitClosed>(await sandbox.Channel.ReadEventAsync(TestContext.Current.CancellationToken));
    }

    private async Task<InitRun> RunAsync(InitStart start, params (string Path, bool Executable, string Content)[] files)
    {
        Skip();
        await using InitSandbox sandbox = await InitSandbox.BootAsync(fixture.Root);
        return await sandbox.RunAsync(start, files);
    }
}
