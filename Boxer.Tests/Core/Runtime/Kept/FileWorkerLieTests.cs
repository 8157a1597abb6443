using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>A worker that lies: the guest can be the worker.</summary>
public sealed class FileWorkerLieTests : IAsyncDisposable
{
    private const uint File = 0;
    private const uint Directory = 1;
    private const uint Link = 2;
    private readonly FakeTimeProvider _time = new();
    private readonly Socket _guest;
    private readonly FileWorker _worker;

    public FileWorkerLieTests()
    {
        string path = Path.Join(System.IO.Directory.CreateTempSubdirectory("boxer-lie-").FullName, "socket");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen(1);
        _guest = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        _guest.Connect(new UnixDomainSocketEndPoint(path));
        _worker = new FileWorker(listener.Accept(), new TaskCompletionSource().Task, new CommandClock(_time), _time);
        System.IO.Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
    }

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public static TheoryData<string, byte[]> Lists => new()
    {
        { "a name that climbs", Entry("..", File) },
        { "a name with a slash before it", Entry("/etc/passwd", File) },
        { "a name with dots inside", [.. Entry("a", Directory), .. Entry("a/../b", File)] },
        { "an empty name", Entry("", File) },
        { "a doubled slash", [.. Entry("a", Directory), .. Entry("a//b", File)] },
        { "an entry before its directory", Entry("a/b", File) },
        { "an entry too deep", [.. Entry("a", Directory), .. Entry("a/b", Directory), .. Entry("a/b/c", File)] },
        { "too many entries", [.. Entry("a", File), .. Entry("b", File), .. Entry("c", File), .. Entry("d", File)] },
        { "an unknown kind", Entry("a", 4) },
        { "a mode out of range", Frame(InitFrameType.FilesEntry, [.. U32(0), .. U32(0x8000), .. new byte[28], .. Text(""), .. Text("a")]) },
        { "a name that is not UTF-8", Frame(InitFrameType.FilesEntry, [.. new byte[36], .. Text(""), .. U32(1), 0xFF, 0]) },
        { "data", Frame(InitFrameType.FilesData, [1]) },
        { "an early opening", Frame(InitFrameType.FilesOpened, new byte[8]) },
        { "an entry after the end of the list", [.. Frame(InitFrameType.FilesIncomplete, []), .. Entry("a", File)] },
        { "a frame of PID 1", Frame(InitFrameType.Started, []) },
        { "a long frame", [1, 0, 1, 0, 0, 0x81, 1, 0] },
        { "another version", [0, 0, 0, 0, 0, 0x81, 2, 0] },
        { "bytes too many", Frame(InitFrameType.FilesDone, [1]) },
        { "no error number", Frame(InitFrameType.FilesFailed, [.. U32(0), .. Text("")]) },
    };

    [Theory]
    [MemberData(nameof(Lists))]
    public async Task A_false_list_ends_the_worker(string lie, byte[] answers)
    {
        _guest.Send(answers);
        IOException exception = await Assert.ThrowsAsync<IOException>(() => _worker.ListAsync("/d", 2, 3, Token));
        Assert.True(exception.Message.Contains("violated", StringComparison.Ordinal), lie);
        Assert.True(_worker.Ended.IsCompleted);
        await Assert.ThrowsAsync<IOException>(() => _worker.StatAsync("/d", Token));
    }

    [Fact]
    public async Task Repeated_entries_count_once_and_nothing_is_below_a_file()
    {
        _guest.Send([.. Entry("a", Link, target: "/"), .. Entry("a", Directory), .. Entry("a/b", Directory), .. Frame(InitFrameType.FilesDone, [])]);
        (IReadOnlyList<GuestFile> entries, bool isIncomplete) = await _worker.ListAsync("/d", 3, 3, Token);
        Assert.Equal((GuestFileKind.SymbolicLink, "a"), (Assert.Single(entries).Kind, entries[0].Path));
        Assert.False(isIncomplete);
    }

    [Fact]
    public async Task A_list_with_endless_names_is_incomplete()
    {
        string name = string.Join('/', Enumerable.Repeat(new string('x', 255), 10));
        var sender = Task.Run(
            () =>
            {
                try
                {
                    for (int i = 1; i <= 10; i++)
                    {
                        _guest.Send(Entry(name[..((i * 256) - 1)], Directory));
                    }

                    for (int i = 0; ; i++)
                    {
                        _guest.Send(Entry($"{name}/{i}", File));
                    }
                }
                catch (SocketException)
                {
                }
            },
            Token);
        (IReadOnlyList<GuestFile> entries, bool isIncomplete) = await _worker.ListAsync("/d", 64, 10_000, Token);
        Assert.True(isIncomplete);
        Assert.InRange(entries.Sum(entry => (long)entry.Path.Length), 1, 2_560_000);
        await sender;
    }

