using Boxer.Images;
using Boxer.Images.Manifests;
using Boxer.Images.Store;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Images.Store;

/// <summary>A stored layer or config becomes part of another image only if that image's own origin has it: a digest gives no access to content.</summary>
public sealed class LayerPossessionTests : IDisposable
{
    private static readonly byte[] Secret = new Archive().File("secret", "of another tenant").ToBytes();

    private readonly ScratchDirectory _scratch = new();
    private readonly ScriptedRegistry _private = new();
    private readonly ScriptedRegistry _evil = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private static ImageDigest SecretDigest => ImageDigest.Sha256Of(Secret);

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task The_digests_of_a_private_layer_give_no_access_to_it_through_another_registry(ImageRootKind kind)
    {
        await using ImageStore store = await StoreWithSecretAsync(kind);
        byte[] blob = Archive.Gzip(Secret);
        _evil.AddImage("a", "latest", [SecretDigest], [blob]);
        _evil.AddImage("b", "latest", [SecretDigest], [Archive.Gzip(new Archive().ToBytes())]);

        // The registry claims to have every blob, and sends other content.
        _evil.Script = request => request.Method == "HEAD" ? new(200, []) { StatedLength = blob.Length }
            : request.Path == $"/v2/a/blobs/{ImageDigest.Sha256Of(blob)}" ? new(200, new byte[blob.Length])
            : null;

        await RefusedAsync(store, "evil.example/a");
        await RefusedAsync(store, "evil.example/b");
    }

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task The_manifest_of_a_private_image_gives_no_access_to_its_config_and_layers(ImageRootKind kind)
    {
        await using ImageStore store = await StoreWithSecretAsync(kind);
        byte[] manifest = _private.Content["/v2/team/secret/manifests/latest"].Body;
        _evil.AddManifest("a", "latest", manifest);

        await RefusedAsync(store, "evil.example/a");
        await RefusedAsync(store, $"evil.example/a@{ImageDigest.Sha256Of(manifest)}");

        // Also with the config, which is less secret.
        foreach ((string path, ScriptedAnswer answer) in _private.Content.Where(pair => pair.Value.Body.AsSpan().IndexOf("diff_ids"u8) >= 0))
        {
            _evil.Content[path.Replace("/v2/team/secret/", "/v2/a/", StringComparison.Ordinal)] = answer;
        }

        await RefusedAsync(store, "evil.example/a");
    }

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task Another_repository_of_the_registry_uses_a_stored_layer_only_if_the_registry_confirms_it(ImageRootKind kind)
    {
        await using ImageStore store = await StoreWithSecretAsync(kind);
        string hidden = _private.AddImage("evil/a", "latest", [Secret]);
        string shown = _private.AddImage("team/b", "latest", [Secret]);
        Assert.True(_private.Content.TryRemove(hidden, out _));

        await RefusedAsync(store, "private.example/evil/a");
        await using IImageLease lease = await AcquireAsync(store, "private.example/team/b");

        Assert.Equal("of another tenant", File.ReadAllText(Path.Combine(lease.RootPath, "secret")));
        Assert.Equal(["HEAD"], _private.Requests.Where(request => request.Path == shown).Select(request => request.Method));
    }

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task Another_registry_must_deliver_a_stored_layer_once(ImageRootKind kind)
    {
        await using ImageStore store = await StoreWithSecretAsync(kind);
        string first = _evil.AddImage("a", "latest", [Secret]);
        string second = _evil.AddImage("b", "latest", [Secret, new Archive().File("more", "m").ToBytes()]);

        await using (IImageLease lease = await AcquireAsync(store, "evil.example/a"))
        {
            Assert.Equal("of another tenant", File.ReadAllText(Path.Combine(lease.RootPath, "secret")));
        }

        await (await AcquireAsync(store, "evil.example/b")).DisposeAsync();
        Assert.Equal(["GET"], _evil.Requests.Where(request => request.Path == first).Select(request => request.Method));
        Assert.Equal(["HEAD"], _evil.Requests.Where(request => request.Path == second).Select(request => request.Method));
        Assert.Equal(0, (await store.PruneAsync(null, Cancel)).Images);
    }

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task A_layer_is_downloaded_again_if_the_registry_does_not_support_HEAD(ImageRootKind kind)
    {
        await using ImageStore store = await StoreWithSecretAsync(kind);
        string blob = _private.AddImage("team/b", "latest", [Secret]);
        _private.Script = request => request.Method == "HEAD" ? new(405, []) : null;

        await (await AcquireAsync(store, "private.example/team/b")).DisposeAsync();

        Assert.Equal(["HEAD", "GET"], _private.Requests.Where(request => request.Path == blob).Select(request => request.Method));
    }

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task Imported_files_must_contain_the_layers_that_they_name(ImageRootKind kind)
    {
        await using ImageStore store = await StoreWithSecretAsync(kind);
        string blobs = Directory.CreateDirectory(_scratch["layout/blobs/sha256"]).FullName;
        string manifest = _private.Content.Keys.Single(path => path.StartsWith("/v2/team/secret/manifests/sha256:", StringComparison.Ordinal));
        foreach ((string path, ScriptedAnswer answer) in _private.Content.Where(pair => pair.Key == manifest || pair.Value.Body.AsSpan().IndexOf("diff_ids"u8) >= 0))
        {
            File.WriteAllBytes(Path.Combine(blobs, path.Split(':')[^1]), answer.Body);
        }

        File.WriteAllText(_scratch["layout/index.json"], $$"""
            {"schemaVersion":2,"manifests":[{"mediaType":"{{ImageMediaTypes.OciManifest}}","digest":"sha256:{{manifest.Split(':')[^1]}}","size":{{_private.Content[manifest].Body.Length}} }]}
            """);
        var source = new ImageSource(ImageSourceKind.OciLayout, _scratch["layout"]);

        Exception fault = await Assert.ThrowsAnyAsync<Exception>(() => store.ImportAsync(source, ImageReference.Parse("local/a"), cancellationToken: Cancel));
        Assert.True(fault is ImagePullException or ImageNotFoundException, fault.ToString());

        byte[] blob = Archive.Gzip(Secret);
        File.WriteAllBytes(Path.Combine(blobs, ImageDigest.Sha256Of(blob).Hex), blob);
        await using IImageLease lease = await store.AcquireImportedAsync(source, ImageReference.Parse("local/a"), cancellationToken: Cancel);
        Assert.Equal("of another tenant", File.ReadAllText(Path.Combine(lease.RootPath, "secret")));
    }

