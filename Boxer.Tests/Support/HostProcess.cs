using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;

namespace Boxer.Tests.Support;

/// <summary>Runs the HTTP host as a process of its own, on a free port of loopback.</summary>
internal sealed class HostProcess : IAsyncDisposable
{
    // The exit code of SIGABRT, with which the .NET runtime ends a process.
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

    /// <summary>Whole log; the task completes when the host has ended.</summary>
    public Task<string> Log { get; }

    /// <summary>Client without an API key.</summary>
    public HttpClient Client { get; }

    /// <summary>The most memory that the host has had resident.</summary>
    public int PeakMegabytes =>
        int.Parse(File.ReadLines($"/proc/{Process.Id}/status").Single(line => line.StartsWith("VmHWM:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2], CultureInfo.InvariantCulture) >> 10;

    /// <summary>Starts a host and waits until it listens.</summary>
    /// <param name="image">The registry of the images.</param>
    /// <param name="settings">More configuration keys.</param>
    /// <param name="launcher">The command before <c>dotnet</c>; default none.</param>
    /// <param name="directory">The directory of the host's files; default that of the tests.</param>
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

        // The tests' own runtime compiles less (test.sh). The host runs as users run it.
        string[] command = [.. launcher ?? [], "env", "-u", "DOTNET_TieredPGO", "-u", "DOTNET_EnableWriteXorExecute", "dotnet", Path.Join(directory ?? AppContext.BaseDirectory, "Boxer.HttpHost.dll"), "--config", config];
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
        var client = new HttpClient { BaseAddress = new Uri(Address), Timeout = TimeSpan.FromMinutes(6) };
        client.DefaultRequestHeaders.Authorization = apiKey is null ? null : new AuthenticationHeaderValue("Bearer", apiKey);
        return client;
    }

    /// <summary>Waits until this many pooled sandboxes are ready. The requests leave no connection open.</summary>
    public async Task WaitForPoolAsync(int sandboxes)
    {
        int ready = -1;
        for (int attempt = 0; ready != sandboxes; attempt++)
        {
            Assert.True(attempt < 600, $"The pool has {ready} sandboxes instead of {sandboxes}.");
            await Task.Delay(TimeSpan.FromMilliseconds(100), TestContext.Current.CancellationToken);
            using HttpClient client = NewClient();
            client.DefaultRequestHeaders.ConnectionClose = true;
            ready = Ready(await client.GetStringAsync(new Uri("/metrics", UriKind.Relative), TestContext.Current.CancellationToken));
        }

        // A line is NAME{LABEL="VALUE",...} VALUE TIME.
        static int Ready(string metrics) => metrics.Split('\n').Where(line => line.StartsWith("boxer_pool_sandboxes{", StringComparison.Ordinal))
            .Sum(line => int.Parse(line[(line.LastIndexOf('}') + 1)..].Split(' ', StringSplitOptions.RemoveEmptyEntries)[0], CultureInfo.InvariantCulture));
    }

    /// <summary>Stops the host with SIGTERM and waits for its end.</summary>
    /// <returns>The exit code.</returns>
    public async Task<int> StopAsync()
    {
        await HostProgram.RunAsync("kill", "-TERM", $"{Process.Id}");
        await Process.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromMinutes(1), TestContext.Current.CancellationToken);
        return Process.ExitCode;
    }

    /// <summary>
    /// Returns whether the .NET runtime aborted the host because it could not start a thread, which needs two descriptors for a moment. Disposing the
    /// host does not throw in this case.
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

        // Each thread that fails prints the line.
        return _mayAbort = Process.ExitCode == Aborted && (await _errors).Trim().Split('\n').All(line => line == "Out of memory.");
    }

    private static async Task<string> ReadLogAsync(string firstLines, Process process) => firstLines + await process.StandardOutput.ReadToEndAsync();

    // xUnit shows this output if the test fails.
    private async Task ShowLogAsync()
    {
        const int Lines = 40;
        if (TestContext.Current.Test is not null)
        {
            TestContext.Current.TestOutputHelper?.WriteLine($"Last lines of the host's log:\n{string.Join('\n', (await Log).TrimEnd().Split('\n').TakeLast(Lines))}");
        }
    }

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        if (!Process.HasExited)
        {
            await StopAsync();
        }

        int exitCode = Process.ExitCode;
        await ShowLogAsync();
        Process.Dispose();
        File.Delete(_config);
        if (exitCode == Aborted && !_mayAbort)
        {
            throw new InvalidOperationException("The host ended by itself: " + await _errors);
        }
    }
}
