using Boxer.Images;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Images;

/// <summary>What of a store stays and what goes: leases, quota, removal, other processes.</summary>
public sealed class ImageCollectionTests : IDisposable
{
    private const int Size = 400_000;
    private readonly ScratchDirectory _scratch = new();
    private readonly ScriptedRegistry _registry = new();
    private readonly FakeTimeProvider _time = new(DateTimeOffset.UtcNow);

    public static TheoryData<ImageRootKind> Kinds { get; } = [ImageRootKind.Flattened, ImageRootKind.Overlay];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task Beyond_the_quota_the_longest_unused_goes_and_never_what_runs(ImageRootKind kind)
    {
        SkipUnlessPossible(kind);
        long quota = (long)(Size * (kind == ImageRootKind.Flattened ? 4.9 : 2.5));
        await using ImageStore store = Store(kind, quota: quota);
        Add("a");
        Add("b");
        Add("c");
        Add("d");
        IImageLease used = await AcquireAsync(store, "a");
        await (await AcquireAsync(store, "b")).DisposeAsync();
        Assert.Equal(["a", "b"], await NamesAsync(store));

        await (await AcquireAsync(store, "c")).DisposeAsync();
        Assert.Equal(["a", "c"], await NamesAsync(store));
        Assert.Equal("a", Content(used));

        await used.DisposeAsync();
        await (await AcquireAsync(store, "a")).DisposeAsync();
        await (await AcquireAsync(store, "d")).DisposeAsync();
        Assert.Equal(["a", "d"], await NamesAsync(store));
        Assert.True((await store.ListAsync(Cancel)).Sum(image => image.Bytes) <= quota);

        // What went is pulled again.
        await using IImageLease again = await AcquireAsync(store, "c");
        Assert.Equal("c", Content(again));
    }

    [Fact]
    public async Task An_image_beyond_the_quota_is_refused_and_leaves_nothing()
    {
        await using ImageStore store = Store(ImageRootKind.Flattened, quota: Size / 2);
        Add("a");

        ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => AcquireAsync(store, "a"));

        Assert.Contains($"more than the {Size / 2} that all images may take here", fault.Message, StringComparison.Ordinal);
        Assert.Empty(Kept());
        Assert.Empty(await store.ListAsync(Cancel));
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task Removal_spares_what_others_share_and_what_is_in_use(ImageRootKind kind)
    {
        SkipUnlessPossible(kind);
        byte[] shared = Layer("shared");
        _registry.AddImage("a", "latest", [shared, Layer("a")]);
        _registry.AddImage("b", "latest", [shared, Layer("b")]);
        await using ImageStore store = Store(kind);
        await (await AcquireAsync(store, "a")).DisposeAsync();
        IImageLease b = await AcquireAsync(store, "b");

        Assert.Equal(ImageRemoval.InUse, await store.RemoveAsync(Reference("b"), Cancel));
        Assert.Equal(ImageRemoval.NotFound, await store.RemoveAsync(Reference("c"), Cancel));
        Assert.Equal(ImageRemoval.Removed, await store.RemoveAsync(Reference("a"), Cancel));

        Assert.Equal(["b", "shared"], Directory.EnumerateFiles(b.RootPath).Select(Path.GetFileName).Where(name => name != ".boxer").Order(StringComparer.Ordinal));
        await b.DisposeAsync();
        Assert.Equal(ImageRemoval.Removed, await store.RemoveAsync(Reference("b"), Cancel));
        Assert.Empty(Kept());
        Assert.Empty(Directory.EnumerateFileSystemEntries(_scratch["roots"]));
    }

    [Fact]
    public async Task Another_process_keeps_what_it_has_ready()
    {
        Add("a");
        await using ImageStore store = Store(ImageRootKind.Flattened);
        ImageStore other = Store(ImageRootKind.Flattened, "other");
        await (await AcquireAsync(store, "a")).DisposeAsync();
        IImageLease held = await AcquireAsync(other, "a");
        await held.DisposeAsync();

        Assert.Equal(ImageRemoval.InUse, await store.RemoveAsync(Reference("a"), Cancel));
        Assert.Equal(new ImagePruneResult(0, 0), await store.PruneAsync(TimeSpan.Zero, Cancel));
        Assert.Equal("a", Content(await AcquireAsync(other, "a")));

        await other.DisposeAsync();
        ImagePruneResult pruned = await store.PruneAsync(TimeSpan.Zero, Cancel);
        Assert.Equal(1, pruned.Images);
        Assert.InRange(pruned.Bytes, Size, 3 * Size);
        Assert.Empty(Kept());
    }

    [Fact]
    public async Task A_tag_that_moved_keeps_the_old_image_for_as_long_as_it_runs()
    {
        Add("a");
        await using ImageStore store = Store(ImageRootKind.Flattened);
        IImageLease old = await AcquireAsync(store, "a");
        _registry.AddImage("a", "latest", [Layer("new")]);
        await using IImageLease moved = await store.AcquireAsync(Reference("a"), new ImageAcquireOptions { Policy = PullPolicy.Always }, Cancel);

        await store.PruneAsync(TimeSpan.FromDays(1), Cancel);
        Assert.Equal("a", Content(old));
        await old.DisposeAsync();
        Assert.InRange((await store.PruneAsync(TimeSpan.FromDays(1), Cancel)).Bytes, Size, 3 * Size);
        Assert.False(Directory.Exists(old.RootPath));
        Assert.Equal("new", Content(moved));
    }