    public void Dispose()
    {
        _private.Dispose();
        _evil.Dispose();
        _scratch.Dispose();
    }

    private static Task<IImageLease> AcquireAsync(ImageStore store, string name) => store.AcquireAsync(ImageReference.Parse(name), Cancel);

    private static async Task RefusedAsync(ImageStore store, string name)
    {
        Exception fault = await Assert.ThrowsAnyAsync<Exception>(() => AcquireAsync(store, name));
        Assert.True(fault is ImagePullException or ImageNotFoundException, fault.ToString());
        Assert.DoesNotContain(await store.ListAsync(Cancel), image => image.Reference.StartsWith("evil.example", StringComparison.Ordinal));
    }

    private async Task<ImageStore> StoreWithSecretAsync(ImageRootKind kind)
    {
        RootKinds.SkipUnlessPossible(kind);
        _private.AddImage("team/secret", "latest", [Secret]);
        var store = new ImageStore(new ImageStoreOptions
        {
            Home = _scratch["home"],
            RootKind = kind,
            Registries = [new() { Name = "private.example", Mirrors = [_private.Url] }, new() { Name = "evil.example", Mirrors = [_evil.Url] }],
        });
        await (await AcquireAsync(store, "private.example/team/secret")).DisposeAsync();
        return store;
    }
}
