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

    /// <summary>Starts it and waits until it listens. Nothing is set but where images come from.</summary>
    internal static async Task<HttpHostProcess> StartAsync(string registry, string url)
    {
        string directory = Directory.CreateTempSubdirectory("boxer-bench-host-").FullName;
        string config = Path.Combine(directory, "config.json");
        await File.WriteAllTextAsync(config, new JsonObject
        {
            ["listen_addr"] = "127.0.0.1:0",
            ["home"] = Path.Combine(directory, "home"),
            ["registry_mirrors"] = new JsonObject { [registry] = new JsonArray(url) },
        }.ToJsonString()).ConfigureAwait(false);
        Process process = HostProgram.Start("dotnet", Path.Join(AppContext.BaseDirectory, "Boxer.HttpHost.dll"), "--config", config);
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

        throw new InvalidOperationException("The host ended without listening: " + await errors.ConfigureAwait(false));
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
