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

    /// <summary>Counts a response until the returned object is disposed. May abort other requests to stay within the limit.</summary>
    /// <param name="context">The request that the response belongs to.</param>
    /// <param name="bytes">Memory of the response, in bytes.</param>
    public IDisposable Reserve(HttpContext context, long bytes)
    {
        BufferedResponse added = new(this, Clients.BudgetKeyOf(context), bytes, context);
        List<BufferedResponse> dropped = [];
        lock (_lock)
        {
            _responses.AddLast(added.Node);
            Count(added, bytes);
            while (_bytes > _maxBytes)
            {
                string largest = _bytesByClient.MaxBy(client => client.Value).Key;
                BufferedResponse oldest = _responses.First(response => response.Client == largest);
                Remove(oldest);
                dropped.Add(oldest);
            }
        }

        foreach (BufferedResponse response in dropped)
        {
            HttpLog.ResponseDropped(logger, response.Client, response.Bytes);
            response.Context.Abort();
        }

        return added;
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

    private sealed class BufferedResponse : IDisposable
    {
        private readonly ResponseBudget _budget;

        public BufferedResponse(ResponseBudget budget, string client, long bytes, HttpContext context)
        {
            _budget = budget;
            Client = client;
            Bytes = bytes;
            Context = context;
            Node = new LinkedListNode<BufferedResponse>(this);
        }

        public string Client { get; }

        public long Bytes { get; }

        public HttpContext Context { get; }

        public LinkedListNode<BufferedResponse> Node { get; }

        public void Dispose() => _budget.Release(this);
    }
}
