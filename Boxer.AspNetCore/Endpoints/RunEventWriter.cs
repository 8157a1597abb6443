using System.Text;
using System.Text.Json;

namespace Boxer.AspNetCore.Endpoints;

/// <summary>Writes the events of a run as server-sent events.</summary>
/// <param name="response">The response.</param>
/// <param name="cancellationToken">Cancels all writes.</param>
internal sealed class RunEventWriter(HttpResponse response, CancellationToken cancellationToken)
{
    /// <summary>Whether an event was written, so that the status can no longer change.</summary>
    public bool HasStarted { get; private set; }

    /// <summary>Writes an event. Events that clients do not get only start the response.</summary>
    public async Task WriteAsync(SandboxEvent item)
    {
        if (!HasStarted)
        {
            HasStarted = true;
            response.ContentType = "text/event-stream";
            response.Headers.CacheControl = "no-store";
            response.Headers["X-Accel-Buffering"] = "no";
        }

        switch (item)
        {
            case SandboxStarted { Id: var id }:
                await SendAsync("started", JsonSerializer.SerializeToUtf8Bytes(new StartedBody(id), HostJson.Relaxed.StartedBody));
                break;
            case SandboxTextReceived { Stream: var stream, Text: var text }:
                await SendAsync(
                    stream == SandboxStream.StandardOutput ? "stdout" : "stderr",
                    JsonSerializer.SerializeToUtf8Bytes(new TextBody(text), HostJson.Relaxed.TextBody));
                break;
        }
    }

    /// <summary>Writes the <c>end</c> event.</summary>
    public async Task EndAsync(ApiResponse end)
    {
        await response.Body.WriteAsync("event: end\ndata: "u8.ToArray(), cancellationToken);
        await end.WriteEventDataAsync(response.BodyWriter, cancellationToken);
        await response.Body.WriteAsync("\n\n"u8.ToArray(), cancellationToken);
        await response.Body.FlushAsync(cancellationToken);
    }

    /// <summary>Writes a comment.</summary>
    public async Task KeepAliveAsync()
    {
        await response.Body.WriteAsync(": waiting\n\n"u8.ToArray(), cancellationToken);
        await response.Body.FlushAsync(cancellationToken);
    }

    // JSON has no raw line breaks, so the data is a single line.
    private async Task SendAsync(string name, byte[] data)
    {
        await response.Body.WriteAsync(Encoding.ASCII.GetBytes($"event: {name}\ndata: "), cancellationToken);
        await response.Body.WriteAsync(data, cancellationToken);
        await response.Body.WriteAsync("\n\n"u8.ToArray(), cancellationToken);
        await response.Body.FlushAsync(cancellationToken);
    }
}
