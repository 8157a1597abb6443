using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>A commit that is compared.</summary>
/// <param name="Name">Name of the commit in the report.</param>
/// <param name="Program">Path of its Boxer.HttpHost.dll.</param>
/// <param name="Settings">Additional keys for the configuration of its host.</param>
internal sealed record ComparedCommit(string Name, string Program, JsonObject Settings);

/// <summary>
/// Compares the HTTP hosts of two commits. Both run at the same time. Old and new are measured in pairs, one after the other in alternating
/// order, and each only while the other is idle.
/// </summary>
internal sealed class Comparison(ComparedCommit old, ComparedCommit @new, string image, string registry, string url, int pairs, IReadOnlyList<string> only)
{
    private const int WarmUps = 15;
    private const int MaxAttempts = 5;
    private const int Callers = 8;
    private const int Calls = 24;

    // Each pull needs a host of its own with an empty store.
    private const int MaxPulls = 12;
    private const int CopiedFiles = 3;

    // Each measurement takes a second.
    private const int MaxOutputs = 30;

    private static readonly byte[] Content = Encoding.UTF8.GetBytes(new string('x', 10_000));

    private static readonly Workload Copy = new(
        "copy of files",
        ["python3", "-c", $"import shutil\nfor i in range({CopiedFiles}): shutil.copy(f'/job/{{i}}', f'/output/{{i}}')\nprint('copied')"],
        "copied\n");

    // The command sends nothing: the row measures installing the policy at the hand-over.
    private static readonly JsonObject Policy = new()
    {
        ["network"] = "sandbox",
        ["egress"] = new JsonObject { ["allow"] = new JsonArray("pypi.org:443", "*.pythonhosted.org:443"), ["quota_bytes"] = 1 << 30 },
    };

    private readonly Table _table = Tables.Create("row", "pairs", "old ms", "new ms", "new / old", "95 % interval", "");
    private bool _isSlower;

    /// <summary>Measures and prints the selected rows.</summary>
    /// <returns>Whether no row is slower.</returns>
    /// <exception cref="ArgumentException">A selected group of rows does not exist.</exception>
    internal async Task<bool> RunAsync()
    {
        var groups = new Dictionary<string, Func<Task>>
        {
            ["warm"] = MeasureWarmRunsAsync,
            ["network"] = MeasureNetworkAsync,
            ["cold"] = MeasureColdRunsAsync,
            ["crowd"] = MeasureCrowdAsync,
            ["output"] = MeasureOutputAsync,
            ["pull"] = () => MeasureRowAsync("pull of the image, as the host times it", Math.Min(pairs, MaxPulls), side => PullAsync(side == 0 ? old : @new)),
        };
        if (only.FirstOrDefault(name => !groups.ContainsKey(name)) is { } unknown)
        {
            throw new ArgumentException($"There are no rows '{unknown}'. Select some of {string.Join(", ", groups.Keys)}.");
        }

        try
        {
            foreach ((_, Func<Task> measure) in groups.Where(group => only.Count == 0 || only.Contains(group.Key)))
            {
                await measure().ConfigureAwait(false);
            }
        }
        finally
        {
            Print();
        }

        return !_isSlower;
    }

    private void Print()
    {
        foreach (ComparedCommit commit in (ComparedCommit[])[old, @new])
        {
            AnsiConsole.WriteLine($"{(commit == old ? "old" : "new")}: {commit.Name} {(commit.Settings.Count == 0 ? "" : commit.Settings.ToJsonString())}");
        }

        AnsiConsole.Write(_table);
        AnsiConsole.WriteLine("old ms, new ms: medians. new / old: median of the ratios of the pairs; its interval is by binomial order statistics (sign test).");
        AnsiConsole.WriteLine($"SLOWER: the whole interval is above {PairedRatios.Tolerance.ToString(CultureInfo.InvariantCulture)}.");
    }

    // Side 0 is the old commit, side 1 the new one.
    private async Task MeasureRowAsync(string name, int count, Func<int, Task<TimeSpan>> measure)
    {
        var measured = new List<(double, double)>();
        double[] times = new double[2];
        for (int pair = 0; pair < count; pair++)
        {
            times[pair % 2] = (await measure(pair % 2).ConfigureAwait(false)).TotalMilliseconds;
            times[1 - (pair % 2)] = (await measure(1 - (pair % 2)).ConfigureAwait(false)).TotalMilliseconds;
            measured.Add((times[0], times[1]));
        }

        var ratios = new PairedRatios(measured);
        _isSlower |= ratios.IsSlower;
        _table.AddRow(
            Markup.Escape(name), $"{ratios.Count}", $"{ratios.Old:0.0}", $"{ratios.New:0.0}", $"{ratios.Median:0.000}", $"{ratios.Lower:0.000} - {ratios.Upper:0.000}", ratios.IsSlower ? "SLOWER" : "");
        AnsiConsole.WriteLine($"{name}: {ratios.Median:0.000}");
    }

