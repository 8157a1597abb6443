using System.Globalization;
using Boxer.Common;
using Boxer.Images;
using Boxer.Images.Layers;
using Boxer.Images.Store;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Images.Layers;

/// <summary>The memory budget of pulls: the order of waiting, its bounds, and the release of memory.</summary>
public sealed class PullMemoryTests
{
    private const long Mebibyte = 1L << 20;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task TakeWindowAsync_serves_in_turn_even_if_a_later_request_would_fit()
    {
        var memory = new PullMemory(200);
        PullMemory.Lease first = await memory.TakeWindowAsync(50, Cancel);
        PullMemory.Lease second = await memory.TakeWindowAsync(40, Cancel);
        Task<PullMemory.Lease> large = memory.TakeWindowAsync(50, Cancel).AsTask();
        Task<PullMemory.Lease> small = memory.TakeWindowAsync(10, Cancel).AsTask();
        Assert.False(large.IsCompleted || small.IsCompleted);

        second.Dispose();
        PullMemory.Lease third = await large;
        Assert.False(small.IsCompleted);
        first.Dispose();
        first.Dispose();
        (await small).Dispose();
        third.Dispose();

        Assert.Equal(0, memory.Used);
    }

    [Fact]
    public async Task TakeWindowAsync_that_is_cancelled_leaves_the_queue()
    {
        var memory = new PullMemory(200);
        PullMemory.Lease held = await memory.TakeWindowAsync(50, Cancel);
        PullMemory.Lease more = await memory.TakeWindowAsync(30, Cancel);
        using var impatient = new CancellationTokenSource();
        Task<PullMemory.Lease> waiting = memory.TakeWindowAsync(50, impatient.Token).AsTask();
        Task<PullMemory.Lease> behind = memory.TakeWindowAsync(20, Cancel).AsTask();

        await impatient.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        (await behind).Dispose();
        held.Dispose();
        more.Dispose();
        Assert.Equal(0, memory.Used);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => memory.TakeBuffersAsync(1, impatient.Token).AsTask());
    }

    [Fact]
    public async Task One_window_takes_at_most_half_and_half_is_reserved_for_windows()
    {
        var memory = new PullMemory(100);

        InvalidDataException fault = await Assert.ThrowsAsync<InvalidDataException>(() => memory.TakeWindowAsync(51, Cancel).AsTask());
        Assert.Contains("takes 51 bytes of memory to decompress, and half of the 100 bytes that pulls may take is the most for one layer; raise PullMemoryBytes", fault.Message, StringComparison.Ordinal);

        fault = await Assert.ThrowsAsync<InvalidDataException>(() => memory.TakeImpliedAsync(51, Cancel).AsTask());
        Assert.Contains("half of the 100 bytes that pulls may take is the most for one image; raise PullMemoryBytes", fault.Message, StringComparison.Ordinal);

        using PullMemory.Lease buffers = await memory.TakeBuffersAsync(25, Cancel);
        PullMemory.Lease names = memory.TakeNames(25);
        IOException full = Assert.Throws<IOException>(() => memory.TakeNames(1));
        Assert.Contains("names of the image's files", full.Message, StringComparison.Ordinal);
        Assert.Equal("x: other pulls take the memory for the names of its files; try again.", PublicReason.Tell("x", full));
        Task<PullMemory.Lease> stored = memory.TakeStoredBuffersAsync(5, Cancel).AsTask();
        Assert.False(stored.IsCompleted);
        (await memory.TakeWindowAsync(50, Cancel)).Dispose();
        (await memory.TakeImpliedAsync(50, Cancel)).Dispose();
        names.Dispose();
        (await stored).Dispose();
        Assert.Equal(25, memory.Used);
    }

    [Fact]
    public async Task Waiting_buffers_and_windows_leave_memory_for_names_and_stored_layers()
    {
        var memory = new PullMemory(PullMemory.LeastBytes);
        using PullMemory.Lease window = await memory.TakeWindowAsync(PullMemory.LeastBytes / 2, Cancel);
        List<Task<PullMemory.Lease>> downloads = [];
        do
        {
            downloads.Add(memory.TakeBuffersAsync(3 * Mebibyte, Cancel).AsTask());
        }
        while (downloads[^1].IsCompleted);

        Assert.Equal(6, downloads.Count);
        (await memory.TakeStoredBuffersAsync(3 * Mebibyte, Cancel)).Dispose();
        List<Task<PullMemory.Lease>> stored = [];
        do
        {
            stored.Add(memory.TakeStoredBuffersAsync(3 * Mebibyte, Cancel).AsTask());
        }
        while (stored[^1].IsCompleted);

        memory.TakeNames(8 * Mebibyte).Dispose();
        foreach (Task<PullMemory.Lease> one in (IEnumerable<Task<PullMemory.Lease>>)[.. downloads, .. stored])
        {
            (await one).Dispose();
        }

        Assert.Equal(PullMemory.LeastBytes / 2, memory.Used);
    }

    [Fact]
    public void NameMemory_takes_steps_after_the_first_and_releases_them()
    {
        var memory = new PullMemory(PullMemory.LeastBytes);
        using (NameMemory names = new(memory))
        {
            names.Grow(Mebibyte - 1);
            Assert.Equal(0, memory.Used);
            names.Grow((3 * Mebibyte) + 1);
            Assert.Equal(3 * Mebibyte, memory.Used);
            Assert.Throws<IOException>(() => names.Grow(40 * Mebibyte));
        }

        Assert.Equal(0, memory.Used);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    public async Task Layers_that_hold_buffers_and_wait_for_windows_all_end_within_the_budget(int seed)
    {
        const long Total = 64;
        var memory = new PullMemory(Total);
        long most = 0;
        int[] seeds = [.. Enumerable.Range(0, 60).Select(i => (seed * 1_000) + i)];
        await Task.WhenAll(seeds.Select(own => Task.Run(
            async () =>
            {
                var random = new Random(own);
                using var impatient = new CancellationTokenSource(random.Next(4) == 0 ? random.Next(20) : Timeout.Infinite);
                try
                {
                    using PullMemory.Lease buffers = await memory.TakeBuffersAsync(3, impatient.Token);
                    for (int frame = 0; frame < 5; frame++)
                    {
                        using PullMemory.Lease window = await memory.TakeWindowAsync(random.Next(1, 33), impatient.Token);
                        InterlockedMax(ref most, memory.Used);
                        await Task.Yield();
                    }
                }
                catch (OperationCanceledException) when (impatient.IsCancellationRequested)
                {
                }
            },
            Cancel)));

        Assert.InRange(most, 1, Total);
        Assert.Equal(0, memory.Used);
    }

    [Fact]
    public async Task Each_zstd_frame_takes_its_memory_before_decompression_and_releases_it()
    {
        byte[] content = new byte[3_000_000];
        new Random(7).NextBytes(content.AsSpan(0, 500_000));
        byte[] skippable = [0x5a, 0x2a, 0x4d, 0x18, 5, 0, 0, 0, 1, 2, 3, 4, 5];
        byte[][] frames = [Compress(content, 17), Compress(content, 24), Compress([], 20), Compress(content, 20)];
        byte[] whole = [.. skippable, .. frames[0], .. skippable, .. frames[1], .. skippable, .. frames[2], .. frames[3], .. skippable];
        var memory = new PullMemory(100 * Mebibyte);
        await using (Stream plain = await Decompression.OpenAsync(new Drip(whole), memory, Cancel))
        {
            Assert.Equal(0, memory.Used);
            var read = new byte[content.Length];
            await plain.ReadExactlyAsync(read, Cancel);
            Assert.Equal(content, read);
            Assert.InRange(memory.Used, 1L << 17, 2 * Mebibyte);

            await plain.ReadExactlyAsync(read, Cancel);
            Assert.Equal(content, read);
            Assert.InRange(memory.Used, 16 * Mebibyte, 18 * Mebibyte);

            await plain.ReadExactlyAsync(read, Cancel);
            Assert.Equal(content, read);
            Assert.Equal(0, await plain.ReadAsync(read, Cancel));
        }

        Assert.Equal(0, memory.Used);
    }

    [Fact]
    public async Task A_zstd_frame_waits_for_its_memory_and_can_be_cancelled()
    {
        var memory = new PullMemory(16 * Mebibyte);
        PullMemory.Lease held = await memory.TakeWindowAsync(4 * Mebibyte, Cancel);
        PullMemory.Lease more = await memory.TakeWindowAsync(3 * Mebibyte, Cancel);
        byte[] frame = Compress(new byte[10_000], 21);
        await using Stream patient = await Decompression.OpenAsync(new MemoryStream(frame), memory, Cancel);
        await using Stream given = await Decompression.OpenAsync(new MemoryStream(frame), memory, Cancel);
        using var giveUp = new CancellationTokenSource();
        Task<int> waiting = given.ReadAsync(new byte[10], giveUp.Token).AsTask();
        Task<int> reading = patient.ReadAsync(new byte[10], Cancel).AsTask();
        Assert.False(waiting.IsCompleted || reading.IsCompleted);

        await giveUp.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => waiting);
        held.Dispose();

        Assert.Equal(10, await reading);
        more.Dispose();
        Assert.InRange(memory.Used, 2 * Mebibyte, 4 * Mebibyte);
    }

    [Theory]
    [InlineData("28b52ffd0089", "needs a window of 150994944 bytes; 134217728 are allowed")]
    [InlineData("28b52ffd00ff", "needs a window of 4123168604160 bytes; 134217728 are allowed")]
    [InlineData("28b52ffd00f0", "needs a window of 1099511627776 bytes; 134217728 are allowed")]
    [InlineData("28b52ffda001000008", "needs a window of 134217729 bytes; 134217728 are allowed")]
    [InlineData("28b52ffde0ffffffffffffffff", "needs a window of 18446744073709551615 bytes; 134217728 are allowed")]
    [InlineData("28b52ffd", "is cut off")]
    [InlineData("28b52ffd00", "is cut off")]
    [InlineData("28b52ffde000000000000000", "is cut off")]
    [InlineData("28b52ffd0050", "is cut off")]
    [InlineData("502a4d18", "is cut off")]
    [InlineData("502a4d18ffffffff00", "is cut off")]
    [InlineData("502a4d180000000000", "is malformed")]
    [InlineData("28b52ffd08500100001f8b", "is malformed")]
    public async Task Malformed_zstd_headers_take_no_memory(string frame, string message)
    {
        var memory = new PullMemory(512 * Mebibyte);
        await using (Stream plain = await Decompression.OpenAsync(new MemoryStream(Convert.FromHexString(frame)), memory, Cancel))
        {
            InvalidDataException fault = await Assert.ThrowsAsync<InvalidDataException>(() => plain.CopyToAsync(Stream.Null, Cancel));
            Assert.Contains("the zstd data " + message, fault.Message, StringComparison.Ordinal);
        }

        Assert.Equal(0, memory.Used);
    }

    [Fact]
    public async Task Truncated_zstd_data_is_rejected()
    {
        byte[] frame = Compress(new byte[1_000], 20);
        for (int length = 5; length < frame.Length; length++)
        {
            await using Stream plain = await Decompression.OpenAsync(new Drip(frame[..length]), null, Cancel);
            await Assert.ThrowsAsync<InvalidDataException>(() => plain.CopyToAsync(Stream.Null, Cancel));
        }
    }

    private static byte[] Compress(byte[] content, int windowLog)
    {
        using var compressed = new MemoryStream();
        using (var zstd = new ZstdSharp.CompressionStream(compressed, leaveOpen: true))
        {
            zstd.SetParameter(ZstdSharp.Unsafe.ZSTD_cParameter.ZSTD_c_windowLog, windowLog);
            zstd.Write(content);
        }

        return compressed.ToArray();
    }

    private static void InterlockedMax(ref long most, long value)
    {
        long seen;
        while ((seen = Volatile.Read(ref most)) < value && Interlocked.CompareExchange(ref most, value, seen) != seen)
        {
        }
    }

    /// <summary>Returns a few bytes at a time.</summary>
    private sealed class Drip(byte[] content) : ForwardStream
    {
        private int _position;

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            int length = Math.Min(Math.Min(buffer.Length, 1 + (_position % 977)), content.Length - _position);
            content.AsSpan(_position, length).CopyTo(buffer.Span);
            _position += length;
            return ValueTask.FromResult(length);
        }
    }
}

