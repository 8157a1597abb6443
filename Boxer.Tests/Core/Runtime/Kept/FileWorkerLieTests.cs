using System.Net.Sockets;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>A worker that lies about files and lists: the guest can be the worker.</summary>
public sealed class FileWorkerLieTests : LyingWorkerTests
{
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
        Guest.Send(answers);
        IOException exception = await Assert.ThrowsAsync<IOException>(() => Worker.ListAsync("/d", 2, 3, Token));
        Assert.True(exception.Message.Contains("violated", StringComparison.Ordinal), lie);
        Assert.True(Worker.Ended.IsCompleted);
        await Assert.ThrowsAsync<IOException>(() => Worker.StatAsync("/d", Token));
    }

    [Fact]
    public async Task Repeated_entries_count_once_and_nothing_is_below_a_file()
    {
        Guest.Send([.. Entry("a", Link, target: "/"), .. Entry("a", Directory), .. Entry("a/b", Directory), .. Frame(InitFrameType.FilesDone, [])]);
        (IReadOnlyList<GuestFile> entries, bool isIncomplete) = await Worker.ListAsync("/d", 3, 3, Token);
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
                        Guest.Send(Entry(name[..((i * 256) - 1)], Directory));
                    }

                    for (int i = 0; ; i++)
                    {
                        Guest.Send(Entry($"{name}/{i}", File));
                    }
                }
                catch (SocketException)
                {
                }
            },
            Token);
        (IReadOnlyList<GuestFile> entries, bool isIncomplete) = await Worker.ListAsync("/d", 64, 10_000, Token);
        Assert.True(isIncomplete);
        Assert.InRange(entries.Sum(entry => (long)entry.Path.Length), 1, 2_560_000);
        await sender;
    }

    [Fact]
    public async Task A_file_has_no_more_bytes_than_announced()
    {
        Guest.Send([.. Frame(InitFrameType.FilesOpened, U64(3)), .. Frame(InitFrameType.FilesData, [1, 2]), .. Frame(InitFrameType.FilesData, [3, 4])]);
        await using Stream stream = await Worker.OpenReadAsync("/f", Token);
        byte[] bytes = new byte[10];
        Assert.Equal(2, await stream.ReadAsync(bytes, Token));
        await Assert.ThrowsAsync<IOException>(() => stream.ReadAsync(bytes, Token).AsTask());
        await stream.DisposeAsync();
        Assert.True(Worker.Ended.IsCompleted);
    }

    [Fact]
    public async Task A_worker_that_dies_fails_what_is_in_progress()
    {
        Task<GuestFile?> stat = Worker.StatAsync("/f", Token);
        Guest.Dispose();
        await Assert.ThrowsAsync<IOException>(() => stat);
        Assert.True(Worker.Ended.IsCompleted);
    }

    [Fact]
    public async Task A_write_ends_if_the_worker_answers_early()
    {
        Guest.Send(Frame(InitFrameType.FilesFailed, [.. U32(28), .. Text("")]));
        Task write = Worker.WriteAsync("/f", new MemoryStream(new byte[64 << 20]), null, Token);
        Task<int> drain = Task.Run(
            () =>
            {
                byte[] buffer = new byte[1 << 16];
                int total = 0;
                for (int read; (read = Guest.Receive(buffer)) > 0;)
                {
                    total += read;
                }

                return total;
            },
            Token);
        Assert.Equal(28, (await Assert.ThrowsAsync<GuestFileException>(() => write)).Errno);
        await Worker.DisposeAsync();
        Assert.True(await drain < 32 << 20);
    }
}
