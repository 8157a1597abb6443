using Boxer.Common;
using Boxer.Images;
using Boxer.Images.Layers;
using Boxer.Images.Roots;
using Boxer.Images.Store;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Images.Layers;

/// <summary>Limits of layers, and content that layers should not have.</summary>
public sealed class LayerLimitTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    public LayerLimitTests() => Directory.CreateDirectory(_scratch["root"]);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Directories_count_with_their_blocks_on_the_disk()
    {
        var archive = new Archive();
        for (int i = 0; i < 100; i++)
        {
            archive.File($"{i}/{string.Concat(Enumerable.Repeat("d/", 100))}f");
        }

        InvalidDataException fault = await Assert.ThrowsAsync<InvalidDataException>(() => ExtractAsync(archive, new() { Whiteouts = WhiteoutFormat.Applied, KeepOwners = false, MaxBytes = 1_000_000 }));

        Assert.Contains("the files of the layer have more than 1000000 bytes", fault.Message, StringComparison.Ordinal);
        Assert.InRange(TreeSize.Measure(_scratch["root"]), 900_000, 1_100_000);
    }

    [Fact]
    public async Task UnpackBudget_is_shared_by_the_layers_of_an_image()
    {
        var options = new LayerExtractionOptions
        {
            Whiteouts = WhiteoutFormat.Applied,
            KeepOwners = false,
            Budget = new UnpackBudget(100_000, 10, new FreeDiskSpace(_scratch.Path, 0)),
        };
        await ExtractAsync(Files(0, 6), options);

        InvalidDataException fault = await Assert.ThrowsAsync<InvalidDataException>(() => ExtractAsync(Files(6, 6), options));
        Assert.Contains("the image has more than 10 files, directories and links", fault.Message, StringComparison.Ordinal);

        options = options.With(changed => changed.Budget = new UnpackBudget(20_000, 100, new FreeDiskSpace(_scratch.Path, 0)));
        fault = await Assert.ThrowsAsync<InvalidDataException>(() => ExtractAsync(Files(20, 6), options));
        Assert.Contains("the image unpacks to more than 20000 bytes", fault.Message, StringComparison.Ordinal);

        static Archive Files(int first, int count) => Enumerable.Range(first, count).Aggregate(new Archive(), (archive, i) => archive.File($"f{i}", "x"));
    }

    [Fact]
    public async Task MinFreeDiskBytes_stops_a_pull_before_the_disk_is_full()
    {
        using var registry = new ScriptedRegistry();
        registry.AddImage("a", "latest", [new Archive().File("f", "x").ToBytes()]);
        foreach (ImageRootKind kind in (ImageRootKind[])[ImageRootKind.Overlay, ImageRootKind.Flattened])
        {
            if (kind == ImageRootKind.Overlay && OverlayMounts.GetUnavailableReason(_scratch["probe"]) is not null)
            {
                continue;
            }

            await using var store = new ImageStore(new ImageStoreOptions
            {
                Home = _scratch["home"],
                RootKind = kind,
                MinFreeDiskBytes = 1L << 50,
                Registries = [new() { Name = "test.example", Mirrors = [registry.Url] }],
            });

            ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => store.AcquireAsync(ImageReference.Parse("test.example/a"), Cancel));

            Assert.Contains($"the disk of {_scratch["home"]} has ", fault.Message, StringComparison.Ordinal);
            Assert.Contains("and 1125899906842624 must stay free; free space on it, or lower MinFreeDiskBytes", fault.Message, StringComparison.Ordinal);
            Assert.Empty(Directory.EnumerateDirectories(_scratch["home/tmp"]).SelectMany(Directory.EnumerateFileSystemEntries));
        }
    }

    [Fact]
    [Slow]
    public async Task Repeated_opaque_whiteouts_of_a_directory_list_it_once()
    {
        await ExtractAsync(Enumerable.Range(0, 8_000).Aggregate(new Archive(), (archive, i) => archive.File($"d/{i}")), Applied);
        Archive upper = Enumerable.Range(0, 8_000).Aggregate(new Archive(), (archive, i) => archive.File($"d/new{i}").File("d/.wh..wh..opq"));

        // If each whiteout listed the directory, 64 million names would be read: the test would run for a quarter of an hour.
        await ExtractAsync(upper, Applied);

        Assert.Equal(8_000, Directory.EnumerateFiles(_scratch["root/d"]).Count(path => Path.GetFileName(path).StartsWith("new", StringComparison.Ordinal)));
        Assert.Equal(8_000, Directory.EnumerateFiles(_scratch["root/d"]).Count());
    }

    [Fact]
    public async Task SpecialFilePolicy_Reject_rejects_devices()
    {
        foreach (char type in "346")
        {
            InvalidDataException fault = await Assert.ThrowsAsync<InvalidDataException>(
                () => ExtractAsync(new Archive().Device("dev/x", type), Applied.With(changed => changed.SpecialFiles = SpecialFilePolicy.Reject)));
            Assert.Contains("Entry \"dev/x\" is refused: it is a device or FIFO", fault.Message, StringComparison.Ordinal);
            await ExtractAsync(new Archive().Device("dev/x", type).File("f"), Applied);
            Assert.Equal(["f"], Directory.EnumerateFileSystemEntries(_scratch["root"]).Select(Path.GetFileName));
        }
    }

    [Fact]
    public async Task KeepSetId_keeps_or_clears_setuid_bits()
    {
        Archive archive = new Archive().File("f", "x", 0b110_111_101_101).Directory("d", 0b010_111_101_101);
        await ExtractAsync(archive, Applied);
        Assert.Equal((0b110_111_101_101, 0b010_111_101_101), (Mode("f"), Mode("d")));

        await ExtractAsync(archive, Applied.With(changed => changed.KeepSetId = false));
        Assert.Equal((0b111_101_101, 0b010_111_101_101), (Mode("f"), Mode("d")));
    }

    [Fact]
    public async Task ExtractAsync_reads_the_archive_to_its_end()
    {
        using var archive = new MemoryStream([.. new Archive().File("f").ToBytes(), .. new byte[300_000]]);

        await new LayerExtractor().ExtractAsync(archive, _scratch["root"], Applied, Cancel);

        Assert.Equal(archive.Length, archive.Position);
    }

    [Theory]
    [InlineData("explicit")]
    [InlineData("implied")]
    [InlineData("written")]
    public async Task MaxNameBytes_bounds_the_names_in_memory(string kind)
    {
        string deep = string.Join('/', Enumerable.Repeat(new string('d', 250), 15));
        Archive archive = Enumerable.Range(0, 300).Aggregate(new Archive(), (all, i) => kind switch
        {
            "explicit" => all.Directory($"{deep}/{i}"),
            "implied" => all.File($"{deep}/{i}/f"),
            _ => all.File($"{i}/{new string('f', 250)}").File($"{i}/{new string('g', 250)}"),
        });
        LayerExtractionOptions options = new()
        {
            Whiteouts = kind == "implied" ? WhiteoutFormat.Overlay : WhiteoutFormat.Applied,
            KeepOwners = false,
            MaxNameBytes = kind == "written" ? 300_000 : 1_000_000,
        };

        InvalidDataException fault = await Assert.ThrowsAsync<InvalidDataException>(() => ExtractAsync(archive, options));

        Assert.Contains($"the names of the layer's files and directories are together longer than {options.MaxNameBytes} bytes", fault.Message, StringComparison.Ordinal);
        Assert.Equal(128 * 1024 * 1024, new LayerExtractionOptions { Whiteouts = WhiteoutFormat.Applied, KeepOwners = false }.MaxNameBytes);
    }

    [Fact]
    public async Task Cancellation_does_not_wait_for_a_few_bytes_that_decompress_to_many()
    {
        using var compressed = new MemoryStream();
        await using (var zstd = new ZstdSharp.CompressionStream(compressed, leaveOpen: true))
        {
            await zstd.WriteAsync(new byte[32 * 1024 * 1024], Cancel);
        }

        // One read returns everything, so the extractor needs no further read that would see the end.
        Assert.InRange(compressed.Length, 1, 64 * 1024);
        compressed.Position = 0;
        await using Stream plain = await Decompression.OpenAsync(compressed, null, Cancel);
        var buffer = new byte[4096];
        await plain.ReadExactlyAsync(buffer, Cancel);
        using var gaveUp = new CancellationTokenSource();
        await gaveUp.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await plain.ReadExactlyAsync(buffer, gaveUp.Token));
    }

    [Fact]
    public async Task Cancellation_does_not_wait_for_buffered_entries()
    {
        using var gaveUp = new CancellationTokenSource();
        Archive entries = Enumerable.Range(0, 20).Aggregate(new Archive(), (archive, i) => archive.Directory($"d{i}"));
        using var archive = new Pieces([entries.ToBytes()]) { Ended = gaveUp.Cancel };

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => new LayerExtractor().ExtractAsync(archive, _scratch["root"], Applied, gaveUp.Token));

        Assert.Empty(Directory.EnumerateFileSystemEntries(_scratch["root"]));
    }

    public void Dispose() => _scratch.Dispose();

    private static LayerExtractionOptions Applied => new() { Whiteouts = WhiteoutFormat.Applied, KeepOwners = Unistd.geteuid() == 0 };

    private int Mode(string name) => (int)File.GetUnixFileMode(_scratch["root/" + name]);

    private Task<ExtractedLayer> ExtractAsync(Archive archive, LayerExtractionOptions options) =>
        new LayerExtractor().ExtractAsync(new MemoryStream(archive.ToBytes()), _scratch["root"], options, Cancel);

    /// <summary>Content that is made as it is read. It ignores cancellation.</summary>
    private sealed class Pieces(IEnumerable<byte[]> pieces) : ForwardStream
    {
        private readonly IEnumerator<byte[]> _pieces = pieces.GetEnumerator();
        private ReadOnlyMemory<byte> _rest;

        public int Given { get; private set; }

        /// <summary>Called with the last bytes of a piece.</summary>
        public Action? Ended { get; init; }

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (_rest.Length == 0 && _pieces.MoveNext())
            {
                Given++;
                _rest = _pieces.Current;
            }

            int length = Math.Min(buffer.Length, _rest.Length);
            _rest[..length].CopyTo(buffer);
            _rest = _rest[length..];
            if (length > 0 && _rest.Length == 0)
            {
                Ended?.Invoke();
            }

            return ValueTask.FromResult(length);
        }

        protected override void Dispose(bool disposing)
        {
            _pieces.Dispose();
            base.Dispose(disposing);
        }
    }
}
