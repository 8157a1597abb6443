using System.Diagnostics;
using System.Diagnostics.Metrics;
using System.Globalization;
using System.Text.Json;
using Boxer.Hosting;
using Boxer.Images;
using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>Runs with and without sandboxes that wait, against a bare <c>runsc run</c> of the same command; many callers; what waiting costs.</summary>
internal static class PoolBenchmark
{
    private const int Waiting = 50;
    private static readonly int[] Callers = [1, 2, 8, 32];

    // A sandbox is booted meanwhile, also by whoever has none that wait: the same for all cases.
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(400);

    /// <param name="makeOptions">Options that find the image.</param>
    /// <param name="image">The image.</param>
    /// <param name="rounds">How often each case is measured.</param>
    internal static async Task RunAsync(Func<BoxerOptions> makeOptions, string image, int rounds)
    {
        string work = Directory.CreateTempSubdirectory("boxer-bench-runsc-").FullName;
        await using SandboxRunner cold = BoxerRunner.Create(With(options => options.Pool.Enabled = false));
        await using SandboxRunner warm = BoxerRunner.Create(With(options => options.Pool.Enabled = true));
        BoxerOptions read = makeOptions();
        await using var store = new ImageStore(new ImageStoreOptions
        {
            Home = read.Home,
            RegistryMirrors = read.RegistryMirrors.ToDictionary(pair => pair.Key, pair => (IReadOnlyList<string>)[.. pair.Value]),
        });
        await using IImageLease root = await store.AcquireAsync(ImageReference.Parse(image)).ConfigureAwait(false);
        try
        {
            Directory.CreateDirectory(Path.Combine(work, "state"));
            foreach (string[] command in (string[][])[["true"], ["python3", "-c", "print(42)"]])
            {
                int hits = 0;
                int runs = 0;
                string name = command[0];
                IReadOnlyList<Series> series = await Interleaved.RunAsync(
                    rounds,
                    Rest,
                    ("bare runsc run", () => BareAsync(work, root.RootPath, command)),
                    ("boxer, cold", () => OnceAsync(cold, image, command)),
                    ("boxer, from the pool", async () =>
                    {
                        SandboxResult result = await OnceAsync(warm, image, command).ConfigureAwait(false);
                        runs++;
                        hits += result.Timings.Sandbox == TimeSpan.Zero ? 1 : 0;
                    }
                )).ConfigureAwait(false);
                Tables.Print($"{name}, {rounds} rounds", series);
                AnsiConsole.WriteLine($"{hits} of {runs} found a sandbox that waited");
            }

            await ThroughputAsync(cold, warm, work, root.RootPath, image, rounds).ConfigureAwait(false);
        }
        finally
        {
            Directory.Delete(work, recursive: true);
        }

        await IdleAsync(With(options =>
        {
            options.Pool.Enabled = true;
            options.Pool.MaxSandboxes = Waiting;
            options.Pool.Images[image] = Waiting;
        })).ConfigureAwait(false);
        AnsiConsole.WriteLine($"this process now: {Environment.WorkingSet / 1_000_000} MB resident");

        BoxerOptions With(Action<BoxerOptions> change)
        {
            BoxerOptions options = makeOptions();
            change(options);
            return options;
        }
    }

    private static async Task ThroughputAsync(SandboxRunner cold, SandboxRunner warm, string work, string root, string image, int rounds)
    {
        string[] command = ["python3", "-c", "print(42)"];
        int total = Math.Max(rounds * 2, 32);
        long start = Stopwatch.GetTimestamp();
        for (int i = 0; i < rounds; i++)
        {
            await BareAsync(work, root, command).ConfigureAwait(false);
        }

        double bare = rounds / Stopwatch.GetElapsedTime(start).TotalSeconds;
        Table table = new Table().AddColumns($"{total} runs of python3 by", "cold /s", "ratio", "pool /s", "ratio", "lost or wrong");
        table.AddRow("bare runsc run, one after the other", $"{bare:0.0}", "1.00", "", "", "");
        foreach (int callers in Callers)
        {
            (double coldRate, int coldLost) = await MeasureAsync(cold, callers).ConfigureAwait(false);
            (double warmRate, int warmLost) = await MeasureAsync(warm, callers).ConfigureAwait(false);
            table.AddRow($"{callers} callers", $"{coldRate:0.0}", $"{coldRate / bare:0.00}", $"{warmRate:0.0}", $"{warmRate / bare:0.00}", $"{coldLost + warmLost}");
        }

        AnsiConsole.Write(table);

        async Task<(double Rate, int Lost)> MeasureAsync(SandboxRunner runner, int callers)
        {
            int left = total;
            int right = 0;
            long begin = Stopwatch.GetTimestamp();
            await Task.WhenAll(Enumerable.Range(0, callers).Select(_ => Task.Run(async () =>
            {
                while (Interlocked.Decrement(ref left) >= 0)
                {
                    SandboxResult result = await runner.RunAsync(new SandboxRequest(image, command)).ConfigureAwait(false);
                    if (result is { ExitCode: 0, Stdout: "42\n" })
                    {
                        Interlocked.Increment(ref right);
                    }
                }
            }))).ConfigureAwait(false);
            return (total / Stopwatch.GetElapsedTime(begin).TotalSeconds, total - right);
        }
    }