/// <summary>Memory of this process under many hostile pulls at once. Runs alone, because the memory of the whole process is measured.</summary>
[Slow]
[Collection(nameof(PullMemoryOfTheProcessTests))]
public sealed class PullMemoryOfTheProcessTests : IDisposable
{
    private const int Block = 128 * 1024;
    private readonly ScratchDirectory _scratch = new();
    private readonly ScriptedRegistry _registry = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task Eight_pulls_of_layers_with_the_largest_window_stay_within_the_budget(ImageRootKind kind)
    {
        const long Budget = 300L << 20;
        const long Slack = 100L << 20;
        RootKinds.SkipUnlessPossible(kind);
        string[] names = [.. Enumerable.Range(0, 8).Select(i => $"a{i}")];
        foreach ((int i, string name) in names.Index())
        {
            (byte[] Blob, ImageDigest DiffId)[] layers = [.. Enumerable.Range(0, 3).Select(layer => Bomb((96 << 20) + ((1 + (3 * i) + layer) * Block)))];
            _registry.AddImage(name, "latest", [.. layers.Select(layer => layer.DiffId)], [.. layers.Select(layer => layer.Blob)]);
            Assert.All(layers, layer => Assert.InRange(layer.Blob.Length, 1, 8 * 1024));
        }

        await using var store = new ImageStore(new ImageStoreOptions
        {
            Home = _scratch["home"],
            RootKind = kind,
            PullMemoryBytes = Budget,
            Registries = [new() { Name = "test.example", Mirrors = [_registry.Url] }],
        });
        GC.Collect();
        long before = ReadMemory();
        long most = 0;
        Task<IImageLease[]> pulls = Task.WhenAll(names.Select(name => store.AcquireAsync(ImageReference.Parse("test.example/" + name), Cancel)));
        while (!pulls.IsCompleted)
        {
            most = Math.Max(most, ReadMemory() - before);
            await Task.WhenAny(pulls, Task.Delay(10, Cancel));
        }

        Assert.Equal(8, (await pulls).Length);
        TestContext.Current.TestOutputHelper?.WriteLine($"{kind}: at most {most >> 20} MiB more than before.");
        Assert.InRange(most, 0, Budget + Slack);
    }

