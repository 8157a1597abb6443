using System.IO.Pipelines;
using Boxer.Common;
using Boxer.Native;

namespace Boxer.Runtime.Kept;

/// <summary>Write-only stream into a pipe, with a maximum length.</summary>
/// <param name="writer">The pipe.</param>
/// <param name="maxBytes">Maximum number of bytes.</param>
/// <param name="path">The path, for the exception.</param>
internal sealed class ArchiveSink(PipeWriter writer, long maxBytes, string path) : SinkStream
{
    private long _left = maxBytes;

    /// <inheritdoc/>
    /// <exception cref="GuestFileException">There are more bytes (EFBIG).</exception>
    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        _left -= buffer.Length;
        if (_left < 0)
        {
            throw new GuestFileException(path, Errno.EFBIG);
        }

        FlushResult result = await writer.WriteAsync(buffer, cancellationToken).ConfigureAwait(false);
        if (result.IsCompleted)
        {
            throw new IOException("Nobody reads the archive.");
        }
    }
}
