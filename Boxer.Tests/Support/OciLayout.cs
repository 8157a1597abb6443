using System.Text;
using Boxer.Images;
using Boxer.Images.Manifests;

namespace Boxer.Tests.Support;

/// <summary>Writes OCI layouts of arbitrary archives, including malformed ones.</summary>
internal static class OciLayout
{
    /// <summary>Creates a layout with one image, tagged <c>latest</c>.</summary>
    /// <param name="path">Directory to create.</param>
    /// <param name="archives">Tar archives of the layers, lowest first.</param>
    public static void Write(string path, params byte[][] archives)
    {
        Directory.CreateDirectory(Path.Combine(path, "blobs", "sha256"));
        File.WriteAllText(Path.Combine(path, "oci-layout"), """{"imageLayoutVersion":"1.0.0"}""");
        string config = Blob(path, "application/vnd.oci.image.config.v1+json", Encoding.UTF8.GetBytes($$"""
            {"architecture":"{{ImagePlatform.Current.Architecture}}","os":"linux","config":{},
             "rootfs":{"type":"layers","diff_ids":[{{string.Join(',', archives.Select(archive => $"\"{ImageDigest.Sha256Of(archive)}\""))}}]} }
            """));
        string manifest = Blob(path, ImageMediaTypes.OciManifest, Encoding.UTF8.GetBytes($$"""
            {"schemaVersion":2,"mediaType":"{{ImageMediaTypes.OciManifest}}","config":{{config}},
             "layers":[{{string.Join(',', archives.Select(archive => Blob(path, ImageMediaTypes.OciLayer + "+gzip", Archive.Gzip(archive))))}}]}
            """));
        File.WriteAllText(Path.Combine(path, "index.json"), $$"""
            {"schemaVersion":2,"manifests":[{{manifest[..^1]}},"annotations":{"org.opencontainers.image.ref.name":"latest"} }]}
            """);
    }

    private static string Blob(string path, string mediaType, byte[] content)
    {
        ImageDigest digest = ImageDigest.Sha256Of(content);
        File.WriteAllBytes(Path.Combine(path, "blobs", "sha256", digest.Hex), content);
        return $$"""{"mediaType":"{{mediaType}}","digest":"{{digest}}","size":{{content.Length}}}""";
    }
}
