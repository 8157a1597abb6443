using System.Net.WebSockets;
using System.Text;

namespace Boxer.Tests.Support;

/// <summary>The WebSocket of a page of the sample WebTerminal.</summary>
internal sealed class TerminalPage : IDisposable
{
    private readonly ClientWebSocket _socket = new();
    private readonly StringBuilder _output = new();

    /// <summary>Messages about the session, each a JSON object.</summary>
    internal List<string> Messages { get; } = [];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>Opens the WebSocket.</summary>
    /// <param name="address">Address of the program.</param>
    /// <param name="query">The query, without its question mark.</param>
    /// <param name="origin">Origin of the page; default the program's own.</param>
    /// <param name="host">The header Host; default the one of the address.</param>
    internal static async Task<TerminalPage> OpenAsync(string address, string query = "", string? origin = null, string? host = null)
    {
        TerminalPage page = new();
        page._socket.Options.SetRequestHeader("Origin", origin ?? address);
        if (host is not null)
        {
            page._socket.Options.SetRequestHeader("Host", host);
        }

        await page._socket.ConnectAsync(new Uri($"{address.Replace("http:", "ws:", StringComparison.Ordinal)}/terminal?{query}"), Cancel);
        return page;
    }

    internal Task TypeAsync(string keys) => _socket.SendAsync(Encoding.UTF8.GetBytes(keys), WebSocketMessageType.Binary, true, Cancel);

    internal Task SendAsync(string message) => _socket.SendAsync(Encoding.UTF8.GetBytes(message), WebSocketMessageType.Text, true, Cancel);

    /// <summary>Reads until the output contains a text.</summary>
    /// <returns>The whole output so far.</returns>
    internal async Task<string> ReadAsync(string text)
    {
        while (!_output.ToString().Contains(text, StringComparison.Ordinal))
        {
            Assert.True(await ReadMessageAsync(), $"The WebSocket was closed without \"{text}\" after: {_output}");
        }

        return _output.ToString();
    }

    /// <summary>Reads to the end of the WebSocket and closes it.</summary>
    internal async Task<string> ReadToEndAsync()
    {
        while (await ReadMessageAsync())
        {
        }

        await _socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, Cancel);
        return _output.ToString();
    }

    public void Dispose() => _socket.Dispose();

    private async Task<bool> ReadMessageAsync()
    {
        byte[] buffer = new byte[64 * 1024];
        WebSocketReceiveResult received = await _socket.ReceiveAsync(buffer, Cancel);
        string text = Encoding.UTF8.GetString(buffer, 0, received.Count);
        if (received.MessageType == WebSocketMessageType.Text)
        {
            Messages.Add(text);
        }
        else
        {
            _output.Append(text);
        }

        return received.MessageType != WebSocketMessageType.Close;
    }
}