    [Fact]
    public async Task A_file_has_no_more_bytes_than_announced()
    {
        _guest.Send([.. Frame(InitFrameType.FilesOpened, U64(3)), .. Frame(InitFrameType.FilesData, [1, 2]), .. Frame(InitFrameType.FilesData, [3, 4])]);
        await using Stream stream = await _worker.OpenReadAsync("/f", Token);
        byte[] bytes = new byte[10];
        Assert.Equal(2, await stream.ReadAsync(bytes, Token));
        await Assert.ThrowsAsync<IOException>(() => stream.ReadAsync(bytes, Token).AsTask());
        await stream.DisposeAsync();
        Assert.True(_worker.Ended.IsCompleted);
    }

    [Theory]
    [InlineData(5, 6)]
    [InlineData(5, 4)]
    [InlineData(0, 1)]
    public async Task A_file_of_an_archive_has_its_size(int announced, int sent)
    {
        _guest.Send([.. Entry("f", File, announced), .. Frame(InitFrameType.FilesData, new byte[sent]), .. Frame(InitFrameType.FilesDone, [])]);
        await using Stream stream = await _worker.ReadArchiveAsync("/d", 1 << 20, Token);
        await Assert.ThrowsAsync<IOException>(() => stream.CopyToAsync(Stream.Null, Token));
        await stream.DisposeAsync();
        Assert.True(_worker.Ended.IsCompleted);
    }

    [Fact]
    public async Task An_archive_has_nothing_below_a_link_and_no_link_that_leads_out()
    {
        _guest.Send([
            .. Entry("out", Link, target: "/etc"), .. Entry("in", Link, target: "d"), .. Entry("in", Directory), .. Entry("in/f", File, 1), .. Frame(InitFrameType.FilesData, [1]),
            .. Entry("d", Directory), .. Entry("d/f", File, 1), .. Frame(InitFrameType.FilesData, [1]), .. Entry("d/f", Link, target: "../.."), .. Frame(InitFrameType.FilesDone, []),
        ]);
        await using Stream stream = await _worker.ReadArchiveAsync("/d", 1 << 20, Token);
        var bytes = new MemoryStream();
        await stream.CopyToAsync(bytes, Token);
        bytes.Position = 0;
        using var reader = new System.Formats.Tar.TarReader(bytes);
        List<string> entries = [];
        while (reader.GetNextEntry() is { } entry)
        {
            entries.Add($"{entry.EntryType} {entry.Name}");
        }

        Assert.Equal(["SymbolicLink in", "Directory d", "RegularFile d/f"], entries);
    }

    [Fact]
    public async Task An_archive_of_endless_data_is_bounded()
    {
        var sender = Task.Run(
            () =>
            {
                try
                {
                    _guest.Send(Entry("f", File, long.MaxValue));
                    while (true)
                    {
                        _guest.Send(Frame(InitFrameType.FilesData, new byte[60_000]));
                    }
                }
                catch (SocketException)
                {
                }
            },
            Token);
        await using Stream stream = await _worker.ReadArchiveAsync("/d", 1 << 20, Token);
        GuestFileException failed = await Assert.ThrowsAsync<GuestFileException>(() => stream.CopyToAsync(Stream.Null, Token));
        Assert.Equal(27, failed.Errno);
        await stream.DisposeAsync();
        await sender;
    }

    [Fact]
    public async Task An_archive_of_endless_data_that_is_left_out_is_bounded()
    {
        var sender = Task.Run(
            () =>
            {
                _guest.Send([.. Entry("d", Link, target: "e"), .. Entry("d/f", File, 600_000)]);
                for (int i = 0; i < 10; i++)
                {
                    _guest.Send(Frame(InitFrameType.FilesData, new byte[60_000]));
                }

                _guest.Send(Entry("d/g", File, 600_000));
            },
            Token);
        await using Stream stream = await _worker.ReadArchiveAsync("/d", 1 << 20, Token);
        Assert.Equal(27, (await Assert.ThrowsAsync<GuestFileException>(() => stream.CopyToAsync(Stream.Null, Token))).Errno);
        await sender;
    }

    [Fact]
    public async Task Times_of_any_year_are_archived()
    {
        _guest.Send([.. Entry("old", File, seconds: long.MinValue), .. Entry("far", File, seconds: long.MaxValue), .. Frame(InitFrameType.FilesDone, [])]);
        await using Stream stream = await _worker.ReadArchiveAsync("/d", 1 << 20, Token);
        var bytes = new MemoryStream();
        await stream.CopyToAsync(bytes, Token);
        Assert.True(bytes.Length > 1_024);
        Assert.False(_worker.Ended.IsCompleted);
    }

