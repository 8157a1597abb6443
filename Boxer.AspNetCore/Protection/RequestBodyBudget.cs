using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Protection;

/// <summary>
/// Bounds the bodies that are being read, and the memory that requests hold from their body until their answer. Nobody has more
/// than half of either, so that what one client sends slowly leaves room for the others, as <c>What_one_client_sends_leaves_room_for_another</c> shows.
/// A rate limiter counts requests and no bytes.
/// </summary>
internal sealed class RequestBodyBudget(IOptions<BoxerHttpOptions> options, IOptions<BoxerOptions> sandboxes)
{
    private const long LeastBytes = 256L << 20;

    // The buffer that doubles as the body comes, and its texts in UTF-16.
    private const int MemoryForEachByte = 4;

    private readonly Lock _lock = new();
    private readonly Dictionary<string, Share> _shares = new(StringComparer.Ordinal);
    private readonly long _mostBytes = options.Value.MaxBufferedRequestBytes ?? Math.Max(LeastBytes, 4 * MemoryForEachByte * options.Value.MaxRequestBytes);
    private readonly Share _all = new();

    /// <summary>Half of the connections, so that a body is never what keeps a client from asking whether the host lives.</summary>
    internal int MostBodies { get; } = DescriptorLimit.ConnectionsOf(sandboxes.Value) / 2;

    /// <summary>Takes a place for a body, before any of it is read.</summary>
    /// <exception cref="HttpFaultException">429: this client, or all together, send too many already.</exception>
    public RequestBodyLease Enter(HttpContext context)
    {
        string client = Clients.ClientOf(context);
        lock (_lock)
        {
            Share share = _shares.GetValueOrDefault(client) ?? new Share();
            if (_all.Bodies >= MostBodies || share.Bodies >= MostBodies / 2)
            {
                throw Full("too many bodies are being sent already: try again later.");
            }

            _shares[client] = share;
            share.Bodies++;
            _all.Bodies++;
            return new RequestBodyLease(this, client);
        }
    }

    /// <returns>The memory that was reserved.</returns>
    internal long Reserve(string client, int bodyBytes)
    {
        long bytes = (long)bodyBytes * MemoryForEachByte;
        lock (_lock)
        {
            Share share = _shares[client];
            if (_all.Bytes + bytes > _mostBytes || share.Bytes + bytes > _mostBytes / 2)
            {
                throw Full("the requests that are here already hold too many bytes: try again later.");
            }

            share.Bytes += bytes;
            _all.Bytes += bytes;
            return bytes;
        }
    }

    internal void Leave(string client, int bodies, long bytes)
    {
        lock (_lock)
        {
            Share share = _shares[client];
            share.Bodies -= bodies;
            share.Bytes -= bytes;
            _all.Bodies -= bodies;
            _all.Bytes -= bytes;
            if (share is { Bodies: 0, Bytes: 0 })
            {
                _shares.Remove(client);
            }
        }
    }

    private static HttpFaultException Full(string message) => new(StatusCodes.Status429TooManyRequests, message, TimeSpan.FromSeconds(1));

    private sealed class Share
    {
        public int Bodies { get; set; }

        public long Bytes { get; set; }
    }
}

/// <summary>A body in a <see cref="RequestBodyBudget"/>. Disposing it gives back what it still has; used by one thread at a time.</summary>
internal sealed class RequestBodyLease(RequestBodyBudget room, string client) : IDisposable
{
    private int _bodies = 1;
    private long _bytes;

    /// <summary>More of it is in memory.</summary>
    /// <exception cref="HttpFaultException">429: there is no room.</exception>
    public void Hold(int bytes)
    {
        if (bytes > 0)
        {
            _bytes += room.Reserve(client, bytes);
        }
    }

    /// <summary>All of it is here and read: the buffer is given back. The texts that were in it count on.</summary>
    public void Arrived()
    {
        long buffer = _bytes / 2;
        room.Leave(client, _bodies, buffer);
        _bodies = 0;
        _bytes -= buffer;
    }

    public void Dispose()
    {
        if (_bodies > 0 || _bytes > 0)
        {
            room.Leave(client, _bodies, _bytes);
            _bodies = 0;
            _bytes = 0;
        }
    }
}
