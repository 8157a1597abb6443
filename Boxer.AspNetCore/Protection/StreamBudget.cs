using Boxer.Common;
using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Protection;

/// <summary>
/// Limits the number of responses without an end of their own: events of processes, watches of files, connections to ports, and pauses that wait for calls.
/// One client can have at most half of them, so that others, and requests that end, always find connections.
/// </summary>
internal sealed class StreamBudget(IOptions<BoxerOptions> sandboxes, IOptions<BoxerHttpOptions> options)
{
    private readonly Lock _lock = new();
    private readonly Dictionary<string, int> _clients = new(StringComparer.Ordinal);
    private int _open;

    /// <summary>Maximum number of streams: half of the connections.</summary>
    internal int MaxStreams { get; } = DescriptorLimit.ConnectionsOf(sandboxes.Value, options.Value) / 2;

    /// <summary>Counts a stream until the result is disposed.</summary>
    /// <param name="context">The request.</param>
    /// <exception cref="HttpFaultException">This client, or all clients together, have too many streams open (429).</exception>
    public IDisposable Open(HttpContext context)
    {
        string client = Clients.BudgetKeyOf(context);
        lock (_lock)
        {
            int own = _clients.GetValueOrDefault(client);
            if (own >= MaxStreams / 2)
            {
                throw Exceeded($"this client has {own} streams of events, connections to ports and waiting pauses open, the maximum: close one, or try again later.");
            }

            if (_open >= MaxStreams)
            {
                throw Exceeded("too many streams of events, connections to ports and waiting pauses are open: try again later.");
            }

            _clients[client] = own + 1;
            _open++;
        }

        return new OnDispose(() => Close(client));
    }

    private void Close(string client)
    {
        lock (_lock)
        {
            _open--;
            if (--_clients[client] == 0)
            {
                _clients.Remove(client);
            }
        }
    }

    private static HttpFaultException Exceeded(string message) => new(StatusCodes.Status429TooManyRequests, message, TimeSpan.FromSeconds(1));
}
