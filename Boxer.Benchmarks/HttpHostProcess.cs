using System.Diagnostics;
using System.Net.Http.Json;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Boxer.Benchmarks;

/// <summary>An HTTP host process on a free loopback port, with a home directory of its own.</summary>
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

    /// <summary>The process id.</summary>
    internal int Id => _process.Id;

    /// <summary>Starts a host and waits until it listens.</summary>
    /// <param name="registry">The registry that images name.</param>
    /// <param name="url">URL of the mirror of the registry.</param>
    /// <param name="program">Path of Boxer.HttpHost.dll; <see langword="null"/>: the one that was built with this program.</param>
    /// <param name="settings">Additional configuration keys; <see langword="null"/>: none.</param>
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
        throw new InvalidOperationException("The host exited before it listened: " + await errors.ConfigureAwait(false));
    }

    /// <summary>The client of the host.</summary>
    internal HttpClient Client => _client;

    /// <summary>Processor time of the process so far.</summary>
    internal TimeSpan ProcessorTime
    {
        get
        {
            _process.Refresh();
            return _process.TotalProcessorTime;
        }
    }

    /// <summary>Runs a command through <c>POST /run</c>.</summary>
    /// <returns>Whether the run succeeded with the expected output.</returns>
    internal async Task<bool> RunAsync(string image, Workload workload)
    {
        using HttpResponseMessage response = await _client.PostAsJsonAsync("/run", new { image, cmd = workload.Command }).ConfigureAwait(false);
        if (!response.IsSuccessStatusCode)
        {
            return false;
        }

        JsonElement result = await response.Content.ReadFromJsonAsync<JsonElement>().ConfigureAwait(false);
        return result.GetProperty("exit_code").GetInt32() == 0 && result.GetProperty("stdout").GetString() == workload.ExpectedOutput;
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
