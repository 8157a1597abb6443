using System.IO.Pipelines;
using Boxer.Hosting;
using Boxer.Images;
using Boxer.Network;
using Boxer.PublicApi.Tests.Support;

namespace Boxer.PublicApi.Tests;

/// <summary>The images of a runner, managed by an application.</summary>
[Collection(Sandboxes.Name)]
public sealed class ImageStoreTests(PythonSandboxes sandboxes)
{
    private const string Name = "localhost/own:1";
    private static readonly ImageReference Reference = ImageReference.Parse(Name);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Imported_images_are_available_to_runs_and_in_use_by_them()
    {
        await using SandboxRunner runner = SandboxRunnerFactory.Create(Options());
        IImageStore images = runner.Images;
        Assert.Empty(await images.ListAsync(Cancel));
        var progress = new Layers();
        string digest = await images.ImportAsync(await SmallImage.MakeAsync(sandboxes.MakeDirectory()), Reference, progress, Cancel);
        Assert.True(progress.Count > 0);
        ImageInfo listed = Assert.Single(await images.ListAsync(Cancel));
        Assert.Equal((Reference.ToString(), digest), (listed.Reference, listed.Digest));

        SandboxResult result = await runner.RunAsync(new SandboxRequest(Name, "echo", "here") { PullPolicy = PullPolicy.Never }, Cancel);
        Assert.Equal(("here\n", digest), (result.StandardOutput, result.ImageDigest));

        await using (IImageLease lease = await images.AcquireAsync(Reference, Cancel))
        {
            Assert.Equal(digest, lease.Digest);
            Assert.Equal(ImageRemoval.InUse, await images.RemoveAsync(Reference, Cancel));
            Assert.Equal(0, (await images.PruneAsync(TimeSpan.Zero, Cancel)).Images);
        }

        Pipe pipe = new();
        await foreach (SandboxEvent item in runner.StreamAsync(new SandboxRequest(Name, "cat").WithStandardInput(pipe.Reader), Cancel))
        {
            if (item is SandboxStarted)
            {
                Assert.Equal(ImageRemoval.InUse, await images.RemoveAsync(Reference, Cancel));
                await pipe.Writer.CompleteAsync();
            }
        }

        // A run releases its image after it has returned its result.
        ImageRemoval removal = ImageRemoval.InUse;
        for (int attempt = 0; removal == ImageRemoval.InUse && attempt < 1_200; attempt++)
        {
            await Task.Delay(50, Cancel);
            removal = await images.RemoveAsync(Reference, Cancel);
        }

        Assert.Equal(ImageRemoval.Removed, removal);
        Assert.Equal(ImageRemoval.NotFound, await images.RemoveAsync(Reference, Cancel));
        await Assert.ThrowsAsync<ImageNotFoundException>(() => runner.RunAsync(new SandboxRequest(Name, "true") { PullPolicy = PullPolicy.Never }, Cancel));
    }

    [Fact]
    public async Task Images_need_no_runsc_and_end_with_the_runner()
    {
        BoxerOptions options = Options();
        options.RunscPath = "/nonexistent/runsc";
        SandboxRunner runner = SandboxRunnerFactory.Create(options);
        await runner.Images.ImportAsync(await SmallImage.MakeAsync(sandboxes.MakeDirectory()), Reference, cancellationToken: Cancel);
        await Assert.ThrowsAsync<SandboxRuntimeException>(() => runner.StartAsync(Cancel));
        Assert.Single(await runner.Images.ListAsync(Cancel));
        await using (IImageLease lease = await runner.Images.AcquireAsync(Reference, Cancel))
        {
            Assert.True(Directory.Exists(Path.Join(lease.RootPath, "usr")));
        }

        await runner.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => runner.Images.ListAsync(Cancel));

