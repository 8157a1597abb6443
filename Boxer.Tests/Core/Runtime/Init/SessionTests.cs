using System.Net.Sockets;
using Boxer.Runtime.Init;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Promises of a session that hold in gVisor and on Linux.</summary>
public abstract partial class SessionTests
{
    private protected const uint User = 65534;

    private protected abstract Task<SessionSandbox> OpenAsync();

    private protected static SessionExec Shell(string script) => SessionSandbox.Command(User, "sh", "-c", script);

    private protected static (Socket Ours, Socket Theirs) SocketPair()
    {
        string path = Path.Combine(Directory.CreateTempSubdirectory("boxer-session-").FullName, "s");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen(1);
        var ours = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        ours.Connect(new UnixDomainSocketEndPoint(path));
        Socket theirs = listener.Accept();
        Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
        return (ours, theirs);
    }

    [Fact]
    public async Task Exec_runs_a_command_on_descriptors_of_the_host()
    {
        await using SessionSandbox session = await OpenAsync();
        (SessionItemEvent end, string output, string error) = await session.ExecAsync(Shell("id -u; pwd; cat; echo oops >&2; exit 3"));

        Assert.Equal(3, Assert.IsType<SessionProcessEnded>(end).ExitCode);
        Assert.Equal("65534\n/work\n", output);
        Assert.Equal("oops\n", error);
    }

    [Fact]
    public async Task Exec_keeps_files_for_the_next_command_and_merges_output()
    {
        await using SessionSandbox session = await OpenAsync();
        await session.ExecAsync(Shell("echo kept > /work/file"));
        (SessionItemEvent end, string output, string error) = await session.ExecAsync(Shell("cat file; echo to-error >&2") with { MergeOutput = true });

        Assert.Equal(0, Assert.IsType<SessionProcessEnded>(end).ExitCode);
        Assert.Equal(("kept\nto-error\n", ""), (output, error));
    }

    [Theory]
    [InlineData("missing", "/work", 11, 2)]
    [InlineData("not-executable", "/work", 11, 13)]
    [InlineData("true", "/missing", 10, 2)]
    [InlineData("true", "/bin/sh", 10, 20)]
    public async Task ProcessNotStarted_has_the_step_and_its_errno_and_makes_no_working_directory(string program, string directory, int stage, int errno)
    {
        await using SessionSandbox session = await OpenAsync();
        (SessionItemEvent end, _, _) = await session.ExecAsync(SessionSandbox.Command(User, program) with { WorkingDirectory = directory });

        SessionProcessNotStarted notStarted = Assert.IsType<SessionProcessNotStarted>(end);
        Assert.Equal((stage, errno), ((int)notStarted.Stage, notStarted.Errno));
    }

    [Fact]
    public async Task Exec_without_its_descriptors_does_not_take_those_of_the_next_one()
    {
        await using SessionSandbox session = await OpenAsync();
        int lost = session.NextId();
        byte[] frame = SessionEncoder.EncodeExec(lost, SessionSandbox.Command(User, "true"));
        session.Expect(lost);
        await session.SendAsync(frame);
        (SessionItemEvent end, string output, _) = await session.ExecAsync(Shell("echo mine"));

        Assert.Equal(InitStage.Streams, (await session.NextAsync<SessionProcessNotStarted>(failed => failed.Id == lost)).Stage);
        Assert.Equal("mine\n", output);
        Assert.IsType<SessionProcessEnded>(end);
    }

    [Fact]
    public async Task Relayed_streams_carry_input_output_and_errors_and_open_by_name()
    {
        await using SessionSandbox session = await OpenAsync();
        int id = await session.StartWithCreditAsync(Shell("cat; echo named > /proc/self/fd/1; echo oops >&2; exit 4"));
        await session.InputAsync(id, "hello\n");
        await session.EndInputAsync(id);

        Assert.Equal(4, Assert.IsType<SessionProcessEnded>(await session.EndAsync(id)).ExitCode);
        Assert.Equal("hello\nnamed\n", session.Output(id));
        Assert.Equal("oops\n", session.Output(id, SessionStream.Error));
    }

    [Fact]
    public async Task A_flood_that_nobody_reads_stops_at_its_credit_and_delays_nobody()
    {
        await using SessionSandbox session = await OpenAsync();
        int flood = await session.StartAsync(SessionSandbox.Command(User, "yes") with { MergeOutput = true });
        await session.CreditAsync(flood, SessionStream.Output, 100_000);
        (SessionItemEvent end, string output, _) = await session.RunAsync(SessionSandbox.Command(User, "seq", "20000"));
        Assert.Equal(0, Assert.IsType<SessionProcessEnded>(end).ExitCode);
        Assert.EndsWith("\n20000\n", output, StringComparison.Ordinal);
        while (session.OutputLength(flood) < 100_000)
        {
            await session.ReadAsync();
        }

        // The conversation fails the test if one more byte comes. The end waits for credit, too: its last output is not lost.
        await session.SignalAsync(flood, 15, wholeSession: false);
        await session.UsageAsync();
        Assert.False(session.HasRead<SessionProcessEnded>(ended => ended.Id == flood));
        await session.CreditAsync(flood, SessionStream.Output, 1 << 20);
        Assert.Equal(15, Assert.IsType<SessionProcessEnded>(await session.EndAsync(flood)).Signal);
    }

