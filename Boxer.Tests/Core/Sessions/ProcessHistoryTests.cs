using System.Text;
using Boxer.Sessions;
using CsCheck;

namespace Boxer.Tests.Core.Sessions;

/// <summary><see cref="ProcessHistory"/>: the last output of a process, with many readers.</summary>
public sealed class ProcessHistoryTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public void ReadAsync_returns_the_kept_bytes_at_their_offsets_for_random_output() =>
        Gen.Select(Gen.Int[16, 5_000], Gen.Select(Gen.Int[0, 1], Gen.Int[1, 9_000]).Array[1, 40], Gen.Int[0, 60_000]).Sample(
            (max, writes, from) =>
            {
                var history = new ProcessHistory(max);
                var all = new List<(byte Value, SandboxStream Stream)>();
                foreach ((int stream, int length) in writes)
                {
                    byte[] data = [.. Enumerable.Range(all.Count, length).Select(i => (byte)(i * 7))];
                    history.Append((SandboxStream)stream, data);
                    all.AddRange(data.Select(value => (value, (SandboxStream)stream)));
                }

                history.End();
                HistoryPiece[] pieces = [.. history.ReadAsync(from, CancellationToken.None).ToBlockingEnumerable(CancellationToken.None)];
                long offset = Math.Max(from, all.Count - max);
                foreach (HistoryPiece piece in pieces)
                {
                    Assert.Equal(offset, piece.Offset);
                    Assert.All(piece.Data.ToArray(), (value, i) => Assert.Equal(all[(int)offset + i], (value, piece.Stream)));
                    offset += piece.Data.Length;
                }

                Assert.Equal(Math.Max(all.Count, from), Math.Max(offset, from));
                Assert.Equal(Math.Min(max, all.Count), history.KeptBytes);
            },
            iter: 300);

    [Fact]
    public async Task A_reader_gets_output_as_it_comes_and_ends_with_the_process()
    {
        var history = new ProcessHistory(100);
        Task<string> first = ReadAsync(history, 0);
        Task<string> second = ReadAsync(history, 2);
        history.Append(SandboxStream.StandardOutput, "ab"u8);
        history.Append(SandboxStream.StandardError, "cd"u8);
        Assert.False(first.IsCompleted);
        history.End();

        Assert.Equal(("abcd", "cd"), (await first, await second));
        Assert.Equal("", await ReadAsync(history, 10));
    }

    [Fact]
    public async Task A_slow_reader_misses_what_was_dropped_and_says_so_by_the_offset()
    {
        var history = new ProcessHistory(10);
        history.Append(SandboxStream.StandardOutput, "0123456789"u8);
        await using IAsyncEnumerator<HistoryPiece> slow = history.ReadAsync(0, Cancel).GetAsyncEnumerator(Cancel);
        Assert.True(await slow.MoveNextAsync());
        history.Append(SandboxStream.StandardOutput, Encoding.ASCII.GetBytes(new string('x', 25)));
        Assert.True(await slow.MoveNextAsync());

        Assert.Equal((25, 10), (slow.Current.Offset, slow.Current.Data.Length));
    }

    [Fact]
    public void Alternating_streams_take_a_bounded_number_of_pieces()
    {
        var history = new ProcessHistory(1 << 20);
        for (int i = 0; i < 100_000; i++)
        {
            history.Append((SandboxStream)(i % 2), [1]);
        }

        history.End();
        Assert.InRange(history.ReadAsync(0, Cancel).ToBlockingEnumerable(Cancel).Count(), 1, 16_384);
        history.Clear();
        Assert.Equal(0, history.KeptBytes);
        history.Append(SandboxStream.StandardOutput, [1]);
        Assert.Equal(100_000, history.ReadAsync(0, Cancel).ToBlockingEnumerable(Cancel).Single().Offset);
    }

    private static async Task<string> ReadAsync(ProcessHistory history, long from)
    {
        var text = new StringBuilder();
        await foreach (HistoryPiece piece in history.ReadAsync(from, Cancel))
        {
            text.Append(Encoding.UTF8.GetString(piece.Data.Span));
        }

        return text.ToString();
    }
}