        options.RunscPath = new BoxerOptions().RunscPath;
        await using SandboxRunner later = SandboxRunnerFactory.Create(options);
        Assert.Equal(0, (await later.RunAsync(new SandboxRequest(Name, "true"), Cancel)).ExitCode);
    }

    [Fact]
    public async Task Two_runners_can_have_one_store()
    {
        BoxerOptions options = Options();
        await using SandboxRunner first = SandboxRunnerFactory.Create(options);
        await first.Images.ImportAsync(await SmallImage.MakeAsync(sandboxes.MakeDirectory()), Reference, cancellationToken: Cancel);
        await using (var second = new SandboxRunner(options, [new NoneNetworkMode()], first.Images))
        {
            Assert.Same(first.Images, second.Images);
            SandboxResult[] results = await Task.WhenAll(Run(first), Run(second));
            Assert.All(results, result => Assert.Equal(0, result.ExitCode));
        }

        Assert.Equal(0, (await Run(first)).ExitCode);

        static Task<SandboxResult> Run(SandboxRunner runner) => runner.RunAsync(new SandboxRequest(Name, "true"), Cancel);
    }

    [Fact]
    public async Task A_run_reports_a_pull_by_a_store_of_the_application()
    {
        BoxerOptions options = Options();
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        await runner.Images.ImportAsync(await SmallImage.MakeAsync(sandboxes.MakeDirectory()), Reference, cancellationToken: Cancel);
        await using var pulling = new SandboxRunner(options, [new NoneNetworkMode()], new Pulling(runner.Images));

        List<SandboxEvent> events = [];
        await foreach (SandboxEvent item in pulling.StreamAsync(new SandboxRequest(Name, "true"), Cancel))
        {
            events.Add(item);
        }

        Assert.Equal(
            [(Reference.ToString(), null), (Reference.ToString(), new PullProgress("sha256:1", 5, 5, IsStored: true))],
            events.TakeWhile(item => item is not SandboxStarted).Cast<SandboxImagePulling>().Select(pull => (pull.Image, pull.Layer)));
        Assert.Equal(0, Assert.IsType<SandboxEnded>(events[^1]).Result.ExitCode);
    }

    [Fact]
    public async Task A_store_that_only_serves_runs_rejects_management()
    {
        IImageStore store = new OnlyImage();

        Assert.Equal("sha256:0", await store.PullAsync(Reference, cancellationToken: Cancel));
        await Assert.ThrowsAsync<NotSupportedException>(() => store.ListAsync(Cancel));
        await Assert.ThrowsAsync<NotSupportedException>(() => store.RemoveAsync(Reference, Cancel));
        await Assert.ThrowsAsync<NotSupportedException>(() => store.PruneAsync(null, Cancel));
        await Assert.ThrowsAsync<NotSupportedException>(() => store.ImportAsync(new ImageSource(ImageSourceKind.RootArchive, "/none"), Reference, cancellationToken: Cancel));
    }

    private BoxerOptions Options()
    {
        BoxerOptions options = sandboxes.Options();
        options.Home = Path.Join(sandboxes.MakeDirectory(), "home");
        return options;
    }

    private sealed class Layers : IProgress<PullProgress>
    {
        private int _count;

        public int Count => _count;

        public void Report(PullProgress value) => Interlocked.Increment(ref _count);
    }

    /// <summary>Has an image only after a pull.</summary>
    private sealed class Pulling(IImageStore inner) : IImageStore
    {
        public Task<IImageLease> AcquireAsync(ImageReference reference, ImageAcquireOptions options, CancellationToken cancellationToken = default)
        {
            if (options.Policy == PullPolicy.Never)
            {
                throw new ImageNotFoundException("It is not here yet.");
            }

            options.Progress?.Report(new PullProgress("sha256:1", 5, 5, IsStored: true));
            return inner.AcquireAsync(reference, options, cancellationToken);
        }
    }

    private sealed class OnlyImage : IImageStore
    {
        public Task<IImageLease> AcquireAsync(ImageReference reference, ImageAcquireOptions options, CancellationToken cancellationToken = default) =>
            Task.FromResult<IImageLease>(new Lease());

        private sealed class Lease : IImageLease
        {
            public string Digest => "sha256:0";

            public ImageConfig Config { get; } = new();

            public string RootPath => "/nonexistent";

            public ValueTask DisposeAsync() => ValueTask.CompletedTask;
        }
    }
}
