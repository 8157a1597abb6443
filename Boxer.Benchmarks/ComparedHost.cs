using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Boxer.Benchmarks;

/// <summary>
/// The HTTP host of one of two commits that are compared, as its clients see it: requests, answers and metrics that both commits know.
/// </summary>
internal sealed class ComparedHost(HttpHostProcess process, string image) : IAsyncDisposable
{
    // Its answer to GET /metrics may be 300 ms old.
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(350);

    // A sandbox that was booted ahead is counted a moment before it is frozen.
    private static readonly TimeSpan Freeze = TimeSpan.FromMilliseconds(100);
    private const int LongestWait = 200;
    private const int IdleRests = 6;
    private const double IdleShare = 0.1;
    private readonly HttpClient _client = process.Client;

    /// <summary>Starts the host of a commit.</summary>
    /// <param name="commit">The commit.</param>
    /// <param name="image">The image that it runs.</param>
    /// <param name="registry">The registry that the image names.</param>
    /// <param name="url">Its mirror.</param>
    /// <param name="settings">Keys of its configuration that both commits have; the commit's own win.</param>
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
    /// <param name="workload">The command, whose answer is checked.</param>
    /// <param name="more">More keys of the request; <see langword="null"/> for none.</param>
    /// <returns>The time until the whole answer was there, and the answer.</returns>
    /// <exception cref="InvalidOperationException">The answer is wrong.</exception>
    internal async Task<(TimeSpan Time, JsonElement Answer)> RunAsync(Workload workload, JsonObject? more = null)
    {
        var request = (JsonObject?)more?.DeepClone() ?? [];
        request["image"] = image;
        request["cmd"] = new JsonArray([.. workload.Command.Select(argument => (JsonNode)argument)]);
        long start = Stopwatch.GetTimestamp();
        using HttpResponseMessage response = await _client.PostAsJsonAsync("/run", request).ConfigureAwait(false);
        string text = await response.Content.ReadAsStringAsync().ConfigureAwait(false);
        TimeSpan time = Stopwatch.GetElapsedTime(start);
        JsonElement answer = JsonElement.Parse(text);
        return response.IsSuccessStatusCode && answer.GetProperty("exit_code").GetInt32() == 0 && answer.GetProperty("stdout").GetString() == workload.Answer
            ? (time, answer)
            : throw new InvalidOperationException($"A run of `{workload.Name}` was answered with {(int)response.StatusCode}: {text}");
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

    /// <summary>Deletes a file, or a directory with what is in it.</summary>
    internal async Task DeleteAsync(string path)
    {
        using HttpResponseMessage response = await _client.DeleteAsync($"/files?path={Uri.EscapeDataString(path)}").ConfigureAwait(false);
        response.EnsureSuccessStatusCode();
    }

    /// <summary>Waits until the sandboxes of earlier runs are taken down and as many as given wait for the next.</summary>
    /// <returns>How many runs found a sandbox in the pool until now.</returns>
    internal async Task<long> WaitForPoolAsync(int sandboxes)
    {
        for (int attempt = 0; attempt < LongestWait; attempt++)
        {
            await RestAsync().ConfigureAwait(false);
            (int waiting, long hits) = await ReadPoolAsync().ConfigureAwait(false);
            if (waiting == sandboxes)
            {
                await Task.Delay(Freeze).ConfigureAwait(false);
                return hits;
            }
        }

        throw new InvalidOperationException($"The pool of process {process.Id} never had {sandboxes} sandboxes that wait.");
    }

    /// <summary>Waits until the host has nothing left to do: the number of sandboxes that wait stays as it is, and its process uses no processor.</summary>
    internal async Task WaitUntilIdleAsync()
    {
        int idle = 0;
        int before = -1;
        for (int attempt = 0; idle < IdleRests && attempt < LongestWait; attempt++)
        {
            TimeSpan used = process.ProcessorTime;
            await RestAsync().ConfigureAwait(false);
            TimeSpan since = process.ProcessorTime - used;
            (int waiting, _) = await ReadPoolAsync().ConfigureAwait(false);
            idle = waiting == before && since < IdleShare * Rest ? idle + 1 : 0;
            before = waiting;
        }
    }

    /// <summary>Lets what the last run left in the background end.</summary>
    internal static Task RestAsync()
    {
        Interruption.ThrowIfAsked();
        return Task.Delay(Rest);
    }

    public ValueTask DisposeAsync() => process.DisposeAsync();

    private async Task<(int Waiting, long Hits)> ReadPoolAsync()
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
