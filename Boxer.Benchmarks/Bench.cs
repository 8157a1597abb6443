using Boxer.Hosting;
using Boxer.Images;
using Boxer.Images.Store;

namespace Boxer.Benchmarks;

/// <summary>What all benchmarks share: the image, ready in a store, and <c>runsc</c> on its root.</summary>
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

    /// <summary>Its mirror, over http.</summary>
    internal string Url { get; }

    /// <summary>How skopeo names the image there.</summary>
    internal string SkopeoSource => SkopeoSourceOf(ImageReference.Parse(Image));

    /// <summary>How often each case is measured.</summary>
    internal int Rounds { get; }

    /// <summary>The image's root.</summary>
    internal string Root => _lease.RootPath;

    /// <summary>What everything is compared with.</summary>
    internal BareRunsc Runsc { get; }

    private string Home { get; }

    internal static async Task<Bench> CreateAsync(string image, string registry, string url, int rounds)
    {
        string home = Directory.CreateTempSubdirectory("boxer-bench-").FullName;
        var store = new ImageStore(new ImageStoreOptions { Home = home, Registries = [new() { Name = registry, Mirrors = [url] }] });
        IImageLease lease = await store.AcquireAsync(ImageReference.Parse(image)).ConfigureAwait(false);
        return new Bench(image, registry, url, rounds, home, store, lease);
    }

    /// <summary>Makes a runner; only what is about the pool has one.</summary>
    internal SandboxRunner MakeRunner(Action<BoxerOptions>? change = null)
    {
        var options = new BoxerOptions { Home = Home, MaxQueuedRuns = 1_000, Pool = { Enabled = false } };
        options.Registries.Add(new() { Name = Registry, Mirrors = [Url] });
        change?.Invoke(options);
        return SandboxRunnerFactory.Create(options);
    }

    /// <summary>How skopeo names another image of the registry.</summary>
    internal string SkopeoSourceOf(ImageReference image) => $"docker://{new Uri(Url).Authority}/{image.Repository}:{image.Tag}";

    public async ValueTask DisposeAsync()
    {
        Runsc.Dispose();
        await _lease.DisposeAsync().ConfigureAwait(false);
        await _store.DisposeAsync().ConfigureAwait(false);
        Directory.Delete(Home, recursive: true);
    }
}
