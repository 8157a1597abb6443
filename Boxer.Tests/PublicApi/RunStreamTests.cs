using Boxer.Hosting;
using Boxer.PublicApi.Tests.Support;

namespace Boxer.PublicApi.Tests;

/// <summary>Runs in real sandboxes whose output is read while it is printed.</summary>
[Collection(Sandboxes.Name)]
public sealed class RunStreamTests(PythonSandboxes sandboxes)
{
    private const string Printing = """
        import sys, time
        for i in range(200):
            sys.stdout.buffer.write('é€'.encode()[i % 5:i % 5 + 1]); sys.stdout.flush()
            if i % 50 == 0: print(i, file=sys.stderr, flush=True); time.sleep(0.01)
        """;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task CopyToAsync_delivers_all_output_and_the_result_keeps_it_only_on_request(bool isKept)
    {
        SandboxRequest request = PythonSandboxes.Python(Printing);
        request.KeepStandardOutput = isKept;
        using MemoryStream stdout = new();
        using MemoryStream stderr = new();

        SandboxResult result = await sandboxes.Runner.StreamAsync(request, Cancel).CopyToAsync(stdout, stderr, Cancel);

        string text = string.Concat(Enumerable.Repeat("é€", 40));
        result.EnsureSuccess();
        Assert.Equal((text, "0\n50\n100\n150\n"), (Text(stdout), Text(stderr)));
        Assert.Equal(isKept ? (text, "0\n50\n100\n150\n") : ("", ""), (result.StandardOutput, result.StandardError));
    }

    [Fact]
    public async Task CopyToAsync_decodes_what_a_sandbox_prints_byte_by_byte()
    {
        StringWriter stdout = new();
        StringWriter stderr = new();

        SandboxResult result = await sandboxes.Runner.StreamAsync(PythonSandboxes.Python(Printing), Cancel).CopyToAsync(stdout, stderr, Cancel);

        Assert.Equal((result.StandardOutput, result.StandardError), (stdout.ToString(), stderr.ToString()));
        Assert.DoesNotContain('\uFFFD', stdout.ToString());
    }

    [Fact]
    public async Task The_output_limit_holds_where_nothing_is_kept()
    {
        SandboxRequest request = PythonSandboxes.Shell("while :; do echo 0123456789; done");
        (request.KeepStandardOutput, request.Limits.StandardOutputBytes) = (false, 1 << 20);
        using MemoryStream stdout = new();

        SandboxResult result = await sandboxes.Runner.StreamAsync(request, Cancel).CopyToAsync(stdout, Stream.Null, Cancel);

        Assert.Equal(TerminationKind.OutputLimit, result.Termination.Kind);
        Assert.Equal((1 << 20, 0), (stdout.Length, result.StandardOutputBytes.Length));
    }

    [Fact]
    public async Task A_slow_reader_gets_everything_where_nothing_is_kept()
    {
        SandboxRequest request = PythonSandboxes.Python("import sys\nfor i in range(20000): sys.stdout.write(f'{i}\\n'); sys.stdout.flush()");
        request.KeepStandardOutput = false;
        using MemoryStream stdout = new();
        await foreach (SandboxEvent item in sandboxes.Runner.StreamAsync(request, Cancel))
        {
            if (item is SandboxDataReceived received)
            {
                stdout.Write(received.Data.Span);
                await Task.Delay(TimeSpan.FromMilliseconds(20), Cancel);
            }
        }

        Assert.Equal(string.Concat(Enumerable.Range(0, 20_000).Select(i => $"{i}\n")), Text(stdout));
    }

    [Fact]
    public async Task RunAsync_with_EnsureSuccess_reports_why_a_program_failed()
    {
        SandboxResult result = await sandboxes.Runner.RunAsync(PythonSandboxes.Python("raise ValueError('no such color')"), Cancel);

        CommandFailedException failure = Assert.Throws<CommandFailedException>(() => result.EnsureSuccess());

        Assert.Contains("exited with code 1", failure.Message, StringComparison.Ordinal);
        Assert.EndsWith("ValueError: no such color", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Exceptions_have_Image_RunId_and_IsRetrySafe()
    {
        InvalidSandboxRequestException invalid = await Assert.ThrowsAsync<InvalidSandboxRequestException>(
            () => sandboxes.Runner.RunAsync(new SandboxRequest(PythonSandboxes.Image, "true") { User = "nobody-here" }, Cancel));
        ImageNotFoundException missing = await Assert.ThrowsAsync<ImageNotFoundException>(
            () => sandboxes.Runner.RunAsync(new SandboxRequest("localhost/missing:1", "true") { PullPolicy = Images.PullPolicy.Never }, Cancel));

        Assert.Equal((PythonSandboxes.Image, true), (invalid.Image, invalid.IsRetrySafe));
        Assert.Equal(("localhost/missing:1", true), (missing.Image, missing.IsRetrySafe));
        Assert.StartsWith("boxer-", invalid.RunId, StringComparison.Ordinal);
        Assert.NotEqual(invalid.RunId, missing.RunId);
    }

    [Fact]
    public async Task Commands_that_run_when_the_runner_is_disposed_fail_and_a_retry_is_not_safe()
    {
        const int Commands = 8;
        BoxerOptions options = sandboxes.Options();
        options.MaxConcurrentRuns = Commands;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        int started = 0;
        TaskCompletionSource allStarted = new(TaskCreationOptions.RunContinuationsAsynchronously);
        Task<SandboxRuntimeException>[] runs = [.. Enumerable.Range(0, Commands).Select(_ => FailureAsync())];
        if (await Task.WhenAny([allStarted.Task, .. runs]) is Task<SandboxRuntimeException> early)
        {
            Assert.Fail($"A run ended before all commands had started: {await early}");
        }

        await runner.DisposeAsync();

        foreach (SandboxRuntimeException failure in await Task.WhenAll(runs))
        {
            Assert.Equal((PythonSandboxes.Image, false), (failure.Image, failure.IsRetrySafe));
        }

        async Task<SandboxRuntimeException> FailureAsync()
        {
            string? id = null;
            SandboxRequest request = PythonSandboxes.Shell("echo started; sleep 600");
            (request.Limits.CpuCores, request.Limits.WallClock) = (0.1, TimeSpan.FromMinutes(10));
            SandboxRuntimeException failure = await Assert.ThrowsAsync<SandboxRuntimeException>(async () =>
            {
                await foreach (SandboxEvent item in runner.StreamAsync(request, Cancel))
                {
                    if (item is SandboxStarted command)
                    {
                        id = command.Id;
                        if (Interlocked.Increment(ref started) == Commands)
                        {
                            allStarted.SetResult();
                        }
                    }
                }
            });
            Assert.Equal(id, failure.RunId);
            return failure;
        }
    }

    [Fact]
    public async Task A_retry_is_not_safe_where_standard_input_failed_while_the_command_ran()
    {
        SandboxRequest request = PythonSandboxes.Shell("cat");
        request.StandardInputStream = new BrokenStream();

        InvalidSandboxRequestException failure = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => sandboxes.Runner.RunAsync(request, Cancel));

        Assert.Equal(("StandardInputStream", false), (failure.Faults[0].Field, failure.IsRetrySafe));
        Assert.DoesNotContain("unplugged", failure.PublicMessage, StringComparison.Ordinal);
    }

    private sealed class BrokenStream : MemoryStream
    {
        public override int Read(byte[] buffer, int offset, int count) => throw new IOException("unplugged");

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => throw new IOException("unplugged");
    }

    private static string Text(MemoryStream stream) => System.Text.Encoding.UTF8.GetString(stream.ToArray());
}
