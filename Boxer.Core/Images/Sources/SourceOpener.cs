using Boxer.Images.Layers;
using Boxer.Images.Manifests;

namespace Boxer.Images.Sources;

/// <summary>Opens the files and directories of this host that images are imported from. They may be hostile.</summary>
/// <param name="platform">The platform of images that name none.</param>
/// <param name="unpacker">Has the limits of an image and the memory budget.</param>
/// <param name="maxImageBytes">Maximum bytes that an image may unpack to.</param>
internal sealed class SourceOpener(ImagePlatform platform, LayerUnpacker unpacker, long maxImageBytes)
{
    private const int CopyBytes = 128 * 1024;

    /// <summary>Opens the image of a source.</summary>
    /// <param name="source">The source.</param>
    /// <param name="temporary">
    /// A new path for a decompressed copy of an archive, which the image needs until it is disposed. The caller deletes the file, if there is one.
    /// </param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="RegistryException">The source has no such image, or is malformed.</exception>
    /// <exception cref="InvalidDataException">The archive is malformed or too large.</exception>
    /// <exception cref="IOException">A file cannot be read or written.</exception>
    public async Task<IImageContent> OpenAsync(ImageSource source, string temporary, CancellationToken cancellationToken)
    {
        switch (source.Kind)
        {
            case ImageSourceKind.OciLayout:
                return new LayoutContent(new DirectoryFiles(source.Path), source.Name);
            case ImageSourceKind.OciArchive:
                return new LayoutContent(await OpenArchiveAsync(source.Path, temporary, cancellationToken).ConfigureAwait(false), source.Name);
            case ImageSourceKind.DockerArchive:
                return await ArchiveContent.OfDockerAsync(
                    await OpenArchiveAsync(source.Path, temporary, cancellationToken).ConfigureAwait(false), source.Name, cancellationToken).ConfigureAwait(false);
            default:
                string path = Path.GetFullPath(source.Path);
                return await ArchiveContent.OfRootAsync(
                    new DirectoryFiles(Path.GetDirectoryName(path)!), Path.GetFileName(path), platform, maxImageBytes, unpacker.Memory, cancellationToken).ConfigureAwait(false);
        }
    }

    // The files of an archive are read in any order, so a compressed archive is decompressed first.
    private async Task<ArchiveFiles> OpenArchiveAsync(string path, string temporary, CancellationToken cancellationToken) =>
        await ArchiveFiles.OpenAsync(await TryDecompressAsync(path, temporary, cancellationToken).ConfigureAwait(false) ? temporary : path, cancellationToken).ConfigureAwait(false);

    /// <returns><see langword="false"/> if the archive is not compressed.</returns>
    private async Task<bool> TryDecompressAsync(string path, string target, CancellationToken cancellationToken)
    {
        using PullMemory.Lease buffers = await unpacker.Memory.TakeBuffersAsync(LayerUnpacker.BufferBytes, cancellationToken).ConfigureAwait(false);
        FileStream file = File.OpenRead(path);
        await using (file.ConfigureAwait(false))
        {
            Stream plain = await Decompression.OpenAsync(file, unpacker.Memory, cancellationToken).ConfigureAwait(false);
            await using (plain.ConfigureAwait(false))
            {
                if (!Decompression.IsCompressed(plain))
                {
                    return false;
                }

                await CopyAsync(plain, target, cancellationToken).ConfigureAwait(false);
                return true;
            }
        }
    }

    private async Task CopyAsync(Stream content, string target, CancellationToken cancellationToken)
    {
        UnpackBudget budget = unpacker.NewBudget();
        var file = new FileStream(target, FileMode.CreateNew, FileAccess.Write, FileShare.None, 1);
        await using (file.ConfigureAwait(false))
        {
            var buffer = new byte[CopyBytes];
            int length;
            while ((length = await content.ReadAsync(buffer, cancellationToken).ConfigureAwait(false)) > 0)
            {
                budget.TakeArchive(length);
                budget.Write(length);
                await file.WriteAsync(buffer.AsMemory(0, length), cancellationToken).ConfigureAwait(false);
            }
        }
    }
}
