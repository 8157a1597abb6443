using System.Formats.Tar;
using System.Net.Sockets;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>A worker that lies about an archive.</summary>
public sealed class FileArchiveLieTests : LyingWorkerTests
{
    [Theory]
    [InlineData(5, 6)]
    [InlineData(5, 4)]
    [InlineData(0, 1)]
    public async Task A_file_of_an_archive_has_its_size(int announced, int sent)
    {
        Guest.Send([.. Entry("f", File, announced), .. Frame(InitFrameType.FilesData, new byte[sent]), .. Frame(InitFrameType.FilesDone, [])]);
        await using Stream stream = await Worker.ReadArchiveAsync("/d", 1 << 20, Token);
        await Assert.ThrowsAsync<IOException>(() => stream.CopyToAsync(Stream.Null, Token));
        await stream.DisposeAsync();
        Assert.True(Worker.Ended.IsCompleted);
    }

    [Fact]
    public async Task An_archive_has_nothing_below_a_link_and_no_link_that_leads_out()
    {
        Guest.Send([
            .. Entry("out", Link, target: "/etc"), .. Entry("in", Link, target: "d"), .. Entry("in", Directory), .. Entry("in/f", File, 1), .. Frame(InitFrameType.FilesData, [1]),
            .. Entry("d", Directory), .. Entry("d/f", File, 1), .. Frame(InitFrameType.FilesData, [1]), .. Entry("d/f", Link, target: "../.."), .. Frame(InitFrameType.FilesDone, []),
        ]);
        await using Stream stream = await Worker.ReadArchiveAsync("/d", 1 << 20, Token);
        var bytes = new MemoryStream();
        await stream.CopyToAsync(bytes, Token);
        bytes.Position = 0;
        using var reader = new TarReader(bytes);
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
                    Guest.Send(Entry("f", File, long.MaxValue));
                    while (true)
                    {
                        Guest.Send(Frame(InitFrameType.FilesData, new byte[60_000]));
                    }
                }
                catch (SocketException)
                {
                }
            },
            Token);
        await using Stream stream = await Worker.ReadArchiveAsync("/d", 1 << 20, Token);
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
                Guest.Send([.. Entry("d", Link, target: "e"), .. Entry("d/f", File, 600_000)]);
                for (int i = 0; i < 10; i++)
                {
                    Guest.Send(Frame(InitFrameType.FilesData, new byte[60_000]));
                }

                Guest.Send(Entry("d/g", File, 600_000));
            },
            Token);
        await using Stream stream = await Worker.ReadArchiveAsync("/d", 1 << 20, Token);
        Assert.Equal(27, (await Assert.ThrowsAsync<GuestFileException>(() => stream.CopyToAsync(Stream.Null, Token))).Errno);
        await sender;
    }

    [Fact]
    public async Task Times_of_any_year_are_archived()
    {
        Guest.Send([.. Entry("old", File, seconds: long.MinValue), .. Entry("far", File, seconds: long.MaxValue), .. Frame(InitFrameType.FilesDone, [])]);
        await using Stream stream = await Worker.ReadArchiveAsync("/d", 1 << 20, Token);
        var bytes = new MemoryStream();
        await stream.CopyToAsync(bytes, Token);
        Assert.True(bytes.Length > 1_024);
        Assert.False(Worker.Ended.IsCompleted);
    }
}
