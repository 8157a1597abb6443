using Boxer.Running;

namespace Boxer.Tests.Core.Running;

public sealed class RunEventsTests
{
    private readonly byte[] _stdout = [.. Enumerable.Range(0, 200_000).Select(i => (byte)i)];
    private readonly byte[] _stderr = [.. Enumerable.Range(0, 200_000).Select(i => (byte)(i * 7))];
    private readonly RunEvents _events = new();

    [Fact]
    public async Task Single_bytes_to_a_reader_that_does_not_read_are_put_together()
    {
        _events.Add(new SandboxStarted("id"));
        for (int i = 0; i < _stdout.Length; i++)
        {
            // As a buffer that grows: the offset stays, the array does not.
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
    public async Task Streams_that_alternate_keep_their_turns_up_to_a_bound()
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
    public async Task What_was_told_before_a_fault_is_read_before_it()
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
    public async Task Bytes_that_nobody_keeps_are_put_together_for_a_slow_reader()
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

        // The rest of both is under way when more comes.
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
