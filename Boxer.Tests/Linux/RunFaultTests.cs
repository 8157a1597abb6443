using System.IO.Pipelines;
using Boxer.Hosting;
using Boxer.Images;
using Boxer.Networking;
using Boxer.Tests.Hosting;
using Boxer.Tests.Support;
using Microsoft.Extensions.Logging;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>A failure after the command does not lose the result of a run, and a slow part does not hold up other runs.</summary>
[Collection(Sandboxes.Name)]
public sealed class RunFaultTests(SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Runs_end_although_foreign_processes_carry_their_directories_in_arguments()
    {
        BoxerOptions options = shared.Options;
        options.IgnoreCgroups = true;
        string[] before = OwnTraces.Instances();
        List<Stranger> strangers = [];
        string[] instances;
        try
        {
            await using (SandboxRunner runner = SandboxRunnerFactory.Create(options))
            {
                // The command lives until the foreign processes have started.
                var pipe = new Pipe();
                await foreach (SandboxEvent item in runner.StreamAsync(Shell("echo up; cat").WithStandardInput(pipe.Reader), Cancel))
                {
                    if (item is SandboxDataReceived)
                    {
                        string argument = Assert.Single(OwnTraces.Sandboxes(), root => !before.Any(id => root.Contains(id, StringComparison.Ordinal)));
                        strangers.AddRange([new Stranger(argument), new Stranger(argument, 65534)]);
                        await pipe.Writer.CompleteAsync();
                    }
                }

                instances = [.. OwnTraces.Instances().Except(before, StringComparer.Ordinal)];
                Assert.NotEmpty(instances);
            }

            // Only the foreign processes still have the directories in their arguments.
            Assert.All(await OwnTraces.FindAsync(instances), trace => Assert.StartsWith("/bin/sh\0", trace, StringComparison.Ordinal));
            Assert.All(strangers, stranger => Assert.True(stranger.IsAlive));
        }
        finally
        {
            strangers.ForEach(stranger => stranger.Dispose());
        }
    }

    [Fact]
    public async Task DisposeAsync_succeeds_with_leftovers_that_the_next_start_removes()
    {
        string[] before = OwnTraces.Instances();
        string directory;
        await using (SandboxRunner runner = SandboxRunnerFactory.Create(shared.Options))
        {
            await runner.StartAsync(Cancel);
            directory = OwnTraces.Instances().Except(before, StringComparer.Ordinal).Select(id => $"/run/boxer/{id}").Single(instance => File.Exists(Path.Join(instance, "programs")));
            File.Delete(Path.Join(directory, "programs"));

            // Reading this file fails.
            File.CreateSymbolicLink(Path.Join(directory, "programs"), "/proc/self/mem");
        }

        Assert.True(Directory.Exists(directory));
        File.Delete(Path.Join(directory, "programs"));
        await using (SandboxRunner next = SandboxRunnerFactory.Create(shared.Options))
        {
            await next.StartAsync(Cancel);
        }

        Assert.False(Path.Exists(directory) || Path.Exists(directory + ".lock"));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_cancellation_callback_that_fails_does_not_prevent_the_clean_up(bool disposesRunnerFirst)
    {
        string[] before = OwnTraces.Instances();
        var log = new LogLines();
        using ILoggerFactory loggers = LoggerFactory.Create(builder => builder.AddProvider(log));
        await using var runner = new SandboxRunner(shared.Options, [new SilentMode { HasFaultyCallback = true }], loggers: loggers);
        await using (IAsyncEnumerator<SandboxEvent> run = runner.StreamAsync(Shell("echo up; sleep 60"), Cancel).GetAsyncEnumerator(Cancel))
        {
            while (run.Current is not SandboxDataReceived)
            {
                Assert.True(await run.MoveNextAsync());
            }

            if (disposesRunnerFirst)
            {
                await runner.DisposeAsync();
            }
        }

        string[] instances = [.. OwnTraces.Instances().Except(before, StringComparer.Ordinal)];
        await runner.DisposeAsync();
        Assert.Empty(await OwnTraces.FindAsync(instances));
        Assert.Contains(log.All, line => line.StartsWith("A cancellation callback", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_missing_network_report_does_not_lose_the_run()
    {
        await using var runner = new SandboxRunner(shared.Options, [new SilentMode()]);

        SandboxResult result = await runner.RunAsync(Shell("echo done; exit 3"), Cancel);

        Assert.Equal((3, "done\n"), (result.ExitCode, result.StandardOutput));
        Assert.NotNull(result.NetworkIncomplete);
    }

    [Fact]
    public async Task Files_that_this_host_cannot_write_do_not_lose_the_run()
    {
        string parent = Directory.CreateTempSubdirectory("boxer-").FullName;
        SandboxRequest request = Shell("echo done; read line; echo x > /output/file");
        request.OutputFiles = OutputFilePolicy.ToDirectory(Path.Join(parent, "outputs"));
        request.Files.Add(SandboxFile.FromStream("in", _ =>
        {
            // The directory is removed after the request was validated.
            Directory.Delete(parent);
            return ValueTask.FromResult(Stream.Null);
        }));

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal("done\n", result.StandardOutput);
        Assert.Empty(result.OutputFiles);
        Assert.Equal("This host could not write them all.", result.OutputFilesIncomplete);
    }

    [Fact]
    public async Task Files_lost_with_the_sandbox_are_reported_as_missing()
    {
        SandboxRequest request = Python("open('/output/file', 'w').write('x'); x = bytearray(b'x' * (1 << 30))");
        request.Limits.MemoryBytes = 128 * ByteSize.MiB;

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal(TerminationKind.MemoryLimit, result.Termination.Kind);
        Assert.Empty(result.OutputFiles);
        Assert.NotNull(result.OutputFilesIncomplete);
    }

    [Fact]
    public async Task Content_that_never_comes_and_ignores_its_token_does_not_hang_the_run()
    {
        SandboxRequest request = Command("true");
        request.Files.Add(SandboxFile.FromStream("in", _ => new ValueTask<Stream>(new TaskCompletionSource<Stream>().Task)));
        request.Limits.WallClock = TimeSpan.FromSeconds(1);
        InvalidSandboxRequestException late = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => shared.Runner.RunAsync(request, Cancel));
        Assert.Equal("Files[0]: its content did not come within 10 s.", late.Message);

        request.Limits.WallClock = TimeSpan.FromHours(1);
        using var gone = new CancellationTokenSource(TimeSpan.FromSeconds(2));
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => shared.Runner.RunAsync(request, gone.Token));
    }

    [Theory]
    [InlineData("is cancelled by itself")]
    [InlineData("is cut off")]
    [InlineData("is not found")]
    [InlineData("cannot be closed")]
    public async Task Content_that_fails_is_named_by_its_field(string kind)
    {
        SandboxRequest file = Command("true");
        file.Files.Add(SandboxFile.FromStream("in", _ => ValueTask.FromResult<Stream>(new FailingContent(kind))));
        SandboxRequest upload = Command("true");
        upload.Workspace = new() { Inputs = { SandboxInput.FromFiles([SandboxFile.FromStream("in", _ => ValueTask.FromResult<Stream>(new FailingContent(kind)))]) } };
        SandboxRequest archive = Command("true");
        archive.Workspace = new() { Inputs = { SandboxInput.FromTar(_ => ValueTask.FromResult<Stream>(new FailingContent(kind))) } };

        foreach ((SandboxRequest request, string field) in ((SandboxRequest, string)[])[(file, "Files[0]"), (upload, "Workspace.Inputs[0].Files[0]"), (archive, "Workspace.Inputs[0]")])
        {
            InvalidSandboxRequestException exception = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => shared.Runner.RunAsync(request, Cancel));
            Assert.Equal((field, true), (Assert.Single(exception.Faults).Field, exception.IsRetrySafe));
        }
    }

    [Fact]
    public async Task Content_that_fails_because_its_run_is_cancelled_does_not_hide_the_cancellation()
    {
        using var cancellation = new CancellationTokenSource();
        SandboxRequest request = Command("true");
        request.Files.Add(SandboxFile.FromStream("in", _ => ValueTask.FromResult<Stream>(new AbortedContent(cancellation))));

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => shared.Runner.RunAsync(request, cancellation.Token));
    }

    [Fact]
    public async Task A_run_that_is_cancelled_after_its_command_keeps_no_files()
    {
        string parent = Directory.CreateTempSubdirectory("boxer-").FullName;
        try
        {
            using var cancellation = new CancellationTokenSource();
            await using var runner = new SandboxRunner(shared.Options, [new SilentMode(cancellation)]);
            SandboxRequest request = Shell("echo x > /output/file");
            request.OutputFiles = OutputFilePolicy.ToDirectory(Path.Join(parent, "outputs"));

            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => runner.RunAsync(request, cancellation.Token));

            Assert.Empty(Directory.EnumerateFileSystemEntries(parent));
        }
        finally
        {
            Directory.Delete(parent, recursive: true);
        }
    }

    [Fact]
    public async Task Runs_with_little_processor_time_end_with_their_files()
    {
        SandboxRequest request = Shell("echo x > /output/file; echo up; for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; wait");
        request.Limits = new() { CpuCores = 0.05, WallClock = TimeSpan.FromSeconds(5) };

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((TerminationKind.WallClockLimit, "up\n"), (result.Termination.Kind, result.StandardOutput));
        Assert.True(result.OutputFiles.Count == 1 || result.OutputFilesIncomplete is not null);
    }

    [Fact]
    public async Task Stalled_pulls_do_not_delay_runs_of_local_images()
    {
        BoxerOptions options = shared.Options;
        options.MaxConcurrentRuns = 1;
        options.MaxQueuedRuns = 1;
        var images = new StalledImages();
        await using var runner = new SandboxRunner(options, [new SilentMode()], images);
        using var end = new CancellationTokenSource();
        Task<SandboxResult>[] pulls = [.. Enumerable.Range(0, 2).Select(i => runner.RunAsync(new SandboxRequest($"missing:{i}", "true"), end.Token))];
        await images.Asked.Task.WaitAsync(Cancel);

        // One more pull is rejected. A run whose image is here goes on, and fails with the store's own message.
        await Assert.ThrowsAsync<SandboxCapacityException>(() => runner.RunAsync(new SandboxRequest("missing:3", "true"), Cancel));
        Assert.Equal("reached", (await Assert.ThrowsAsync<ImagePullException>(() => runner.RunAsync(new SandboxRequest("here", "true"), Cancel))).Message);

        await end.CancelAsync();
        foreach (Task<SandboxResult> pull in pulls)
        {
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => pull);
        }
    }

    /// <summary>An image store that has one image, and whose pulls never end.</summary>
    private sealed class StalledImages : IImageStore
    {
        private int _asked;

        public TaskCompletionSource Asked { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

        public async Task<IImageLease> AcquireAsync(ImageReference reference, ImageAcquireOptions options, CancellationToken cancellationToken = default)
        {
            if (reference.ToString().Contains("here", StringComparison.Ordinal))
            {
                throw new ImagePullException("reached");
            }

            if (options.Policy == PullPolicy.Never)
            {
                throw new ImageNotFoundException("not here");
            }

            if (Interlocked.Increment(ref _asked) == 2)
            {
                Asked.SetResult();
            }

            await Task.Delay(Timeout.Infinite, cancellationToken);
            throw new InvalidOperationException();
        }
    }

    /// <summary>A content that ends in an unusual way.</summary>
    private sealed class FailingContent(string kind) : MemoryStream(new Archive().File("a", "b").ToBytes())
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => kind switch
        {
            "is cancelled by itself" => throw new TaskCanceledException("a timeout"),
            "is cut off" => throw new EndOfStreamException("cut off"),
            "is not found" => throw new HttpRequestException("404"),
            _ => base.ReadAsync(buffer, cancellationToken),
        };

        public override ValueTask DisposeAsync() => kind == "cannot be closed" ? throw new IOException("not closed") : base.DisposeAsync();
    }

    /// <summary>A content whose read cancels its run, and then fails as an aborted connection does.</summary>
    private sealed class AbortedContent(CancellationTokenSource run) : MemoryStream
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await run.CancelAsync();
            throw new IOException("the connection was aborted");
        }
    }

    /// <summary>
    /// A network mode with loopback only, whose report fails, after it cancelled the run if it was given its source. Also its callback for a cancellation
    /// may fail.
    /// </summary>
    private sealed class SilentMode(CancellationTokenSource? run = null) : INetworkMode, INetworkAttachment
    {
        public string Name => "none";

        public bool SupportsPooling => false;

        public bool HasFaultyCallback { get; init; }

        public NetworkConfiguration Runtime { get; } = new(NetworkStack.None);

        public string? GetUnavailableReason() => null;

        public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken) => Task.FromResult<INetworkAttachment>(this);

        public Task<GuestNetwork> ApplyAsync(NetworkPolicy policy, CancellationToken cancellationToken)
        {
            if (HasFaultyCallback)
            {
                cancellationToken.Register(() => throw new InvalidOperationException("a fault of the callback"));
            }

            return Task.FromResult(new GuestNetwork("", ""));
        }

        public Task<NetworkReport> ReportAsync(CancellationToken cancellationToken)
        {
            run?.Cancel();
            throw new InvalidOperationException("nft is gone");
        }

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