    [Fact]
    public async Task A_window_larger_than_the_budget_is_rejected_and_names_PullMemoryBytes()
    {
        (byte[] blob, ImageDigest diffId) = Bomb(130 << 20);
        _registry.AddImage("a", "latest", [diffId], [blob]);
        await using var store = new ImageStore(new ImageStoreOptions
        {
            Home = _scratch["home"],
            PullMemoryBytes = 64L << 20,
            Registries = [new() { Name = "test.example", Mirrors = [_registry.Url] }],
        });

        ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => store.AcquireAsync(ImageReference.Parse("test.example/a"), Cancel));

        Assert.Contains("raise PullMemoryBytes", fault.Message, StringComparison.Ordinal);
        Assert.Equal("The image test.example/a:latest could not be pulled: its zstd window takes more memory than this host gives to one layer.", fault.PublicMessage);
        Assert.Throws<ArgumentOutOfRangeException>(() => new ImageStore(new ImageStoreOptions { Home = _scratch["other"], PullMemoryBytes = (64L << 20) - 1 }));
    }

    public void Dispose()
    {
        _registry.Dispose();
        _scratch.Dispose();
    }

    /// <summary>An empty archive as a zstd frame of a few KiB, which asks for a window of 128 MiB and fills it: blocks of one repeated byte.</summary>
    private static (byte[] Blob, ImageDigest DiffId) Bomb(int length)
    {
        using var frame = new MemoryStream();
        frame.Write([0x28, 0xb5, 0x2f, 0xfd, 0x00, 17 << 3]);
        using var hash = System.Security.Cryptography.IncrementalHash.CreateHash(System.Security.Cryptography.HashAlgorithmName.SHA256);
        var zeros = new byte[Block];
        for (int blocks = length / Block; blocks > 0; blocks--)
        {
            int header = (Block << 3) | (1 << 1) | (blocks == 1 ? 1 : 0);
            frame.Write([(byte)header, (byte)(header >> 8), (byte)(header >> 16), 0]);
            hash.AppendData(zeros);
        }

        return (frame.ToArray(), ImageDigest.Sha256Of(hash));
    }

    private static long ReadMemory()
    {
        string line = File.ReadLines("/proc/self/status").First(line => line.StartsWith("VmRSS:", StringComparison.Ordinal));
        return long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture) << 10;
    }
}

/// <summary>The collection runs alone.</summary>
[CollectionDefinition(nameof(PullMemoryOfTheProcessTests), DisableParallelization = true)]
public sealed class PullMemoryOfTheProcess;