    private static async Task IdleAsync(BoxerOptions options)
    {
        int waiting = 0;
        using var meters = new MeterListener();
        meters.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Name == "boxer.pool.sandboxes")
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        meters.SetMeasurementEventCallback<int>((_, value, _, _) => waiting = Math.Max(waiting, value));
        meters.Start();
        long before = AvailableKilobytes();
        await using SandboxRunner runner = BoxerRunner.Create(options);
        await runner.StartAsync().ConfigureAwait(false);
        for (int i = 0; i < 600 && waiting < Waiting; i++)
        {
            await Task.Delay(100).ConfigureAwait(false);
            meters.RecordObservableInstruments();
        }

        await Task.Delay(2_000).ConfigureAwait(false);
        (long idle, long all) first = Processors();
        await Task.Delay(5_000).ConfigureAwait(false);
        (long idle, long all) second = Processors();
        double busy = 100.0 * Environment.ProcessorCount * (1 - ((double)(second.idle - first.idle) / (second.all - first.all)));
        AnsiConsole.WriteLine(
            $"{waiting} sandboxes wait: {(before - AvailableKilobytes()) / 1024.0 / waiting:0.0} MB each, and this machine is busy with {busy:0.0} % of a processor");
    }

    private static long AvailableKilobytes() => long.Parse(
        File.ReadLines("/proc/meminfo").First(line => line.StartsWith("MemAvailable:", StringComparison.Ordinal)).Split(' ', StringSplitOptions.RemoveEmptyEntries)[1],
        CultureInfo.InvariantCulture);

    private static (long Idle, long All) Processors()
    {
        long[] numbers = [.. File.ReadLines("/proc/stat").First().Split(' ', StringSplitOptions.RemoveEmptyEntries)[1..9].Select(text => long.Parse(text, CultureInfo.InvariantCulture))];
        return (numbers[3] + numbers[4], numbers.Sum());
    }

    private static async Task<SandboxResult> OnceAsync(SandboxRunner runner, string image, string[] command)
    {
        SandboxResult result = await runner.RunAsync(new SandboxRequest(image, command)).ConfigureAwait(false);
        return result.ExitCode == 0 ? result : throw new InvalidOperationException($"A run ended as {result.Termination}: {result.Stderr}");
    }

    private static async Task BareAsync(string work, string root, string[] command)
    {
        string id = Guid.NewGuid().ToString("N");
        string bundle = Directory.CreateDirectory(Path.Combine(work, id)).FullName;
        await File.WriteAllTextAsync(Path.Combine(bundle, "config.json"), JsonSerializer.Serialize(new
        {
            ociVersion = "1.0.2",
            process = new { user = new { uid = 65534, gid = 65534 }, args = command, env = (string[])["PATH=/usr/local/bin:/usr/bin:/bin"], cwd = "/" },
            root = new { path = root },
            hostname = "sandbox",
            mounts = (object[])[new { destination = "/proc", type = "proc", source = "proc" }, new { destination = "/tmp", type = "tmpfs", source = "tmpfs" }],
            linux = new { namespaces = ((string[])["pid", "mount", "ipc", "uts", "network"]).Select(type => new { type }) },
        })).ConfigureAwait(false);
        using Process process = Process.Start(new ProcessStartInfo(
            "runsc",
            [$"--root={work}/state", "--platform=systrap", "--network=none", "--ignore-cgroups", "--overlay2=root:memory", "run", $"--bundle={bundle}", id])
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        })!;
        Task<string> errors = process.StandardError.ReadToEndAsync();
        await process.StandardOutput.ReadToEndAsync().ConfigureAwait(false);
        await process.WaitForExitAsync().ConfigureAwait(false);
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException($"runsc ended with {process.ExitCode}: {await errors.ConfigureAwait(false)}");
        }
    }
}
