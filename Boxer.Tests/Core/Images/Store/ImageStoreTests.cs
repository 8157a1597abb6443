using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Boxer.Images;
using Boxer.Images.Disk;
using Boxer.Images.Layers;
using Boxer.Images.Manifests;
using Boxer.Images.Store;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Runtime;
using Boxer.Tests.Support;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Images.Store;

public sealed class ImageStoreTests(RegistryFixture registry) : IClassFixture<RegistryFixture>, IDisposable
{
    private readonly ScratchDirectory _scratch = new();
    private readonly ScriptedRegistry _scripted = new();

    [Theory]
    [Slow]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task Image_of_a_real_registry_becomes_a_root(ImageRootKind kind)
    {
        RootKinds.SkipUnlessPossible(kind);
        Assert.SkipWhen(registry.Missing is not null, registry.Missing ?? "");
        await PushBusyboxAsync($"team/busybox:{kind.ToString().ToLowerInvariant()}");
        string top = Directory.CreateDirectory(_scratch["top/.boxer"]).FullName;
        File.WriteAllText(Path.Combine(top, "init"), "top");
        Directory.CreateDirectory(_scratch["top/output"]);
        string reference = $"{registry.Host}/team/busybox:{kind.ToString().ToLowerInvariant()}";

        string root;
        await using (ImageStore store = Store(kind, options => options.With(changed => { changed.TopLayerDirectory = _scratch["top"]; changed.AllowedRegistries = [registry.Host]; })))
        {
            IImageLease lease = await store.AcquireAsync(ImageReference.Parse(reference), TestContext.Current.CancellationToken);
            root = lease.RootPath;
            Assert.Equal(kind, store.RootKind);
            Assert.StartsWith("sha256:", lease.Digest, StringComparison.Ordinal);
            Assert.Equal(["GREETING=hello world"], lease.Config.Env.Where(line => line.StartsWith("GREETING", StringComparison.Ordinal)));
            Assert.Equal(("/srv", "app"), (lease.Config.WorkingDir, lease.Config.User));
            Assert.Equal(1000u, ImageUsers.Resolve(new ImageAccounts(root), lease.Config.User).Uid);
            Assert.Equal("top", File.ReadAllText(Path.Combine(root, ".boxer", "init")));
            Assert.True(Directory.Exists(Path.Combine(root, "output")));
            Assert.Equal("second", File.ReadAllText(Path.Combine(root, "srv", "changed")));
            Assert.False(File.Exists(Path.Combine(root, "srv", "removed")));
            Assert.False(Directory.Exists(Path.Combine(root, "srv", "removed-directory")));
            Assert.Equal("42\n", await HostProgram.RunAsync(Path.Combine(root, "bin", "busybox"), "echo", "42"));
            if (kind == ImageRootKind.Overlay)
            {
                string mount = File.ReadLines("/proc/self/mounts").Single(line => line.Contains(root, StringComparison.Ordinal));
                Assert.Equal(["nodev", "nosuid", "ro"], mount.Split(' ')[3].Split(',').Intersect(["ro", "nosuid", "nodev"]).Order(StringComparer.Ordinal));
                Assert.ThrowsAny<IOException>(() => File.WriteAllText(Path.Combine(root, "new"), ""));
            }

            IImageLease again = await store.AcquireAsync(ImageReference.Parse($"{registry.Host}/team/busybox@{lease.Digest}"), TestContext.Current.CancellationToken);
            Assert.Equal(root, again.RootPath);
        }

        Assert.DoesNotContain(root + " ", File.ReadAllText("/proc/self/mounts") + (kind == ImageRootKind.Overlay ? "" : "no"), StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(_scratch["home/tmp"]));

        // A pulled image needs no registry any more, also in a later process.
        await using ImageStore later = Store(kind, options => options.With(changed =>
        {
            changed.TopLayerDirectory = _scratch["top"];
            changed.Registries = [new() { Name = registry.Host, Mirrors = ["http://127.0.0.1:1"] }];
        }));
        IImageLease offline = await later.AcquireAsync(ImageReference.Parse(reference), TestContext.Current.CancellationToken);
        Assert.Equal("second", File.ReadAllText(Path.Combine(offline.RootPath, "srv", "changed")));
    }

