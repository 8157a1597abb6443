using System.Runtime.Versioning;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Images.Layers;

/// <summary>
/// Unpacks layers. The kernel resolves all names inside the directory (openat2(2), Linux 5.6), so symbolic links of the layer cannot lead out of it,
/// and the last part of a name is never followed.
/// </summary>
/// <remarks>
/// <para>
/// Names: leading slashes are dropped. Names with <c>..</c> or NUL and empty names are rejected, and so is anything but a directory as the root.
/// </para>
/// <para>
/// Kept: regular files, directories, symbolic links with their targets as they are, hard links inside the layer, permission bits with
/// setuid, setgid (<see cref="LayerExtractionOptions.KeepSetId"/>) and sticky, modification times, attributes of the <c>user.</c> name space
/// (<c>user.overlay.</c> excepted, and only if the file system supports them), and, with <see cref="LayerExtractionOptions.KeepOwners"/>, owner, group
/// and <c>security.capability</c>.
/// </para>
/// <para>
/// Omitted: devices and FIFOs, unless they are rejected (a sandbox has its own /dev, and no device is ever created on the host), and all other
/// attributes, so that no layer can add overlayfs, access list or security module semantics.
/// </para>
/// <para>Sparse files (all formats of GNU tar) keep their holes.</para>
/// <para>Rejected: unknown entry types, hard links to anything but files and symbolic links, and hard links whose target is missing.</para>
/// <para>
/// Directories without an entry are created with mode 0755. An entry below a symbolic link is written where the link leads inside the directory. If
/// it leads nowhere, the layer is rejected, unless the entry is a whiteout, which hides nothing there.
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
                throw Rejected(entry, fault);
            }
            catch (NativeException fault) when (fault.Errno is Errno.EINVAL or Errno.ENAMETOOLONG or Errno.ELOOP or Errno.E2BIG or Errno.ERANGE)
            {
                // These errors are caused by the entry, not by this host.
                throw Rejected(entry, fault);
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

    // A fault of reading the archive may have a public reason of its own, which shows clients less.
    private static InvalidDataException Rejected(LayerEntry entry, Exception fault)
    {
        var rejected = new InvalidDataException($"Entry {LayerPath.Show(entry.Name)} is refused: {fault.Message}.", fault);
        return rejected.AsPublic(PublicReason.Of(fault) ?? rejected.Message);
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

    // A direct call: RandomAccess would first check whether each file can seek.
    private static void Append(SafeFileHandle file, ReadOnlySpan<byte> content)
    {
        while (content.Length > 0)
        {
            content = content[Check.Result(Unistd.Write(file, content), "write")..];
        }
    }
}
