using System.Net.WebSockets;
using System.Text.Json;
using Boxer;

namespace WebTerminal;

/// <summary>
/// The WebSocket between a page and a shell. Binary messages are keys and output. The page sends its size as <c>{"cols":80,"rows":24}</c>. It gets
/// <c>{"session":"..."}</c> first, and <c>{"end":"..."}</c> last.
/// </summary>
/// <param name="socket">The WebSocket.</param>
/// <param name="shell">The shell.</param>
internal sealed class TerminalSocket(WebSocket socket, ISandboxProcess shell)
{
    private const int BufferSize = 16 * 1024;

    /// <summary>Serves one WebSocket. A page that goes away leaves its shell and session: loaded again, it shows the same shell until the session's idle timeout.</summary>
    internal static async Task ServeAsync(HttpContext context)
    {
        if (!context.WebSockets.IsWebSocketRequest)
        {
            context.Response.StatusCode = StatusCodes.Status400BadRequest;
            return;
        }

        IServiceProvider services = context.RequestServices;
        ILogger logger = services.GetRequiredService<ILoggerFactory>().CreateLogger(typeof(TerminalSocket).FullName!);
        CancellationToken stopping = services.GetRequiredService<IHostApplicationLifetime>().ApplicationStopping;
        using CancellationTokenSource gone = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, stopping);
        using WebSocket socket = await context.WebSockets.AcceptWebSocketAsync();
        try
        {
            IQueryCollection query = context.Request.Query;
            SandboxTerminal size = new(Number(query["cols"], 80), Number(query["rows"], 24));
            (ISandboxSession session, ISandboxProcess shell) = await services.GetRequiredService<Shells>().FindOrOpenAsync(query["session"], size, gone.Token);
            Log.Shown(logger, shell.Id, session.Id);
            await SendAsync(socket, new { session = session.Id }, gone.Token);
            await new TerminalSocket(socket, shell).RelayAsync(gone);
            if (shell.End is not null)
            {
                await session.CloseAsync(CancellationToken.None);
            }
        }
        catch (SandboxException exception)
        {
            Log.Failed(logger, exception);
            await SendAsync(socket, new { end = exception.Message }, gone.Token);
            await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, gone.Token);
        }
        catch (Exception exception) when (exception is OperationCanceledException or WebSocketException)
        {
            // The page is gone, or this program stops.
        }
    }

    private async Task RelayAsync(CancellationTokenSource gone)
    {
        Task output = SendOutputAsync(gone.Token);
        try
        {
            await ReceiveAsync(gone.Token);
        }
        finally
        {
            await gone.CancelAsync();
            await output.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Sends the output, beginning with the last part of what the shell wrote before, and the end.</summary>
    private async Task SendOutputAsync(CancellationToken cancellationToken)
    {
        await foreach (SandboxProcessEvent item in shell.EventsAsync(cancellationToken: cancellationToken))
        {
            switch (item)
            {
                case SandboxProcessOutput { Data: var data }:
                    await socket.SendAsync(data, WebSocketMessageType.Binary, endOfMessage: true, cancellationToken);
                    break;
                case SandboxProcessEnded { End: var end }:
                    await SendAsync(socket, new { end = $"{end}" }, cancellationToken);
                    break;
            }
        }

        await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, cancellationToken);
    }

    private async Task ReceiveAsync(CancellationToken cancellationToken)
    {
        byte[] buffer = new byte[BufferSize];
        while (await socket.ReceiveAsync(buffer.AsMemory(), cancellationToken) is { MessageType: not WebSocketMessageType.Close } received)
        {
            ReadOnlyMemory<byte> message = buffer.AsMemory(0, received.Count);
            if (received.MessageType == WebSocketMessageType.Binary)
            {
                await TryAsync(() => shell.Input.WriteAsync(message, cancellationToken).AsTask());
            }
            else if (Size(message.Span) is { } size)
            {
                await TryAsync(() => shell.ResizeAsync(size, cancellationToken));
            }
        }
    }

    // The end of the shell comes with its output. Keys that arrive after it are dropped.
    private static async Task TryAsync(Func<Task> action)
    {
        try
        {
            await action();
        }
        catch (Exception exception) when (exception is SandboxException or IOException)
        {
            // The shell or its session has ended.
        }
    }

    private static SandboxTerminal? Size(ReadOnlySpan<byte> message)
    {
        try
        {
            return JsonSerializer.Deserialize<SizeMessage>(message, JsonSerializerOptions.Web) is { Cols: > 0 and <= ushort.MaxValue, Rows: > 0 and <= ushort.MaxValue } size
                ? new(size.Cols, size.Rows)
                : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static int Number(string? text, int otherwise) => ushort.TryParse(text, out ushort number) && number > 0 ? number : otherwise;

    private static ValueTask SendAsync<T>(WebSocket socket, T message, CancellationToken cancellationToken) =>
        socket.SendAsync(JsonSerializer.SerializeToUtf8Bytes(message).AsMemory(), WebSocketMessageType.Text, endOfMessage: true, cancellationToken);

    private sealed record SizeMessage(int Cols, int Rows);
}