    [Fact]
    public async Task AcquireAsync_makes_the_root_that_umoci_unpacks()
    {
        Assert.SkipWhen(registry.Missing is not null, registry.Missing ?? "");
        Assert.SkipUnless(Unistd.geteuid() == 0, "owners need root");
        await PushBusyboxAsync("compare:1");
        await HostProgram.RunAsync("umoci", "raw", "unpack", "--image", _scratch["layout"] + ":latest", _scratch["umoci"]);
        foreach (ImageRootKind kind in (ImageRootKind[])[ImageRootKind.Overlay, ImageRootKind.Flattened])
        {
            await using ImageStore store = Store(kind, options => options.With(changed => changed.AllowedRegistries = [registry.Host]));
            IImageLease lease = await store.AcquireAsync(ImageReference.Parse($"{registry.Host}/compare:1"), TestContext.Current.CancellationToken);

            Assert.Equal(await ScratchDirectory.ListAsync(_scratch["umoci"]), await ScratchDirectory.ListAsync(lease.RootPath));
        }
    }

    [Fact]
    public async Task Docker_schema_2_and_lists_are_read()
    {
        Assert.SkipWhen(registry.Missing is not null, registry.Missing ?? "");
        await PushBusyboxAsync("docker:amd64", "--format", "v2s2");
        await using ImageStore store = Store(ImageRootKind.Flattened, options => options.With(changed => changed.AllowedRegistries = [registry.Host]));
        IImageLease direct = await store.AcquireAsync(ImageReference.Parse($"{registry.Host}/docker:amd64"), TestContext.Current.CancellationToken);

        using var client = new HttpClient();
        string list = JsonSerializer.Serialize(new
        {
            schemaVersion = 2,
            mediaType = ImageMediaTypes.DockerList,
            manifests = new[] { new { mediaType = ImageMediaTypes.DockerManifest, digest = direct.Digest, size = await SizeAsync(client, direct.Digest), platform = new { os = "linux", architecture = ImagePlatform.Current.Architecture } } },
        });
        using var content = new StringContent(list);
        content.Headers.ContentType = new(ImageMediaTypes.DockerList);
        using HttpResponseMessage put = await client.PutAsync(new Uri($"{registry.Url}/v2/docker/manifests/list"), content, TestContext.Current.CancellationToken);
        Assert.True(put.IsSuccessStatusCode, await put.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));

