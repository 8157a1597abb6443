using System.Net.Sockets;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Http.Features;

namespace Boxer.AspNetCore.Protection;

/// <summary>
/// Aborts a request whose client keeps sending bytes behind it. Kestrel reads ahead only so far; with unread bytes in the socket it would not
/// notice that such a client disconnects (test: <c>A_client_that_closes_behind_unread_bytes_ends_its_run</c>). Legitimate clients wait for the
/// response first. Over HTTP/2 the bytes may belong to other requests, and Kestrel keeps reading, so HTTP/2 requests are not checked.
/// </summary>
internal sealed class DisconnectMonitor : IDisposable
{
    /// <summary>Interval of the checks for unread bytes.</summary>
    internal static readonly TimeSpan Period = TimeSpan.FromMilliseconds(500);

    // A single check may come just before Kestrel reads.
    private const int ChecksInARow = 3;

    private readonly Lock _lock = new();
    private readonly Socket? _socket;
    private readonly IHttpRequestLifetimeFeature? _request;
    private readonly ITimer _timer;
    private int _unreadChecks;
    private bool _disposed;

    /// <summary>Starts the checks.</summary>
    /// <param name="context">A request whose body has been read.</param>
    /// <param name="time">The clock.</param>
    public DisconnectMonitor(HttpContext context, TimeProvider time)
    {
        string protocol = context.Request.Protocol;
        _socket = HttpProtocol.IsHttp11(protocol) || HttpProtocol.IsHttp10(protocol) ? context.Features.Get<IConnectionSocketFeature>()?.Socket : null;
        _request = context.Features.Get<IHttpRequestLifetimeFeature>();
        _timer = time.CreateTimer(_ => Check(), null, Period, Period);
    }

    public void Dispose()
    {
        _timer.Dispose();
        lock (_lock)
        {
            _disposed = true;
        }
    }

    private void Check()
    {
        // The lock keeps a late check from aborting the next request on this connection.
        lock (_lock)
        {
            if (_disposed)
            {
                return;
            }

            try
            {
                _unreadChecks = _socket?.Available > 0 ? _unreadChecks + 1 : 0;
                if (_unreadChecks == ChecksInARow)
                {
                    _request?.Abort();
                }
            }
            catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
            {
                // The connection is closed; Kestrel handles that itself.
            }
        }
    }
}
