using System.Buffers.Binary;

namespace Boxer.Network.Dns;

/// <summary>DNS messages over TCP: each has its length before it, in two bytes (RFC 1035, section 4.2.2).</summary>
internal static class TcpMessage
{
    /// <summary>Writes a message at once, with its length.</summary>
    internal static async Task WriteAsync(Stream stream, byte[] message, CancellationToken cancellationToken)
    {
        var prefix = new byte[sizeof(ushort)];
        BinaryPrimitives.WriteUInt16BigEndian(prefix, (ushort)message.Length);
        await stream.WriteAsync((byte[])[.. prefix, .. message], cancellationToken).ConfigureAwait(false);
    }

    /// <summary>Reads a message.</summary>
    /// <param name="stream">The stream.</param>
    /// <param name="maxBytes">Maximum length of the message.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <returns><see langword="null"/> if the message is longer.</returns>
    /// <exception cref="EndOfStreamException">The stream ended before the end of the message.</exception>
    internal static async Task<byte[]?> ReadAsync(Stream stream, int maxBytes, CancellationToken cancellationToken)
    {
        var prefix = new byte[sizeof(ushort)];
        await stream.ReadExactlyAsync(prefix, cancellationToken).ConfigureAwait(false);
        int length = BinaryPrimitives.ReadUInt16BigEndian(prefix);
        if (length > maxBytes)
        {
            return null;
        }

        var message = new byte[length];
        await stream.ReadExactlyAsync(message, cancellationToken).ConfigureAwait(false);
        return message;
    }
}
