using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Protection;

/// <summary>
/// Limits the memory of responses that clients have not read yet. When the limit is exceeded, the client with the most buffered bytes loses its
/// oldest response: it reads the slowest or requests the most at once (test: <c>Unread_responses_are_dropped_when_they_exceed_the_budget</c>).
/// The server's minimum data rate limits the time of each response, but not their number.
/// </summary>
internal sealed class ResponseBudget(IOptions<BoxerHttpOptions> options, IOptions<BoxerOptions> sandboxes, ILogger<ResponseBudget> logger)
{
    private const long MinBytes = 256L << 20;

    // At least this many responses of the maximum size fit.
    private const int LargestResponses = 4;

    private readonly Lock _lock = new();
    private readonly LinkedList<BufferedResponse> _responses = new();
    private readonly Dictionary<string, long> _bytesByClient = new(StringComparer.Ordinal);
    private readonly long _maxBytes = options.Value.MaxBufferedAnswerBytes
        ?? Math.Max(MinBytes, LargestResponses * ((2 * sandboxes.Value.DefaultLimits.StandardOutputBytes ?? 0) + (2 * options.Value.MaxInlineOutputBytes)));
    private long _bytes;

    /// <summary>Counts a response until the returned object is disposed. May abort requests to stay within the limit.</summary>
    /// <param name="context">The request that the response belongs to.</param>
    /// <param name="bytes">Memory of the response, in bytes.</param>
    public ResponseReservation Reserve(HttpContext context, long bytes)
    {
        BufferedResponse added = new(this, Clients.BudgetKeyOf(context), context);
        lock (_lock)
        {
            _responses.AddLast(added.Node);
        }

        Add(added, bytes);
        return added;
    }

    private void Add(BufferedResponse added, long bytes)
    {
        List<BufferedResponse> dropped = [];
        lock (_lock)
        {
            if (added.Node.List is null)
            {
                // It was dropped or released.
                return;
            }

            added.Bytes += bytes;
            Count(added, bytes);
            while (_bytes > _maxBytes)
            {
                string largest = _bytesByClient.MaxBy(client => client.Value).Key;
                BufferedResponse oldest = _responses.First(response => response.Client == largest && response.Bytes > 0);
                Remove(oldest);
                dropped.Add(oldest);
            }
        }

        foreach (BufferedResponse response in dropped)
        {
            HttpLog.ResponseDropped(logger, response.Client, response.Bytes);
            response.Context.Abort();
        }
    }

    private void Release(BufferedResponse response)
    {
        lock (_lock)
        {
            if (response.Node.List is not null)
            {
                Remove(response);
            }
        }
    }

    private void Remove(BufferedResponse response)
    {
        _responses.Remove(response.Node);
        Count(response, -response.Bytes);
    }

    private void Count(BufferedResponse response, long bytes)
    {
        _bytes += bytes;
        long total = _bytesByClient.GetValueOrDefault(response.Client) + bytes;
        if (total == 0)
        {
            _bytesByClient.Remove(response.Client);
        }
        else
        {
            _bytesByClient[response.Client] = total;
        }
    }

    private sealed class BufferedResponse : ResponseReservation
    {
        private readonly ResponseBudget _budget;

        public BufferedResponse(ResponseBudget budget, string client, HttpContext context)
        {
            _budget = budget;
            Client = client;
            Context = context;
            Node = new LinkedListNode<BufferedResponse>(this);
        }

        public string Client { get; }

        public long Bytes { get; set; }

        public HttpContext Context { get; }

        public LinkedListNode<BufferedResponse> Node { get; }

        public override void Add(long bytes) => _budget.Add(this, bytes);

        public override void Dispose() => _budget.Release(this);
    }
}

/// <summary>The share of one response in a <see cref="ResponseBudget"/>.</summary>
internal abstract class ResponseReservation : IDisposable
{
    /// <summary>Counts further memory. May abort requests, also this one, to stay within the limit.</summary>
    /// <param name="bytes">Memory, in bytes.</param>
    public abstract void Add(long bytes);

    /// <inheritdoc/>
    public abstract void Dispose();
}
