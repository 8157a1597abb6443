using System.Diagnostics;
using Boxer.Images;
using Boxer.Images.Registry;
using Boxer.Images.Store;
using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>Pulls into an empty store compared with skopeo and umoci, and acquiring an image that is in the store.</summary>
internal sealed class ImageBenchmark
{
    private const int Acquires = 10_000;

    // Each pull takes several hundred MB of disk until the end.
    private const int MaxPulls = 3;
    private readonly Bench _bench;
    private readonly string _work;
    private readonly int _rounds;
    private readonly ImageReference _reference;

    // Each case gets a new directory, and none is removed before the end: for a minute, ext4 skips freed inodes one by one, and creates files
    // several times more slowly.
    private int _directories;

    private ImageBenchmark(Bench bench, string work)
    {
        _bench = bench;
        _work = work;
        _rounds = Math.Min(bench.Rounds, MaxPulls);
        _reference = ImageReference.Parse(bench.Image);
    }

    internal static async Task RunAsync(Bench bench)
    {
        string work = Directory.CreateTempSubdirectory("boxer-bench-images-").FullName;
        try
        {
            var benchmark = new ImageBenchmark(bench, work);
            await benchmark.MeasurePullsAsync().ConfigureAwait(false);
            await benchmark.MeasureAdditionalLayerAsync().ConfigureAwait(false);
            await benchmark.MeasureAcquiresAsync().ConfigureAwait(false);
        }
        finally
        {
            Directory.Delete(work, recursive: true);
        }
    }

    private async Task MeasurePullsAsync()
    {
        ImageReference flat = ImageReference.Parse(_bench.Image + "-flat");
        string blobs = string.Join(' ', await FindBlobsAsync().ConfigureAwait(false));
        Tables.Print($"pull into an empty store, {_rounds} rounds", await Interleaved.RunAsync(
            _rounds,
            Case.Peer("skopeo copy, umoci raw unpack", () => CopyAndUnpackAsync(_reference)),
            new Case("boxer", _ => PullAsync(_reference), IsCompiled: true),
            Case.Peer("curl | igzip -dc | tar x, layer by layer", () => DownloadAndExtractAsync(blobs))).ConfigureAwait(false));
        Tables.Print($"the same, all in one layer, {_rounds} rounds", await Interleaved.RunAsync(
            _rounds,
            Case.Peer("skopeo copy, umoci raw unpack", () => CopyAndUnpackAsync(flat)),
            new Case("boxer", _ => PullAsync(flat), IsCompiled: true)).ConfigureAwait(false));
        AnsiConsole.WriteLine($"maximum memory of this process so far: {Process.GetCurrentProcess().PeakWorkingSet64 / 1_000_000} MB");
    }

    // An image in the store has all layers but one, so only that one is pulled.
    private async Task MeasureAdditionalLayerAsync()
    {
        ImageReference more = ImageReference.Parse(_bench.Image + "-more");
        var times = new Series("second image");
        for (int i = 0; i < _rounds; i++)
        {
            Interruption.ThrowIfRequested();
            await using ImageStore store = OpenStore(NewName());
            await using IImageLease first = await store.AcquireAsync(_reference).ConfigureAwait(false);
            long start = Stopwatch.GetTimestamp();
            await using IImageLease second = await store.AcquireAsync(more).ConfigureAwait(false);
            times.Add(Stopwatch.GetElapsedTime(start));
        }

        AnsiConsole.WriteLine($"a second image with one more small layer: p50 {times.Percentile(0.5):0.0} ms, p95 {times.Percentile(0.95):0.0} ms");
    }

    private async Task MeasureAcquiresAsync()
    {
        await using ImageStore store = OpenStore("ready");
        await using IImageLease first = await store.AcquireAsync(_reference).ConfigureAwait(false);
        var times = new Series("acquire");
        for (int i = 0; i < Acquires; i++)
        {
            long start = Stopwatch.GetTimestamp();
            await using IImageLease lease = await store.AcquireAsync(_reference).ConfigureAwait(false);
            times.Add(Stopwatch.GetElapsedTime(start));
        }

        AnsiConsole.WriteLine($"acquiring an image in the store: p50 {times.Percentile(0.5) * 1_000:0.0} us, p99 {times.Percentile(0.99) * 1_000:0.0} us");
    }

    private async Task CopyAndUnpackAsync(ImageReference image)
    {
        string to = NewDirectory();
        await HostProgram.RunAsync("skopeo", "copy", "--quiet", "--src-tls-verify=false", _bench.SkopeoSourceOf(image), $"oci:{to}/layout:x").ConfigureAwait(false);
        await HostProgram.RunAsync("umoci", "raw", "unpack", "--image", $"{to}/layout:x", $"{to}/root").ConfigureAwait(false);
        await HostProgram.RunAsync("sync", "-f", _work).ConfigureAwait(false);
    }

    private async Task DownloadAndExtractAsync(string blobs)
    {
        string to = NewDirectory();
        await HostProgram.RunAsync("sh", "-c", $"for blob in {blobs}; do curl -sf $blob | igzip -dc | tar -C {to} -x || exit 1; done; sync -f {to}").ConfigureAwait(false);
    }

    private async Task PullAsync(ImageReference image)
    {
        await using ImageStore store = OpenStore(NewName());
        await using IImageLease lease = await store.AcquireAsync(image).ConfigureAwait(false);
    }

    private string NewName() => $"{_directories++}";

    private string NewDirectory() => Directory.CreateDirectory(Path.Combine(_work, NewName())).FullName;

    private ImageStore OpenStore(string name) => new(new ImageStoreOptions
    {
        Home = Path.Combine(_work, name),
        Registries = [new() { Name = _bench.Registry, Mirrors = [_bench.Url] }],
    });

    private async Task<IEnumerable<string>> FindBlobsAsync()
    {
        using var client = new RegistryClient(new RegistryClientOptions { Registries = [new() { Name = _bench.Registry, Mirrors = [_bench.Url] }] });
        RegistryImage image = await client.GetImageAsync(_reference).ConfigureAwait(false);
        return image.Layers.Select(layer => $"{_bench.Url}/v2/{_reference.Repository}/blobs/{layer.Digest}");
    }
}
