using System.Runtime.Versioning;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Images.Layers;

/// <summary>
/// Unpacks layers with names that the kernel resolves inside the directory (openat2(2), Linux 5.6): symbolic links of the layer lead
/// nowhere else, and the last part of a name is never followed.
/// </summary>
/// <remarks>
/// <para>Names: leading slashes are dropped; <c>..</c>, NUL and an empty name are refused, and so is anything but a directory as the root.</para>
/// <para>
/// Kept: regular files, directories, symbolic links with their targets as they are, hard links inside the layer, permission bits with
/// setuid, setgid (<see cref="LayerExtractionOptions.KeepSetId"/>) and sticky, modification times, attributes of the <c>user.</c> name space (where the file system takes them;
/// <c>user.overlay.</c> never) and, with <see cref="LayerExtractionOptions.KeepOwners"/>, owner, group and <c>security.capability</c>.
/// </para>
/// <para>
/// Left out: devices and FIFOs, unless they are to be refused (a sandbox has its own /dev, and no device is ever made on the host), and all
/// other attributes, so that no layer can bring overlayfs, access list or security module semantics of its own.
/// </para>
/// <para>Sparse files (all formats of GNU tar) keep their holes.</para>
/// <para>Refused: unknown entry types, hard links to anything but files and symbolic links, links whose target is missing.</para>
/// <para>
/// Directories that an archive leaves out are made with mode 0755. An entry below a symbolic link goes where the link leads inside
/// the directory; if it leads nowhere, the layer is refused, unless the entry is a whiteout: that hides nothing there.
/// </para>
/// </remarks>
[SupportedOSPlatform("linux")]
public sealed class LayerExtractor : ILayerExtractor
{
    /// <inheritdoc/>
    public async Task<ExtractedLayer> ExtractAsync(
        Stream archive, string directory, LayerExtractionOptions options, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(archive);
        ArgumentException.ThrowIfNullOrEmpty(directory);
        ArgumentNullException.ThrowIfNull(options);

        using SafeFileHandle root = DirectoryHandle.Open(directory);
        using var writer = new LayerWriter(root, options);
        var reader = new LayerArchiveReader(archive);
        while (await ReadEntryAsync(reader, cancellationToken).ConfigureAwait(false) is { } entry)
        {
            cancellationToken.ThrowIfCancellationRequested();
            try
            {
                using SafeFileHandle? file = writer.Write(entry);
                if (file is not null)
                {
                    await CopyContentAsync(reader, file, entry, cancellationToken).ConfigureAwait(false);
                    writer.FinishFile(file, entry);
                }
            }
            catch (InvalidDataException fault)
            {
                throw Refused(entry, fault);
            }
            catch (NativeException fault) when (fault.Errno is Errno.EINVAL or Errno.ENAMETOOLONG or Errno.ELOOP or Errno.E2BIG or Errno.ERANGE)
            {
                // The entry is at fault, and not this host.
                throw Refused(entry, fault);
            }
            catch (NativeException fault)
            {
                throw new IOException($"Entry {LayerPath.Show(entry.Name)} could not be unpacked: {fault.Message}.", fault);
            }
        }

        await reader.DrainAsync(cancellationToken).ConfigureAwait(false);
        writer.Finish();
        return new() { ImpliedDirectories = writer.ImpliedDirectories() };
    }

    // A read that fails meanwhile may have a reason that says less to clients.
    private static InvalidDataException Refused(LayerEntry entry, Exception fault)
    {
        var refused = new InvalidDataException($"Entry {LayerPath.Show(entry.Name)} is refused: {fault.Message}.", fault);
        return refused.AsPublic(PublicReason.Of(fault) ?? refused.Message);
    }

    private static async ValueTask<LayerEntry?> ReadEntryAsync(LayerArchiveReader reader, CancellationToken cancellationToken)
    {
        try
        {
            return await reader.ReadEntryAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (InvalidDataException fault) when (fault.InnerException is null)
        {
            throw new InvalidDataException($"The layer is malformed: {fault.Message}.", fault).AsPublic(PublicReason.Of(fault) ?? "one of its layers is malformed");
        }
    }

    private static async Task CopyContentAsync(LayerArchiveReader reader, SafeFileHandle file, LayerEntry entry, CancellationToken cancellationToken)
    {
        foreach (SparseChunk chunk in entry.Chunks ?? [new(0, entry.Size)])
        {
            for (long left = chunk.Length; left > 0;)
            {
                ReadOnlyMemory<byte> data = await reader.ReadDataAsync(left, cancellationToken).ConfigureAwait(false);
                if (entry.Chunks is null)
                {
                    Append(file, data.Span);
                }
                else
                {
                    RandomAccess.Write(file, data.Span, chunk.Offset + chunk.Length - left);
                }

                left -= data.Length;
            }
        }

        if (entry.Chunks is not null)
        {
            RandomAccess.SetLength(file, entry.Size);
        }
    }

    // One call: .NET's would first ask each file whether it can seek.
    private static void Append(SafeFileHandle file, ReadOnlySpan<byte> content)
    {
        while (content.Length > 0)
        {
            content = content[Check.Result(Unistd.Write(file, content), "write")..];
        }
    }
}