    [Fact]
    public async Task A_watch_keeps_a_bounded_number_of_changes_and_says_so() =>
        Assert.InRange(await CountUnreadAsync("a", changes: 5_000, pauseMilliseconds: 1), 1_000, 5_000);

    [Fact]
    public async Task A_watch_keeps_a_bounded_number_of_characters() => Assert.InRange(
        await CountUnreadAsync(string.Join('/', Enumerable.Repeat(new string('x', 255), 15)), changes: 900, pauseMilliseconds: 5), FileWorker.MaxChangeText / 4_096, 899);

    [Theory]
    [InlineData(0, "../x")]
    [InlineData(0, "/x")]
    [InlineData(4, "")]
    [InlineData(5, "x")]
    public async Task A_watch_reports_no_path_outside_and_no_other_kinds(uint kind, string path)
    {
        _guest.Send([.. Frame(InitFrameType.FilesOpened, new byte[8]), .. Frame(InitFrameType.FilesChange, [.. U32(kind), .. Text(path)])]);
        List<GuestFileChange> seen = [];
        await Assert.ThrowsAsync<IOException>(async () =>
        {
            await foreach (GuestFileChange change in _worker.WatchAsync("/d", Token))
            {
                seen.Add(change);
            }
        });
        Assert.Equal([new GuestFileChange(GuestFileChangeKind.Started, "")], seen);
    }

    [Fact]
    public async Task A_worker_that_dies_fails_what_is_in_progress()
    {
        Task<GuestFile?> stat = _worker.StatAsync("/f", Token);
        _guest.Dispose();
        await Assert.ThrowsAsync<IOException>(() => stat);
        Assert.True(_worker.Ended.IsCompleted);
    }

    [Fact]
    public async Task A_write_ends_if_the_worker_answers_early()
    {
        _guest.Send(Frame(InitFrameType.FilesFailed, [.. U32(28), .. Text("")]));
        Task write = _worker.WriteAsync("/f", new MemoryStream(new byte[64 << 20]), null, Token);
        Task<int> drain = Task.Run(
            () =>
            {
                byte[] buffer = new byte[1 << 16];
                int total = 0;
                for (int read; (read = _guest.Receive(buffer)) > 0;)
                {
                    total += read;
                }

                return total;
            },
            Token);
        Assert.Equal(28, (await Assert.ThrowsAsync<GuestFileException>(() => write)).Errno);
        await _worker.DisposeAsync();
        Assert.True(await drain < 32 << 20);
    }

    public async ValueTask DisposeAsync()
    {
        await _worker.DisposeAsync();
        _guest.Dispose();
    }

    private static byte[] Entry(string path, uint kind, long size = 0, string target = "", long seconds = 0) =>
        Frame(InitFrameType.FilesEntry, [.. U32(kind), .. U32(0x1ED), .. U32(1), .. U32(1), .. U64(size), .. U64(seconds), .. U32(0), .. Text(target), .. Text(path)]);

    private static byte[] Frame(InitFrameType type, byte[] payload)
    {
        byte[] frame = new byte[InitProtocol.HeaderSize + payload.Length];
        InitProtocol.WriteHeader(frame, type, payload.Length);
        payload.CopyTo(frame, InitProtocol.HeaderSize);
        return frame;
    }

    private static byte[] U32(uint value)
    {
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return bytes;
    }

    private static byte[] U64(long value)
    {
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, value);
        return bytes;
    }

    private static byte[] Text(string text) => [.. U32((uint)Encoding.UTF8.GetByteCount(text)), .. Encoding.UTF8.GetBytes(text), 0];

    // Sends changes faster than they are read, and counts those that are read; asserts that the loss is told.
    private async Task<int> CountUnreadAsync(string path, int changes, int pauseMilliseconds)
    {
        byte[] change = Frame(InitFrameType.FilesChange, [.. U32(0), .. Text(path)]);
        _guest.Send(Frame(InitFrameType.FilesOpened, new byte[8]));
        await using IAsyncEnumerator<GuestFileChange> watch = _worker.WatchAsync("/d", Token).GetAsyncEnumerator(Token);
        ValueTask<bool> first = watch.MoveNextAsync();
        for (int i = 0; i < changes; i++)
        {
            _guest.Send(change);
        }

        _guest.Shutdown(SocketShutdown.Both);
        Assert.True(await first);
        int count = 1;
        bool isLost = false;
        await Assert.ThrowsAsync<IOException>(async () =>
        {
            while (await watch.MoveNextAsync())
            {
                count++;
                isLost |= watch.Current.Kind == GuestFileChangeKind.Overflow;
                await Task.Delay(isLost ? 0 : pauseMilliseconds, Token);
            }
        });
        Assert.True(isLost);
        return count;
    }
}
