using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Net.ServerSentEvents;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using Boxer.Common;

namespace Boxer.Cli.Server;

/// <summary>Requests about sessions to a Boxer server.</summary>
internal sealed class SessionServer : IDisposable
{
    private readonly HttpClient _http;
    private readonly TimeProvider _time;

    /// <summary>Creates a client.</summary>
    /// <param name="address">Address of the server, with a slash at the end.</param>
    /// <param name="key">API key; <see langword="null"/> for none.</param>
    /// <param name="time">Clock of the time that the server may be silent.</param>
    internal SessionServer(Uri address, string? key, TimeProvider time)
    {
        _time = time;

        // A redirect would take the key to another server.
        _http = new(new SocketsHttpHandler { AllowAutoRedirect = false, ConnectTimeout = TimeSpan.FromSeconds(10) }) { BaseAddress = address, Timeout = Timeout.InfiniteTimeSpan };
        _http.DefaultRequestHeaders.Authorization = key is null ? null : new AuthenticationHeaderValue("Bearer", key);
    }

    public void Dispose() => _http.Dispose();

    internal Task<JsonNode> OpenAsync(JsonObject body, CancellationToken cancellationToken) =>
        SendAsync(HttpMethod.Post, "sessions", JsonContent.Create(body), cancellationToken);

    internal Task<JsonNode> ListAsync(CancellationToken cancellationToken) => SendAsync(HttpMethod.Get, "sessions", null, cancellationToken);

    internal Task<JsonNode> ListProcessesAsync(string session, CancellationToken cancellationToken) =>
        SendAsync(HttpMethod.Get, $"{Of(session)}/processes", null, cancellationToken);

    internal Task PauseAsync(string session, CancellationToken cancellationToken) => SendAsync(HttpMethod.Post, Of(session) + "/pause", null, cancellationToken);

    internal Task ResumeAsync(string session, CancellationToken cancellationToken) => SendAsync(HttpMethod.Post, Of(session) + "/resume", null, cancellationToken);

    internal Task<JsonNode> ExtendAsync(string session, JsonObject body, CancellationToken cancellationToken) =>
        SendAsync(HttpMethod.Patch, Of(session), JsonContent.Create(body), cancellationToken);

    internal Task CloseAsync(string session, CancellationToken cancellationToken) => SendAsync(HttpMethod.Delete, Of(session), null, cancellationToken);

    /// <summary>Starts a process.</summary>
    /// <returns>Path of the process on the server.</returns>
    internal async Task<string> StartAsync(string session, JsonObject body, CancellationToken cancellationToken)
    {
        string processes = $"{Of(session)}/processes";
        JsonNode started = await SendAsync(HttpMethod.Post, processes, JsonContent.Create(body), cancellationToken);
        return $"{processes}/{Number(started, "pid")}";
    }

    /// <summary>Writes to the standard input of a process.</summary>
    internal Task WriteAsync(string process, ReadOnlyMemory<byte> data, CancellationToken cancellationToken) =>
        SendAsync(HttpMethod.Post, process + "/stdin", new ReadOnlyMemoryContent(data), cancellationToken);

    internal Task EndInputAsync(string process, CancellationToken cancellationToken) =>
        SendAsync(HttpMethod.Post, process + "/stdin?end=true", new ByteArrayContent([]), cancellationToken);

    internal Task ResizeAsync(string process, int columns, int rows, CancellationToken cancellationToken) =>
        SendAsync(HttpMethod.Post, process + "/resize", JsonContent.Create(new JsonObject { ["cols"] = columns, ["rows"] = rows }), cancellationToken);

    internal Task KillAsync(string process, CancellationToken cancellationToken) => SendAsync(HttpMethod.Delete, process, null, cancellationToken);

