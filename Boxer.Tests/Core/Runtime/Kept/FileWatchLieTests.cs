using System.Net.Sockets;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>A worker that lies about changes, or reports more than anybody reads.</summary>
public sealed class FileWatchLieTests : LyingWorkerTests
{
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
        Guest.Send([.. Frame(InitFrameType.FilesOpened, new byte[8]), .. Frame(InitFrameType.FilesChange, [.. U32(kind), .. Text(path)])]);
        List<GuestFileChange> seen = [];
        await Assert.ThrowsAsync<IOException>(async () =>
        {
            await foreach (GuestFileChange change in Worker.WatchAsync("/d", Token))
            {
                seen.Add(change);
            }
        });
        Assert.Equal([new GuestFileChange(GuestFileChangeKind.Started, "")], seen);
    }

    // Sends changes faster than they are read, and counts those that are read; asserts that the loss is told.
    private async Task<int> CountUnreadAsync(string path, int changes, int pauseMilliseconds)
    {
        byte[] change = Frame(InitFrameType.FilesChange, [.. U32(0), .. Text(path)]);
        Guest.Send(Frame(InitFrameType.FilesOpened, new byte[8]));
        await using IAsyncEnumerator<GuestFileChange> watch = Worker.WatchAsync("/d", Token).GetAsyncEnumerator(Token);
        ValueTask<bool> first = watch.MoveNextAsync();
        for (int i = 0; i < changes; i++)
        {
            Guest.Send(change);
        }

        Guest.Shutdown(SocketShutdown.Both);
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
