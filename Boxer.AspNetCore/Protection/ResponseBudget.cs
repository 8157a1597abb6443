using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Protection;

/// <summary>
/// Bounds the bytes of answers that wait for their readers. Where they would be too many, the client that holds the most loses its oldest:
/// it reads the slowest, or asks for the most at once (<c>Answers_that_nobody_reads_are_given_up_before_they_are_too_many</c>). The server's least rate
/// of answers bounds the time of each, and not how many there are.
/// </summary>
internal sealed class ResponseBudget(IOptions<BoxerHttpOptions> options, IOptions<BoxerOptions> sandboxes, ILogger<ResponseBudget> logger)
{
    private const long LeastBytes = 256L << 20;

    // So that a few of the largest always fit.
    private const int Largest = 4;

    private readonly Lock _lock = new();
    private readonly LinkedList<Held> _held = new();
    private readonly Dictionary<string, long> _clients = new(StringComparer.Ordinal);
    private readonly long _most = options.Value.MaxBufferedAnswerBytes
        ?? Math.Max(LeastBytes, Largest * ((2 * sandboxes.Value.DefaultLimits.StandardOutputBytes ?? 0) + (2 * options.Value.MaxInlineOutputBytes)));
    private long _bytes;

    /// <summary>Notes that an answer is in memory, until it is disposed.</summary>
    /// <param name="context">Whose answer it is.</param>
    /// <param name="bytes">How much it holds.</param>
    public IDisposable Enter(HttpContext context, long bytes)
    {
        Held own = new(this, Clients.ClientOf(context), bytes, context);
        List<Held> givenUp = [];
        lock (_lock)
        {
            _held.AddLast(own.Node);
            Count(own, bytes);
            while (_bytes > _most)
            {
                string greediest = _clients.MaxBy(client => client.Value).Key;
                Held oldest = _held.First(held => held.Client == greediest);
                Remove(oldest);
                givenUp.Add(oldest);
            }
        }

        foreach (Held held in givenUp)
        {
            HttpLog.AnswerGivenUp(logger, held.Client, held.Bytes);
            held.Context.Abort();
        }

        return own;
    }

    private void Leave(Held held)
    {
        lock (_lock)
        {
            if (held.Node.List is not null)
            {
                Remove(held);
            }
        }
    }

    private void Remove(Held held)
    {
        _held.Remove(held.Node);
        Count(held, -held.Bytes);
    }

    private void Count(Held held, long bytes)
    {
        _bytes += bytes;
        long left = _clients.GetValueOrDefault(held.Client) + bytes;
        if (left == 0)
        {
            _clients.Remove(held.Client);
        }
        else
        {
            _clients[held.Client] = left;
        }
    }

    private sealed class Held : IDisposable
    {
        private readonly ResponseBudget _room;

        public Held(ResponseBudget room, string client, long bytes, HttpContext context)
        {
            _room = room;
            Client = client;
            Bytes = bytes;
            Context = context;
            Node = new LinkedListNode<Held>(this);
        }

        public string Client { get; }

        public long Bytes { get; }

        public HttpContext Context { get; }

        public LinkedListNode<Held> Node { get; }

        public void Dispose() => _room.Leave(this);
    }
}
