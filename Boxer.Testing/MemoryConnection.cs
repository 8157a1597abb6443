using System.IO.Pipelines;

namespace Boxer.Testing;

/// <summary>One end of a connection in memory.</summary>
internal sealed class MemoryConnection : SandboxConnection
{
    private readonly Stream _input;
    private readonly Stream _output;

    private MemoryConnection(PipeReader input, PipeWriter output)
    {
        _input = input.AsStream();
        _output = output.AsStream();
    }

    /// <summary>Opens a connection, and closes the sandbox's end when its server has ended.</summary>
    /// <param name="serve">Serves the sandbox's end.</param>
    /// <returns>The caller's end.</returns>
    internal static MemoryConnection Open(Func<SandboxConnection, Task> serve)
    {
        Pipe toSandbox = new(new PipeOptions(useSynchronizationContext: false)), fromSandbox = new(new PipeOptions(useSynchronizationContext: false));
        _ = ServeAsync(new MemoryConnection(toSandbox.Reader, fromSandbox.Writer), fromSandbox.Writer, serve);
        return new MemoryConnection(fromSandbox.Reader, toSandbox.Writer);
    }

    public override void Flush() => _output.Flush();

    public override Task FlushAsync(CancellationToken cancellationToken) => _output.FlushAsync(cancellationToken);

    public override int Read(byte[] buffer, int offset, int count) => _input.Read(buffer, offset, count);

    public override Task<int> ReadAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        _input.ReadAsync(buffer, offset, count, cancellationToken);

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => _input.ReadAsync(buffer, cancellationToken);

    public override void Write(byte[] buffer, int offset, int count) => _output.Write(buffer, offset, count);

    public override Task WriteAsync(byte[] buffer, int offset, int count, CancellationToken cancellationToken) =>
        _output.WriteAsync(buffer, offset, count, cancellationToken);

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) => _output.WriteAsync(buffer, cancellationToken);

    public override ValueTask CloseWriteAsync(CancellationToken cancellationToken = default) => _output.DisposeAsync();

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            _input.Dispose();
            _output.Dispose();
        }

        base.Dispose(disposing);
    }

    private static async Task ServeAsync(MemoryConnection connection, PipeWriter output, Func<SandboxConnection, Task> serve)
    {
        try
        {
            await serve(connection).ConfigureAwait(false);
        }
        catch (Exception exception)
        {
            // The caller's end reports the failure of the test's server.
            await output.CompleteAsync(new IOException("The server of the fake connection failed.", exception)).ConfigureAwait(false);
        }
        finally
        {
            await connection.DisposeAsync().ConfigureAwait(false);
        }
    }
}
