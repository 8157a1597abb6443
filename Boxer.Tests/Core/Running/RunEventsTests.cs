using Boxer.Running;

namespace Boxer.Tests.Core.Running;

public sealed class RunEventsTests
{
    private readonly byte[] _stdout = [.. Enumerable.Range(0, 200_000).Select(i => (byte)i)];
    private readonly byte[] _stderr = [.. Enumerable.Range(0, 200_000).Select(i => (byte)(i * 7))];
    private readonly RunEvents _events = new();

    [Fact]
    public async Task Unread_bytes_are_merged()
    {
        _events.Add(new SandboxStarted("id"));
        for (int i = 0; i < _stdout.Length; i++)
        {
            // Like a growing buffer: the offset stays, the array does not.
            byte[] array = i < 100 ? [.. _stdout] : _stdout;
            _events.Add(new SandboxDataReceived(SandboxStream.StandardOutput, array.AsMemory(i, 1)));
        }

        _events.Complete();
        List<SandboxEvent> all = await ReadAsync();

        Assert.IsType<SandboxStarted>(all[0]);
        Assert.InRange(all.Count, 2, 6);
        Assert.Equal(_stdout, Joined(all, SandboxStream.StandardOutput));
    }

    [Fact]
    public async Task Alternating_streams_keep_their_order_up_to_a_bound()
    {
        for (int i = 0; i < 100_000; i++)
        {
            _events.Add(new SandboxDataReceived(SandboxStream.StandardOutput, _stdout.AsMemory(i * 2, 2)));
            _events.Add(new SandboxDataReceived(SandboxStream.StandardError, _stderr.AsMemory(i * 2, 2)));
        }

        _events.Complete();
        List<SandboxEvent> all = await ReadAsync();

        Assert.InRange(all.Count, 256, 300);
        Assert.All(all.Take(200).Index(), pair => Assert.Equal(pair.Index % 2 == 0 ? SandboxStream.StandardOutput : SandboxStream.StandardError, ((SandboxDataReceived)pair.Item).Stream));
        Assert.Equal(_stdout, Joined(all, SandboxStream.StandardOutput));
        Assert.Equal(_stderr, Joined(all, SandboxStream.StandardError));
    }

    [Fact]
    public async Task Events_before_a_failure_are_read_before_it()
    {
        _events.Add(new SandboxStarted("id"));
        _events.Complete(new SandboxRuntimeException("no"));

        await using IAsyncEnumerator<SandboxEvent> reader = _events.ReadAllAsync().GetAsyncEnumerator(TestContext.Current.CancellationToken);
        Assert.True(await reader.MoveNextAsync());
        await Assert.ThrowsAsync<SandboxRuntimeException>(async () => await reader.MoveNextAsync());
    }

    [Fact]
    public async Task A_reader_that_keeps_up_misses_nothing()
    {
        Task<List<SandboxEvent>> reading = ReadAsync();
        for (int i = 0; i < 2_000; i++)
        {
            _events.Add(new SandboxDataReceived(SandboxStream.StandardOutput, _stdout.AsMemory(i * 100, 100)));
            if (i % 50 == 0)
            {
                await Task.Yield();
            }
        }

        _events.Complete();

        Assert.Equal(_stdout, Joined(await reading, SandboxStream.StandardOutput));
    }

    [Fact]
    public async Task Unread_bytes_that_the_result_does_not_keep_are_merged()
    {
        var events = new RunEvents(isKept: false);
        for (int i = 0; i < 20_000; i++)
        {
            events.Add(new SandboxDataReceived(SandboxStream.StandardOutput, _stdout.AsSpan(i * 10, 10).ToArray()));
            events.Add(new SandboxDataReceived(SandboxStream.StandardError, _stderr.AsSpan(i * 10, 10).ToArray()));
        }

        await using IAsyncEnumerator<SandboxEvent> reader = events.ReadAllAsync().GetAsyncEnumerator(TestContext.Current.CancellationToken);
        List<SandboxEvent> all = [];
        while (all.Count < 255)
        {
            Assert.True(await reader.MoveNextAsync());
            all.Add(reader.Current);
        }

        // The rest of both streams is unread when more output comes.
        byte[] last = [1, 2, 3];
        events.Add(new SandboxDataReceived(SandboxStream.StandardOutput, last));
        events.Add(new SandboxDataReceived(SandboxStream.StandardError, last));
        events.Complete();
        while (await reader.MoveNextAsync())
        {
            all.Add(reader.Current);
        }

        Assert.InRange(all.Count, 256, 300);
        Assert.Equal([.. _stdout, .. last], Joined(all, SandboxStream.StandardOutput));
        Assert.Equal([.. _stderr, .. last], Joined(all, SandboxStream.StandardError));
    }

    private async Task<List<SandboxEvent>> ReadAsync()
    {
        var all = new List<SandboxEvent>();
        await foreach (SandboxEvent item in _events.ReadAllAsync())
        {
            all.Add(item);
        }

        return all;
    }

    private static byte[] Joined(IEnumerable<SandboxEvent> events, SandboxStream stream) =>
        [.. events.OfType<SandboxDataReceived>().Where(output => output.Stream == stream).SelectMany(output => output.Data.ToArray())];
}
