using System.Diagnostics;
using Boxer.Images;
using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>A pull into an empty store against skopeo and umoci, and an image that is ready.</summary>
internal static class ImageBenchmark
{
    private const int Acquires = 10_000;

    /// <param name="image">The image.</param>
    /// <param name="registry">The registry that the image names.</param>
    /// <param name="url">Its mirror, over http.</param>
    /// <param name="rounds">How often each case is measured.</param>
    internal static async Task RunAsync(string image, string registry, string url, int rounds)
    {
        string work = Directory.CreateTempSubdirectory("boxer-bench-images-").FullName;
        ImageReference reference = ImageReference.Parse(image);
        string source = $"docker://{new Uri(url).Authority}/{reference.Repository}:{reference.Tag}";
        try
        {
            // Each into a directory of its own, and nothing is removed before the end: for a minute ext4 passes over inodes that were freed, one
            // by one, and makes files several times slower.
            int made = 0;
            IReadOnlyList<Series> series = await Interleaved.RunAsync(
                rounds,
                [
                    ("skopeo copy, umoci raw unpack", async () =>
                    {
                        string to = Directory.CreateDirectory(Path.Combine(work, $"{made++}")).FullName;
                        await RunAsync("skopeo", "copy", "--quiet", "--src-tls-verify=false", source, $"oci:{to}/layout:x").ConfigureAwait(false);
                        await RunAsync("umoci", "raw", "unpack", "--image", $"{to}/layout:x", $"{to}/root").ConfigureAwait(false);
                        await RunAsync("sync", "-f", work).ConfigureAwait(false);
                    }),
                    ("boxer", async () =>
                    {
                        await using ImageStore store = Open($"{made++}");
                        await using IImageLease lease = await store.AcquireAsync(reference).ConfigureAwait(false);
                    }),
                ]).ConfigureAwait(false);
            Table table = new Table().AddColumns($"pull into an empty store, {rounds} rounds", "p50 ms", "p95 ms", "p50 ratio", "p95 ratio");
            foreach (Series one in series)
            {
                table.AddRow(
                    one.Name,
                    $"{one.Percentile(0.5):0}",
                    $"{one.Percentile(0.95):0}",
                    $"{one.Percentile(0.5) / series[0].Percentile(0.5):0.00}",
                    $"{one.Percentile(0.95) / series[0].Percentile(0.95):0.00}");
            }

            AnsiConsole.Write(table);
            AnsiConsole.WriteLine($"most memory that this process had until now: {Process.GetCurrentProcess().PeakWorkingSet64 / 1_000_000} MB");

            await using ImageStore ready = Open("ready");
            await using IImageLease first = await ready.AcquireAsync(reference).ConfigureAwait(false);
            var times = new Series("acquire");
            for (int i = 0; i < Acquires; i++)
            {
                long start = Stopwatch.GetTimestamp();
                await using IImageLease lease = await ready.AcquireAsync(reference).ConfigureAwait(false);
                times.Add(Stopwatch.GetElapsedTime(start));
            }

            AnsiConsole.WriteLine($"an image that is ready: p50 {times.Percentile(0.5) * 1_000:0.0} us, p99 {times.Percentile(0.99) * 1_000:0.0} us");
        }
        finally
        {
            Directory.Delete(work, recursive: true);
        }

        ImageStore Open(string name) => new(new ImageStoreOptions
        {
            Home = Path.Combine(work, name),
            RegistryMirrors = new Dictionary<string, IReadOnlyList<string>> { [registry] = [url] },
        });
    }

    private static async Task RunAsync(string program, params string[] arguments)
    {
        using Process process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true, UseShellExecute = false })!;
        await process.StandardError.ReadToEndAsync().ConfigureAwait(false);
        await process.WaitForExitAsync().ConfigureAwait(false);
        if (process.ExitCode != 0)
        {
            throw new InvalidOperationException($"{program} ended with {process.ExitCode}.");
        }
    }
}
