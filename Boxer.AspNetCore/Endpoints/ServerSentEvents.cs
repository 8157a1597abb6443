using System.Buffers;
using System.Globalization;
using System.IO.Pipelines;
using System.Text;
using System.Text.Json;

namespace Boxer.AspNetCore.Endpoints;

/// <summary>Writes server-sent events, no faster than the client reads them.</summary>
/// <param name="context">The request.</param>
internal sealed class ServerSentEvents(HttpContext context)
{
    private static readonly TimeSpan KeepAliveInterval = TimeSpan.FromSeconds(15);

    private readonly TimeProvider _time = context.RequestServices.GetRequiredService<TimeProvider>();

    /// <summary>Whether the response has started, so that the status can no longer change.</summary>
    public bool HasStarted { get; private set; }

    /// <summary>Sets the headers, if the response has not started yet.</summary>
    public void Start()
    {
        if (!HasStarted)
        {
            HasStarted = true;
            context.Response.ContentType = "text/event-stream";
            context.Response.Headers.CacheControl = "no-store";
            context.Response.Headers["X-Accel-Buffering"] = "no";
        }
    }

    /// <summary>Writes an event.</summary>
    /// <param name="name">Name of the event.</param>
    /// <param name="data">JSON, which has no raw line breaks, so that it is a single line.</param>
    /// <param name="id">Identifier of the event; <see langword="null"/> for none.</param>
    public Task SendAsync(string name, byte[] data, long? id = null) => SendAsync(
        name,
        target =>
        {
            target.Write(data);
            return Task.CompletedTask;
        },
        id);

    /// <summary>Writes an event.</summary>
    /// <param name="name">Name of the event.</param>
    /// <param name="write">Writes the data, in a single line.</param>
    /// <param name="id">Identifier of the event; <see langword="null"/> for none.</param>
    public async Task SendAsync(string name, Func<PipeWriter, Task> write, long? id = null)
    {
        Start();
        PipeWriter target = context.Response.BodyWriter;
        string head = id is { } number ? string.Create(CultureInfo.InvariantCulture, $"id: {number}\nevent: {name}\ndata: ") : $"event: {name}\ndata: ";
        target.Write(Encoding.ASCII.GetBytes(head));
        await write(target);
        target.Write("\n\n"u8);
        await target.FlushAsync(context.RequestAborted);
    }

    /// <summary>Writes the event <c>error</c> of a stream of a session, which is its last.</summary>
    /// <param name="response">The response of the failure, whose status can no longer be sent.</param>
    public Task FailAsync(ApiResponse response) => SendAsync(
        "error", JsonSerializer.SerializeToUtf8Bytes(response.ToSessionError() with { Status = response.Status }, HostJson.Relaxed.SessionErrorBody));

    /// <summary>Waits for the next item. Sends comments in the meantime once the response has started, so that proxies keep the connection open.</summary>
    /// <param name="items">The items.</param>
    public Task<bool> NextAsync<T>(IAsyncEnumerator<T> items) => NextAsync(items.MoveNextAsync().AsTask());

    /// <summary>Waits for the next item, as <see cref="NextAsync{T}"/> does, and shows the client at once that it is attached.</summary>
    /// <param name="items">The items.</param>
    public async Task<bool> FirstAsync<T>(IAsyncEnumerator<T> items)
    {
        Task<bool> next = items.MoveNextAsync().AsTask();
        if (!next.IsCompleted)
        {
            await WriteCommentAsync(next);
        }

        return await NextAsync(next);
    }

    private async Task<bool> NextAsync(Task<bool> next)
    {
        while (HasStarted && !next.IsCompleted)
        {
            using CancellationTokenSource stop = new();
            Task wait = Task.Delay(KeepAliveInterval, _time, stop.Token);
            if (await Task.WhenAny(next, wait) == wait)
            {
                await WriteCommentAsync(next);
            }

            await stop.CancelAsync();
        }

        return await next;
    }

    private async Task WriteCommentAsync(Task<bool> next)
    {
        Start();
        try
        {
            context.Response.BodyWriter.Write(": waiting\n\n"u8);
            await context.Response.BodyWriter.FlushAsync(context.RequestAborted);
        }
        catch
        {
            // The client has disconnected, which ends the call. The enumerator can be disposed only after its pending call.
            await next.ContinueWith(_ => { }, TaskScheduler.Default);
            throw;
        }
    }
}
