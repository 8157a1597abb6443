using System.Net;
using System.Net.Http.Json;
using System.Net.WebSockets;
using System.Text;
using System.Text.Json.Nodes;

namespace Boxer.Tests.Support;

/// <summary>A session of an HTTP host, as a client sees it.</summary>
internal sealed class HttpSession
{
    private readonly HttpClient _client;

    private HttpSession(HttpClient client, string id)
    {
        _client = client;
        Id = id;
    }

    public string Id { get; }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>Opens a session of the Python image with 128 MiB.</summary>
    /// <param name="client">The client.</param>
    /// <param name="settings">More fields of the body.</param>
    public static async Task<HttpSession> OpenAsync(HttpClient client, JsonObject? settings = null)
    {
        JsonObject body = (JsonObject?)settings?.DeepClone() ?? [];
        body["image"] = PythonImage.Name;
        body.TryAdd("limits", new JsonObject { ["memory_mb"] = 128 });
        using HttpResponseMessage answer = await client.PostAsJsonAsync("/sessions", body, Cancel);
        string text = await answer.Content.ReadAsStringAsync(Cancel);
        Assert.True(answer.StatusCode == HttpStatusCode.Created, text);
        return new(client, (string)JsonNode.Parse(text)!["id"]!);
    }

    /// <summary>Sends a request, and returns status and body.</summary>
    public async Task<(int Status, JsonNode? Body)> SendAsync(HttpMethod method, string path, JsonNode? body = null)
    {
        using var request = new HttpRequestMessage(method, Address(path)) { Content = body is null ? null : JsonContent.Create(body) };
        using HttpResponseMessage answer = await _client.SendAsync(request, Cancel);
        string text = await answer.Content.ReadAsStringAsync(Cancel);
        return ((int)answer.StatusCode, text.Length == 0 ? null : JsonNode.Parse(text));
    }

    /// <summary>Sends a request, and returns the body of a successful answer.</summary>
    public async Task<JsonNode?> MustAsync(HttpMethod method, string path, JsonNode? body = null)
    {
        (int status, JsonNode? answer) = await SendAsync(method, path, body);
        Assert.True(status is >= 200 and < 300, $"{method} {path}: {status} {answer}");
        return answer;
    }

    /// <summary>Runs a shell script with POST exec.</summary>
    public async Task<JsonNode> ExecAsync(string script, JsonObject? settings = null)
    {
        JsonObject body = (JsonObject?)settings?.DeepClone() ?? [];
        body["cmd"] = new JsonArray("sh", "-c", script);
        return (await MustAsync(HttpMethod.Post, "/exec", body))!;
    }

    /// <summary>Starts a process.</summary>
    /// <returns>Its identifier.</returns>
    public async Task<int> StartAsync(JsonObject settings, params string[] command)
    {
        var body = (JsonObject)settings.DeepClone();
        body["cmd"] = new JsonArray([.. command]);
        return (int)(await MustAsync(HttpMethod.Post, "/processes", body))!["pid"]!;
    }

    /// <summary>Opens a server-sent stream or a large answer; the body is not read.</summary>
    public async Task<HttpResponseMessage> OpenAsync(HttpMethod method, string path, JsonNode? body = null)
    {
        using var request = new HttpRequestMessage(method, Address(path)) { Content = body is null ? null : JsonContent.Create(body) };
        HttpResponseMessage answer = await _client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Cancel);
        Assert.True(answer.IsSuccessStatusCode, $"{method} {path}: {answer.StatusCode}");
        return answer;
    }

    /// <summary>Connects to a port of the sandbox.</summary>
    public async Task<ClientWebSocket> ConnectAsync(int port)
    {
        var socket = new ClientWebSocket();
        var address = new UriBuilder(new Uri(_client.BaseAddress!, Address($"/ports/{port}"))) { Scheme = "ws" };
        if (_client.DefaultRequestHeaders.Authorization is { } key)
        {
            socket.Options.SetRequestHeader("Authorization", key.ToString());
        }

        await socket.ConnectAsync(address.Uri, Cancel);
        return socket;
    }

    /// <summary>Starts an HTTP server in the session, and waits until it listens.</summary>
    public async Task ServeAsync(int port)
    {
        await StartAsync([], "python3", "-m", "http.server", $"{port}");
        await ExecAsync($"until python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", {port}))' 2>/dev/null; do sleep 0.1; done");
    }

    /// <summary>Reads the events of a stream to its end, as name and data.</summary>
    public static async Task<List<(string Name, JsonNode Data)>> ReadEventsAsync(HttpResponseMessage answer)
    {
        List<(string, JsonNode)> events = [];
        string name = "";
        using var reader = new StreamReader(await answer.Content.ReadAsStreamAsync(Cancel), Encoding.UTF8);
        while (await reader.ReadLineAsync(Cancel) is { } line)
        {
            if (line.StartsWith("event: ", StringComparison.Ordinal))
            {
                name = line["event: ".Length..];
            }
            else if (line.StartsWith("data: ", StringComparison.Ordinal))
            {
                events.Add((name, JsonNode.Parse(line["data: ".Length..])!));
            }
        }

        return events;
    }

    private Uri Address(string path) => new($"/sessions/{Id}{path}", UriKind.Relative);
}
