using System.IO.Pipelines;
using Boxer.Cli.Server;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Cli;

/// <summary>Tests of the connections of the command line to the events of a process.</summary>
public sealed class RemoteProcessTests
{
    private const string Process = $"sessions/{FakeSessionServer.Session}/processes/7";

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(10, true)]
    [InlineData(0, false)]
    public async Task A_quiet_process_is_attached_again_without_end_if_each_connection_lasted(int seconds, bool isEndless)
    {
        await using FakeSessionServer server = await FakeSessionServer.StartAsync();
        for (int i = 0; i < 10; i++)
        {
            server.Answer($"GET /{Process}/events", 200, ": waiting\n\n");
        }

        server.Answer($"GET /{Process}/events", 200, FakeSessionServer.Event("ended", new() { ["exit_code"] = 3 }));
        FastTime time = new(TimeSpan.FromSeconds(seconds));
        using SessionServer client = new(new Uri(server.Address + "/"), key: null, time);
        RemoteProcess process = new(client, Process, time);

        Task<List<RemoteOutput>> reading = process.ReadAsync(Cancel).ToListAsync(Cancel).AsTask();

        if (isEndless)
        {
            Assert.Empty(await reading);
            Assert.Equal((3, 11), ((int)process.End!["exit_code"]!, server.Requests.Count));
        }
        else
        {
            await Assert.ThrowsAsync<IOException>(() => reading);
            Assert.Equal(6, server.Requests.Count);
        }
    }

    [Fact]
    public async Task EventBytes_ends_a_connection_that_is_silent()
    {
        FakeTimeProvider time = new();
        Pipe pipe = new();
        int lasting = 0;
        await using EventBytes bytes = new(pipe.Reader.AsStream(), () => lasting++, time);

        await pipe.Writer.WriteAsync(new byte[1], Cancel);
        Assert.Equal(1, await bytes.ReadAsync(new byte[10].AsMemory(), Cancel));
        Assert.Equal(0, lasting);
        time.Advance(EventBytes.Lasting);
        await pipe.Writer.WriteAsync(new byte[1], Cancel);
        Assert.Equal(1, await bytes.ReadAsync(new byte[10].AsMemory(), Cancel));
        Assert.Equal(1, lasting);

        Task<int> silent = bytes.ReadAsync(new byte[10].AsMemory(), Cancel).AsTask();
        time.Advance(EventBytes.Silence);
        IOException fault = await Assert.ThrowsAsync<IOException>(() => silent.WaitAsync(TimeSpan.FromSeconds(60), Cancel));
        Assert.StartsWith("The server was silent for 60 s", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task EventBytes_passes_a_cancellation_on()
    {
        using CancellationTokenSource cancelled = new();
        await using EventBytes bytes = new(new Pipe().Reader.AsStream(), () => { }, new FakeTimeProvider());

        Task<int> reading = bytes.ReadAsync(new byte[10].AsMemory(), cancelled.Token).AsTask();
        await cancelled.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => reading);
    }

    /// <summary>A clock that a step passes at each look, and whose short waits take no time.</summary>
    private sealed class FastTime(TimeSpan step) : TimeProvider
    {
        private long _now;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Interlocked.Add(ref _now, step.Ticks);

        public override ITimer CreateTimer(TimerCallback callback, object? state, TimeSpan dueTime, TimeSpan period) =>
            base.CreateTimer(callback, state, dueTime < EventBytes.Silence && dueTime > TimeSpan.Zero ? TimeSpan.FromMilliseconds(1) : dueTime, period);
    }
}
