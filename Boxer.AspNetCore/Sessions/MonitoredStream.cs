namespace Boxer.AspNetCore.Sessions;

/// <summary>
/// Stream below a WebSocket that knows for how long the client has been silent or has read nothing, and that pings it. The keep-alive timeout of
/// <see cref="System.Net.WebSockets.WebSocket"/> demands the answer also while the sandbox takes no bytes, so that the answer is not read, and after a
/// close frame in either direction, when a client sends none.
/// </summary>
/// <param name="inner">The connection to the client.</param>
/// <param name="time">The clock.</param>
internal sealed class MonitoredStream(Stream inner, TimeProvider time) : Stream
{
    // A ping frame without data (RFC 6455, section 5.5.2). Frames of a server are not masked.
    private static readonly byte[] Ping = [0x89, 0];

    private readonly SemaphoreSlim _turn = new(1, 1);
    private long _reading;
    private long _writing;
    private long _moved = time.GetTimestamp();
    private int _pings;
    private bool _isClosing;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    /// <summary>Time for which a read has waited for the client. Time in which nothing was read does not count.</summary>
    public TimeSpan Silence => Since(ref _reading);

    /// <summary>Time for which a write has waited for the client.</summary>
    public TimeSpan Stall => Since(ref _writing);

    /// <summary>
    /// Time since bytes last came from the client or went to it; zero while a read waits for the client. Control frames to the client do not count: a WebSocket
    /// sends pongs by itself. A client that closed its direction, or whose bytes the sandbox does not take, gives no other sign of life.
    /// </summary>
    public TimeSpan Rest => Volatile.Read(ref _reading) > 0 ? TimeSpan.Zero : time.GetElapsedTime(Volatile.Read(ref _moved));

    /// <summary>Starts <see cref="Rest"/> again.</summary>
    public void EndRest() => Volatile.Write(ref _moved, time.GetTimestamp());

    /// <summary>Sends a ping between two frames, unless one still waits. Never fails.</summary>
    /// <param name="cancellationToken">Cancels the wait.</param>
    public async Task PingAsync(CancellationToken cancellationToken)
    {
        if (Interlocked.Increment(ref _pings) == 1)
        {
            try
            {
                await WriteAsync(Ping, isPing: true, cancellationToken);
            }
            catch (Exception exception) when (exception is IOException or OperationCanceledException or ObjectDisposedException)
            {
                // The connection is gone, which the reader sees.
            }
        }

        Interlocked.Decrement(ref _pings);
    }

    /// <summary>Sends no more pings: no frame may follow a close frame.</summary>
    public void EndPings() => Volatile.Write(ref _isClosing, true);

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        Volatile.Write(ref _reading, Now());
        try
        {
            return await inner.ReadAsync(buffer, cancellationToken);
        }
        finally
        {
            EndRest();
            Volatile.Write(ref _reading, 0);
        }
    }

    // A WebSocket writes each frame at once.
    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) => WriteAsync(buffer, isPing: false, cancellationToken);

    public override Task FlushAsync(CancellationToken cancellationToken) => inner.FlushAsync(cancellationToken);

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => throw new NotSupportedException();

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) => throw new NotSupportedException();

    public override void Flush() => throw new NotSupportedException();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        inner.Dispose();
        base.Dispose(disposing);
    }

    private async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, bool isPing, CancellationToken cancellationToken)
    {
        await _turn.WaitAsync(cancellationToken);
        try
        {
            if (!isPing || !Volatile.Read(ref _isClosing))
            {
                Volatile.Write(ref _writing, Now());
                await inner.WriteAsync(buffer, cancellationToken);
                if (!IsControl(buffer.Span))
                {
                    EndRest();
                }
            }
        }
        finally
        {
            Volatile.Write(ref _writing, 0);
            _turn.Release();
        }
    }

    // The highest bit of the opcode tells control frames (RFC 6455, section 5.5).
    private static bool IsControl(ReadOnlySpan<byte> frame) => frame is [var first, ..] && (first & 8) != 0;

    // 0 is "not waiting".
    private long Now() => Math.Max(1, time.GetTimestamp());

    private TimeSpan Since(ref long started) => Volatile.Read(ref started) is > 0 and var at ? time.GetElapsedTime(at) : TimeSpan.Zero;
}