    private async Task MeasureWarmRunsAsync()
    {
        await using ComparedHosts hosts = await StartAsync(new() { ["pool"] = new JsonObject { ["max_sandboxes"] = 1, ["images"] = new JsonObject { [image] = 1 } } }).ConfigureAwait(false);
        await WarmUpAsync(hosts, host => host.RunAsync(Workload.Python)).ConfigureAwait(false);
        await MeasureWarmRowAsync(hosts, "true, warm", async host => (await host.RunAsync(Workload.True).ConfigureAwait(false)).Time).ConfigureAwait(false);
        await MeasureWarmRowAsync(hosts, "python3 -c print(42), warm", async host => (await host.RunAsync(Workload.Python).ConfigureAwait(false)).Time).ConfigureAwait(false);
        await WarmUpAsync(hosts, CopyFilesAsync).ConfigureAwait(false);
        await MeasureWarmRowAsync(hosts, $"{CopiedFiles} uploads, python3 copies them, {CopiedFiles} downloads, warm", CopyFilesAsync).ConfigureAwait(false);
    }

    private async Task MeasureNetworkAsync()
    {
        await using ComparedHosts hosts = await StartAsync(new() { ["pool"] = new JsonObject { ["max_sandboxes"] = 1 } }).ConfigureAwait(false);
        await WarmUpAsync(hosts, host => host.RunAsync(Workload.True, Policy)).ConfigureAwait(false);
        await MeasureWarmRowAsync(hosts, "true in mode sandbox with a policy, warm", async host => (await host.RunAsync(Workload.True, Policy).ConfigureAwait(false)).Time).ConfigureAwait(false);
    }

    // Repeats a run that did not get the pooled sandbox.
    private async Task MeasureWarmRowAsync(ComparedHosts hosts, string name, Func<ComparedHost, Task<TimeSpan>> measure)
    {
        long[] hits = [await hosts[0].WaitForPoolAsync().ConfigureAwait(false), await hosts[1].WaitForPoolAsync().ConfigureAwait(false)];
        await MeasureRowAsync(name, pairs, async side =>
        {
            for (int attempt = 0; attempt < MaxAttempts; attempt++)
            {
                long before = hits[side];
                TimeSpan time = await measure(hosts[side]).ConfigureAwait(false);
                hits[side] = await hosts[side].WaitForPoolAsync().ConfigureAwait(false);
                if (hits[side] == before + 1)
                {
                    return time;
                }
            }

            throw new InvalidOperationException($"{name}: none of {MaxAttempts} runs got the pooled sandbox.");
        }).ConfigureAwait(false);
    }

    private async Task MeasureColdRunsAsync()
    {
        await using ComparedHosts hosts = await StartAsync(new() { ["pool"] = new JsonObject { ["enabled"] = false } }).ConfigureAwait(false);
        await WarmUpAsync(hosts, host => host.RunAsync(Workload.Python)).ConfigureAwait(false);
        foreach (Workload workload in (Workload[])[Workload.True, Workload.Python])
        {
            await MeasureRowAsync($"{workload.Name}, cold", pairs, async side =>
            {
                await ComparedHost.RestAsync().ConfigureAwait(false);
                return (await hosts[side].RunAsync(workload).ConfigureAwait(false)).Time;
            }).ConfigureAwait(false);
        }
    }

    private async Task MeasureCrowdAsync()
    {
        await using ComparedHosts hosts = await StartAsync([]).ConfigureAwait(false);
        await WarmUpAsync(hosts, host => host.RunAsync(Workload.Python)).ConfigureAwait(false);
        await MeasureRowAsync($"{Callers} callers, {Calls} runs of {Workload.Python.Name}", pairs, async side =>
        {
            await hosts.WaitUntilIdleAsync().ConfigureAwait(false);
            return await RunCrowdAsync(hosts[side]).ConfigureAwait(false);
        }).ConfigureAwait(false);
    }