    [Fact]
    public async Task Prune_spares_what_was_used_lately()
    {
        Add("a");
        Add("b");
        await using ImageStore store = Store(ImageRootKind.Flattened);
        await (await AcquireAsync(store, "a")).DisposeAsync();
        _time.Advance(TimeSpan.FromHours(2));
        await (await AcquireAsync(store, "b")).DisposeAsync();

        Assert.Equal(1, (await store.PruneAsync(TimeSpan.FromHours(1), Cancel)).Images);
        Assert.Equal(["b"], await NamesAsync(store));
        Assert.Equal(_time.GetUtcNow().ToUnixTimeSeconds(), Assert.Single(await store.ListAsync(Cancel)).LastUsed.ToUnixTimeSeconds());
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task A_failed_pull_leaves_nothing_also_of_layers_that_were_right(ImageRootKind kind)
    {
        SkipUnlessPossible(kind);
        _registry.AddImage("a", "latest", [Layer("right"), new Archive().File("../wrong").ToBytes()]);
        await using ImageStore store = Store(kind);

        await Assert.ThrowsAsync<ImagePullException>(() => AcquireAsync(store, "a"));

        Assert.Empty(Kept());
    }

    [Fact]
    public async Task Whole_layers_that_a_dead_process_left_are_removed_and_images_stay()
    {
        Add("a");
        await using (ImageStore first = Store(ImageRootKind.Flattened))
        {
            await (await AcquireAsync(first, "a")).DisposeAsync();
        }

        int whole = Kept().Length;
        Directory.CreateDirectory(_scratch["home/layers/sha256/" + new string('1', 64)]);
        File.WriteAllText(_scratch["home/blobs/sha256/" + new string('2', 64)], "x");
        File.WriteAllText(_scratch["home/references/nonsense"], "{");

        await using ImageStore store = Store(ImageRootKind.Flattened);
        await store.CleanAbandonedAsync();

        Assert.Equal(whole, Kept().Length);
        Assert.Equal(["a"], await NamesAsync(store));
    }

    [Fact]
    public async Task Pulls_removals_and_runs_at_once_get_along()
    {
        foreach (int i in Enumerable.Range(0, 6))
        {
            _registry.AddImage($"i{i}", "latest", [new Archive().File("shared", "s").ToBytes(), new Archive().File($"f{i}", $"{i}").ToBytes()]);
        }

        await using ImageStore one = Store(ImageRootKind.Flattened);
        await using ImageStore two = Store(ImageRootKind.Flattened, "two");
        await Parallel.ForEachAsync(Enumerable.Range(0, 120), new ParallelOptions { MaxDegreeOfParallelism = 8, CancellationToken = Cancel }, async (n, cancel) =>
        {
            ImageStore store = n % 2 == 0 ? one : two;
            string name = $"i{n % 6}";
            if (n % 5 == 4)
            {
                await store.RemoveAsync(Reference(name), cancel);
                return;
            }

            await using IImageLease lease = await AcquireAsync(store, name);
            Assert.Equal([$"f{n % 6}", "shared"], Directory.EnumerateFiles(lease.RootPath).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        });
    }

    public void Dispose()
    {
        _registry.Dispose();
        _scratch.Dispose();
    }

    private static void SkipUnlessPossible(ImageRootKind kind)
    {
        if (kind == ImageRootKind.Overlay)
        {
            string? obstacle = OverlayMounts.FindObstacle(Path.Combine(Path.GetTempPath(), "boxer-probe-" + Guid.NewGuid().ToString("N")));
            Assert.SkipWhen(obstacle is not null, obstacle ?? "");
        }
    }

    // Each of random content, so that it does not compress.
    private static byte[] Layer(string name)
    {
        var content = new byte[Size];
        Random.Shared.NextBytes(content);
        return new Archive().Add('0', name, content: content).ToBytes();
    }

    private static string Content(IImageLease lease) => Path.GetFileName(Directory.EnumerateFiles(lease.RootPath).Single());

    private static ImageReference Reference(string name) => ImageReference.Parse("test.example/" + name);

    private static async Task<string[]> NamesAsync(ImageStore store) =>
        [.. (await store.ListAsync(Cancel)).Select(image => image.Reference["test.example/".Length..^":latest".Length])];

    private void Add(string name) => _registry.AddImage(name, "latest", [Layer(name)]);

    private async Task<IImageLease> AcquireAsync(ImageStore store, string name)
    {
        _time.Advance(TimeSpan.FromMinutes(2));
        return await store.AcquireAsync(Reference(name), Cancel);
    }

    private string[] Kept() =>
        [.. ((string[])["layers", "blobs", "roots"]).SelectMany(kind => Directory.GetDirectories(_scratch["home/" + kind], "sha256")).SelectMany(Directory.GetFileSystemEntries)];

    private ImageStore Store(ImageRootKind kind, string name = "roots", long? quota = null) => new(new ImageStoreOptions
    {
        Home = _scratch["home"],
        RootsDirectory = _scratch[name],
        RootKind = kind,
        TimeProvider = _time,
        PullTimeout = TimeSpan.FromHours(10),
        MaxStoreBytes = quota,
        RegistryMirrors = new Dictionary<string, IReadOnlyList<string>> { ["test.example"] = [_registry.Url] },
    });
}
