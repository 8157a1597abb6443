using Boxer.Images.Manifests;

namespace Boxer.Images.Store;

/// <summary>Reports the progress of one layer, at most once for each 512 KiB.</summary>
/// <param name="progress">Receives the reports.</param>
/// <param name="blob">The layer's blob.</param>
internal sealed class LayerProgress(IProgress<PullProgress> progress, ImageDescriptor blob)
{
    private const int Step = 512 * 1024;
    private long _bytes;
    private long _reported;

    /// <summary>Counts bytes of the blob that were received.</summary>
    /// <param name="bytes">Number of bytes.</param>
    public void Add(int bytes)
    {
        _bytes += bytes;
        if (_bytes - _reported >= Step)
        {
            _reported = _bytes;
            progress.Report(new(blob.Digest.ToString(), _bytes, blob.Size, IsStored: false));
        }
    }

    /// <summary>Reports that the layer is in the store.</summary>
    public void Complete() => progress.Report(new(blob.Digest.ToString(), blob.Size, blob.Size, IsStored: true));
}
