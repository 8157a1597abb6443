using System.Text;
using Boxer.Networking;
using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>The main job of Boxer, with a real image of a real registry in real sandboxes.</summary>
[Collection(Sandboxes.Name)]
public sealed class MainJobTests(SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_python_program_prints()
    {
        SandboxResult result = await shared.Runner.RunAsync(Python("print(42)"), Cancel);

        Assert.Equal("42\n", result.StandardOutput);
        Assert.Equal("", result.StandardError);
        Assert.Equal((TerminationKind.Exited, 0), (result.Termination.Kind, result.ExitCode));
        Assert.StartsWith("sha256:", result.ImageDigest, StringComparison.Ordinal);
        Assert.Matches("^boxer-[0-9a-f-]{36}$", result.Id);
        Assert.Empty(result.UnenforcedLimits);
    }

    [Fact]
    public async Task A_command_runs_in_gVisor_and_not_on_this_kernel()
    {
        SandboxResult result = await shared.Runner.RunAsync(Command("cat", "/proc/version"), Cancel);

        Assert.NotEqual(await File.ReadAllTextAsync("/proc/version", Cancel), result.StandardOutput);
        Assert.Contains("4.4.0", result.StandardOutput, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_input_script_writes_a_binary_file_to_output()
    {
        SandboxRequest request = Command("python3", "/job/main.py");
        request.Files.Add(SandboxFile.FromText("job/main.py", """
            import os
            os.makedirs("/output/a/b")
            open("/output/a/b/all.bin", "wb").write(bytes(range(256)) * 1000)
            """));

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal("", result.StandardError);
        SandboxOutputFile file = Assert.Single(result.OutputFiles);
        Assert.Equal(("a/b/all.bin", 256_000L), (file.Path, file.Size));
        Assert.Equal([.. Enumerable.Range(0, 256_000).Select(i => (byte)i)], file.Content.ToArray());
        Assert.Null(result.OutputFilesIncomplete);
    }

    [Fact]
    public async Task A_request_can_be_changed_after_RunAsync_returned()
    {
        SandboxRequest request = Command("cat");
        var runs = new List<Task<SandboxResult>>();
        for (int i = 0; i < 3; i++)
        {
            runs.Add(shared.Runner.RunAsync(request.WithStandardInput($"call {i}"), Cancel));
        }

        Assert.Equal(["call 0", "call 1", "call 2"], (await Task.WhenAll(runs)).Select(result => result.StandardOutput));
    }

    [Fact]
    public async Task Directories_may_have_dots_and_a_trailing_slash()
    {
        SandboxRequest request = Shell("pwd; echo $HOME; touch $HOME/x && echo ok");
        request.WorkingDirectory = "/work/./a//";
        request.Environment["HOME"] = "/home/x/";

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal("/work/a\n/home/x/\nok\n", result.StandardOutput);
    }

    [Fact]
    public async Task Output_paths_that_are_too_long_for_this_host_are_omitted()
    {
        string directory = Path.Join(Directory.CreateTempSubdirectory("boxer-out-").FullName, "out");
        SandboxRequest request = Python("""
            import os
            open("/output/short", "w").write("x")
            os.chdir("/output")
            for _ in range(16):
                os.mkdir("d" * 250)
                os.chdir("d" * 250)
            open("l" * 70, "w").write("x")
            print("done")
            """);
        request.OutputFiles = OutputFilePolicy.ToDirectory(directory);
        try
        {
            SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

            Assert.Equal(("done\n", ""), (result.StandardOutput, result.StandardError));
            Assert.Equal("short", Assert.Single(result.OutputFiles).Path);
            Assert.Contains("too long for the directory on this host", result.OutputFilesIncomplete, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(directory)!, recursive: true);
        }
    }

    [Fact]
    public async Task An_output_directory_belongs_to_one_run()
    {
        string directory = Path.Join(Directory.CreateTempSubdirectory("boxer-out-").FullName, "out");
        try
        {
            SandboxRequest request = Shell("echo $RANDOM >/output/a");
            request.OutputFiles = OutputFilePolicy.ToDirectory(directory);
            Task<SandboxResult>[] runs = [shared.Runner.RunAsync(request, Cancel), shared.Runner.RunAsync(request, Cancel)];
            SandboxResult[] results = await Task.WhenAll(runs);

            // The other run has its result, without its files.
            Assert.Equal("a", Assert.Single(results.Single(result => result.OutputFilesIncomplete is null).OutputFiles).Path);
            Assert.Empty(results.Single(result => result.OutputFilesIncomplete is not null).OutputFiles);
            Assert.True(File.Exists(Path.Join(directory, "a")));
        }
        finally
        {
            Directory.Delete(Path.GetDirectoryName(directory)!, recursive: true);
        }
    }

    [Fact]
    public async Task A_slow_reader_does_not_delay_its_sandbox()
    {
        await shared.PullAsync();
        await using IAsyncEnumerator<SandboxEvent> events = shared.Runner.StreamAsync(Python("print('x' * 5_000_000)"), Cancel).GetAsyncEnumerator(Cancel);
        Assert.True(await events.MoveNextAsync());
        Assert.IsType<SandboxStarted>(events.Current);
        for (int attempt = 0; await HostState.CountSandboxesAsync() > 0; attempt++)
        {
            Assert.True(attempt < 600, "The sandbox waits for its reader.");
            await Task.Delay(TimeSpan.FromMilliseconds(50), Cancel);
        }

        while (await events.MoveNextAsync() && events.Current is SandboxDataReceived)
        {
        }

        Assert.Equal(5_000_001, Assert.IsType<SandboxEnded>(events.Current).Result.StandardOutputBytes.Length);
    }

    [Fact]
    public async Task The_network_host_has_the_loopback_of_the_host()
    {
        using var listener = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        listener.Start();
        int port = ((System.Net.IPEndPoint)listener.LocalEndpoint).Port;
        SandboxRequest request = Python($"import socket; print(socket.create_connection(('127.0.0.1', {port}), 5).recv(10).decode())");
        request.Network = "host";
        Task<SandboxResult> run = shared.Runner.RunAsync(request, Cancel);
        using (System.Net.Sockets.TcpClient client = await listener.AcceptTcpClientAsync(Cancel))
        {
            await client.GetStream().WriteAsync("hello"u8.ToArray(), Cancel);
        }

        Assert.Equal("hello\n", (await run).StandardOutput);

        request.Egress = new EgressPolicy();
        InvalidSandboxRequestException fault = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => shared.Runner.RunAsync(request, Cancel));
        Assert.Contains("Egress: is not supported by the network mode 'host'", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Thirty_threads_fit_the_default_limits()
    {
        SandboxResult result = await shared.Runner.RunAsync(
            Python("""
                import threading
                barrier = threading.Barrier(31)
                threads = [threading.Thread(target=barrier.wait) for _ in range(30)]
                [t.start() for t in threads]
                barrier.wait()
                [t.join() for t in threads]
                print("all")
                """),
            Cancel);

        Assert.Equal("all\n", result.StandardOutput);
        Assert.Equal(0, result.ExitCode);
    }

    [Fact]
    public async Task ExitCode_and_StandardError_are_returned()
    {
        SandboxResult result = await shared.Runner.RunAsync(Python("import sys; print('no', file=sys.stderr); sys.exit(7)"), Cancel);

        Assert.Equal((TerminationKind.Exited, 7, 7, "no\n", ""), (result.Termination.Kind, result.Termination.ExitCode, result.ExitCode, result.StandardError, result.StandardOutput));
        Assert.Null(result.Termination.Signal);
    }

    [Fact]
    public async Task A_signal_is_distinguished_from_an_exit_code()
    {
        SandboxResult killed = await shared.Runner.RunAsync(Python("import os; os.kill(os.getpid(), 11)"), Cancel);
        SandboxResult exited = await shared.Runner.RunAsync(Shell("exit 139"), Cancel);

        Assert.Equal((TerminationKind.Signaled, 11, 139), (killed.Termination.Kind, killed.Termination.Signal, killed.ExitCode));
        Assert.Null(killed.Termination.ExitCode);
        Assert.Equal((TerminationKind.Exited, 139, 139), (exited.Termination.Kind, exited.Termination.ExitCode, exited.ExitCode));
    }

    [Theory]
    [InlineData("no-such-program", 2, 127)]
    [InlineData("/no/such/program", 2, 127)]
    [InlineData("/etc/passwd", 13, 126)]
    public async Task A_command_that_cannot_be_executed_ends_as_NotStarted(string program, int errno, int exitCode)
    {
        SandboxResult result = await shared.Runner.RunAsync(Command(program), Cancel);

        Assert.Equal((TerminationKind.NotStarted, errno, exitCode), (result.Termination.Kind, result.Termination.Errno, result.ExitCode));
        Assert.Contains(program, result.Termination.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Exit_code_127_of_a_command_is_not_a_missing_command()
    {
        SandboxResult result = await shared.Runner.RunAsync(Shell("exit 127"), Cancel);

        Assert.Equal((TerminationKind.Exited, 127), (result.Termination.Kind, result.Termination.ExitCode));
    }

    [Fact]
    public async Task A_missing_image_is_reported_with_its_name()
    {
        ImageNotFoundException exception = await Assert.ThrowsAsync<ImageNotFoundException>(
            () => shared.Runner.RunAsync(new SandboxRequest("no-such-image:1", "true"), Cancel));

        Assert.Contains("no-such-image:1", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Eight_concurrent_runs_get_their_own_results()
    {
        SandboxResult[] results = await Task.WhenAll(Enumerable.Range(0, 8).Select(i =>
        {
            SandboxRequest request = Python($"import sys; print({i}, sys.stdin.read()); open('/output/{i}', 'w').write('{i}'); sys.exit({i})");
            request.StandardInput = Encoding.UTF8.GetBytes($"input {i}");
            return shared.Runner.RunAsync(request, Cancel);
        }));

        for (int i = 0; i < results.Length; i++)
        {
            Assert.Equal($"{i} input {i}\n", results[i].StandardOutput);
            Assert.Equal(i, results[i].ExitCode);
            Assert.Equal($"{i}", Assert.Single(results[i].OutputFiles).Path);
        }

        Assert.Equal(8, results.Select(result => result.Id).Distinct().Count());
    }

    [Fact]
    public async Task Events_arrive_as_they_happen_and_end_with_the_whole_result()
    {
        await shared.PullAsync();
        var events = new List<SandboxEvent>();
        SandboxRequest request = Python("import sys, time; print('one', flush=True); sys.stdin.read(); print('two', file=sys.stderr)");
        await foreach (SandboxEvent item in shared.Runner.StreamAsync(request, Cancel))
        {
            events.Add(item);
        }

        SandboxStarted started = Assert.IsType<SandboxStarted>(events[0]);
        SandboxEnded ended = Assert.IsType<SandboxEnded>(events[^1]);
        Assert.Equal(started.Id, ended.Result.Id);
        Assert.Equal(
            [(SandboxStream.StandardOutput, "one\n"), (SandboxStream.StandardError, "two\n")],
            events[1..^1].Cast<SandboxDataReceived>().Select(output => (output.Stream, Encoding.UTF8.GetString(output.Data.Span))).OrderBy(output => output.Stream));
        Assert.Equal(("one\n", "two\n"), (ended.Result.StandardOutput, ended.Result.StandardError));
    }

    [Fact]
    public async Task Leaving_the_enumeration_ends_the_run()
    {
        SandboxRequest request = Shell("while :; do echo tick; done");
        request.Limits.WallClock = TimeSpan.FromMinutes(5);
        await foreach (SandboxEvent item in shared.Runner.StreamAsync(request, Cancel))
        {
            if (item is SandboxDataReceived)
            {
                break;
            }
        }

        // A runner that leaked its slot would not start another run.
        Assert.Equal("42\n", (await shared.Runner.RunAsync(Python("print(42)"), Cancel)).StandardOutput);
    }

    [Fact]
    public async Task The_callers_cancellation_is_a_cancellation_and_never_a_timeout()
    {
        using var cancel = new CancellationTokenSource();
        SandboxRequest request = Shell("echo up; sleep 100");
        Task<SandboxResult> run = shared.Runner.RunAsync(request, cancel.Token);
        cancel.CancelAfter(TimeSpan.FromSeconds(1));

        OperationCanceledException exception = await Assert.ThrowsAnyAsync<OperationCanceledException>(() => run);
        Assert.Equal(cancel.Token, exception.CancellationToken);
    }

    [Fact]
    public async Task Every_stage_is_timed()
    {
        SandboxResult result = await shared.Runner.RunAsync(Python("print(42)"), Cancel);

        SandboxTimings timings = result.Timings;
        Assert.True(timings.Sandbox > TimeSpan.Zero);
        Assert.True(timings.Run > TimeSpan.Zero);
        Assert.True(timings.Total >= timings.Sandbox + timings.Run);
        Assert.True(result.Usage.PeakMemoryBytes > 1 << 20);
        Assert.True(result.Usage.CommandCpu > TimeSpan.Zero);
        Assert.True(result.Usage.SandboxCpu > TimeSpan.Zero);
    }
}
