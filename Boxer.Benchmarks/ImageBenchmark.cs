using System.Diagnostics;
using Boxer.Images;
using Boxer.Images.Registry;
using Boxer.Images.Store;
using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>A pull into an empty store against skopeo and umoci, and an image that is ready.</summary>
internal static class ImageBenchmark
{
    private const int Acquires = 10_000;

    // Each takes several hundred MB of disk until the end.
    private const int MostPulls = 3;

    internal static async Task RunAsync(Bench bench)
    {
        int rounds = Math.Min(bench.Rounds, MostPulls);
        string work = Directory.CreateTempSubdirectory("boxer-bench-images-").FullName;
        ImageReference reference = ImageReference.Parse(bench.Image);
        ImageReference more = ImageReference.Parse(bench.Image + "-more");
        ImageReference flat = ImageReference.Parse(bench.Image + "-flat");
        try
        {
            // Each into a directory of its own, and nothing is removed before the end: for a minute ext4 passes over inodes that were freed, one
            // by one, and makes files several times slower.
            int made = 0;
            string blobs = string.Join(' ', await BlobsAsync(bench.Registry, bench.Url, reference).ConfigureAwait(false));
            Tables.Print($"pull into an empty store, {rounds} rounds", await Interleaved.RunAsync(
                rounds,
                Case.Peer("skopeo copy, umoci raw unpack", () => SkopeoAsync(reference)),
                new Case("boxer", _ => PullAsync($"{made++}", reference), IsCompiled: true),
                Case.Peer("curl | igzip -dc | tar x, layer by layer", async () =>
                {
                    string to = Directory.CreateDirectory(Path.Combine(work, $"{made++}")).FullName;
                    await HostProgram.RunAsync("sh", "-c", $"for blob in {blobs}; do curl -sf $blob | igzip -dc | tar -C {to} -x || exit 1; done; sync -f {to}").ConfigureAwait(false);
                }
            )).ConfigureAwait(false));
            Tables.Print($"the same, all in one layer, {rounds} rounds", await Interleaved.RunAsync(
                rounds,
                Case.Peer("skopeo copy, umoci raw unpack", () => SkopeoAsync(flat)),
                new Case("boxer", _ => PullAsync($"{made++}", flat), IsCompiled: true)).ConfigureAwait(false));
            AnsiConsole.WriteLine($"most memory that this process had until now: {Process.GetCurrentProcess().PeakWorkingSet64 / 1_000_000} MB");

            // A layer more than an image that is here: only that layer is pulled.
            var second = new Series("second image");
            for (int i = 0; i < rounds; i++)
            {
                Interruption.ThrowIfAsked();
                await using ImageStore store = Open($"{made++}");
                await using IImageLease held = await store.AcquireAsync(reference).ConfigureAwait(false);
                long start = Stopwatch.GetTimestamp();
                await using IImageLease lease = await store.AcquireAsync(more).ConfigureAwait(false);
                second.Add(Stopwatch.GetElapsedTime(start));
            }

            AnsiConsole.WriteLine($"a second image that has one small layer more: p50 {second.Percentile(0.5):0.0} ms, p95 {second.Percentile(0.95):0.0} ms");

            async Task SkopeoAsync(ImageReference wanted)
            {
                string to = Directory.CreateDirectory(Path.Combine(work, $"{made++}")).FullName;
                await HostProgram.RunAsync("skopeo", "copy", "--quiet", "--src-tls-verify=false", bench.SkopeoSourceOf(wanted), $"oci:{to}/layout:x").ConfigureAwait(false);
                await HostProgram.RunAsync("umoci", "raw", "unpack", "--image", $"{to}/layout:x", $"{to}/root").ConfigureAwait(false);
                await HostProgram.RunAsync("sync", "-f", work).ConfigureAwait(false);
            }

            async Task PullAsync(string name, ImageReference wanted)
            {
                await using ImageStore store = Open(name);
                await using IImageLease lease = await store.AcquireAsync(wanted).ConfigureAwait(false);
            }

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
            Registries = [new() { Name = bench.Registry, Mirrors = [bench.Url] }],
        });
    }

    private static async Task<IEnumerable<string>> BlobsAsync(string registry, string url, ImageReference reference)
    {
        using var client = new RegistryClient(new RegistryClientOptions { Registries = [new() { Name = registry, Mirrors = [url] }] });
        RegistryImage image = await client.GetImageAsync(reference).ConfigureAwait(false);
        return image.Layers.Select(layer => $"{url}/v2/{reference.Repository}/blobs/{layer.Digest}");
    }
}
