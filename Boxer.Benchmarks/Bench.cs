using Boxer.Hosting;
using Boxer.Images;
using Boxer.Images.Store;

namespace Boxer.Benchmarks;

/// <summary>The state that all benchmarks share: the image in a store, and <c>runsc</c> on its root.</summary>
internal sealed class Bench : IAsyncDisposable
{
    private readonly ImageStore _store;
    private readonly IImageLease _lease;

    private Bench(string image, string registry, string url, int rounds, string home, ImageStore store, IImageLease lease)
    {
        Image = image;
        Registry = registry;
        Url = url;
        Rounds = rounds;
        Home = home;
        _store = store;
        _lease = lease;
        Runsc = new BareRunsc(lease.RootPath);
    }

    /// <summary>The image.</summary>
    internal string Image { get; }

    /// <summary>The registry that the image names.</summary>
    internal string Registry { get; }

    /// <summary>URL of the mirror of the registry.</summary>
    internal string Url { get; }

    /// <summary>The image in the notation of skopeo.</summary>
    internal string SkopeoSource => SkopeoSourceOf(ImageReference.Parse(Image));

    /// <summary>Number of measurements of each case.</summary>
    internal int Rounds { get; }

    /// <summary>Path of the root file system of the image.</summary>
    internal string Root => _lease.RootPath;

    /// <summary>The program that everything is compared with.</summary>
    internal BareRunsc Runsc { get; }

    private string Home { get; }

    internal static async Task<Bench> CreateAsync(string image, string registry, string url, int rounds)
    {
        string home = Directory.CreateTempSubdirectory("boxer-bench-").FullName;
        var store = new ImageStore(new ImageStoreOptions { Home = home, Registries = [new() { Name = registry, Mirrors = [url] }] });
        IImageLease lease = await store.AcquireAsync(ImageReference.Parse(image)).ConfigureAwait(false);
        return new Bench(image, registry, url, rounds, home, store, lease);
    }

    /// <summary>Creates a runner, without a pool by default.</summary>
    internal SandboxRunner CreateRunner(Action<BoxerOptions>? change = null)
    {
        var options = new BoxerOptions { Home = Home, MaxQueuedRuns = 1_000, Pool = { Enabled = false } };
        options.Registries.Add(new() { Name = Registry, Mirrors = [Url] });
        change?.Invoke(options);
        return SandboxRunnerFactory.Create(options);
    }

    /// <summary>Another image of the registry, in the notation of skopeo.</summary>
    internal string SkopeoSourceOf(ImageReference image) => $"docker://{new Uri(Url).Authority}/{image.Repository}:{image.Tag}";

    public async ValueTask DisposeAsync()
    {
        Runsc.Dispose();
        await _lease.DisposeAsync().ConfigureAwait(false);
        await _store.DisposeAsync().ConfigureAwait(false);
        Directory.Delete(Home, recursive: true);
    }
}
