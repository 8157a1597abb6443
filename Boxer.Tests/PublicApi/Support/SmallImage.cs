using System.Buffers.Binary;
using System.Formats.Tar;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;
using Boxer.Images;

namespace Boxer.PublicApi.Tests.Support;

/// <summary>An image of a few megabytes for tests that import one: busybox of this host as <c>true</c>, <c>echo</c> and <c>cat</c>.</summary>
internal static class SmallImage
{
    private const string Busybox = "/bin/busybox";
    private const string MediaTypes = "application/vnd.oci.image.";

    /// <summary>Writes the image as an OCI layout.</summary>
    /// <param name="directory">A new directory.</param>
    /// <returns>The layout; that of <see cref="PythonSandboxes"/> if this host has no static busybox.</returns>
    internal static async Task<ImageSource> MakeAsync(string directory)
    {
        if (!File.Exists(Busybox) || NeedsLoader(await File.ReadAllBytesAsync(Busybox)))
        {
            return PythonSandboxes.Source;
        }

        string blobs = Directory.CreateDirectory(Path.Join(directory, "blobs/sha256")).FullName;
        JsonObject layer = await AddAsync("layer.v1.tar", await LayerAsync());
        var config = new JsonObject
        {
            ["architecture"] = System.Runtime.InteropServices.RuntimeInformation.ProcessArchitecture == System.Runtime.InteropServices.Architecture.Arm64 ? "arm64" : "amd64",
            ["os"] = "linux",
            ["config"] = new JsonObject { ["Env"] = new JsonArray("PATH=/bin") },
            ["rootfs"] = new JsonObject { ["type"] = "layers", ["diff_ids"] = new JsonArray((string)layer["digest"]!) },
        };
        var manifest = new JsonObject { ["schemaVersion"] = 2, ["config"] = await AddAsync("config.v1+json", Bytes(config)), ["layers"] = new JsonArray(layer) };
        var index = new JsonObject { ["schemaVersion"] = 2, ["manifests"] = new JsonArray(await AddAsync("manifest.v1+json", Bytes(manifest))) };
        await File.WriteAllBytesAsync(Path.Join(directory, "index.json"), Bytes(index));
        await File.WriteAllTextAsync(Path.Join(directory, "oci-layout"), """{"imageLayoutVersion":"1.0.0"}""");
        return new(ImageSourceKind.OciLayout, directory);

        async Task<JsonObject> AddAsync(string kind, byte[] content)
        {
            string digest = Convert.ToHexStringLower(SHA256.HashData(content));
            await File.WriteAllBytesAsync(Path.Join(blobs, digest), content);
            return new() { ["mediaType"] = MediaTypes + kind, ["digest"] = "sha256:" + digest, ["size"] = content.Length };
        }
    }

    private static byte[] Bytes(JsonNode node) => Encoding.UTF8.GetBytes(node.ToJsonString());

    private static async Task<byte[]> LayerAsync()
    {
        using var bytes = new MemoryStream();
        await using (var tar = new TarWriter(bytes, leaveOpen: true))
        {
            foreach (string name in (string[])["bin", "usr"])
            {
                await tar.WriteEntryAsync(new PaxTarEntry(TarEntryType.Directory, name));
            }

            await tar.WriteEntryAsync(Busybox, "bin/busybox");
            foreach (string name in (string[])["true", "echo", "cat"])
            {
                await tar.WriteEntryAsync(new PaxTarEntry(TarEntryType.SymbolicLink, "bin/" + name) { LinkName = "busybox" });
            }
        }

        return bytes.ToArray();
    }

    // Whether a program header of the 64-bit ELF file names a loader (PT_INTERP).
    private static bool NeedsLoader(byte[] elf)
    {
        const int Interpreter = 3;
        int at = (int)BinaryPrimitives.ReadInt64LittleEndian(elf.AsSpan(32));
        int size = BinaryPrimitives.ReadUInt16LittleEndian(elf.AsSpan(54));
        int count = BinaryPrimitives.ReadUInt16LittleEndian(elf.AsSpan(56));
        return Enumerable.Range(0, count).Any(i => BinaryPrimitives.ReadInt32LittleEndian(elf.AsSpan(at + (i * size))) == Interpreter);
    }
}
