using System.Diagnostics;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Boxer.Benchmarks;

/// <summary>The HTTP host as a process of its own, on a free port of loopback, with a home of its own.</summary>
internal sealed class HttpHostProcess : IAsyncDisposable
{
    private readonly Process _process;
    private readonly HttpClient _client;
    private readonly string _directory;

    private HttpHostProcess(Process process, string address, string directory)
    {
        _process = process;
        _directory = directory;
        _client = new HttpClient { BaseAddress = new Uri(address), Timeout = TimeSpan.FromMinutes(2) };
    }

    /// <summary>Its process.</summary>
    internal int Id => _process.Id;

    /// <summary>Starts it and waits until it listens.</summary>
    /// <param name="registry">The registry that images name.</param>
    /// <param name="url">Its mirror.</param>
    /// <param name="program">Path of its Boxer.HttpHost.dll; <see langword="null"/> for the one that was built with this program.</param>
    /// <param name="settings">More keys of its configuration; <see langword="null"/> for none.</param>
    internal static async Task<HttpHostProcess> StartAsync(string registry, string url, string? program = null, JsonObject? settings = null)
    {
        string directory = Directory.CreateTempSubdirectory("boxer-bench-host-").FullName;
        string config = Path.Combine(directory, "config.json");
        var all = (JsonObject?)settings?.DeepClone() ?? [];
        all["listen_addr"] = "127.0.0.1:0";
        all["home"] = Path.Combine(directory, "home");
        all["registry_mirrors"] = new JsonObject { [registry] = new JsonArray(url) };
        await File.WriteAllTextAsync(config, all.ToJsonString()).ConfigureAwait(false);
        Process process = HostProgram.Start("dotnet", program ?? Path.Join(AppContext.BaseDirectory, "Boxer.HttpHost.dll"), "--config", config);
        Task<string> errors = process.StandardError.ReadToEndAsync();
        const string Marker = "Now listening on: ";
        while (await process.StandardOutput.ReadLineAsync().ConfigureAwait(false) is { } line)
        {
            int at = line.IndexOf(Marker, StringComparison.Ordinal);
            if (at >= 0)
            {
                _ = process.StandardOutput.ReadToEndAsync();
                return new HttpHostProcess(process, line[(at + Marker.Length)..].Trim(), directory);
            }
        }

        process.Dispose();
        Directory.Delete(directory, recursive: true);
        throw new InvalidOperationException("The host ended without listening: " + await errors.ConfigureAwait(false));
    }

    /// <summary>Speaks to it.</summary>
    internal HttpClient Client => _client;

    /// <summary>Processor time that its process has used.</summary>
    internal TimeSpan ProcessorTime
    {
        get
        {
            _process.Refresh();
            return _process.TotalProcessorTime;
        }
    }

    /// <summary>Runs a command through <c>POST /run</c>.</summary>
    /// <returns>Whether it was answered rightly.</returns>
    internal async Task<bool> RunAsync(string image, Workload workload)
    {
        using HttpResponseMessage response = await _client.PostAsJsonAsync("/run", new { image, cmd = workload.Command }).ConfigureAwait(false);
        if (!response.IsSuccessStatusCode)
        {
            return false;
        }

        JsonElement answer = await response.Content.ReadFromJsonAsync<JsonElement>().ConfigureAwait(false);
        return answer.GetProperty("exit_code").GetInt32() == 0 && answer.GetProperty("stdout").GetString() == workload.Answer;
    }

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await HostProgram.RunAsync("kill", "-TERM", $"{Id}").ConfigureAwait(false);
        await _process.WaitForExitAsync().ConfigureAwait(false);
        _process.Dispose();
        Directory.Delete(_directory, recursive: true);
    }
}
