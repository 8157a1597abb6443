using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Boxer.Images;
using Boxer.Images.Disk;
using Boxer.Images.Store;
using Boxer.Linux;
using Boxer.Tests.Support;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Images.Store;

/// <summary>Removal of images and content: leases, quota, pruning, other processes.</summary>
public sealed class ImageCollectionTests : IDisposable
{
    private const int Size = 400_000;
    private readonly ScratchDirectory _scratch = new();
    private readonly ScriptedRegistry _registry = new();
    private readonly FakeTimeProvider _time = new(DateTimeOffset.UtcNow);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task MaxImageStoreBytes_evicts_the_least_recently_used_and_never_an_image_in_use(ImageRootKind kind)
    {
        RootKinds.SkipUnlessPossible(kind);
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

        // The evicted image is pulled again.
        await using IImageLease again = await AcquireAsync(store, "c");
        Assert.Equal("c", Content(again));
    }

    [Fact]
    public async Task An_image_larger_than_MaxImageStoreBytes_is_rejected_and_leaves_nothing()
    {
        await using ImageStore store = Store(ImageRootKind.Flattened, quota: Size / 2);
        Add("a");

        ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => AcquireAsync(store, "a"));

        Assert.Contains($"more than the {Size / 2} that all images may take here", fault.Message, StringComparison.Ordinal);
        Assert.Empty(Kept());
        Assert.Empty(await store.ListAsync(Cancel));
    }

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task RemoveAsync_keeps_shared_layers_and_images_in_use(ImageRootKind kind)
    {
        RootKinds.SkipUnlessPossible(kind);
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
    public async Task RemoveAsync_keeps_images_that_another_process_has_ready()
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
    public async Task The_old_image_of_a_moved_tag_stays_while_it_is_in_use()
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
    public async Task PruneAsync_keeps_recently_used_images()
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
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task A_failed_pull_leaves_nothing_not_even_its_good_layers(ImageRootKind kind)
    {
        RootKinds.SkipUnlessPossible(kind);
        _registry.AddImage("a", "latest", [Layer("right"), new Archive().File("../wrong").ToBytes()]);
        await using ImageStore store = Store(kind);

        await Assert.ThrowsAsync<ImagePullException>(() => AcquireAsync(store, "a"));

        Assert.Empty(Kept());
    }

    [Fact]
    public async Task CleanAbandonedAsync_removes_complete_layers_of_dead_processes_and_keeps_images()
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
    public async Task CleanAbandonedAsync_removes_roots_of_earlier_versions_once_no_process_holds_their_images()
    {
        Add("a");
        Add("b");
        string[] made = new string[2];
        await using (ImageStore first = Store(ImageRootKind.Flattened))
        {
            for (int i = 0; i < made.Length; i++)
            {
                await using IImageLease lease = await AcquireAsync(first, "ab"[i].ToString());
                made[i] = Path.Join(Path.GetDirectoryName(lease.RootPath), $"{lease.Digest["sha256:".Length..]}-{new string('1', 16)}.erofs");
            }
        }

        string gone = _scratch[$"home/roots/sha256/{new string('2', 64)}-{new string('1', 16)}.erofs"];
        string[] whole = Kept();
        foreach (string path in (string[])[.. made, gone])
        {
            await File.WriteAllBytesAsync(path, new byte[Size], Cancel);
        }

        await using (ImageStore earlier = Store(ImageRootKind.Flattened, "earlier"))
        {
            await (await AcquireAsync(earlier, "a")).DisposeAsync();
            await using ImageStore later = Store(ImageRootKind.Flattened);
            await later.CleanAbandonedAsync();
            Assert.Equal(whole.Append(made[0]).Order(StringComparer.Ordinal), Kept().Order(StringComparer.Ordinal));
        }

        await using ImageStore last = Store(ImageRootKind.Flattened);
        await last.CleanAbandonedAsync();
        Assert.Equal(whole.Order(StringComparer.Ordinal), Kept().Order(StringComparer.Ordinal));
        Assert.Equal(["a", "b"], await NamesAsync(last));
    }

    [Fact]
    public async Task Concurrent_pulls_removals_and_uses_do_not_disturb_each_other()
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

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task A_stalled_pull_delays_no_removal_and_loses_nothing(ImageRootKind kind)
    {
        RootKinds.SkipUnlessPossible(kind);
        string came = _registry.AddImage("stalls", "latest", [new Archive().File("came").ToBytes(), new Archive().File("late").ToBytes()]);
        string stalled = _registry.Content.Keys.Single(path => path.StartsWith("/v2/stalls/blobs/", StringComparison.Ordinal) && path != came && _registry.Content[path].Body is [0x1F, ..]);
        var gate = new TaskCompletionSource();
        _registry.Content[stalled] = _registry.Content[stalled] with { Gate = gate.Task };
        foreach (string name in (string[])["a", "b", "c", "d", "e"])
        {
            Add(name);
        }

        long quota = (long)(Size * (kind == ImageRootKind.Flattened ? 2.5 : 1.5));
        await using ImageStore store = Store(kind, quota: quota);
        await using ImageStore other = Store(kind, "other", quota);
        Task<IImageLease> pull = AcquireAsync(store, "stalls");
        while (!pull.IsCompleted && (Kept("layers", "blobs").Length < 4 || _registry.Requests.All(request => request.Path != stalled)))
        {
            await Task.Delay(10, Cancel);
        }

        string[] before = Kept("layers", "blobs");

        // In both stores, images beyond the quota are evicted, and removed images are gone.
        await UseAsync(store, "a");
        await UseAsync(store, "b");
        Assert.Equal(["b"], await NamesAsync(store));
        Assert.Equal(ImageRemoval.Removed, await Soon(store.RemoveAsync(Reference("b"), Cancel)));
        await UseAsync(other, "c");
        await UseAsync(other, "d");
        Assert.Equal(["d"], await NamesAsync(store));
        Assert.Equal(1, (await Soon(other.PruneAsync(TimeSpan.Zero, Cancel))).Images);
        await UseAsync(store, "e");
        Assert.Equal(1, (await Soon(store.PruneAsync(TimeSpan.Zero, Cancel))).Images);
        await other.CleanAbandonedAsync().WaitAsync(TimeSpan.FromSeconds(60), Cancel);
        Assert.Equal(before.Order(), Kept("layers", "blobs").Order());
        Assert.False(pull.IsCompleted);

        gate.SetResult();
        await using IImageLease lease = await pull;
        Assert.Equal(["came", "late"], Directory.EnumerateFiles(lease.RootPath).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Single(_registry.Requests, request => request.Path == came);

        // Only so that an endless wait fails.
        static Task<T> Soon<T>(Task<T> task) => task.WaitAsync(TimeSpan.FromSeconds(60), Cancel);

        async Task UseAsync(ImageStore user, string name) => await (await Soon(AcquireAsync(user, name))).DisposeAsync();
    }

    [Theory]
    [InlineData("damaged")]
    [InlineData("refused")]
    public async Task An_image_in_use_stays_even_if_its_manifest_cannot_be_read(string how)
    {
        Add("a");
        await using ImageStore store = Store(ImageRootKind.Flattened);
        await using ImageStore other = Store(ImageRootKind.Flattened, "other");
        IImageLease lease = await AcquireAsync(store, "a");
        string blob = _scratch["home/blobs/sha256/" + lease.Digest["sha256:".Length..]];
        FileLock? hold = null;
        if (how == "damaged")
        {
            await File.AppendAllTextAsync(blob, " ", Cancel);
        }
        else
        {
            // Simulates a process of another version that accepts this image.
            byte[] refused = """{"schemaVersion":2,"config":null,"layers":[]}"""u8.ToArray();
            await File.WriteAllBytesAsync(_scratch["home/blobs/sha256/" + ImageDigest.Sha256Of(refused).Hex], refused, Cancel);
            using var directory = new ImageDirectory(_scratch["home"]);
            directory.References.Write(Reference("refused"), ImageDigest.Sha256Of(refused));
            hold = directory.Locks.Hold(ImageDigest.Sha256Of(refused));
            Directory.CreateDirectory(_scratch["home/layers/sha256/" + new string('1', 64)]);
        }

        string[] before = Kept();
        foreach (ImageStore each in (ImageStore[])[other, store])
        {
            await each.CleanAbandonedAsync();
            await each.PruneAsync(TimeSpan.Zero, Cancel);
        }

        Assert.Equal(before.Order(), Kept().Order());
        Assert.Equal("a", Content(lease));

        // The image is removed after its last use.
        hold?.Dispose();
        await lease.DisposeAsync();
        await store.PruneAsync(TimeSpan.Zero, Cancel);
        Assert.Empty(Kept());
        Assert.Empty(Directory.EnumerateFileSystemEntries(_scratch["home/references"]));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_reference_that_cannot_be_written_leaves_no_use_behind(bool import)
    {
        Add("a");
        await using ImageStore store = Store(ImageRootKind.Flattened);
        string name = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(Reference("a").ToString())));
        Directory.CreateDirectory(_scratch[$"home/references/{name}/in the way"]);

        ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => import ? store.AcquireImportedAsync(RootOf("a"), Reference("a"), cancellationToken: Cancel) : AcquireAsync(store, "a"));

        Assert.Contains("test.example/a", fault.Message, StringComparison.Ordinal);
        await store.PruneAsync(TimeSpan.Zero, Cancel);
        Assert.Empty(Kept());
        Assert.Empty(Directory.EnumerateFileSystemEntries(_scratch["home/tmp"]).SelectMany(path => Directory.Exists(path) ? Directory.EnumerateFileSystemEntries(path) : []));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_image_larger_than_the_quota_does_not_take_over_a_reference(bool import)
    {
        Add("a");
        await using ImageStore store = Store(ImageRootKind.Flattened, quota: 3 * Size);
        IImageLease old = await AcquireAsync(store, "a");
        await old.DisposeAsync();
        _registry.AddImage("a", "latest", [Layer("large", 4 * Size)]);

        ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => import
            ? store.AcquireImportedAsync(RootOf("large", 4 * Size), Reference("a"), cancellationToken: Cancel)
            : store.AcquireAsync(Reference("a"), new ImageAcquireOptions { Policy = PullPolicy.Always }, Cancel));

        Assert.Contains("that all images may take here", fault.Message, StringComparison.Ordinal);
        await using ImageStore later = Store(ImageRootKind.Flattened, "later");
        foreach (ImageStore each in (ImageStore[])[store, later])
        {
            await using IImageLease again = await each.AcquireAsync(Reference("a"), new ImageAcquireOptions { Policy = PullPolicy.Never }, Cancel);
            Assert.Equal((old.Digest, "a"), (again.Digest, Content(again)));
        }

        Assert.Equal(old.Digest, Assert.Single(await store.ListAsync(Cancel)).Digest);
    }

    [Fact]
    public async Task RemoveAsync_removes_a_damaged_reference()
    {
        Add("a");
        await using ImageStore store = Store(ImageRootKind.Flattened);
        await using IImageLease lease = await AcquireAsync(store, "a");
        using (var directory = new ImageDirectory(_scratch["home"]))
        {
            directory.References.Write(Reference("broken"), ImageDigest.Sha256Of("nothing"u8));
        }

        Assert.Equal(ImageRemoval.InUse, await store.RemoveAsync(Reference("a"), Cancel));

        Assert.Single(Directory.EnumerateFiles(_scratch["home/references"]));
        Assert.Equal(["a"], await NamesAsync(store));
    }

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task Trees_deeper_than_the_longest_path_are_measured_and_removed(ImageRootKind kind)
    {
        RootKinds.SkipUnlessPossible(kind);
        string deep = string.Join('/', Enumerable.Repeat(new string('d', 250), 15));
        _registry.AddImage("a", "latest", [new Archive().Directory(deep + "/d").Link("s", deep).Add('0', $"s/{deep}/f", content: RandomNumberGenerator.GetBytes(Size)).ToBytes()]);
        await using ImageStore store = Store(kind, quota: 3 * Size);
        IImageLease lease = await AcquireAsync(store, "a");

        string[] trees = [.. Kept("layers", "roots").Where(Directory.Exists)];
        long counted = 0;
        foreach (string tree in trees)
        {
            counted += TreeSize.Measure(tree);
            Assert.Equal((await HostProgram.RunAsync("du", "-s", "-B1", tree)).Split('\t')[0], TreeSize.Measure(tree).ToString(CultureInfo.InvariantCulture));
        }

        Assert.InRange(counted, Size, 2 * Size);
        Assert.InRange(Assert.Single(await store.ListAsync(Cancel)).Bytes, counted, 3 * Size);
        await lease.DisposeAsync();
        Assert.Equal(ImageRemoval.Removed, await store.RemoveAsync(Reference("a"), Cancel));
        Assert.Empty(Kept());
        Assert.All(Directory.EnumerateDirectories(_scratch["home/tmp"]), path => Assert.Empty(Directory.EnumerateFileSystemEntries(path)));
    }

    public void Dispose()
    {
        _registry.Dispose();
        _scratch.Dispose();
    }

    // Random content does not compress.
    private static byte[] Layer(string name, int size = Size) => new Archive().Add('0', name, content: RandomNumberGenerator.GetBytes(size)).ToBytes();

    private static string Content(IImageLease lease) => Path.GetFileName(Directory.EnumerateFiles(lease.RootPath).Single());

    private static ImageReference Reference(string name) => ImageReference.Parse("test.example/" + name);

    private static async Task<string[]> NamesAsync(ImageStore store) =>
        [.. (await store.ListAsync(Cancel)).Select(image => image.Reference["test.example/".Length..^":latest".Length])];

    private ImageSource RootOf(string name, int size = Size)
    {
        File.WriteAllBytes(_scratch[name + ".tar"], Layer(name, size));
        return new(ImageSourceKind.RootArchive, _scratch[name + ".tar"]);
    }

    private void Add(string name) => _registry.AddImage(name, "latest", [Layer(name)]);

    private async Task<IImageLease> AcquireAsync(ImageStore store, string name)
    {
        _time.Advance(TimeSpan.FromMinutes(2));
        return await store.AcquireAsync(Reference(name), Cancel);
    }

    private string[] Kept() => Kept("layers", "blobs", "roots");

    private string[] Kept(params string[] kinds) =>
        [.. kinds.SelectMany(kind => Directory.GetDirectories(_scratch["home/" + kind], "sha256")).SelectMany(Directory.GetFileSystemEntries)];

    private ImageStore Store(ImageRootKind kind, string name = "roots", long? quota = null) => new(new ImageStoreOptions
    {
        Home = _scratch["home"],
        RootsDirectory = _scratch[name],
        RootKind = kind,
        TimeProvider = _time,
        PullTimeout = TimeSpan.FromHours(10),
        MaxImageStoreBytes = quota,
        Registries = [new() { Name = "test.example", Mirrors = [_registry.Url] }],
    });
}
