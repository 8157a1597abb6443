using System.Collections.Concurrent;
using Boxer.Images;
using Boxer.Network;
using Boxer.Networking;
using Boxer.PublicApi.Tests.Support;

namespace Boxer.PublicApi.Tests;

/// <summary>An image store, a network mode and a decorator of an application, in real sandboxes.</summary>
[Collection(Sandboxes.Name)]
public sealed class ExtensionPointTests(PythonSandboxes sandboxes)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_run_takes_its_root_from_an_image_store_of_the_application()
    {
        DirectoryStore store = new(MakeBusyboxRoot());
        await using SandboxRunner runner = new(sandboxes.Options(), [new NoneNetworkMode()], store);

        SandboxResult result = await runner.RunAsync(new SandboxRequest("own/box:1", "sh", "-c", "echo $GREETING; cat /etc/motd"), Cancel);

        Assert.Equal(("hello\nmade by a test\n", "sha256:" + new string('a', 64)), (result.EnsureSuccess().StandardOutput, result.ImageDigest));
        await runner.DisposeAsync();
        Assert.True(store.Acquired > 0);
        Assert.Equal(store.Acquired, store.Released);
    }

    [Fact]
    public async Task Runs_that_share_the_failure_of_an_image_store_have_their_own_exceptions()
    {
        ImagePullException shared = new("the store is broken") { PublicMessage = "No images today." };
        DirectoryStore store = new("/") { Failure = shared };
        await using SandboxRunner runner = new(sandboxes.Options(), [new NoneNetworkMode()], store);

        ImagePullException[] failures = await Task.WhenAll(Enumerable.Range(0, 8).Select(i => Assert.ThrowsAsync<ImagePullException>(
            () => runner.RunAsync(new SandboxRequest($"own/box:{i}", "true"), Cancel))));

        Assert.Equal(Enumerable.Range(0, 8).Select(i => $"own/box:{i}"), failures.Select(failure => failure.Image));
        Assert.Equal(8, failures.Select(failure => failure.RunId).Distinct().Count());
        Assert.All(failures, failure => Assert.Equal(("the store is broken", "No images today.", true), (failure.Message, failure.PublicMessage, failure.IsRetrySafe)));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_run_and_the_pool_use_a_network_mode_of_the_application(bool isPooled)
    {
        NotedMode mode = new();
        BoxerOptions options = sandboxes.Options();
        options.Pool.Enabled = isPooled;
        await using SandboxRunner runner = new(options, [mode]);
        SandboxRequest request = PythonSandboxes.Shell("cat /etc/hosts /etc/resolv.conf");
        request.Network = NotedMode.ModeName;

        SandboxResult result = await runner.RunAsync(request, Cancel);
        for (int i = 0; isPooled && mode.Prepared.Count < 2 && i < 600; i++)
        {
            await Task.Delay(100, Cancel);
        }

        SandboxResult second = await runner.RunAsync(request, Cancel);
        await runner.DisposeAsync();

        Assert.All([result, second], run => Assert.Equal("127.0.0.1 localhost noted\nnameserver 192.0.2.53\n", run.EnsureSuccess().StandardOutput));
        Assert.All([result, second], run => Assert.Equal(42, run.Network.BytesOut));
        Assert.True(mode.Prepared.Count >= 2);
        Assert.Equal(2, mode.Applied);
        Assert.Equal(mode.Prepared.Count, mode.Disposed);
        if (!isPooled)
        {
            Assert.Equal([result.Id, second.Id], mode.Prepared);
        }
    }

    [Fact]
    public async Task A_full_network_mode_rejects_the_run_with_its_own_message()
    {
        NotedMode mode = new() { Failure = new SandboxCapacityException("no ports left on eth9", TimeSpan.FromSeconds(7)) { PublicMessage = "No ports left." } };
        await using SandboxRunner runner = new(sandboxes.Options(), [mode]);

        SandboxCapacityException failure = await Assert.ThrowsAsync<SandboxCapacityException>(
            () => runner.RunAsync(new SandboxRequest(PythonSandboxes.Image, "true") { Network = NotedMode.ModeName }, Cancel));

        Assert.Equal(("no ports left on eth9", "No ports left.", TimeSpan.FromSeconds(7)), (failure.Message, failure.PublicMessage, failure.RetryAfter));
        Assert.Equal((PythonSandboxes.Image, true), (failure.Image, failure.IsRetrySafe));
    }

    [Fact]
    public async Task A_decorator_changes_requests_and_results_and_retries_what_is_safe()
    {
        NotedMode full = new() { Failure = new SandboxCapacityException("full", TimeSpan.Zero), FailuresLeft = 2 };
        await using SandboxRunner runner = new(sandboxes.Options(), [full]);
        ISandboxRunner decorated = new Decorator(runner);
        SandboxRequest request = PythonSandboxes.Shell("echo $TENANT secret");
        request.Network = NotedMode.ModeName;

        SandboxResult result = await decorated.RunAsync(request, Cancel);
        StringWriter stdout = new();
        await decorated.StreamAsync(request, Cancel).CopyToAsync(stdout, TextWriter.Null, Cancel);

        Assert.Equal(("acme ***\n", "acme secret\n", 0), (result.StandardOutput, stdout.ToString(), request.Environment.Count));
    }

    private string MakeBusyboxRoot()
    {
        string root = sandboxes.MakeDirectory();
        string busybox = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Select(directory => Path.Join(directory, "busybox")).FirstOrDefault(File.Exists) ?? "";
        Assert.SkipWhen(busybox.Length == 0, "Needs busybox (busybox-static) in PATH.");
        foreach (string directory in new[] { "bin", "etc", "tmp", "proc", "sys", "dev" })
        {
            Directory.CreateDirectory(Path.Join(root, directory));
        }

        File.Copy(busybox, Path.Join(root, "bin/busybox"));
        foreach (string applet in new[] { "sh", "cat", "echo" })
        {
            File.CreateSymbolicLink(Path.Join(root, "bin", applet), "busybox");
        }

        File.WriteAllText(Path.Join(root, "etc/motd"), "made by a test\n");
        return root;
    }

    /// <summary>Serves one directory as every image.</summary>
    private sealed class DirectoryStore(string root) : IImageStore
    {
        private int _acquired;
        private int _released;

        public Exception? Failure { get; init; }

        public int Acquired => _acquired;

        public int Released => _released;

        public Task<IImageLease> AcquireAsync(ImageReference reference, ImageAcquireOptions options, CancellationToken cancellationToken = default)
        {
            if (Failure is not null)
            {
                return Task.FromException<IImageLease>(Failure);
            }

            Interlocked.Increment(ref _acquired);
            return Task.FromResult<IImageLease>(new Lease(this, root));
        }

        private sealed class Lease(DirectoryStore store, string root) : IImageLease
        {
            private int _isDisposed;

            public string Digest { get; } = "sha256:" + new string('a', 64);

            public ImageConfig Config { get; } = new() { Env = ["PATH=/bin", "GREETING=hello"] };

            public string RootPath => root;

            public ValueTask DisposeAsync()
            {
                if (Interlocked.Exchange(ref _isDisposed, 1) == 0)
                {
                    Interlocked.Increment(ref store._released);
                }

                return ValueTask.CompletedTask;
            }
        }
    }

    /// <summary>Provides loopback, its own host names and a report.</summary>
    private sealed class NotedMode : INetworkMode
    {
        internal const string ModeName = "noted";
        private int _applied;
        private int _disposed;

        public ConcurrentQueue<string> Prepared { get; } = new();

        public SandboxException? Failure { get; init; }

        public int FailuresLeft { get; set; } = int.MaxValue;

        public int Applied => _applied;

        public int Disposed => _disposed;

        public string Name => ModeName;

        public bool SupportsPooling => true;

        public string? GetUnavailableReason() => null;

        public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken)
        {
            if (Failure is not null && FailuresLeft-- > 0)
            {
                throw Failure;
            }

            Prepared.Enqueue(sandboxId);
            return Task.FromResult<INetworkAttachment>(new Attachment(this));
        }

        private sealed class Attachment(NotedMode mode) : INetworkAttachment
        {
            public NetworkConfiguration Runtime { get; } = new(NetworkStack.None);

            public Task<GuestNetwork> ApplyAsync(NetworkPolicy policy, CancellationToken cancellationToken)
            {
                Interlocked.Increment(ref mode._applied);
                return Task.FromResult(new GuestNetwork("127.0.0.1 localhost noted\n", "nameserver 192.0.2.53\n"));
            }

            public Task<NetworkReport> ReportAsync(CancellationToken cancellationToken) => Task.FromResult(new NetworkReport { BytesIn = 0, BytesOut = 42 });

            public ValueTask DisposeAsync()
            {
                Interlocked.Increment(ref mode._disposed);
                return ValueTask.CompletedTask;
            }
        }
    }

    /// <summary>Adds a variable to each request, hides a word in each result, and retries where that is safe.</summary>
    private sealed class Decorator(ISandboxRunner inner) : ISandboxRunner
    {
        private const int Attempts = 3;

        public async Task<SandboxResult> RunAsync(SandboxRequest request, CancellationToken cancellationToken = default)
        {
            for (int attempt = 1; ; attempt++)
            {
                try
                {
                    SandboxResult result = await inner.RunAsync(Change(request), cancellationToken);
                    return new SandboxResult(result) { StandardOutput = result.StandardOutput.Replace("secret", "***", StringComparison.Ordinal) };
                }
                catch (SandboxCapacityException full) when (full.IsRetrySafe && attempt < Attempts)
                {
                    await Task.Delay(full.RetryAfter, cancellationToken);
                }
            }
        }

        public IAsyncEnumerable<SandboxEvent> StreamAsync(SandboxRequest request, CancellationToken cancellationToken = default) =>
            inner.StreamAsync(Change(request), cancellationToken);

        private static SandboxRequest Change(SandboxRequest request)
        {
            SandboxRequest changed = new(request);
            changed.Environment["TENANT"] = "acme";
            return changed;
        }
    }
}
