using System.Diagnostics;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;

namespace Boxer.Tests.Support;

/// <summary>The HTTP host as a process of its own, on a free port of loopback.</summary>
internal sealed class HostProcess : IAsyncDisposable
{
    // What a shell shows for SIGABRT: how the .NET runtime ends a process.
    private const int Aborted = 134;
    private readonly string _config;
    private readonly Task<string> _errors;
    private bool _mayAbort;

    private HostProcess(Process process, string config, string address, string firstLines, Task<string> errors)
    {
        Log = ReadLogAsync(firstLines, process);
        _errors = errors;
        Process = process;
        _config = config;
        Address = address;
        Client = NewClient();
    }

    public Process Process { get; }

    public string Address { get; }

    /// <summary>The whole log; complete when the host has ended.</summary>
    public Task<string> Log { get; }

    /// <summary>Speaks to it without a key.</summary>
    public HttpClient Client { get; }

    /// <summary>Starts it and waits until it listens.</summary>
    /// <param name="image">Where images come from.</param>
    /// <param name="settings">More keys of its configuration.</param>
    /// <param name="launcher">What to start it with, before <c>dotnet</c>; default nothing.</param>
    /// <param name="directory">Where its files are; default those beside the tests.</param>
    public static async Task<HostProcess> StartAsync(PythonImage image, JsonObject? settings = null, string[]? launcher = null, string? directory = null)
    {
        JsonObject all = (JsonObject?)settings?.DeepClone() ?? [];
        all.TryAdd("home", image.Home);
        all.TryAdd("pool", new JsonObject { ["enabled"] = false });
        all["listen_addr"] = "127.0.0.1:0";
        all.TryAdd("registry_mirrors", new JsonObject());
        all["registry_mirrors"]!.AsObject().TryAdd("docker.io", new JsonArray(image.Url));
        string config = Path.Join(directory ?? Path.GetDirectoryName(image.Home), $"host-{Guid.NewGuid():N}.json");
        await File.WriteAllTextAsync(config, all.ToJsonString(), TestContext.Current.CancellationToken);
        string[] command = [.. launcher ?? [], "dotnet", Path.Join(directory ?? AppContext.BaseDirectory, "Boxer.HttpHost.dll"), "--config", config];
        Process process = HostProgram.Start(command[0], command[1..]);
        Task<string> errors = process.StandardError.ReadToEndAsync();
        const string Marker = "Now listening on: ";
        var firstLines = new StringBuilder();
        while (await process.StandardOutput.ReadLineAsync(TestContext.Current.CancellationToken) is { } line)
        {
            firstLines.AppendLine(line);
            int at = line.IndexOf(Marker, StringComparison.Ordinal);
            if (at >= 0)
            {
                return new HostProcess(process, config, line[(at + Marker.Length)..].Trim(), firstLines.ToString(), errors);
            }
        }

        throw new InvalidOperationException("The host ended without listening: " + await errors);
    }

    public HttpClient NewClient(string? apiKey = null)
    {
        var client = new HttpClient { BaseAddress = new Uri(Address), Timeout = TimeSpan.FromMinutes(2) };
        client.DefaultRequestHeaders.Authorization = apiKey is null ? null : new AuthenticationHeaderValue("Bearer", apiKey);
        return client;
    }

    /// <summary>Asks it to stop, and waits until it has.</summary>
    /// <returns>Its exit code.</returns>
    public async Task<int> StopAsync()
    {
        await HostProgram.RunAsync("kill", "-TERM", $"{Process.Id}");
        await Process.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
        return Process.ExitCode;
    }

    /// <summary>
    /// Whether the .NET runtime ends it because it cannot start a thread: each takes two descriptors for a moment. Disposing it does not complain of
    /// that then.
    /// </summary>
    public async Task<bool> IsOutOfThreadsAsync()
    {
        try
        {
            await Process.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromSeconds(10), TestContext.Current.CancellationToken);
        }
        catch (TimeoutException)
        {
            return false;
        }

        return _mayAbort = Process.ExitCode == Aborted && (await _errors).Trim() == "Out of memory.";
    }

    private static async Task<string> ReadLogAsync(string firstLines, Process process) => firstLines + await process.StandardOutput.ReadToEndAsync();

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        if (!Process.HasExited)
        {
            await StopAsync();
        }

        int exitCode = Process.ExitCode;
        Process.Dispose();
        File.Delete(_config);
        if (exitCode == Aborted && !_mayAbort)
        {
            throw new InvalidOperationException("The host ended by itself: " + await _errors);
        }
    }
}
