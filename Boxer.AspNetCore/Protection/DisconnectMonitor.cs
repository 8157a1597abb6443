using System.Net.Sockets;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;

namespace Boxer.AspNetCore.Protection;

/// <summary>
/// Ends the request of a client that sends on and on behind it while it runs. The server reads ahead so far and then no more, so it would
/// not see such a client go, and <c>A_client_that_closes_behind_bytes_that_nobody_reads_ends_its_run</c> fails. No client has a use for that: the answer comes first.
/// Over HTTP/2 the bytes may be of any other request, and the server reads on.
/// </summary>
internal sealed class DisconnectMonitor : IDisposable
{
    /// <summary>How often it is looked whether there is something that the server does not read.</summary>
    internal static readonly TimeSpan Period = TimeSpan.FromMilliseconds(500);

    // One look may come just before the server reads.
    private const int Looks = 3;

    private readonly Lock _lock = new();
    private readonly Socket? _socket;
    private readonly IHttpRequestLifetimeFeature? _request;
    private readonly ITimer _timer;
    private int _unread;
    private bool _disposed;

    /// <param name="context">A request whose body was read.</param>
    /// <param name="time">The clock.</param>
    public DisconnectMonitor(HttpContext context, TimeProvider time)
    {
        string protocol = context.Request.Protocol;
        _socket = HttpProtocol.IsHttp11(protocol) || HttpProtocol.IsHttp10(protocol) ? context.Features.Get<IConnectionSocketFeature>()?.Socket : null;
        _request = context.Features.Get<IHttpRequestLifetimeFeature>();
        _timer = time.CreateTimer(_ => Look(), null, Period, Period);
    }

    public void Dispose()
    {
        _timer.Dispose();
        lock (_lock)
        {
            _disposed = true;
        }
    }

    private void Look()
    {
        // Under the lock, so that the next request on this connection is not the one that is ended.
        lock (_lock)
        {
            if (_disposed)
            {
                return;
            }

            try
            {
                _unread = _socket?.Available > 0 ? _unread + 1 : 0;
                if (_unread == Looks)
                {
                    _request?.Abort();
                }
            }
            catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
            {
                // The connection is gone, which the server has seen itself.
            }
        }
    }
}
