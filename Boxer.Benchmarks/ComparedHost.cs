using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Boxer.Benchmarks;

/// <summary>
/// A client of the HTTP host of one of two compared commits. It uses only requests, responses and metrics that both commits have.
/// </summary>
internal sealed class ComparedHost(HttpHostProcess process, string image) : IAsyncDisposable
{
    // The response to GET /metrics can be 300 ms old.
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(350);

    // The metrics count a pooled sandbox shortly before it is frozen.
    private static readonly TimeSpan Freeze = TimeSpan.FromMilliseconds(100);
    private const int MaxWaits = 200;
    private const int IdleRests = 4;
    private const double IdleShare = 0.1;

    /// <summary>Bytes that the command of <see cref="StreamOutputAsync"/> prints.</summary>
    internal const int OutputBytes = 100_000_000;
    private const int OutputPieces = 100_000;
    private readonly HttpClient _client = process.Client;

    /// <summary>Starts the host of a commit.</summary>
    /// <param name="commit">The commit.</param>
    /// <param name="image">The image of its runs.</param>
    /// <param name="registry">The registry that the image names.</param>
    /// <param name="url">URL of the mirror of the registry.</param>
    /// <param name="settings">Configuration keys that both commits have. The keys of the commit override them.</param>
    internal static async Task<ComparedHost> StartAsync(ComparedCommit commit, string image, string registry, string url, JsonObject settings)
    {
        var all = (JsonObject)settings.DeepClone();
        foreach ((string key, JsonNode? value) in commit.Settings)
        {
            all[key] = value?.DeepClone();
        }

        return new ComparedHost(await HttpHostProcess.StartAsync(registry, url, commit.Program, all).ConfigureAwait(false), image);
    }

    /// <summary>Runs a command.</summary>
    /// <param name="workload">The command.</param>
    /// <param name="more">Additional keys of the request; <see langword="null"/>: none.</param>
    /// <returns>The time until the whole response was received, and the response.</returns>
    /// <exception cref="InvalidOperationException">The run failed or its output is wrong.</exception>
    internal async Task<(TimeSpan Time, JsonElement Response)> RunAsync(Workload workload, JsonObject? more = null)
    {
        var request = (JsonObject?)more?.DeepClone() ?? [];
        request["image"] = image;
        request["cmd"] = new JsonArray([.. workload.Command.Select(argument => (JsonNode)argument)]);
        long start = Stopwatch.GetTimestamp();
        using HttpResponseMessage response = await _client.PostAsJsonAsync("/run", request).ConfigureAwait(false);
        string text = await response.Content.ReadAsStringAsync().ConfigureAwait(false);
        TimeSpan time = Stopwatch.GetElapsedTime(start);
        JsonElement result = JsonElement.Parse(text);
        return response.IsSuccessStatusCode && result.GetProperty("exit_code").GetInt32() == 0 && result.GetProperty("stdout").GetString() == workload.ExpectedOutput
            ? (time, result)
            : throw new InvalidOperationException($"A run of `{workload.Name}` had the response {(int)response.StatusCode}: {text}");
    }

    /// <summary>Opens a session, which ends with the host.</summary>
    /// <returns>Its identifier.</returns>
    internal async Task<string> OpenSessionAsync()
    {
        using HttpResponseMessage response = await _client.PostAsJsonAsync("/sessions", new JsonObject { ["image"] = image }).ConfigureAwait(false);
        response.EnsureSuccessStatusCode();
        return (await response.Content.ReadFromJsonAsync<JsonElement>().ConfigureAwait(false)).GetProperty("id").GetString()!;
    }

