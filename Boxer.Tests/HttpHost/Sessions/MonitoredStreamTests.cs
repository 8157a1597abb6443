using System.IO.Pipelines;
using System.Net.WebSockets;
using Boxer.AspNetCore.Sessions;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.HttpHost.Sessions;

public sealed class MonitoredStreamTests
{
    private static readonly TimeSpan Hour = TimeSpan.FromHours(1);

    private readonly FakeTimeProvider _time = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Silence_counts_only_while_something_waits_for_the_client()
    {
        Pipe fromClient = new();
        await using MonitoredStream stream = new(fromClient.Reader.AsStream(), _time);
        _time.Advance(Hour);
        Assert.Equal(TimeSpan.Zero, stream.Silence);

        ValueTask<int> read = stream.ReadAsync(new byte[10].AsMemory(), Cancel);
        _time.Advance(Hour);
        Assert.Equal(Hour, stream.Silence);

        await fromClient.Writer.WriteAsync(new byte[1], Cancel);
        Assert.Equal(1, await read);
        _time.Advance(Hour);
        Assert.Equal(TimeSpan.Zero, stream.Silence);
    }

    [Fact]
    public async Task Stall_counts_while_the_client_reads_nothing_and_a_ping_waits_for_its_turn()
    {
        Pipe toClient = new(new PipeOptions(pauseWriterThreshold: 2, resumeWriterThreshold: 1));
        await using MonitoredStream stream = new(toClient.Writer.AsStream(), _time);

        Task frame = stream.WriteAsync(new byte[] { 1, 2, 3 }.AsMemory(), Cancel).AsTask();
        Task ping = stream.PingAsync(Cancel);
        Task second = stream.PingAsync(Cancel);
        _time.Advance(Hour);

        Assert.Equal(Hour, stream.Stall);
        Assert.True(second.IsCompletedSuccessfully);
        Assert.Equal([1, 2, 3], await ReadAsync(toClient, 3));
        Assert.Equal([0x89, 0], await ReadAsync(toClient, 2));
        await Task.WhenAll(frame, ping);
        Assert.Equal(TimeSpan.Zero, stream.Stall);
    }

    [Fact]
    public async Task No_ping_follows_the_last_frame()
    {
        Pipe toClient = new();
        await using MonitoredStream stream = new(toClient.Writer.AsStream(), _time);

        stream.EndPings();
        await stream.WriteAsync(new byte[] { 0x88, 0 }.AsMemory(), Cancel);
        await stream.PingAsync(Cancel);
        await toClient.Writer.CompleteAsync();

        Assert.Equal([0x88, 0], (await toClient.Reader.ReadAtLeastAsync(100, Cancel)).Buffer.FirstSpan.ToArray());
    }

    [Fact]
    public async Task Rest_counts_while_nothing_reads_and_bytes_in_either_direction_end_it_but_no_ping()
    {
        Pipe fromClient = new(), toClient = new();
        await using MonitoredStream stream = new(new BothWays(fromClient.Reader.AsStream(), toClient.Writer.AsStream()), _time);
        _time.Advance(Hour);
        Assert.Equal(Hour, stream.Rest);

        await stream.PingAsync(Cancel);
        Assert.Equal(Hour, stream.Rest);
        await stream.WriteAsync(new byte[] { 1 }.AsMemory(), Cancel);
        Assert.Equal(TimeSpan.Zero, stream.Rest);

        ValueTask<int> read = stream.ReadAsync(new byte[10].AsMemory(), Cancel);
        _time.Advance(Hour);
        Assert.Equal(TimeSpan.Zero, stream.Rest);
        await fromClient.Writer.WriteAsync(new byte[1], Cancel);
        Assert.Equal(1, await read);
        Assert.Equal(TimeSpan.Zero, stream.Rest);
        _time.Advance(Hour);
        Assert.Equal(Hour, stream.Rest);
        stream.EndRest();
        Assert.Equal(TimeSpan.Zero, stream.Rest);
    }

    [Fact]
    public async Task Rest_counts_while_a_WebSocket_sends_pongs_by_itself()
    {
        Pipe fromClient = new(), toClient = new();
        await using MonitoredStream stream = new(new BothWays(fromClient.Reader.AsStream(), toClient.Writer.AsStream()), _time);
        _time.Advance(Hour);
        using WebSocket socket = WebSocket.CreateFromStream(stream, new WebSocketCreationOptions { IsServer = true, KeepAliveInterval = TimeSpan.FromMilliseconds(1) });

        // The second is sent after the first was counted.
        Assert.Equal([0x8A, 0, 0x8A, 0], await ReadAsync(toClient, 4));

        Assert.Equal(Hour, stream.Rest);
        await socket.SendAsync(new byte[] { 1 }.AsMemory(), WebSocketMessageType.Binary, endOfMessage: true, Cancel);
        Assert.Equal(TimeSpan.Zero, stream.Rest);
    }

    private static async Task<byte[]> ReadAsync(Pipe pipe, int count)
    {
        byte[] bytes = new byte[count];
        await pipe.Reader.AsStream(leaveOpen: true).ReadExactlyAsync(bytes, Cancel);
        return bytes;
    }

    /// <summary>The two directions of a connection.</summary>
    private sealed class BothWays(Stream reader, Stream writer) : MemoryStream
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => reader.ReadAsync(buffer, cancellationToken);

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) => writer.WriteAsync(buffer, cancellationToken);
    }
}
