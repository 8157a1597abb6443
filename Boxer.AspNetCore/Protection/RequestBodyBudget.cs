using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Protection;

/// <summary>
/// Limits the number of bodies that are being received, and the memory that requests hold from their body until their response. One client can
/// have at most half of either, so that a slow client leaves capacity for others (test: <c>One_client_leaves_capacity_for_another</c>).
/// A rate limiter would count requests, not bytes.
/// </summary>
internal sealed class RequestBodyBudget(IOptions<BoxerHttpOptions> options, IOptions<BoxerOptions> sandboxes)
{
    private const long MinBytes = 256L << 20;

    // The receive buffer doubles as the body arrives, and its strings are UTF-16.
    private const int MemoryPerByte = 4;

    private readonly Lock _lock = new();
    private readonly Dictionary<string, Share> _clients = new(StringComparer.Ordinal);
    private readonly long _maxBytes = options.Value.MaxBufferedRequestBytes ?? Math.Max(MinBytes, 4 * MemoryPerByte * options.Value.MaxRequestBytes);
    private readonly Share _all = new();

    /// <summary>Maximum number of bodies: half of the connections, so that slow bodies cannot block health checks.</summary>
    internal int MaxBodies { get; } = DescriptorLimit.ConnectionsOf(sandboxes.Value, options.Value) / 2;

    /// <summary>Counts a body, before any of it is read.</summary>
    /// <param name="context">The request.</param>
    /// <exception cref="HttpFaultException">This client, or all clients together, send too many bodies (429).</exception>
    public RequestBodyLease Reserve(HttpContext context)
    {
        string client = Clients.BudgetKeyOf(context);
        lock (_lock)
        {
            Share share = _clients.GetValueOrDefault(client) ?? new Share();
            if (_all.Bodies >= MaxBodies || share.Bodies >= MaxBodies / 2)
            {
                throw Exceeded("too many request bodies are being sent: try again later.");
            }

            _clients[client] = share;
            share.Bodies++;
            _all.Bodies++;
            return new RequestBodyLease(this, client);
        }
    }

    /// <summary>Counts the memory of a part of a body.</summary>
    /// <returns>The memory, in bytes.</returns>
    internal long ReserveMemory(string client, int bodyBytes)
    {
        long bytes = (long)bodyBytes * MemoryPerByte;
        lock (_lock)
        {
            Share share = _clients[client];
            if (_all.Bytes + bytes > _maxBytes || share.Bytes + bytes > _maxBytes / 2)
            {
                throw Exceeded("buffered requests already use too much memory: try again later.");
            }

            share.Bytes += bytes;
            _all.Bytes += bytes;
            return bytes;
        }
    }

    internal void Release(string client, int bodies, long bytes)
    {
        lock (_lock)
        {
            Share share = _clients[client];
            share.Bodies -= bodies;
            share.Bytes -= bytes;
            _all.Bodies -= bodies;
            _all.Bytes -= bytes;
            if (share is { Bodies: 0, Bytes: 0 })
            {
                _clients.Remove(client);
            }
        }
    }

    private static HttpFaultException Exceeded(string message) => new(StatusCodes.Status429TooManyRequests, message, TimeSpan.FromSeconds(1));

    private sealed class Share
    {
        public int Bodies { get; set; }

        public long Bytes { get; set; }
    }
}

/// <summary>The share of one body in a <see cref="RequestBodyBudget"/>. Disposing it releases the rest. Not safe for concurrent use.</summary>
internal sealed class RequestBodyLease(RequestBodyBudget budget, string client) : IDisposable
{
    private int _bodies = 1;
    private long _bytes;

    /// <summary>Counts a further part of the body.</summary>
    /// <param name="bytes">Size of the part, in bytes.</param>
    /// <exception cref="HttpFaultException">The budget is exceeded (429).</exception>
    public void Add(int bytes)
    {
        if (bytes > 0)
        {
            _bytes += budget.ReserveMemory(client, bytes);
        }
    }

    /// <summary>Releases the receive buffer after the body was parsed. The parsed strings still count.</summary>
    public void ReleaseBuffer()
    {
        long buffer = _bytes / 2;
        budget.Release(client, _bodies, buffer);
        _bodies = 0;
        _bytes -= buffer;
    }

    public void Dispose()
    {
        if (_bodies > 0 || _bytes > 0)
        {
            budget.Release(client, _bodies, _bytes);
            _bodies = 0;
            _bytes = 0;
        }
    }
}
