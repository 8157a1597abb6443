using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>A commit that is compared.</summary>
/// <param name="Name">Name of the row in the report.</param>
/// <param name="Program">Path of its Boxer.HttpHost.dll.</param>
/// <param name="Settings">More keys of its host's configuration.</param>
internal sealed record ComparedCommit(string Name, string Program, JsonObject Settings);

/// <summary>
/// Compares the HTTP hosts of two commits. Both live at the same time. Old and new are measured in pairs, one after the other in alternating
/// order, and neither while the other has something to do.
/// </summary>
internal sealed class Comparison(ComparedCommit old, ComparedCommit @new, string image, string registry, string url, int pairs, IReadOnlyList<string> only)
{
    private const int WarmUps = 15;
    private const int Attempts = 5;
    private const int Callers = 8;
    private const int Calls = 24;

    // Each needs a host of its own with an empty store.
    private const int MostPulls = 12;
    private const int CopiedFiles = 3;

    private static readonly byte[] Content = Encoding.UTF8.GetBytes(new string('x', 10_000));

    private static readonly Workload Copy = new(
        "copy of files",
        ["python3", "-c", $"import shutil\nfor i in range({CopiedFiles}): shutil.copy(f'/job/{{i}}', f'/output/{{i}}')\nprint('copied')"],
        "copied\n");

    // Nothing is sent: the row is about applying the policy at the hand-over.
    private static readonly JsonObject Policy = new()
    {
        ["network"] = "sandbox",
        ["egress"] = new JsonObject { ["allow"] = new JsonArray("pypi.org:443", "*.pythonhosted.org:443"), ["quota_bytes"] = 1 << 30 },
    };

    private readonly Table _table = Tables.Make("row", "pairs", "old ms", "new ms", "new / old", "95 % interval", "");

    /// <summary>Measures and prints the wanted rows.</summary>
    /// <returns>Whether none is slower.</returns>
    /// <exception cref="ArgumentException">One that is wanted does not exist.</exception>
    internal async Task<bool> RunAsync()
    {
        bool isFine = true;
        var groups = new Dictionary<string, Func<Task>>
        {
            ["warm"] = PoolRowsAsync,
            ["network"] = NetworkRowAsync,
            ["cold"] = ColdRowsAsync,
            ["crowd"] = CrowdRowAsync,
            ["pull"] = () => RowAsync("pull of the image, as the host times it", Math.Min(pairs, MostPulls), side => PullAsync(side == 0 ? old : @new)),
        };
        if (only.FirstOrDefault(name => !groups.ContainsKey(name)) is { } unknown)
        {
            throw new ArgumentException($"There are no rows '{unknown}'. There are {string.Join(", ", groups.Keys)}.");
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
            foreach (ComparedCommit commit in (ComparedCommit[])[old, @new])
            {
                AnsiConsole.WriteLine($"{(commit == old ? "old" : "new")}: {commit.Name} {(commit.Settings.Count == 0 ? "" : commit.Settings.ToJsonString())}");
            }

            AnsiConsole.Write(_table);
            AnsiConsole.WriteLine("old ms, new ms: medians. new / old: median of the ratios of the pairs; its interval is by binomial order statistics (sign test).");
            AnsiConsole.WriteLine($"SLOWER: the whole interval is above {PairedRatios.Tolerance.ToString(CultureInfo.InvariantCulture)}.");
        }

        return isFine;

        // side 0 is old, 1 is new.
        async Task RowAsync(string name, int count, Func<int, Task<TimeSpan>> measure)
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
            isFine &= !ratios.IsSlower;
            _table.AddRow(
                Markup.Escape(name), $"{ratios.Count}", $"{ratios.Old:0.0}", $"{ratios.New:0.0}", $"{ratios.Median:0.000}", $"{ratios.Lower:0.000} - {ratios.Upper:0.000}", ratios.IsSlower ? "SLOWER" : "");
            AnsiConsole.WriteLine($"{name}: {ratios.Median:0.000}");
        }

        async Task PoolRowsAsync()
        {
            await using ComparedHosts hosts = await StartAsync(new() { ["pool"] = new JsonObject { ["max_sandboxes"] = 1, ["images"] = new JsonObject { [image] = 1 } } }).ConfigureAwait(false);
            await WarmUpAsync(hosts, host => host.RunAsync(Workload.Python)).ConfigureAwait(false);
            await WarmRowAsync(hosts, "true, warm", async host => (await host.RunAsync(Workload.True).ConfigureAwait(false)).Time).ConfigureAwait(false);
            await WarmRowAsync(hosts, "python3 -c print(42), warm", async host => (await host.RunAsync(Workload.Python).ConfigureAwait(false)).Time).ConfigureAwait(false);
            await WarmUpAsync(hosts, CopyFilesAsync).ConfigureAwait(false);
            await WarmRowAsync(hosts, $"{CopiedFiles} uploads, python3 copies them, {CopiedFiles} downloads, warm", CopyFilesAsync).ConfigureAwait(false);
        }

