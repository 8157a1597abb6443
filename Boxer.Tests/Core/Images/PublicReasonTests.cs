using System.Text;
using Boxer.Images;
using Boxer.Images.Manifests;
using Boxer.Images.Store;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Images;

/// <summary>Messages for clients about unusable images: they have reasons about the image or a limit, and nothing about this host.</summary>
public sealed class PublicReasonTests : IDisposable
{
    private static readonly string Platform = ImagePlatform.Current.ToString();
    private readonly ScratchDirectory _scratch = new();
    private readonly ScriptedRegistry _registry = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task PublicMessage_has_faults_of_the_image()
    {
        _registry.AddImage("config", "latest", [new Archive().File("f").ToBytes()], "s390x");
        _registry.AddManifest("index", "latest", Encoding.UTF8.GetBytes($$"""
            {"schemaVersion":2,"mediaType":"{{ImageMediaTypes.OciIndex}}","manifests":[{"mediaType":"{{ImageMediaTypes.OciManifest}}","digest":"sha256:{{new string('0', 64)}}","size":1,"platform":{"os":"linux","architecture":"s390x"} }]}
            """), ImageMediaTypes.OciIndex);
        _registry.AddManifest("schema1", "latest", """{"schemaVersion":1,"fsLayers":[]}"""u8.ToArray(), "application/vnd.docker.distribution.manifest.v1+json");
        _registry.AddImage("entry", "latest", [new Archive().File("../x").ToBytes()]);
        _registry.AddImage("archive", "latest", ["no archive"u8.ToArray()]);
        string blob = _registry.AddImage("digest", "latest", [new Archive().File("f").ToBytes()]);
        byte[] forged = [.. _registry.Content[blob].Body];
        forged[^1] ^= 1;
        _registry.Content[blob] = new(200, forged);
        _registry.AddImage("many", "latest", [Enumerable.Range(0, 11).Aggregate(new Archive(), (archive, i) => archive.File($"f{i}")).ToBytes()]);
        _registry.AddImage("large", "latest", [new Archive().File("f", new string('x', 2_000_000)).ToBytes()]);
        _registry.Script = request => request.Path.StartsWith("/v2/private/", StringComparison.Ordinal)
            ? new(401, [], ("WWW-Authenticate", $"Bearer realm=\"{_registry.Url}/token\""))
            : request.Path.StartsWith("/token", StringComparison.Ordinal) ? new(401, [])
            : request.Path.StartsWith("/v2/broken/", StringComparison.Ordinal) ? new(418, []) : null;
        await using ImageStore store = Store(options => options.With(changed => { changed.MaxImageBytes = 1_000_000; changed.MaxImageEntries = 10; }));

        foreach ((string name, string reason) in ((string, string)[])
        [
            ("config", $"could not be pulled: the image is for linux/s390x, not for {Platform}."),
            ("index", $"could not be pulled: the image is not available for {Platform}, only for: linux/s390x."),
            ("schema1", "could not be pulled: the image has a Docker schema 1 manifest, which carries no layer digests that can be trusted; push it again with a current tool."),
            ("entry", "could not be pulled: Entry \"../x\" is refused: a name has \"..\" in it."),
            ("archive", "could not be pulled: one of its layers is malformed."),
            ("digest", $"could not be pulled: blob {blob[(blob.LastIndexOf('/') + 1)..]} has the digest {ImageDigest.Sha256Of(forged)} instead of {blob[(blob.LastIndexOf('/') + 1)..]}."),
            ("many", "could not be pulled: Entry \"f10\" is refused: the layer has more than 10 files, directories and links."),
            ("large", "could not be pulled: Entry \"f\" is refused: the files of the layer have more than 1000000 bytes."),
            ("private", "could not be pulled: it does not exist, or needs credentials that this host does not have."),
            ("missing", "was not found."),
            ("broken", "could not be pulled."),
        ])
        {
            SandboxException fault = await FailAsync(store, name);
            Assert.Equal($"The image test.example/{name}:latest {reason}", fault.PublicMessage);
            Assert.Equal(name is "config" or "index" or "private" or "missing", fault is ImageNotFoundException);
        }
    }

    [Fact]
    public async Task PublicMessage_of_a_full_disk_has_no_path()
    {
        _registry.AddImage("a", "latest", [new Archive().File("f", "x").ToBytes()]);
        await using ImageStore store = Store(options => options.With(changed => changed.MinFreeDiskBytes = 1L << 50));

        SandboxException fault = await FailAsync(store, "a");

        Assert.Contains(_scratch["home"], fault.Message, StringComparison.Ordinal);
        Assert.Equal("The image test.example/a:latest could not be unpacked: this host has not enough disk space for it.", fault.PublicMessage);
    }

    [Fact]
    public async Task PublicMessage_of_an_import_has_no_path()
    {
        await using ImageStore store = Store(options => options);

        foreach ((string source, string answer) in ((string, string)[])[($"rootfs:{_scratch["nowhere"]}", "was not found."), ($"oci-archive:{_scratch["nowhere"]}", "could not be imported.")])
        {
            SandboxException fault = await Assert.ThrowsAnyAsync<SandboxException>(
                () => store.ImportAsync(ImageSource.Parse(source), ImageReference.Parse("test.example/a"), cancellationToken: Cancel));

            Assert.Contains(_scratch["nowhere"], fault.Message, StringComparison.Ordinal);
            Assert.Equal($"The image test.example/a:latest {answer}", fault.PublicMessage);
        }
    }

    public void Dispose()
    {
        _registry.Dispose();
        _scratch.Dispose();
    }

    private static async Task<SandboxException> FailAsync(ImageStore store, string name) =>
        await Assert.ThrowsAnyAsync<SandboxException>(() => store.AcquireAsync(ImageReference.Parse("test.example/" + name), Cancel));

    private ImageStore Store(Func<ImageStoreOptions, ImageStoreOptions> change) => new(change(new ImageStoreOptions
    {
        Home = _scratch["home"],
        RootKind = ImageRootKind.Flattened,
        Registries = [new() { Name = "test.example", Mirrors = [_registry.Url] }],
    }));
}
