using System.Net.Sockets;
using Boxer.Runtime.Kept;

namespace Boxer.Sessions;

/// <summary>The connections of one session to ports of its sandbox. Thread-safe.</summary>
/// <param name="parts">The session.</param>
/// <param name="calls">Runs operations on the sandbox.</param>
internal sealed class SessionConnections(SessionParts parts, SessionCalls calls)
{
    private const int MaxPort = 65_535;
    private int _open;

    /// <summary>Connects to a port.</summary>
    /// <param name="port">The port.</param>
    /// <param name="cancellationToken">Cancels the attempt.</param>
    /// <exception cref="SandboxConnectionException">Nothing listens there.</exception>
    /// <exception cref="SandboxCapacityException">Too many connections are open.</exception>
    internal Task<SandboxConnection> ConnectAsync(int port, CancellationToken cancellationToken)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(port, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(port, MaxPort);
        return calls.RunAsync<SandboxConnection>(
            async token =>
            {
                IDisposable stream = parts.Life.Begin(isStream: true);
                try
                {
                    if (Interlocked.Increment(ref _open) > parts.Options.MaxConnections)
                    {
                        throw new SandboxCapacityException($"{parts.Options.MaxConnections} connections are open in this session: close one, or try again later.");
                    }

                    return new SessionConnection(await OpenAsync(port, token).ConfigureAwait(false), parts.Life, () => Release(stream));
                }
                catch
                {
                    Release(stream);
                    throw;
                }
            },
            cancellationToken);
    }

    private async Task<SandboxConnection> OpenAsync(int port, CancellationToken cancellationToken)
    {
        try
        {
            return await parts.Sandbox.ConnectAsync(port, cancellationToken).ConfigureAwait(false);
        }
        catch (IOException exception) when (exception is not KeptSandboxEndedException && exception.InnerException is SocketException)
        {
            throw new SandboxConnectionException(port, null, exception);
        }
    }

    private void Release(IDisposable stream)
    {
        Interlocked.Decrement(ref _open);
        stream.Dispose();
    }
}