    /// <summary>Reads the events of a process on one connection.</summary>
    /// <param name="process">Path of the process.</param>
    /// <param name="offset">Number of output bytes to skip.</param>
    /// <param name="lasts">Called when bytes come some time after the response began.</param>
    /// <param name="cancellationToken">Closes the connection.</param>
    /// <exception cref="IOException">The connection broke, or the server was silent for too long.</exception>
    internal async IAsyncEnumerable<SseItem<string>> EventsAsync(string process, long offset, Action lasts, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using HttpRequestMessage request = new(HttpMethod.Get, process + "/events");
        if (offset > 0)
        {
            request.Headers.Add("Last-Event-ID", FormattableString.Invariant($"{offset}"));
        }

        using HttpResponseMessage response = await EventBytes.InTimeAsync(
            token => _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, token), _time, cancellationToken);
        await CheckAsync(response, cancellationToken);
        await using EventBytes stream = new(await response.Content.ReadAsStreamAsync(cancellationToken), lasts, _time);
        await foreach (SseItem<string> item in SseParser.Create(stream).EnumerateAsync(cancellationToken))
        {
            yield return item;
        }
    }

    /// <summary>Gets a number from an object that the server sent.</summary>
    /// <exception cref="ServerException">The object has none of this name.</exception>
    internal static long Number(JsonNode? node, string name) =>
        node is JsonObject && node[name] is JsonValue value && value.TryGetValue(out long number) ? number : throw NoBoxer($"it sent no '{name}'");

    /// <summary>Gets a text from an object that the server sent.</summary>
    /// <returns>The text; <see langword="null"/> if there is none of this name.</returns>
    internal static string? Text(JsonNode? node, string name) => node is JsonObject && node[name] is JsonValue value && value.TryGetValue(out string? text) ? text : null;

    /// <summary>Parses JSON of the server.</summary>
    internal static JsonNode Parse(string json)
    {
        try
        {
            return JsonNode.Parse(json) ?? throw NoBoxer("it sent null");
        }
        catch (JsonException)
        {
            throw NoBoxer("it sent no JSON");
        }
    }

    private static string Of(string session) =>
        session.Length is >= 20 and <= 57 && session.All(character => char.IsAsciiLetterLower(character) || char.IsAsciiDigit(character))
            ? "sessions/" + session
            : throw new FormatException($"\"{UntrustedText.Show(session)}\" is not the identifier of a session; \"boxer ps\" lists them.");

    private async Task<JsonNode> SendAsync(HttpMethod method, string path, HttpContent? content, CancellationToken cancellationToken)
    {
        using HttpRequestMessage request = new(method, path) { Content = content };
        using HttpResponseMessage response = await _http.SendAsync(request, cancellationToken);
        await CheckAsync(response, cancellationToken);
        string body = await response.Content.ReadAsStringAsync(cancellationToken);
        return body.Length == 0 ? new JsonObject() : Parse(body);
    }

    private static async Task CheckAsync(HttpResponseMessage response, CancellationToken cancellationToken)
    {
        if (response.IsSuccessStatusCode)
        {
            return;
        }

        int status = (int)response.StatusCode;
        string text = await response.Content.ReadAsStringAsync(cancellationToken);
        JsonNode? body = null;
        try
        {
            body = JsonNode.Parse(text);
        }
        catch (JsonException)
        {
            // The response of a proxy, for example.
        }

        bool isPaused = status == 409 && Text(body, "state") == "paused";
        string? error = isPaused ? "The session is paused; \"boxer resume SESSION\" resumes it." : Text(body, "error");
        throw new ServerException(error is null ? $"The server answered with status {status}." : UntrustedText.ShowLines(error), status)
        {
            IsPaused = isPaused,
            Written = status == 409 ? Count(body, "written") : null,
            ExitCode = Count(body, "exit_code") is 126 or 127 ? Count(body, "exit_code") : null,
        };
    }

    private static int? Count(JsonNode? node, string name) => node is JsonObject && node[name] is JsonValue value && value.TryGetValue(out int number) ? number : null;

    private static ServerException NoBoxer(string reason) => new($"The server is no Boxer server, or of another version: {reason}.");
}
