using System.Text;
using Boxer.Hosting;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>Sessions in real sandboxes.</summary>
[Collection(Sandboxes.Name)]
public sealed class SessionTests(SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_session_keeps_files_and_processes_between_commands()
    {
        await using IOwnedSandboxSession box = await OpenAsync();
        Assert.Equal("1\n", (await ShellAsync(box, "echo 1; echo kept > file; sleep 300 >/dev/null 2>&1 & until grep -q sleep /proc/$!/comm; do :; done")).StandardOutput);
        SandboxResult second = await ShellAsync(box, "cat file; cat /proc/[0-9]*/comm | grep -c sleep; echo err >&2; exit 7");

        Assert.Equal(("kept\n1\n", "err\n", 7), (second.StandardOutput, second.StandardError, second.ExitCode));
        Assert.Equal(SandboxSessionState.Idle, box.State);
        Assert.NotNull(second.Usage.CommandCpu);
    }

    [Fact]
    public async Task A_command_that_leaves_a_child_with_its_pipes_ends_with_its_first_process()
    {
        await using IOwnedSandboxSession box = await OpenAsync();
        SandboxResult result = await ShellAsync(box, "(sleep 300; echo late) & echo done");

        Assert.Equal("done\n", result.StandardOutput);
        Assert.InRange(result.LeftBehind, 1, 3);
    }

    [Fact]
    public async Task Limits_end_the_command_and_not_the_session()
    {
        await using IOwnedSandboxSession box = await OpenAsync();
        SandboxResult late = await box.ExecAsync(Shell("echo a; sleep 60", limits => limits with { WallClock = TimeSpan.FromSeconds(3) }), Cancel);
        Assert.Equal((TerminationKind.WallClockLimit, "a\n"), (late.Termination.Kind, late.StandardOutput));
        SandboxResult loud = await box.ExecAsync(Shell("yes", limits => limits with { StandardOutputBytes = 1_000 }), Cancel);
        Assert.Equal(TerminationKind.OutputLimit, loud.Termination.Kind);
        using var cancelled = new CancellationTokenSource(TimeSpan.FromMilliseconds(500));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => box.ExecAsync(Shell("sleep 60"), cancelled.Token));

        Assert.Equal("0\n", (await ShellAsync(box, "cat /proc/[0-9]*/comm | grep -c -e sleep -e yes; true")).StandardOutput);
    }

    [Fact]
    public async Task Home_and_workspace_are_kept_and_belong_to_the_user()
    {
        SandboxSessionRequest request = Request();
        request.Workspace = new SandboxWorkspace { Path = "/workspace" };
        request.Workspace.Inputs.Add(SandboxInput.FromFiles([SandboxFile.FromText("in", "given")]));
        request.Environment["KEY"] = "session";
        await using IOwnedSandboxSession box = await shared.Runner.OpenAsync(request, Cancel);
        SandboxCommand command = Shell("pwd; cat in; echo $KEY $OWN; touch $HOME/x made && stat -c %u . $HOME made");
        command.Environment["OWN"] = "own";
        SandboxResult first = await box.ExecAsync(command, Cancel);
        SandboxResult second = await ShellAsync(box, "echo $KEY $OWN; ls $HOME");

        Assert.Equal("/workspace\ngivensession own\n65534\n65534\n65534\n", first.StandardOutput);
        Assert.Equal("session\nx\n", second.StandardOutput);
    }

    [Fact]
    public async Task Started_processes_print_read_and_are_signalled()
    {
        await using IOwnedSandboxSession box = await OpenAsync();
        await using ISandboxProcess cat = await box.StartAsync(new SandboxCommand("cat"), Cancel);
        await cat.Input.WriteAsync("hello\n"u8.ToArray(), Cancel);
        await cat.Input.DisposeAsync();
        Assert.Equal("hello\n", await TextAsync(cat));
        Assert.Equal(0, cat.End!.Termination.ExitCode);
        Assert.Equal("hello\n", await TextAsync(cat));

        await using ISandboxProcess shell = await box.StartAsync(new SandboxCommand("sh") { Terminal = new SandboxTerminal(80, 24) }, Cancel);
        await shell.ResizeAsync(new SandboxTerminal(100, 40), Cancel);
        await shell.Input.WriteAsync("stty size; tty; exit 3\n"u8.ToArray(), Cancel);
        string text = await TextAsync(shell);
        Assert.Contains("40 100", text, StringComparison.Ordinal);
        Assert.Contains("/dev/pts/", text, StringComparison.Ordinal);
        Assert.Equal(3, shell.End!.Termination.ExitCode);

        ISandboxProcess sleep = await box.StartAsync(new SandboxCommand("sleep", "300"), Cancel);
        await sleep.SignalAsync(15, Cancel);
        Assert.Equal(15, (await sleep.WaitAsync(Cancel)).Termination.Signal);
    }

    [Fact]
    public async Task A_process_that_cannot_be_started_has_ended_when_StartAsync_returns()
    {
        await using IOwnedSandboxSession box = await OpenAsync();

        for (int i = 0; i < 50; i++)
        {
            ISandboxProcess missing = await box.StartAsync(new SandboxCommand("no-such-program"), Cancel);

            Assert.Equal(TerminationKind.NotStarted, missing.End?.Termination.Kind);
        }
    }

    [Fact]
    public async Task ConnectAsync_reaches_a_server_in_the_sandbox()
    {
        await using IOwnedSandboxSession box = await OpenAsync();
        await using ISandboxProcess server = await box.StartAsync(new SandboxCommand("python3", "-m", "http.server", "8000", "--bind", "127.0.0.1"), Cancel);
        await Until.IsSoAsync(() => TryGetAsync(box).GetAwaiter().GetResult(), 60);

        await Assert.ThrowsAsync<SandboxConnectionException>(() => box.ConnectAsync(1, Cancel));
    }

    [Fact]
    public async Task Files_are_read_written_listed_and_removed_as_the_user()
    {
        await using IOwnedSandboxSession box = await OpenAsync();
        await ShellAsync(box, "mkdir -p /tmp/work");
        await box.Files.WriteAsync("/tmp/work/a/b", new MemoryStream("content"u8.ToArray()), null, Cancel);
        Assert.Equal("content65534", (await ShellAsync(box, "cat /tmp/work/a/b; stat -c %u /tmp/work/a/b | tr -d '\\n'")).StandardOutput);
        await using (Stream stream = await box.Files.OpenReadAsync("/tmp/work/a/b", Cancel))
        {
            Assert.Equal("content", await new StreamReader(stream).ReadToEndAsync(Cancel));
        }

        SandboxFileList list = await box.Files.ListAsync("/tmp/work", 2, Cancel);
        Assert.Equal(["a", "a/b"], list.Entries.Select(entry => entry.Path).Order());
        await box.Files.MoveAsync("/tmp/work/a", "/tmp/work/c", Cancel);
        await box.Files.RemoveAsync("/tmp/work/c", Cancel);
        Assert.Null(await box.Files.StatAsync("/tmp/work/c", Cancel));
        Assert.Equal(SandboxFileError.AccessDenied, (await Assert.ThrowsAsync<SandboxFileException>(() => box.Files.WriteAsync("/etc/x", new MemoryStream(), null, Cancel))).Reason);
        Assert.Equal(SandboxFileError.NotFound, (await Assert.ThrowsAsync<SandboxFileException>(() => box.Files.OpenReadAsync("/tmp/none", Cancel))).Reason);
    }

    [Fact]
    public async Task Two_sessions_do_not_see_each_other()
    {
        await using IOwnedSandboxSession one = await OpenAsync();
        await using IOwnedSandboxSession other = await OpenAsync();
        await ShellAsync(one, "echo secret > /tmp/secret; sleep 300 >/dev/null 2>&1 &");

        Assert.Equal("0\n", (await ShellAsync(other, "cat /tmp/secret; cat /proc/[0-9]*/comm | grep -c sleep; true")).StandardOutput);
        Assert.NotEqual(one.Id, other.Id);
        Assert.Same(one, await shared.Runner.FindAsync(one.Id, Cancel));
        Assert.Null(await shared.Runner.FindAsync("abcdefghijklmnopqrstuvwxyz", Cancel));
        Assert.Contains(one, await shared.Runner.ListAsync(cancellationToken: Cancel));
        await one.CloseAsync(Cancel);
        Assert.Equal(SandboxSessionEnd.Closed, (await shared.Runner.FindAsync(one.Id, Cancel))!.End);
        Assert.DoesNotContain(one, await shared.Runner.ListAsync(cancellationToken: Cancel));
        Assert.Equal("1\n", (await ShellAsync(other, "echo 1")).StandardOutput);
    }

    [Fact]
    public async Task The_idle_timeout_and_the_lifetime_end_a_session()
    {
        SandboxSessionRequest request = Request();
        request.IdleTimeout = TimeSpan.FromSeconds(1);
        await using IOwnedSandboxSession idle = await shared.Runner.OpenAsync(request, Cancel);
        request.IdleTimeout = null;
        request.Lifetime = TimeSpan.FromSeconds(2);
        await using IOwnedSandboxSession old = await shared.Runner.OpenAsync(request, Cancel);
        SandboxSessionEndedException fault = await Assert.ThrowsAsync<SandboxSessionEndedException>(() => ShellAsync(old, "sleep 60"));
        Assert.Equal(SandboxSessionEnd.Lifetime, fault.End);
        await Until.IsSoAsync(() => idle.End is not null, 60);
        Assert.Equal(SandboxSessionEnd.IdleTimeout, idle.End);
    }

    [Fact]
    public async Task An_idle_session_uses_no_processor_time_and_no_running_slot()
    {
        BoxerOptions options = shared.Options;
        options.MaxConcurrentRuns = 1;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        await using IOwnedSandboxSession box = await runner.OpenAsync(Request(), Cancel);
        await using IOwnedSandboxSession second = await runner.OpenAsync(Request(), Cancel);
        await ShellAsync(box, "while :; do :; done & true");
        Assert.Equal("42\n", (await runner.RunAsync(SharedRunner.Python("print(42)"), Cancel)).StandardOutput);

        // The loop that was left behind stands still while the session is idle.
        await Until.IsSoAsync(() => CountAsync(box).GetAwaiter().GetResult() == 0, 60);
        SandboxResult result = await ShellAsync(box, "cat /proc/[0-9]*/comm | grep -c sh");
        Assert.NotEqual("0\n", result.StandardOutput);

        // Processor time of the sandbox between two readings with the session frozen.
        async Task<double> CountAsync(ISandboxSession _)
        {
            await Task.Delay(1_500, Cancel);
            double before = ReadSandboxCpu();
            await Task.Delay(500, Cancel);
            return ReadSandboxCpu() - before;
        }
    }

    [Fact]
    public async Task A_command_of_another_user_starts_where_it_can()
    {
        await using IOwnedSandboxSession box = await OpenAsync();
        SandboxCommand other = Shell("id -u; pwd");
        other.User = "1234";
        SandboxCommand root = Shell("id -u; pwd");
        root.User = "0";

        Assert.Equal("1234\n/\n", (await box.ExecAsync(other, Cancel)).StandardOutput);
        Assert.Equal("0\n/home/boxer\n", (await box.ExecAsync(root, Cancel)).StandardOutput);
    }

    [Fact]
    public async Task A_paused_session_stands_still_and_goes_on()
    {
        await using IOwnedSandboxSession box = await OpenAsync();
        ISandboxProcess clock = await box.StartAsync(Shell("while :; do echo x; sleep 0.05; done"), Cancel);
        long length = 0;
        Task reading = ReadAsync();
        await Until.IsSoAsync(() => Volatile.Read(ref length) > 0, 60);
        await box.PauseAsync(Cancel);
        Assert.Equal(SandboxSessionState.Paused, box.State);
        await Assert.ThrowsAsync<SandboxSessionPausedException>(() => ShellAsync(box, "true"));
        await Assert.ThrowsAsync<SandboxSessionPausedException>(() => TextAsync(clock));

        // Output from before the pause may still be on its way to the reader. A clock that goes on prints every 50 ms.
        long before = -1;
        for (int attempt = 0; attempt < 60 && before != Volatile.Read(ref length); attempt++)
        {
            before = Volatile.Read(ref length);
            await Task.Delay(500, Cancel);
        }

        await Task.Delay(500, Cancel);
        Assert.Equal(before, Volatile.Read(ref length));

        // The reader that was there before goes on.
        await box.ResumeAsync(Cancel);
        Assert.Equal("1\n", (await ShellAsync(box, "echo 1")).StandardOutput);
        await Until.IsSoAsync(() => Volatile.Read(ref length) > before, 60);
        await clock.DisposeAsync();
        await reading;

        async Task ReadAsync()
        {
            await foreach (SandboxProcessEvent item in clock.EventsAsync(cancellationToken: Cancel))
            {
                if (item is SandboxProcessOutput output)
                {
                    Volatile.Write(ref length, output.EndOffset);
                }
            }
        }
    }

    [Fact]
    public async Task The_memory_limit_ends_the_command_and_the_session()
    {
        SandboxSessionRequest request = Request();
        request.Limits = new() { MemoryBytes = 96 * ByteSize.MiB };
        await using IOwnedSandboxSession box = await shared.Runner.OpenAsync(request, Cancel);
        SandboxResult result = await box.ExecAsync(new SandboxCommand("python3", "-c", "print('so far', flush=True); x = bytearray(400 << 20)"), Cancel);

        Assert.Equal((TerminationKind.MemoryLimit, "so far\n"), (result.Termination.Kind, result.StandardOutput));
        Assert.Equal(SandboxSessionEnd.MemoryLimit, (await Assert.ThrowsAsync<SandboxSessionEndedException>(() => ShellAsync(box, "true"))).End);
    }

    [Fact]
    public async Task The_disk_limit_holds_for_the_root_and_the_tmpfs_together()
    {
        SandboxSessionRequest request = Request();
        request.User = "0";
        request.Limits = new() { DiskBytes = 20 * ByteSize.MiB };
        await using IOwnedSandboxSession box = await shared.Runner.OpenAsync(request, Cancel);
        SandboxResult result = await ShellAsync(box, "dd if=/dev/zero of=/root/a bs=1M count=15 2>/dev/null; dd if=/dev/zero of=/tmp/b bs=1M count=15 2>/dev/null; sleep 60");
        Assert.Equal(TerminationKind.DiskLimit, result.Termination.Kind);
        Assert.Equal(SandboxFileError.NoSpace, (await Assert.ThrowsAsync<SandboxFileException>(() => box.Files.WriteAsync("/root/c", new MemoryStream(new byte[1]), null, Cancel))).Reason);

        Assert.Equal(0, (await ShellAsync(box, "rm /root/a")).ExitCode);
        await box.Files.WriteAsync("/root/c", new MemoryStream(new byte[1]), null, Cancel);
    }

    [Fact]
    public async Task The_disposal_of_the_runner_ends_sessions_and_the_next_runner_says_how()
    {
        BoxerOptions options = shared.Options;
        string id;
        await using (SandboxRunner runner = SandboxRunnerFactory.Create(options))
        {
            ISandboxSession box = await runner.OpenAsync(Request(), Cancel);
            id = box.Id;
            Task<SandboxResult> running = ShellAsync(box, "sleep 300");
            await runner.DisposeAsync();
            Assert.Equal(SandboxSessionEnd.HostStopped, (await Assert.ThrowsAsync<SandboxSessionEndedException>(() => running)).End);
        }

        await using SandboxRunner next = SandboxRunnerFactory.Create(options);
        ISandboxSession? found = await next.FindAsync(id, Cancel);
        Assert.Equal((SandboxSessionState.Ended, SandboxSessionEnd.HostStopped), (found!.State, found.End));
        await Assert.ThrowsAsync<SandboxSessionEndedException>(() => ShellAsync(found, "true"));
    }

    // Ticks of the processes of all sandboxes on this machine, which tests run one after the other.
    private static double ReadSandboxCpu() => Directory.GetDirectories("/proc").Where(path => int.TryParse(Path.GetFileName(path), out _)).Sum(path =>
    {
        try
        {
            string stat = File.ReadAllText(Path.Join(path, "stat"));
            string[] fields = stat[(stat.LastIndexOf(')') + 2)..].Split(' ');
            return stat.Contains("(exe)", StringComparison.Ordinal) || stat.Contains("(runsc", StringComparison.Ordinal)
                ? double.Parse(fields[11], System.Globalization.CultureInfo.InvariantCulture) + double.Parse(fields[12], System.Globalization.CultureInfo.InvariantCulture)
                : 0;
        }
        catch (IOException)
        {
            return 0;
        }
    });

    private static SandboxSessionRequest Request() => new(PythonImage.Name);

    private static SandboxCommand Shell(string script, Func<ResourceLimits, ResourceLimits>? limits = null) =>
        new("sh", "-c", script) { Limits = (limits ?? (same => same))(new ResourceLimits()) };

    private static Task<SandboxResult> ShellAsync(ISandboxSession box, string script) => box.ExecAsync(Shell(script), Cancel);

    private static async Task<string> TextAsync(ISandboxProcess process)
    {
        var text = new StringBuilder();
        await foreach (SandboxProcessEvent item in process.EventsAsync(0, Cancel))
        {
            if (item is SandboxProcessOutput output)
            {
                text.Append(Encoding.UTF8.GetString(output.Data.Span));
            }
        }

        return text.ToString();
    }

    private static async Task<bool> TryGetAsync(ISandboxSession box)
    {
        try
        {
            await using SandboxConnection connection = await box.ConnectAsync(8_000, Cancel);
            await connection.WriteAsync("GET / HTTP/1.0\r\n\r\n"u8.ToArray(), Cancel);
            return (await new StreamReader(connection).ReadToEndAsync(Cancel)).StartsWith("HTTP/1.0 200", StringComparison.Ordinal);
        }
        catch (SandboxConnectionException)
        {
            return false;
        }
    }

    private Task<IOwnedSandboxSession> OpenAsync() => shared.Runner.OpenAsync(Request(), Cancel);
}
