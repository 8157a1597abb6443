using System.Buffers;
using Boxer.Runtime.Init;

namespace Boxer.Inputs;

/// <summary>Collects frames and sends them together, so that many small files take few writes. Not thread-safe.</summary>
/// <param name="send">Sends frames to PID 1 or a file worker.</param>
internal sealed class FrameBuffer(Func<ReadOnlyMemory<byte>, CancellationToken, Task> send) : IDisposable
{
    private readonly byte[] _buffer = ArrayPool<byte>.Shared.Rent(InitProtocol.HeaderSize + InitProtocol.MaxPayload);
    private int _filled;

    /// <summary>Adds a whole frame.</summary>
    /// <param name="frame">The frame.</param>
    /// <param name="cancellationToken">Cancels the operation; the channel is of no use afterwards.</param>
    internal async Task AddAsync(ReadOnlyMemory<byte> frame, CancellationToken cancellationToken)
    {
        await ReserveAsync(frame.Length, cancellationToken).ConfigureAwait(false);
        Append(frame.Span);
    }

    /// <summary>Adds content of the current file.</summary>
    /// <param name="data">The content, at most <see cref="InitProtocol.MaxPayload"/> bytes.</param>
    /// <param name="cancellationToken">Cancels the operation; the channel is of no use afterwards.</param>
    internal async Task AddDataAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken)
    {
        await ReserveAsync(InitProtocol.HeaderSize + data.Length, cancellationToken).ConfigureAwait(false);
        InitProtocol.WriteHeader(_buffer.AsSpan(_filled, InitProtocol.HeaderSize), InitFrameType.FileData, data.Length);
        _filled += InitProtocol.HeaderSize;
        Append(data.Span);
    }

    /// <summary>Adds zeros as content of the current file.</summary>
    /// <param name="count">The number of zeros.</param>
    /// <param name="cancellationToken">Cancels the operation; the channel is of no use afterwards.</param>
    internal async Task AddZerosAsync(long count, CancellationToken cancellationToken)
    {
        byte[] zeros = new byte[(int)Math.Min(count, InitProtocol.MaxPayload)];
        for (; count > 0; count -= Math.Min(count, zeros.Length))
        {
            await AddDataAsync(zeros.AsMemory(0, (int)Math.Min(count, zeros.Length)), cancellationToken).ConfigureAwait(false);
        }
    }

    /// <summary>Sends everything that was added.</summary>
    /// <param name="cancellationToken">Cancels the operation; the channel is of no use afterwards.</param>
    internal async Task FlushAsync(CancellationToken cancellationToken)
    {
        await send(_buffer.AsMemory(0, _filled), cancellationToken).ConfigureAwait(false);
        _filled = 0;
    }

    /// <inheritdoc/>
    public void Dispose() => ArrayPool<byte>.Shared.Return(_buffer);

    private Task ReserveAsync(int length, CancellationToken cancellationToken) => length > _buffer.Length - _filled ? FlushAsync(cancellationToken) : Task.CompletedTask;

    private void Append(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_buffer.AsSpan(_filled));
        _filled += bytes.Length;
    }
}