        async Task NetworkRowAsync()
        {
            await using ComparedHosts hosts = await StartAsync(new() { ["pool"] = new JsonObject { ["max_sandboxes"] = 1 } }).ConfigureAwait(false);
            await WarmUpAsync(hosts, host => host.RunAsync(Workload.True, Policy)).ConfigureAwait(false);
            await WarmRowAsync(hosts, "true in mode sandbox with a policy, warm", async host => (await host.RunAsync(Workload.True, Policy).ConfigureAwait(false)).Time).ConfigureAwait(false);
        }

        async Task WarmRowAsync(ComparedHosts hosts, string name, Func<ComparedHost, Task<TimeSpan>> measure)
        {
            long[] hits = [await hosts[0].WaitForPoolAsync().ConfigureAwait(false), await hosts[1].WaitForPoolAsync().ConfigureAwait(false)];
            await RowAsync(name, pairs, async side =>
            {
                for (int attempt = 0; attempt < Attempts; attempt++)
                {
                    long before = hits[side];
                    TimeSpan time = await measure(hosts[side]).ConfigureAwait(false);
                    hits[side] = await hosts[side].WaitForPoolAsync().ConfigureAwait(false);
                    if (hits[side] == before + 1)
                    {
                        return time;
                    }
                }

                throw new InvalidOperationException($"{name}: of {Attempts} runs none found the sandbox that waited.");
            }).ConfigureAwait(false);
        }

        async Task ColdRowsAsync()
        {
            await using ComparedHosts hosts = await StartAsync(new() { ["pool"] = new JsonObject { ["enabled"] = false } }).ConfigureAwait(false);
            await WarmUpAsync(hosts, host => host.RunAsync(Workload.Python)).ConfigureAwait(false);
            foreach (Workload workload in (Workload[])[Workload.True, Workload.Python])
            {
                await RowAsync($"{workload.Name}, cold", pairs, async side =>
                {
                    await ComparedHost.RestAsync().ConfigureAwait(false);
                    return (await hosts[side].RunAsync(workload).ConfigureAwait(false)).Time;
                }).ConfigureAwait(false);
            }
        }

        async Task CrowdRowAsync()
        {
            await using ComparedHosts hosts = await StartAsync([]).ConfigureAwait(false);
            await WarmUpAsync(hosts, host => host.RunAsync(Workload.Python)).ConfigureAwait(false);
            await RowAsync($"{Callers} callers, {Calls} runs of {Workload.Python.Name}", pairs, async side =>
            {
                await hosts.WaitUntilIdleAsync().ConfigureAwait(false);
                return await CrowdAsync(hosts[side]).ConfigureAwait(false);
            }).ConfigureAwait(false);
        }
    }

    private static async Task WarmUpAsync<T>(ComparedHosts hosts, Func<ComparedHost, Task<T>> work)
    {
        // Twice: the first time may leave the host something to do in the background that makes later runs faster.
        for (int time = 0; time < 2; time++)
        {
            for (int run = 0; run < WarmUps; run++)
            {
                await work(hosts[0]).ConfigureAwait(false);
                await work(hosts[1]).ConfigureAwait(false);
                Interruption.ThrowIfAsked();
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

        JsonElement answer = (await host.RunAsync(Copy, new() { ["files"] = new JsonArray([.. files.Select(file => (JsonNode)file)]), ["persist"] = true }).ConfigureAwait(false)).Answer;
        string outputs = $"output/{answer.GetProperty("exec_id").GetString()}";
        bool isRight = true;
        for (int i = 0; i < CopiedFiles; i++)
        {
            byte[] output = await host.DownloadAsync($"{outputs}/{i}").ConfigureAwait(false);
            isRight &= output.AsSpan().SequenceEqual(Content);
        }

        TimeSpan time = Stopwatch.GetElapsedTime(start);
        await host.DeleteAsync(outputs).ConfigureAwait(false);
        return isRight ? time : throw new InvalidOperationException("An output was not what the run wrote.");
    }

    private static async Task<TimeSpan> CrowdAsync(ComparedHost host)
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
        JsonElement answer = (await host.RunAsync(Workload.True).ConfigureAwait(false)).Answer;
        return TimeSpan.FromMilliseconds(answer.GetProperty("timings_ms").GetProperty("image").GetDouble());
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

    /// <summary>The hosts of both commits, by side.</summary>
    private sealed class ComparedHosts(ComparedHost old, ComparedHost @new) : IAsyncDisposable
    {
        internal ComparedHost this[int side] => side == 0 ? old : @new;

        internal async Task WaitUntilIdleAsync()
        {
            await Task.WhenAll(old.WaitUntilIdleAsync(), @new.WaitUntilIdleAsync()).ConfigureAwait(false);
        }

        public async ValueTask DisposeAsync()
        {
            await old.DisposeAsync().ConfigureAwait(false);
            await @new.DisposeAsync().ConfigureAwait(false);
        }
    }
}