        IImageLease chosen = await store.AcquireAsync(ImageReference.Parse($"{registry.Host}/docker:list"), TestContext.Current.CancellationToken);
        Assert.Equal(direct.Digest, chosen.Digest);
        ImageNotFoundException fault = await Assert.ThrowsAsync<ImageNotFoundException>(
            () => store.AcquireAsync(ImageReference.Parse($"{registry.Host}/docker:missing"), TestContext.Current.CancellationToken));
        Assert.Contains("MANIFEST_UNKNOWN", fault.Message, StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task Whiteouts_and_opaque_directories_hide_lower_layers(ImageRootKind kind)
    {
        RootKinds.SkipUnlessPossible(kind);
        byte[] one = new Archive().File("gone", "1").File("d/old", "1").File("o/old", "1").File("r/old", "1").File("kept", "1").ToBytes();
        byte[] two = new Archive().File(".wh.gone").File("d/.wh.old").File("d/new", "2").File("o/.wh..wh..opq").File("o/new", "2").File(".wh.r").File("r/new", "2").ToBytes();
        byte[] empty = new Archive().ToBytes();
        _scripted.AddImage("a", "latest", [empty, one, empty, two, empty]);
        _scripted.AddImage("b", "latest", [one, new Archive().File(".wh..wh..opq").File("new", "2").ToBytes()]);
        _scripted.AddImage("none", "latest", []);
        await using ImageStore store = Store(kind);

        Assert.Equal(["d/new", "kept", "o/new", "r/new"], Files((await AcquireAsync(store, "a")).RootPath));
        Assert.Equal(["new"], Files((await AcquireAsync(store, "b")).RootPath));
        Assert.Empty(Files((await AcquireAsync(store, "none")).RootPath));
    }

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task An_image_with_as_many_layers_as_Docker_allows_is_pulled(ImageRootKind kind)
    {
        RootKinds.SkipUnlessPossible(kind);
        byte[][] layers = [.. Enumerable.Range(0, 127).Select(i => new Archive().File($"f{i:d3}", "x").ToBytes())];
        _scripted.AddImage("a", "latest", layers);
        _scripted.AddImage("b", "latest", [.. layers, layers[0]]);
        await using ImageStore store = Store(kind, options => options.With(changed => changed.TopLayerDirectory = Directory.CreateDirectory(_scratch["top"]).FullName));

        Assert.Equal(127, Files((await AcquireAsync(store, "a")).RootPath).Length);
        Assert.Contains("128 layers; 127 are allowed", (await Assert.ThrowsAsync<ImagePullException>(() => AcquireAsync(store, "b"))).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"schemaVersion":1,"fsLayers":[]}""", "schema 1")]
    [InlineData("""{"schemaVersion":2}""", "neither an image manifest nor an index")]
    [InlineData("""{"schemaVersion":2,"layers":[],"manifests":[]}""", "neither an image manifest nor an index")]
    [InlineData("""{"schemaVersion":2,"schemaVersion":2,"manifests":[]}""", "malformed")]
    [InlineData("""{"schemaVersion":2,"layers":[],"Layers":[]}""", "the manifest is malformed at line 1, byte")]
    [InlineData("""{"schemaVersion":2,"manifests":[],"MANIFESTS":[]}""", "the manifest is malformed at line 1, byte")]
    [InlineData("""{"schemaVersion":2,"config":{"digest":"$D","Digest":"$D","size":1},"layers":[]}""", "the manifest is malformed at line 1, byte")]
    [InlineData("""{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","layers":[]}""", "of a kind that is not supported")]
    [InlineData("""[]""", "malformed")]
    [InlineData("""null""", "is empty")]
    [InlineData("""{"schemaVersion":2,"config":{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"$D","size":1},"layers":[]}""", "not a container image")]
    [InlineData("""{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:../../etc","size":1},"layers":[]}""", "malformed digest")]
    [InlineData("""{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"$D","size":-1},"layers":[]}""", "malformed descriptor")]
    [InlineData("""{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"$D","size":9999999},"layers":[]}""", "8388608 are allowed")]
    [InlineData("""{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"$D","size":1},"layers":[null]}""", "malformed descriptor")]
    [InlineData("""{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"$D","size":1},"layers":[{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","digest":"$D","size":1}]}""", "foreign layer")]
    [InlineData("""{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"$D","size":1},"layers":[{"mediaType":"application/x","digest":"$D","size":1}]}""", "type that is not supported")]
    public async Task Unsupported_manifests_are_rejected_with_their_kind(string manifest, string message)
    {
        _scripted.AddManifest("a", "latest", Encoding.UTF8.GetBytes(manifest.Replace("$D", "sha256:" + new string('0', 64), StringComparison.Ordinal)), "application/json");
        await using ImageStore store = Store(ImageRootKind.Flattened);

        ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => AcquireAsync(store, "a"));

        Assert.Contains(message, fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_image_is_chosen_from_an_index_by_platform()
    {
        _scripted.AddImage("a", "arm", [new Archive().File("arm").ToBytes()], "arm64");
        _scripted.AddImage("a", "amd", [new Archive().File("amd").ToBytes()], "amd64");
        string Entry(string tag, string platform, string more = "") =>
            $$"""{"mediaType":"{{ImageMediaTypes.OciManifest}}","digest":"{{ImageDigest.Sha256Of(_scripted.Content["/v2/a/manifests/" + tag].Body)}}","size":1,"platform":{{platform}} {{more}} }""";
        _scripted.AddManifest("a", "latest", Encoding.UTF8.GetBytes($$"""
            {"schemaVersion":2,"manifests":[
              {{Entry("arm", """{"os":"unknown","architecture":"unknown"}""", ""","annotations":{"vnd.docker.reference.type":"attestation-manifest"}""")}},
              {{Entry("arm", """{"os":"windows","architecture":"amd64"}""")}},
              {{Entry("amd", """{"os":"linux","architecture":"amd64"}""")}},
              {{Entry("arm", """{"os":"linux","architecture":"arm64","variant":"v8"}""")}}]}
            """), ImageMediaTypes.OciIndex);
        foreach ((string platform, string file) in ((string, string)[])[("linux/amd64", "amd"), ("linux/arm64/v8", "arm"), ("linux/arm64", "arm")])
        {
            await using ImageStore store = Store(ImageRootKind.Flattened, options => options.With(changed => { changed.Platform = platform; changed.Home = _scratch["home-" + platform.Replace('/', '-')]; }));
            Assert.Equal([file], Files((await AcquireAsync(store, "a")).RootPath));
        }

        await using ImageStore other = Store(ImageRootKind.Flattened, options => options.With(changed => changed.Platform = "linux/riscv64"));
        ImageNotFoundException fault = await Assert.ThrowsAsync<ImageNotFoundException>(() => AcquireAsync(other, "a"));
        Assert.Contains("not available for linux/riscv64, only for: windows/amd64, linux/amd64, linux/arm64/v8", fault.Message, StringComparison.Ordinal);
        Assert.Contains("is for linux/arm64, not for linux/riscv64", (await Assert.ThrowsAsync<ImageNotFoundException>(() => AcquireAsync(other, "a:arm"))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AcquireAsync_callers_share_one_pull_and_cancel_independently()
    {
        string blob = _scripted.AddImage("a", "latest", [new Archive().File("f").ToBytes()]);
        var gate = new TaskCompletionSource();
        _scripted.Content[blob] = _scripted.Content[blob] with { Gate = gate.Task };
        await using ImageStore store = Store(ImageRootKind.Flattened);
        using var impatient = new CancellationTokenSource();
        Task<IImageLease> first = store.AcquireAsync(ImageReference.Parse("test.example/a"), impatient.Token);
        Task<IImageLease> second = AcquireAsync(store, "a");
        Task<IImageLease> third = AcquireAsync(store, "a:latest");
        await WaitAsync(() => _scripted.Requests.Any(request => request.Path == blob));

        await impatient.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);
        gate.SetResult();

        Assert.Equal((await second).RootPath, (await third).RootPath);
        Assert.Single(_scripted.Requests, request => request.Path == blob);
        Assert.Single(_scripted.Requests, request => request.Path.EndsWith("/manifests/latest", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_pull_ends_with_its_last_caller_and_the_next_starts_anew()
    {
        string blob = _scripted.AddImage("a", "latest", [new Archive().File("f").ToBytes()]);
        ScriptedAnswer whole = _scripted.Content[blob];
        _scripted.Content[blob] = whole with { Gate = Task.Delay(Timeout.Infinite, TestContext.Current.CancellationToken) };
        await using ImageStore store = Store(ImageRootKind.Flattened);
        using var impatient = new CancellationTokenSource();
        Task<IImageLease> only = store.AcquireAsync(ImageReference.Parse("test.example/a"), impatient.Token);
        await WaitAsync(() => _scripted.Requests.Any(request => request.Path == blob));

        await impatient.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => only);
        await WaitAsync(() => !Directory.EnumerateDirectories(_scratch["home/tmp"]).SelectMany(Directory.EnumerateFileSystemEntries).Any());

        _scripted.Content[blob] = whole;
        Assert.Equal(["f"], Files((await AcquireAsync(store, "a")).RootPath));
    }

    [Fact]
    public async Task A_failed_pull_is_not_remembered()
    {
        await using ImageStore store = Store(ImageRootKind.Flattened);
        await Assert.ThrowsAsync<ImageNotFoundException>(() => AcquireAsync(store, "a"));

        _scripted.AddImage("a", "latest", [new Archive().File("../escape").ToBytes()]);
        await Assert.ThrowsAsync<ImagePullException>(() => AcquireAsync(store, "a"));

        _scripted.AddImage("a", "latest", [new Archive().File("f").ToBytes()]);
        Assert.Equal(["f"], Files((await AcquireAsync(store, "a")).RootPath));
    }

    [Fact]
    public async Task PullTimeout_is_an_ImagePullException()
    {
        var time = new FakeTimeProvider();
        string blob = _scripted.AddImage("a", "latest", [new Archive().File("f").ToBytes()]);
        _scripted.Content[blob] = _scripted.Content[blob] with { Gate = Task.Delay(Timeout.Infinite, TestContext.Current.CancellationToken) };
        await using ImageStore store = Store(ImageRootKind.Flattened, options => options.With(changed => { changed.TimeProvider = time; changed.PullTimeout = TimeSpan.FromMinutes(1); }));
        Task<IImageLease> pull = AcquireAsync(store, "a");
        await WaitAsync(() => _scripted.Requests.Any(request => request.Path == blob));

        time.Advance(TimeSpan.FromMinutes(2));

        Assert.Contains("not pulled within 60 s", (await Assert.ThrowsAsync<ImagePullException>(() => pull)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Stalled_pulls_do_not_delay_stored_images()
    {
        _scripted.AddImage("here", "latest", [new Archive().File("f", "x").ToBytes()]);
        await using (ImageStore first = Store(ImageRootKind.Flattened))
        {
            await AcquireAsync(first, "here");
        }

        string blob = _scripted.AddImage("stalls", "latest", [new Archive().File("g", "y").ToBytes()]);
        _scripted.Content[blob] = _scripted.Content[blob] with { Gate = Task.Delay(Timeout.Infinite, TestContext.Current.CancellationToken) };
        await using ImageStore store = Store(ImageRootKind.Flattened, options => options.With(changed => changed.MaxConcurrentPulls = 1));
        using var leave = new CancellationTokenSource();
        Task<IImageLease> stalled = store.AcquireAsync(ImageReference.Parse("test.example/stalls"), leave.Token);
        await WaitAsync(() => _scripted.Requests.Any(request => request.Path == blob));

        Assert.Equal(["f"], Files((await AcquireAsync(store, "here")).RootPath));
        Assert.False(stalled.IsCompleted);
        await leave.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => stalled);
    }

    [Fact]
    public async Task Stalled_layers_do_not_take_the_memory_of_stored_images()
    {
        CancellationToken cancel = TestContext.Current.CancellationToken;
        _scripted.AddImage("here", "latest", [new Archive().File("f", "x").ToBytes()]);
        await using (ImageStore first = Store(ImageRootKind.Flattened))
        {
            await AcquireAsync(first, "here");
        }

        // The layer is stored, and the root is made again.
        TreeRemover.Remove(_scratch["home/roots"]);
        Directory.CreateDirectory(_scratch["home/roots"]);
        var stalling = new HashSet<string>();
        string[] names = [.. Enumerable.Range(0, 4).Select(i => $"stalls{i}")];
        foreach (string name in names)
        {
            byte[][] blobs = [.. Enumerable.Range(0, 3).Select(layer => Archive.Gzip(new Archive().File($"{name}{layer}", "y").ToBytes()))];
            _scripted.AddImage(name, "latest", [.. blobs.Select(blob => ImageDigest.Sha256Of(blob))], blobs);
            foreach (string path in blobs.Select(blob => $"/v2/{name}/blobs/{ImageDigest.Sha256Of(blob)}"))
            {
                stalling.Add(path);
                _scripted.Content[path] = _scripted.Content[path] with { Gate = Task.Delay(Timeout.Infinite, cancel) };
            }
        }

        await using ImageStore store = Store(ImageRootKind.Flattened, options => options.With(changed => changed.PullMemoryBytes = PullMemory.LeastBytes));
        using var leave = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        Task<IImageLease>[] stalled = [.. names.Select(name => store.AcquireAsync(ImageReference.Parse("test.example/" + name), leave.Token))];
        await WaitAsync(() => _scripted.Requests.Count(request => stalling.Contains(request.Path)) == stalling.Count);

        Assert.Equal(["f"], Files((await AcquireAsync(store, "here")).RootPath));
        Assert.All(stalled, pull => Assert.False(pull.IsCompleted));
        await leave.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Task.WhenAll(stalled));
    }

    [Fact]
    public async Task A_store_without_write_permission_is_an_ImagePullException()
    {
        _scripted.AddImage("a", "latest", [new Archive().File("f", "x").ToBytes()]);
        await using ImageStore store = Store(ImageRootKind.Flattened);
        File.WriteAllText(_scratch["home/roots/sha256"], "in the way");

        ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => AcquireAsync(store, "a"));

        Assert.IsType<IOException>(fault.InnerException, exactMatch: false);
    }

    [Fact]
    public async Task Damaged_content_is_pulled_again()
    {
        _scripted.AddImage("a", "latest", [new Archive().File("f", "x").ToBytes()]);
        await using (ImageStore store = Store(ImageRootKind.Flattened))
        {
            await AcquireAsync(store, "a");
        }

        TreeRemover.Remove(_scratch["home/roots"]);
        foreach (string blob in Directory.EnumerateFiles(_scratch["home/blobs/sha256"]))
        {
            byte[] content = File.ReadAllBytes(blob);
            content[^1] ^= 1;
            File.WriteAllBytes(blob, content);
        }

        await using ImageStore later = Store(ImageRootKind.Flattened);
        Assert.Equal(["f"], Files((await AcquireAsync(later, "a")).RootPath));
    }

    [Fact]
    public async Task CleanAbandonedAsync_removes_leftovers_of_dead_processes_only()
    {
        await using ImageStore living = Store(ImageRootKind.Flattened);
        string mine = Directory.EnumerateDirectories(_scratch["home/tmp"]).Single();
        string dead = Directory.CreateDirectory(_scratch["home/tmp/dead/layer/deep"]).FullName;
        File.WriteAllText(Path.Combine(dead, "file"), "x");
        File.WriteAllText(_scratch["home/tmp/dead.lock"], "");
        File.WriteAllText(Path.Combine(mine, "work"), "x");

        await using ImageStore other = Store(ImageRootKind.Flattened, options => options.With(changed => changed.RootsDirectory = _scratch["other"]));
        await other.CleanAbandonedAsync();

        Assert.False(Directory.Exists(_scratch["home/tmp/dead"]));
        Assert.False(File.Exists(_scratch["home/tmp/dead.lock"]));
        Assert.True(File.Exists(Path.Combine(mine, "work")));
    }

    [Fact]
    public async Task Mounts_of_a_dead_process_are_unmounted()
    {
        RootKinds.SkipUnlessPossible(ImageRootKind.Overlay);
        foreach (string name in (string[])["home", "roots with space/mount"])
        {
            Directory.CreateDirectory(_scratch[name]);
        }

        Check.Result(SysMount.mount("boxer-test", _scratch["roots with space/mount"], "tmpfs", 0, "size=64k"), "mount");
        File.SetUnixFileMode(_scratch["home"], (UnixFileMode)0x1C0);
        File.SetUnixFileMode(_scratch["roots with space"], (UnixFileMode)0x1C0);

        await using ImageStore store = Store(ImageRootKind.Overlay, options => options.With(changed => changed.RootsDirectory = _scratch["roots with space"]));

        Assert.Empty(Directory.EnumerateFileSystemEntries(_scratch["roots with space"]));
    }

    [Theory]
    [InlineData("home")]
    [InlineData("roots")]
    public async Task Mounts_of_a_dead_process_are_found_below_a_link(string where)
    {
        RootKinds.SkipUnlessPossible(ImageRootKind.Overlay);
        Directory.CreateDirectory(_scratch["real"]);
        Directory.CreateSymbolicLink(_scratch["link"], _scratch["real"]);
        await using (Store(ImageRootKind.Overlay, Change))
        {
            // Creates the directories.
        }

        string left = Directory.CreateDirectory(_scratch[where == "home" ? "real/home/tmp/dead" : "real/roots"]).FullName;
        string mount = Directory.CreateDirectory(Path.Combine(left, "mount")).FullName;
        File.WriteAllText(_scratch["real/home/tmp/dead.lock"], "");
        Check.Result(SysMount.mount("boxer-test", mount, "tmpfs", 0, "size=64k"), "mount");
        try
        {
            File.WriteAllText(Path.Combine(mount, "file"), "x");

            await using ImageStore store = Store(ImageRootKind.Overlay, Change);
            await store.CleanAbandonedAsync();

            Assert.DoesNotContain(mount, await File.ReadAllTextAsync("/proc/self/mountinfo", TestContext.Current.CancellationToken), StringComparison.Ordinal);
            Assert.False(Directory.Exists(mount));
        }
        finally
        {
            _ = SysMount.umount2(mount, 0);
        }

        ImageStoreOptions Change(ImageStoreOptions options) => options.With(changed => { changed.Home = _scratch["link/home"]; changed.RootsDirectory = where == "home" ? null : _scratch["link/roots"]; });
    }

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task RootsDirectory_belongs_to_one_store(ImageRootKind kind)
    {
        RootKinds.SkipUnlessPossible(kind);
        _scripted.AddImage("a", "latest", [new Archive().File("f").ToBytes()]);
        await using (ImageStore first = Store(kind))
        {
            await using IImageLease lease = await AcquireAsync(first, "a");
            foreach (string name in (string[])["roots", "roots/"])
            {
                ArgumentException fault = Assert.Throws<ArgumentException>(() => Store(kind, options => options.With(changed => { changed.Home = _scratch["other"]; changed.RootsDirectory = _scratch[name]; })));
                Assert.Equal($"RootsDirectory: {_scratch[name]} is in use by another store; give each store its own directory.", fault.Message);
            }

            Assert.Equal(["f"], Files(lease.RootPath));
        }

        await using (ImageStore second = Store(kind))
        {
            await using IImageLease lease = await AcquireAsync(second, "a");
            Assert.Equal(["f"], Files(lease.RootPath));
        }

        Assert.Equal(["home", "roots"], Directory.EnumerateFileSystemEntries(_scratch.Path).Select(Path.GetFileName).Order(StringComparer.Ordinal));
        Assert.Empty(Directory.EnumerateFileSystemEntries(_scratch["roots"]));
    }

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task A_full_disk_is_a_clear_fault_and_leaves_nothing(ImageRootKind kind)
    {
        RootKinds.SkipUnlessPossible(kind);
        Assert.SkipUnless(Unistd.geteuid() == 0, "a small disk of its own needs root");
        string disk = Directory.CreateDirectory(_scratch["disk"]).FullName;
        Check.Result(SysMount.mount("boxer-test", disk, "tmpfs", 0, "size=2m"), "mount");
        try
        {
            // Larger than the disk; for a flattened root also a size that fits once and not twice.
            foreach (int size in kind == ImageRootKind.Overlay ? (int[])[3_000_000] : [3_000_000, 1_200_000])
            {
                byte[] layer = new Archive().Add('0', "f", content: RandomNumberGenerator.GetBytes(size)).ToBytes();
                string blob = _scripted.AddImage($"a{size}", "latest", [layer]);
                await using ImageStore store = Store(kind, Change);

                ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => AcquireAsync(store, $"a{size}"));

                Assert.Matches($"^The image test.example/a{size}:latest could not be unpacked: layer {blob.Split('/')[^1]}: .*(No space left on device|space).*$", fault.Message);
                Assert.All(Directory.EnumerateDirectories(Path.Combine(disk, "home", "tmp")), path => Assert.Empty(Directory.EnumerateFileSystemEntries(path)));
                Assert.All((string[])["layers", "blobs", "roots"], name => Assert.Empty(Files(Path.Combine(disk, "home", name))));

                await HostProgram.RunAsync("mount", "-o", "remount,size=64m", disk);
                await using (IImageLease lease = await AcquireAsync(store, $"a{size}"))
                {
                    Assert.Equal(size, new FileInfo(Path.Combine(lease.RootPath, "f")).Length);
                }

                await store.PruneAsync(TimeSpan.Zero, TestContext.Current.CancellationToken);
                await HostProgram.RunAsync("mount", "-o", "remount,size=2m", disk);
            }
        }
        finally
        {
            _ = SysMount.umount2(disk, 0);
        }

        ImageStoreOptions Change(ImageStoreOptions options) => options.With(changed => { changed.Home = Path.Combine(disk, "home"); changed.MinFreeDiskBytes = 0; });
    }

    [Fact]
    public void ImageDirectory_must_not_be_open_to_other_users()
    {
        Directory.CreateDirectory(_scratch["open"]);
        File.SetUnixFileMode(_scratch["open"], (UnixFileMode)0x1E8);
        Directory.CreateSymbolicLink(_scratch["link"], _scratch["open"]);
        Assert.Contains("chmod 700", Home(_scratch["open"]), StringComparison.Ordinal);
        Assert.Contains("symbolic link", Home(_scratch["link"]), StringComparison.Ordinal);
        Assert.Contains("symbolic link", Home(_scratch["link"] + "/"), StringComparison.Ordinal);
        if (Unistd.geteuid() == 0)
        {
            Directory.CreateDirectory(_scratch["foreign"]);
            File.SetUnixFileMode(_scratch["foreign"], (UnixFileMode)0x1C0);
            using var handle = Fcntl.openat(Fcntl.AT_FDCWD, _scratch["foreign"], Fcntl.O_RDONLY, 0);
            Check.Result(Unistd.fchown(handle, 65534, 65534), "chown");
            Assert.Contains("belongs to the user 65534", Home(_scratch["foreign"]), StringComparison.Ordinal);
        }

        ArgumentException relative = Assert.Throws<ArgumentException>(() => Store(ImageRootKind.Flattened, options => options.With(changed => changed.Home = "relative")));
        Assert.Contains("Home: \"relative\" is not an absolute path", relative.Message, StringComparison.Ordinal);
        using (new ImageDirectory(_scratch["new"]))
        {
            Assert.Equal((UnixFileMode)0x1C0, File.GetUnixFileMode(_scratch["new"]));
        }

        static string Home(string path) => Assert.Throws<SandboxPrivilegeException>(() => new ImageDirectory(path).Dispose()).Message;
    }

    public void Dispose()
    {
        _scripted.Dispose();
        _scratch.Dispose();
    }

    private static async Task WaitAsync(Func<bool> condition)
    {
        while (!condition())
        {
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }
    }

    private static string[] Files(string root) =>
        [.. Directory.EnumerateFiles(root, "*", SearchOption.AllDirectories).Select(path => Path.GetRelativePath(root, path)).Order(StringComparer.Ordinal)];

    private ImageStore Store(ImageRootKind kind, Func<ImageStoreOptions, ImageStoreOptions>? change = null)
    {
        var options = new ImageStoreOptions
        {
            Home = _scratch["home"],
            RootsDirectory = _scratch["roots"],
            RootKind = kind,
            Registries = [new() { Name = "test.example", Mirrors = [_scripted.Url] }],
        };
        return new ImageStore(change is null ? options : change(options));
    }

    private static Task<IImageLease> AcquireAsync(ImageStore store, string reference) =>
        store.AcquireAsync(ImageReference.Parse("test.example/" + reference), TestContext.Current.CancellationToken);

    private async Task<long> SizeAsync(HttpClient client, string digest)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri($"{registry.Url}/v2/docker/manifests/{digest}"));
        request.Headers.Accept.Add(new(ImageMediaTypes.DockerManifest));
        using HttpResponseMessage response = await client.SendAsync(request, TestContext.Current.CancellationToken);
        return (await response.Content.ReadAsByteArrayAsync(TestContext.Current.CancellationToken)).Length;
    }

    /// <summary>Pushes an image of two layers: busybox and some files; changes and whiteouts.</summary>
    private async Task PushBusyboxAsync(string name, params string[] options)
    {
        string layout = _scratch["layout"];
        string image = layout + ":latest";
        string files = _scratch["files"];
        foreach (string directory in (string[])["bin", "etc", "srv/removed-directory/deep", "tmp"])
        {
            Directory.CreateDirectory(Path.Combine(files, directory));
        }

        string busybox = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Select(path => Path.Combine(path, "busybox")).First(File.Exists);
        File.Copy(busybox, Path.Combine(files, "bin", "busybox"));
        File.CreateSymbolicLink(Path.Combine(files, "bin", "sh"), "busybox");
        File.CreateSymbolicLink(Path.Combine(files, "bin", "absolute"), "/bin/busybox");
        await HostProgram.RunAsync("ln", Path.Combine(files, "bin", "busybox"), Path.Combine(files, "bin", "hard"));
        await HostProgram.RunAsync("chmod", "4755", Path.Combine(files, "bin", "busybox"));
        await HostProgram.RunAsync("chmod", "1777", Path.Combine(files, "tmp"));
        File.WriteAllText(Path.Combine(files, "etc", "passwd"), "root:x:0:0::/:/bin/sh\napp:x:1000:1000::/srv:/bin/sh\n");
        File.WriteAllText(Path.Combine(files, "srv", "changed"), "first");
        File.WriteAllText(Path.Combine(files, "srv", "removed"), "first");
        File.WriteAllText(Path.Combine(files, "srv", "removed-directory", "deep", "file"), "first");
        await HostProgram.RunAsync("umoci", "init", "--layout", layout);
        await HostProgram.RunAsync("umoci", "new", "--image", image);
        await HostProgram.RunAsync("umoci", "insert", "--image", image, files, "/");
        File.WriteAllText(_scratch["second"], "second");
        await HostProgram.RunAsync("umoci", "insert", "--image", image, _scratch["second"], "/srv/changed");
        await HostProgram.RunAsync("umoci", "insert", "--image", image, "--whiteout", "/srv/removed");
        await HostProgram.RunAsync("umoci", "insert", "--image", image, "--whiteout", "/srv/removed-directory");
        await HostProgram.RunAsync(
            "umoci", "config", "--image", image, "--config.user", "app", "--config.workingdir", "/srv", "--config.env", "GREETING=hello world");
        await registry.PushAsync(layout, "latest", name, options);
    }
}
