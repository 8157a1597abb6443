using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json.Nodes;
using Boxer.Common;

namespace Boxer.Cli.Server;

/// <summary>Output of a process in a session.</summary>
/// <param name="IsError">Whether it is standard error.</param>
/// <param name="Data">The bytes.</param>
internal readonly record struct RemoteOutput(bool IsError, ReadOnlyMemory<byte> Data);

/// <summary>A process that was started in a session of a server.</summary>
/// <param name="server">The server.</param>
/// <param name="path">Path of the process on the server.</param>
/// <param name="time">Clock of the waits between attempts to attach again.</param>
internal sealed class RemoteProcess(SessionServer server, string path, TimeProvider time)
{
    private static readonly TimeSpan[] Waits = [.. new[] { 0.1, 0.4, 1, 2, 4 }.Select(TimeSpan.FromSeconds)];
    private static readonly TimeSpan PausedWait = TimeSpan.FromSeconds(1);
    private long _offset;
    private int _failures;

    /// <summary>Gets the body of the end; <see langword="null"/> until it was read.</summary>
    internal JsonNode? End { get; private set; }

    /// <summary>Writes to the standard input, however long the process takes, or its session is paused.</summary>
    internal Task WriteAsync(ReadOnlyMemory<byte> data, CancellationToken cancellationToken) => InTurnsAsync(
        async written =>
        {
            data = data[Math.Clamp(written, 0, data.Length)..];
            await server.WriteAsync(path, data, cancellationToken);
        },
        cancellationToken);

    internal Task EndInputAsync(CancellationToken cancellationToken) => InTurnsAsync(_ => server.EndInputAsync(path, cancellationToken), cancellationToken);

    internal Task ResizeAsync(int columns, int rows, CancellationToken cancellationToken) => server.ResizeAsync(path, columns, rows, cancellationToken);

    internal Task KillAsync(CancellationToken cancellationToken) => server.KillAsync(path, cancellationToken);

    /// <summary>Reads the output until the process ends. If the connection breaks, it attaches again at the next byte.</summary>
    /// <exception cref="ServerException">The session ended, or the server rejected the request.</exception>
    /// <exception cref="HttpRequestException">The server cannot be reached.</exception>
    internal async IAsyncEnumerable<RemoteOutput> ReadAsync([EnumeratorCancellation] CancellationToken cancellationToken)
    {
        while (End is null)
        {
            await using IAsyncEnumerator<SseItem<string>> events = server.EventsAsync(path, _offset, () => _failures = 0, cancellationToken).GetAsyncEnumerator(cancellationToken);
            while (End is null && await NextAsync(events) is { } item)
            {
                if (Take(item) is { } output)
                {
                    _failures = 0;
                    yield return output;
                }
            }

            if (End is null)
            {
                await Task.Delay(Waits[_failures++], time, cancellationToken);
            }
        }
    }

    // The server ends a request whose bytes a process does not take.
    private async Task InTurnsAsync(Func<int, Task> send, CancellationToken cancellationToken)
    {
        int written = 0;
        while (true)
        {
            try
            {
                await send(written);
                return;
            }
            catch (ServerException exception) when (exception.IsPaused || exception.Written is not null)
            {
                written = exception.Written ?? 0;
                await Task.Delay(PausedWait, time, cancellationToken);
            }
        }
    }

    /// <summary>Reads an event.</summary>
    /// <returns>The event; <see langword="null"/> if the connection broke and another attempt is due.</returns>
    private async Task<SseItem<string>?> NextAsync(IAsyncEnumerator<SseItem<string>> events)
    {
        try
        {
            if (await events.MoveNextAsync())
            {
                return events.Current;
            }

            return _failures < Waits.Length ? null : throw new IOException("The server closed the connection before the process ended.");
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException && _failures < Waits.Length)
        {
            return null;
        }
    }

    private RemoteOutput? Take(SseItem<string> item)
    {
        if (item.EventType is not ("stdout" or "stderr" or "output" or "ended" or "error"))
        {
            return null;
        }

        JsonNode body = SessionServer.Parse(item.Data);
        if (item.EventType == "ended")
        {
            End = body;
            return null;
        }

        if (item.EventType == "error")
        {
            throw new ServerException(UntrustedText.ShowLines(SessionServer.Text(body, "error") ?? "The session ended."), 410);
        }

        byte[] data = SessionServer.Text(body, "content_base64") is { } encoded ? Convert.FromBase64String(encoded) : Encoding.UTF8.GetBytes(SessionServer.Text(body, "text") ?? "");
        long offset = SessionServer.Number(body, "offset");
        int known = (int)Math.Clamp(_offset - offset, 0, data.Length);
        _offset = Math.Max(_offset, offset + data.Length);
        return known < data.Length ? new(item.EventType == "stderr", data.AsMemory(known)) : null;
    }
}
