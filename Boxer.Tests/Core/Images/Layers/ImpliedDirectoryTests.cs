using Boxer.Images;
using Boxer.Images.Layers;
using Boxer.Images.Store;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Images.Layers;

/// <summary>Layers without an entry for a directory, because only its content changed: tools other than Docker write them.</summary>
public sealed class ImpliedDirectoryTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();
    private readonly ScriptedRegistry _registry = new();

    [Theory]
    [InlineData(ImageRootKind.Overlay)]
    [InlineData(ImageRootKind.Flattened)]
    public async Task Owner_mode_and_time_are_those_of_the_topmost_layer_with_an_entry(ImageRootKind kind)
    {
        Skip(kind);
        _registry.AddImage("a", "latest",
        [
            new Archive().Directory("tmp", 0b1_111_111_111).Add('5', "srv", mode: 0b111_000_000, uid: 7, gid: 8).Add('5', "srv/data", mode: 0b111_101_000, uid: 9)
                .Directory("gone", 0b111_000_000).Directory("file", 0b111_000_000).Directory("opaque", 0b111_000_000).Directory("opaque/deep", 0b111_000_000).Directory("again", 0b111_000_000).ToBytes(),
            new Archive().Add('5', "srv", mode: 0b111_101_101, uid: 1).File("srv/data/one").File("tmp/one").File("opaque/.wh..wh..opq").File("opaque/deep/one").ToBytes(),
            new Archive().File("tmp/deep/er/two").File("srv/data/two").File(".wh.gone").File("file").File("again/two").ToBytes(),
            new Archive().File("srv/data/three").File("new/three").Add('5', "again", mode: 0b101_000_000).ToBytes(),
        ]);
        await using ImageStore store = Store(kind);

        IImageLease image = await AcquireAsync(store);

        Assert.Equal(
            [
                "again 500 0 0", "again/two 644 0 0", "file 644 0 0", "new 755 0 0", "new/three 644 0 0", "opaque 700 0 0", "opaque/deep 755 0 0", "opaque/deep/one 644 0 0",
                "srv 755 1 0", "srv/data 750 9 0", "srv/data/one 644 0 0", "srv/data/three 644 0 0", "srv/data/two 644 0 0",
                "tmp 1777 0 0", "tmp/deep 755 0 0", "tmp/deep/er 755 0 0", "tmp/deep/er/two 644 0 0", "tmp/one 644 0 0",
            ],
            await ListAsync(image.RootPath, kind));
        Assert.Equal(DateTimeOffset.FromUnixTimeSeconds(1_000_000_000).UtcDateTime, Directory.GetLastWriteTimeUtc(Path.Combine(image.RootPath, "srv", "data")));
    }

    [Fact]
    public async Task The_tree_of_implied_directories_is_removed_with_its_image()
    {
        Skip(ImageRootKind.Overlay);
        _registry.AddImage("a", "latest", [new Archive().Directory("tmp", 0b1_111_111_111).ToBytes(), new Archive().File("tmp/one").ToBytes()]);
        await using (ImageStore store = Store(ImageRootKind.Overlay))
        {
            await using IImageLease image = await AcquireAsync(store);
        }

        _registry.Content.Clear();
        await using ImageStore later = Store(ImageRootKind.Overlay);
        await using (IImageLease image = await AcquireAsync(later))
        {
            Assert.Equal(["tmp 1777 0 0", "tmp/one 644 0 0"], await ListAsync(image.RootPath, ImageRootKind.Overlay));
        }

        Assert.Equal(2, Kept().Count(path => path.Contains("implied", StringComparison.Ordinal)));
        Assert.Equal(ImageRemoval.Removed, await later.RemoveAsync(ImageReference.Parse("test.example/a"), TestContext.Current.CancellationToken));
        Assert.Empty(Kept());
    }

    [Fact]
    public async Task Layers_with_all_entries_or_without_lower_layers_need_no_tree()
    {
        Skip(ImageRootKind.Overlay);
        _registry.AddImage("a", "latest", [new Archive().File("only/here").ToBytes(), new Archive().Directory("d").File("d/f").ToBytes()]);
        await using ImageStore store = Store(ImageRootKind.Overlay);

        await using IImageLease image = await AcquireAsync(store);

        Assert.Equal(["d 755 0 0", "d/f 644 0 0", "only 755 0 0", "only/here 644 0 0"], await ListAsync(image.RootPath, ImageRootKind.Overlay));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Kept().Single(path => path.EndsWith("-implied", StringComparison.Ordinal))));
    }

    [Theory]
    [Slow]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Implied_directories_that_take_too_much_memory_are_rejected_also_in_stored_layers(bool areStored)
    {
        Skip(ImageRootKind.Overlay);

        // A name of 4,093 bytes creates 2,046 directories, whose names have 4 MiB together.
        byte[][] layers = [.. Enumerable.Range(0, 4).Select(i => new Archive().File($"{i}/{string.Join('/', Enumerable.Repeat("a", 2_046))}").ToBytes())];
        _registry.AddImage("a", "latest", layers);
        await using ImageStore store = Store(ImageRootKind.Overlay, options => options.With(changed => changed.PullMemoryBytes = PullMemory.LeastBytes));
        foreach ((int i, byte[] layer) in layers.Index())
        {
            _registry.AddImage($"one{i}", "latest", [layer]);
        }

        var alone = new List<IImageLease>();
        for (int i = 0; areStored && i < layers.Length; i++)
        {
            alone.Add(await store.AcquireAsync(ImageReference.Parse($"test.example/one{i}"), TestContext.Current.CancellationToken));
        }

        ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => AcquireAsync(store));

        Assert.Contains("the directories that the layers have no entries for take too much memory, and half of the 67108864 bytes", fault.Message, StringComparison.Ordinal);
        Assert.Equal(
            "The image test.example/a:latest could not be pulled: the directories that its layers have no entries for take more memory than this host gives to one image.", fault.PublicMessage);
        foreach (IImageLease lease in alone)
        {
            await lease.DisposeAsync();
        }
    }

    public void Dispose()
    {
        _registry.Dispose();
        _scratch.Dispose();
    }

    private static void Skip(ImageRootKind kind)
    {
        RootKinds.SkipUnlessPossible(kind);
        Assert.SkipUnless(Unistd.geteuid() == 0, "owners need root");
    }

    private static async Task<string[]> ListAsync(string root, ImageRootKind kind)
    {
        string listing = await HostProgram.RunAsync("find", root, "-mindepth", "1", "-printf", "%P %m %U %G\n");
        Assert.True(kind == ImageRootKind.Flattened || File.ReadAllText("/proc/self/mounts").Contains(root, StringComparison.Ordinal));
        return [.. listing.Split('\n', StringSplitOptions.RemoveEmptyEntries).Order(StringComparer.Ordinal)];
    }

    private static Task<IImageLease> AcquireAsync(ImageStore store) =>
        store.AcquireAsync(ImageReference.Parse("test.example/a"), TestContext.Current.CancellationToken);

    private string[] Kept() =>
        [.. ((string[])["layers", "blobs", "roots"]).SelectMany(kind => Directory.GetDirectories(_scratch["home/" + kind], "sha256")).SelectMany(Directory.GetFileSystemEntries)];

    private ImageStore Store(ImageRootKind kind, Func<ImageStoreOptions, ImageStoreOptions>? change = null) => new((change ?? (options => options))(new ImageStoreOptions
    {
        Home = _scratch["home"],
        RootsDirectory = _scratch["roots"],
        RootKind = kind,
        Registries = [new() { Name = "test.example", Mirrors = [_registry.Url] }],
    }));
}
