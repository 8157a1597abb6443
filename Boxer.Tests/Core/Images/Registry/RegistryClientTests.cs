using System.Text;
using Boxer.Images;
using Boxer.Images.Manifests;
using Boxer.Images.Registry;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Images.Registry;

/// <summary><see cref="RegistryClient"/> without a store.</summary>
public sealed class RegistryClientTests : IDisposable
{
    private static readonly byte[] Layer = new Archive().File("file", "content").ToBytes();

    private readonly ScriptedRegistry _registry = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Manifests_images_blobs_and_layers_are_verified()
    {
        _registry.AddImage("a", "latest", [Layer]);
        using RegistryClient client = Client();
        ImageReference reference = Reference("a");

        RegistryManifest manifest = await client.GetManifestAsync(reference, Cancel);
        RegistryImage image = await client.GetImageAsync(reference, Cancel);

        Assert.Equal(ImageDigest.Sha256Of(manifest.Content.Span).ToString(), manifest.Digest);
        Assert.Equal((manifest.Digest, ImageMediaTypes.OciManifest), (image.Digest, manifest.MediaType));
        Assert.Equal(("/w", "app"), (image.Config.WorkingDir, image.Config.User));
        RegistryLayer layer = Assert.Single(image.Layers);
        Assert.Equal(ImageDigest.Sha256Of(Layer).ToString(), layer.DiffId);
        Assert.Equal(Archive.Gzip(Layer), await ReadAsync(await client.OpenBlobAsync(reference, layer.Digest, layer.Size, Cancel)));
        Assert.Equal(Layer, await ReadAsync(await client.OpenLayerAsync(reference, layer, Cancel)));
        Assert.Equal(manifest.Digest, (await client.GetManifestAsync(Reference("a@" + manifest.Digest), Cancel)).Digest);
    }

    [Fact]
    public async Task GetManifestAsync_returns_an_index_unchanged_and_GetImageAsync_chooses_from_it()
    {
        _registry.AddImage("a", "amd64", [Layer], architecture: "amd64");
        _registry.AddImage("a", "arm64", [Layer], architecture: "arm64");
        string index = string.Join(',', ((string[])["amd64", "arm64"]).Select(name => $$"""
            {"mediaType":"{{ImageMediaTypes.OciManifest}}","digest":"{{ImageDigest.Sha256Of(_registry.Content[$"/v2/a/manifests/{name}"].Body)}}","size":1,"platform":{"os":"linux","architecture":"{{name}}"} }
            """));
        _registry.AddManifest("a", "latest", Encoding.UTF8.GetBytes($$"""{"schemaVersion":2,"mediaType":"{{ImageMediaTypes.OciIndex}}","manifests":[{{index}}]}"""), ImageMediaTypes.OciIndex);
        foreach (string name in (string[])["amd64", "arm64"])
        {
            using RegistryClient client = Client($"linux/{name}");

            Assert.Equal(ImageMediaTypes.OciIndex, (await client.GetManifestAsync(Reference("a"), Cancel)).MediaType);
            Assert.Equal((await client.GetManifestAsync(Reference("a:" + name), Cancel)).Digest, (await client.GetImageAsync(Reference("a"), Cancel)).Digest);
        }

        using RegistryClient other = Client("linux/s390x");
        ImageNotFoundException fault = await Assert.ThrowsAsync<ImageNotFoundException>(() => other.GetImageAsync(Reference("a"), Cancel));
        Assert.Contains("only for: linux/amd64, linux/arm64", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task OpenBlobAsync_and_OpenLayerAsync_fail_at_the_end_of_wrong_content()
    {
        string blob = _registry.AddImage("a", "latest", [Layer]);
        byte[] lie = Archive.Gzip(new Archive().File("file", "another").ToBytes());
        using RegistryClient client = Client();
        RegistryLayer layer = (await client.GetImageAsync(Reference("a"), Cancel)).Layers[0];
        _registry.Content[blob] = new(200, lie) { StatedLength = -1 };

        Assert.Contains("A part of test.example/a:latest could not be pulled: blob ", (await FailAsync(client.OpenBlobAsync(Reference("a"), layer.Digest, layer.Size, Cancel))).Message, StringComparison.Ordinal);
        Assert.Contains("could not be pulled", (await FailAsync(client.OpenLayerAsync(Reference("a"), layer, Cancel))).Message, StringComparison.Ordinal);

        // The blob is right, but the archive in it is not.
        _registry.Content[blob.Replace(layer.Digest, ImageDigest.Sha256Of(lie).ToString(), StringComparison.Ordinal)] = new(200, lie);
        RegistryLayer other = layer with { Digest = ImageDigest.Sha256Of(lie).ToString(), Size = lie.Length };
        Assert.Contains($"instead of {layer.DiffId}", (await FailAsync(client.OpenLayerAsync(Reference("a"), other, Cancel))).Message, StringComparison.Ordinal);
        byte[] garbage = [0x1f, 0x8b, .. new byte[100]];
        _registry.Content[blob.Replace(layer.Digest, ImageDigest.Sha256Of(garbage).ToString(), StringComparison.Ordinal)] = new(200, garbage);
        other = layer with { Digest = ImageDigest.Sha256Of(garbage).ToString(), Size = garbage.Length };
        Assert.IsType<InvalidDataException>((await FailAsync(client.OpenLayerAsync(Reference("a"), other, Cancel))).InnerException);
    }

    [Fact]
    public async Task Faults_are_those_of_a_store()
    {
        using RegistryClient client = Client();

        await Assert.ThrowsAsync<ImageNotFoundException>(() => client.GetManifestAsync(Reference("missing"), Cancel));
        await Assert.ThrowsAsync<ImagePullException>(() => client.OpenBlobAsync(Reference("missing"), ImageDigest.Sha256Of([]).ToString(), 0, Cancel));
        Assert.Contains("is not a digest", (await Assert.ThrowsAsync<ArgumentException>(() => client.OpenBlobAsync(Reference("a"), "sha256:../x", 0, Cancel))).Message, StringComparison.Ordinal);
        Assert.Contains("Platform: \"plan9\"", Assert.Throws<ArgumentException>(() => Client("plan9")).Message, StringComparison.Ordinal);
        using var listed = new RegistryClient(new RegistryClientOptions { AllowedRegistries = ["ghcr.io"] });
        await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => listed.GetManifestAsync(Reference("a"), Cancel));
    }

    public void Dispose() => _registry.Dispose();

    private static ImageReference Reference(string name) => ImageReference.Parse("test.example/" + name);

    private static async Task<byte[]> ReadAsync(Stream stream)
    {
        await using (stream)
        {
            using var content = new MemoryStream();
            await stream.CopyToAsync(content, Cancel);
            return content.ToArray();
        }
    }

    private static Task<ImagePullException> FailAsync(Task<Stream> open) => Assert.ThrowsAsync<ImagePullException>(async () => await ReadAsync(await open));

    private RegistryClient Client(string? platform = null) => new(new RegistryClientOptions
    {
        Platform = platform,
        Registries = [new() { Name = "test.example", Mirrors = [_registry.Url] }],
    });
}
