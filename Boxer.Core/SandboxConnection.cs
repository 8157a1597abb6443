using System.Globalization;

namespace Boxer;

/// <summary>
/// A TCP connection to a port of a session; see <see cref="ISandboxSession.ConnectAsync"/>. Reading returns 0 bytes when the other side has closed
/// its direction. Reading and writing throw <see cref="IOException"/> after the connection broke or the session ended. Disposing closes both
/// directions.
/// </summary>
public abstract class SandboxConnection : Stream
{
    /// <inheritdoc/>
    public override bool CanRead => true;

    /// <inheritdoc/>
    public override bool CanWrite => true;

    /// <summary>Always <see langword="false"/>.</summary>
    public override bool CanSeek => false;

    /// <summary>Not supported.</summary>
    /// <exception cref="NotSupportedException">Always.</exception>
    public override long Length => throw new NotSupportedException();

    /// <summary>Not supported.</summary>
    /// <exception cref="NotSupportedException">Always.</exception>
    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    /// <summary>Closes the direction towards the sandbox: the other side reads the end of the stream. Reading goes on.</summary>
    /// <param name="cancellationToken">Cancels the wait for earlier writes.</param>
    /// <exception cref="IOException">The connection broke, or the session ended.</exception>
    public abstract ValueTask CloseWriteAsync(CancellationToken cancellationToken = default);

    /// <summary>Not supported.</summary>
    /// <param name="offset">Unused.</param>
    /// <param name="origin">Unused.</param>
    /// <exception cref="NotSupportedException">Always.</exception>
    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    /// <summary>Not supported.</summary>
    /// <param name="value">Unused.</param>
    /// <exception cref="NotSupportedException">Always.</exception>
    public override void SetLength(long value) => throw new NotSupportedException();
}

/// <summary>The exception for a port of a session that nothing listens on, or that cannot be connected to. A retry is safe.</summary>
public sealed class SandboxConnectionException : SandboxException
{
    /// <summary>Creates an exception.</summary>
    /// <param name="port">The port.</param>
    /// <param name="message">
    /// Description of the failure, as a sentence. Clients see it, so it contains nothing of this host. <see langword="null"/> for a general one.
    /// </param>
    /// <param name="innerException">The cause, or <see langword="null"/>.</param>
    public SandboxConnectionException(int port, string? message = null, Exception? innerException = null)
        : base(message ?? Describe(port), message ?? Describe(port), innerException)
    {
        Port = port;
        IsRetrySafe = true;
    }

    /// <summary>The port.</summary>
    public int Port { get; }

    private static string Describe(int port) => string.Create(CultureInfo.InvariantCulture, $"Nothing listens on port {port} of the sandbox.");
}