    /// <summary>Runs a command that prints <see cref="OutputBytes"/>, and reads the events of its output.</summary>
    /// <param name="path">The path of runs or of the commands of a session.</param>
    /// <returns>The time until all events were received.</returns>
    /// <exception cref="InvalidOperationException">The output is not complete.</exception>
    internal async Task<TimeSpan> StreamOutputAsync(string path)
    {
        var body = new JsonObject { ["cmd"] = new JsonArray("python3", "-c", $"import sys\nfor _ in range({OutputBytes / OutputPieces}): sys.stdout.write('x' * {OutputPieces})") };
        if (!path.StartsWith("/sessions/", StringComparison.Ordinal))
        {
            body["image"] = image;
        }

        long start = Stopwatch.GetTimestamp();
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = JsonContent.Create(body) };
        using HttpResponseMessage response = await _client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead).ConfigureAwait(false);
        response.EnsureSuccessStatusCode();
        Stream stream = await response.Content.ReadAsStreamAsync().ConfigureAwait(false);
        byte[] buffer = new byte[1 << 16];
        long printed = 0;
        for (int got; (got = await stream.ReadAsync(buffer).ConfigureAwait(false)) > 0;)
        {
            printed += buffer.AsSpan(0, got).Count((byte)'x');
        }

        return printed >= OutputBytes ? Stopwatch.GetElapsedTime(start) : throw new InvalidOperationException($"A command at {path} printed {printed} bytes.");
    }

    /// <summary>Uploads a file.</summary>
    internal async Task UploadAsync(string path, byte[] content)
    {
        using var form = new MultipartFormDataContent { { new ByteArrayContent(content), "file", "file" }, { new StringContent(path), "path" } };
        using HttpResponseMessage response = await _client.PostAsync("/files", form).ConfigureAwait(false);
        response.EnsureSuccessStatusCode();
    }

    /// <summary>Downloads a file.</summary>
    internal Task<byte[]> DownloadAsync(string path) => _client.GetByteArrayAsync($"/files?path={Uri.EscapeDataString(path)}");

    /// <summary>Deletes a file, or a directory with its content.</summary>
    internal async Task DeleteAsync(string path)
    {
        using HttpResponseMessage response = await _client.DeleteAsync($"/files?path={Uri.EscapeDataString(path)}").ConfigureAwait(false);
        response.EnsureSuccessStatusCode();
    }

    /// <summary>Waits until the pool, which is configured for one sandbox, is full.</summary>
    /// <returns>Number of runs so far that got a pooled sandbox.</returns>
    internal async Task<long> WaitForPoolAsync()
    {
        for (int attempt = 0; attempt < MaxWaits; attempt++)
        {
            await RestAsync().ConfigureAwait(false);
            (int pooled, long hits) = await ReadPoolAsync().ConfigureAwait(false);
            if (pooled == 1)
            {
                await Task.Delay(Freeze).ConfigureAwait(false);
                return hits;
            }
        }

        throw new InvalidOperationException($"The pool of the host, process {process.Id}, was not filled in time.");
    }

    /// <summary>Waits until the host is idle: the number of pooled sandboxes does not change, and the process uses no processor time.</summary>
    internal async Task WaitUntilIdleAsync()
    {
        int before = -1;
        for (int attempt = 0, idle = 0; attempt < MaxWaits; attempt++)
        {
            TimeSpan used = process.ProcessorTime;
            await RestAsync().ConfigureAwait(false);
            TimeSpan since = process.ProcessorTime - used;
            (int pooled, _) = await ReadPoolAsync().ConfigureAwait(false);
            idle = pooled == before && since < IdleShare * Rest ? idle + 1 : 0;
            before = pooled;
            if (idle == IdleRests)
            {
                return;
            }
        }

        throw new InvalidOperationException($"The host, process {process.Id}, did not become idle in time.");
    }

    /// <summary>Waits for background work of the last run to end.</summary>
    internal static Task RestAsync()
    {
        Interruption.ThrowIfRequested();
        return Task.Delay(Rest);
    }

    public ValueTask DisposeAsync() => process.DisposeAsync();

    private async Task<(int Pooled, long Hits)> ReadPoolAsync()
    {
        string[] lines = (await _client.GetStringAsync("/metrics").ConfigureAwait(false)).Split('\n');
        return ((int)Sum("boxer_pool_sandboxes", ""), (long)Sum("boxer_pool_takes_total", "hit=\"true\""));

        // A line is NAME{LABEL="VALUE",...} VALUE TIME.
        double Sum(string name, string label) => lines
            .Where(line => line.StartsWith(name + "{", StringComparison.Ordinal) || line.StartsWith(name + " ", StringComparison.Ordinal))
            .Where(line => line.Contains(label, StringComparison.OrdinalIgnoreCase))
            .Sum(line => double.Parse(line[(line.LastIndexOf('}') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries)[0], CultureInfo.InvariantCulture));
    }
}