    // The command in the session is compared with the run of the old commit, which need not have sessions.
    private async Task MeasureOutputAsync()
    {
        await using ComparedHosts hosts = await StartAsync(new() { ["output_limit_bytes"] = 2 * ComparedHost.OutputBytes, ["pool"] = new JsonObject { ["max_sandboxes"] = 1 } }).ConfigureAwait(false);
        await WarmUpAsync(hosts, host => host.RunAsync(Workload.True)).ConfigureAwait(false);
        string session = await hosts[1].OpenSessionAsync().ConfigureAwait(false);
        foreach ((string name, string path) in ((string, string)[])[("in a run", "/run/stream"), ("in a session, and old in a run", $"/sessions/{session}/exec/stream")])
        {
            await MeasureRowAsync($"{ComparedHost.OutputBytes / 1_000_000} MB of output {name}", Math.Min(pairs, MaxOutputs), async side =>
            {
                await hosts.WaitUntilIdleAsync().ConfigureAwait(false);
                return await hosts[side].StreamOutputAsync(side == 0 ? "/run/stream" : path).ConfigureAwait(false);
            }).ConfigureAwait(false);
        }
    }

    private static async Task WarmUpAsync<T>(ComparedHosts hosts, Func<ComparedHost, Task<T>> work)
    {
        // Twice: background work after the first time can make later runs faster.
        for (int time = 0; time < 2; time++)
        {
            for (int run = 0; run < WarmUps; run++)
            {
                await work(hosts[0]).ConfigureAwait(false);
                await work(hosts[1]).ConfigureAwait(false);
                Interruption.ThrowIfRequested();
            }

            await hosts.WaitUntilIdleAsync().ConfigureAwait(false);
        }
    }

    private static async Task<TimeSpan> CopyFilesAsync(ComparedHost host)
    {
        string[] files = [.. Enumerable.Range(0, CopiedFiles).Select(i => $"job/{i}")];
        long start = Stopwatch.GetTimestamp();
        foreach (string file in files)
        {
            await host.UploadAsync(file, Content).ConfigureAwait(false);
        }

        JsonElement response = (await host.RunAsync(Copy, new() { ["files"] = new JsonArray([.. files.Select(file => (JsonNode)file)]), ["persist"] = true }).ConfigureAwait(false)).Response;
        string outputs = $"output/{response.GetProperty("exec_id").GetString()}";
        bool isEqual = true;
        for (int i = 0; i < CopiedFiles; i++)
        {
            byte[] output = await host.DownloadAsync($"{outputs}/{i}").ConfigureAwait(false);
            isEqual &= output.AsSpan().SequenceEqual(Content);
        }

        TimeSpan time = Stopwatch.GetElapsedTime(start);
        await host.DeleteAsync(outputs).ConfigureAwait(false);
        return isEqual ? time : throw new InvalidOperationException("A downloaded output differs from the uploaded file.");
    }

    private static async Task<TimeSpan> RunCrowdAsync(ComparedHost host)
    {
        long start = Stopwatch.GetTimestamp();
        int left = Calls;
        await Task.WhenAll(Enumerable.Range(0, Callers).Select(async _ =>
        {
            while (Interlocked.Decrement(ref left) >= 0)
            {
                await host.RunAsync(Workload.Python).ConfigureAwait(false);
            }
        })).ConfigureAwait(false);
        return Stopwatch.GetElapsedTime(start);
    }

    private async Task<TimeSpan> PullAsync(ComparedCommit commit)
    {
        await using ComparedHost host = await ComparedHost.StartAsync(commit, image, registry, url, new() { ["pool"] = new JsonObject { ["enabled"] = false } }).ConfigureAwait(false);
        await ComparedHost.RestAsync().ConfigureAwait(false);
        JsonElement response = (await host.RunAsync(Workload.True).ConfigureAwait(false)).Response;
        return TimeSpan.FromMilliseconds(response.GetProperty("timings_ms").GetProperty("image").GetDouble());
    }

    private async Task<ComparedHosts> StartAsync(JsonObject settings)
    {
        ComparedHost oldHost = await ComparedHost.StartAsync(old, image, registry, url, settings).ConfigureAwait(false);
        try
        {
            return new ComparedHosts(oldHost, await ComparedHost.StartAsync(@new, image, registry, url, settings).ConfigureAwait(false));
        }
        catch
        {
            await oldHost.DisposeAsync().ConfigureAwait(false);
            throw;
        }
    }
}