    [Fact]
    public async Task Input_beyond_the_window_waits_until_PID_1_has_taken_it()
    {
        const int Total = 500_000;
        await using SessionSandbox session = await OpenAsync();
        int id = await session.StartWithCreditAsync(SessionSandbox.Command(User, "wc", "-c"));
        int room = InitProtocol.InputWindow;
        for (int sent = 0; sent < Total;)
        {
            int count = Math.Min(Math.Min(room, SessionEncoder.MaxInput), Total - sent);
            if (count == 0)
            {
                room += (await session.NextAsync<SessionInputTaken>(taken => taken.Id == id)).Bytes;
                continue;
            }

            await session.InputAsync(id, new byte[count]);
            (room, sent) = (room - count, sent + count);
        }

        await session.EndInputAsync(id);
        await session.EndAsync(id);
        Assert.Equal(Total, int.Parse(session.Output(id), System.Globalization.CultureInfo.InvariantCulture));
    }

    [Fact]
    public async Task Input_that_nobody_reads_stays_in_PID_1_until_the_end_of_its_process()
    {
        await using SessionSandbox session = await OpenAsync();
        int id = await session.StartWithCreditAsync(SessionSandbox.Command(User, "sleep", "1000"));
        await session.InputAsync(id, new byte[60_000]);
        Assert.Equal("x\n", (await session.RunAsync(SessionSandbox.Command(User, "echo", "x"))).Output);
        await session.SignalAsync(id, 9, wholeSession: false);
        Assert.Equal(9, Assert.IsType<SessionProcessEnded>(await session.EndAsync(id)).Signal);
    }

    [Fact]
    public async Task A_file_worker_that_the_guest_has_stopped_can_be_killed()
    {
        await using SessionSandbox session = await OpenAsync();
        (Socket ours, Socket theirs) = SocketPair();
        int worker = await session.StartFilesAsync(new InitIdentity(User, User, []), theirs.SafeHandle);
        theirs.Dispose();
        int pid = (await session.StartedAsync(worker)).Pid;
        Assert.Equal(0, Assert.IsType<SessionProcessEnded>((await session.RunAsync(Shell($"kill -STOP {pid}"))).End).ExitCode);
        ours.Dispose();
        await session.UsageAsync();
        Assert.False(session.HasRead<SessionProcessEnded>(ended => ended.Id == worker));
        await session.SignalAsync(worker, 9, wholeSession: true);
        Assert.Equal(9, Assert.IsType<SessionProcessEnded>(await session.EndAsync(worker)).Signal);
    }

    [Fact]
    public async Task A_file_worker_can_open_few_descriptors()
    {
        await using SessionSandbox session = await OpenAsync();
        (Socket ours, Socket theirs) = SocketPair();
        using (ours)
        {
            int worker = await session.StartFilesAsync(new InitIdentity(User, User, []), theirs.SafeHandle);
            theirs.Dispose();
            int pid = (await session.StartedAsync(worker)).Pid;
            Assert.Equal("0 128 128\n", (await session.RunAsync(SessionSandbox.Command(User, "attack", "descriptors", $"{pid}"))).Output);
        }
    }

    [Fact]
    public async Task A_command_cannot_make_a_child_of_PID_1()
    {
        await using SessionSandbox session = await OpenAsync();

        // EPERM, and ENOSYS of clone3.
        Assert.Equal("1\n1\n1\n1\n38\n", (await session.RunAsync(SessionSandbox.Command(User, "attack", "siblings"))).Output);
    }

    [Fact]
    public async Task Released_streams_close_and_the_process_goes_on()
    {
        await using SessionSandbox session = await OpenAsync();
        int id = await session.StartWithCreditAsync(Shell("echo ready; cat; echo lost; echo went-on > /work/proof; exit 5"));
        await session.OutputAsync(id, "ready\n");
        await session.ReleaseAsync(id);
        SessionProcessEnded end = Assert.IsType<SessionProcessEnded>(await session.EndAsync(id));
        Assert.True(end.ExitCode == 5 || end.Signal == 13);
        await session.ReleaseAsync(id);
    }

    [Fact]
    public async Task Frames_for_an_id_that_is_over_are_ignored_or_answered()
    {
        await using SessionSandbox session = await OpenAsync();
        int id = await session.StartWithCreditAsync(SessionSandbox.Command(User, "true"));
        await session.EndAsync(id);
        foreach (byte[] frame in (byte[][])
            [
                SessionEncoder.EncodeInput(id, "late"u8), SessionEncoder.EncodeId(InitFrameType.InputEnd, id), SessionEncoder.EncodeSignal(id, 9, wholeSession: true),
                SessionEncoder.EncodeCredit(id, SessionStream.Output, 1), SessionEncoder.EncodeId(InitFrameType.Release, id), SessionEncoder.EncodeResize(id, 1, 1),
            ])
        {
            await session.SendAsync(frame);
        }

        Assert.Equal(3, await session.LimitAsync(id));
        Assert.Equal(0, (await session.UsageAsync(id)).Processes);
    }

    [Fact]
    public async Task A_program_that_is_a_fifo_holds_up_only_its_own_id()
    {
        await using SessionSandbox session = await OpenAsync();
        await session.ExecAsync(Shell("mkfifo fifo && chmod 755 fifo"));
        int stuck = await session.StartWithCreditAsync(SessionSandbox.Command(User, "/work/fifo"));
        Assert.Equal("x\n", (await session.RunAsync(SessionSandbox.Command(User, "echo", "x"))).Output);
        await session.SignalAsync(stuck, 9, wholeSession: true);
        Assert.True(await session.EndAsync(stuck) is SessionProcessEnded { Signal: 9 } or SessionProcessNotStarted { Stage: InitStage.Execute });
    }
}
