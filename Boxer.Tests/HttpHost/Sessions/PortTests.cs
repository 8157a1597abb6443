using System.Net.WebSockets;
using System.Text;
using System.Text.Json.Nodes;
using Boxer.AspNetCore.Sessions;
using Boxer.Tests.Support;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.HttpHost.Sessions;

/// <summary>Tests of connections to ports over WebSockets.</summary>
public abstract class PortTests(ContractHost contract) : ContractTests(contract)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Bytes_go_both_ways_whatever_the_messages_are()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedConnection connection, List<int> ports) = await ListenAsync(host);
        using ClientWebSocket socket = await ConnectAsync(host, path + "/ports/8000");

        await socket.SendAsync(new byte[] { 0, 255 }, WebSocketMessageType.Binary, endOfMessage: false, Cancel);
        await socket.SendAsync(Array.Empty<byte>(), WebSocketMessageType.Binary, endOfMessage: true, Cancel);
        await socket.SendAsync("more"u8.ToArray(), WebSocketMessageType.Binary, endOfMessage: true, Cancel);
        byte[] got = new byte[6];
        await connection.Received.ReadExactlyAsync(got, Cancel);
        await connection.SendAsync("answer"u8.ToArray());

        Assert.Equal([0, 255, .. "more"u8], got);
        Assert.Equal("answer", Encoding.ASCII.GetString(await ReadAsync(socket, 6)));
        Assert.Equal([8_000], ports);
    }

    [Fact]
    [Slow]
    public async Task A_large_transfer_arrives_whole_in_both_directions_at_once()
    {
        const int Size = 20_000_000;
        await using HostFixture host = await StartAsync();
        (string path, ScriptedConnection connection, _) = await ListenAsync(host);
        using ClientWebSocket socket = await ConnectAsync(host, path + "/ports/1");
        byte[] bytes = new byte[Size];
        Random.Shared.NextBytes(bytes);

        Task echo = EchoAsync(connection);
        Task<byte[]> reading = ReadAsync(socket, Size);
        for (int at = 0; at < Size; at += 1_000_000)
        {
            await socket.SendAsync(bytes.AsMemory(at, 1_000_000), WebSocketMessageType.Binary, endOfMessage: at % 2_000_000 == 0, Cancel);
        }

        Assert.Equal(bytes, await reading);
        await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, Cancel);
        await echo;
        Assert.Equal(WebSocketCloseStatus.NormalClosure, (await CloseOf(socket)).Status);
    }

    [Fact]
    public async Task A_close_frame_of_the_client_ends_its_direction_only()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedConnection connection, _) = await ListenAsync(host);
        using ClientWebSocket socket = await ConnectAsync(host, path + "/ports/1");
        await socket.SendAsync("request"u8.ToArray(), WebSocketMessageType.Binary, endOfMessage: true, Cancel);
        await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, Cancel);

        using StreamReader reader = new(connection.Received);
        Assert.Equal("request", await reader.ReadToEndAsync(Cancel));
        await connection.SendAsync("response"u8.ToArray());
        connection.Finish();

        Assert.Equal("response", Encoding.ASCII.GetString(await ReadAsync(socket, 8)));
        Assert.Equal((WebSocketCloseStatus.NormalClosure, ""), await CloseOf(socket));
        await Until.IsSoAsync(() => connection.IsDisposed, seconds: 30);
    }

    [Fact]
    public async Task The_end_of_the_sandbox_is_a_close_frame_and_the_other_direction_goes_on()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedConnection connection, _) = await ListenAsync(host);
        using ClientWebSocket socket = await ConnectAsync(host, path + "/ports/1");
        await connection.SendAsync("hello"u8.ToArray());
        connection.Finish();

        Assert.Equal("hello", Encoding.ASCII.GetString(await ReadAsync(socket, 5)));
        Assert.Equal((WebSocketCloseStatus.NormalClosure, ""), await CloseOf(socket));
        await socket.SendAsync("later"u8.ToArray(), WebSocketMessageType.Binary, endOfMessage: true, Cancel);
        await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, Cancel);

        using StreamReader reader = new(connection.Received);
        Assert.Equal("later", await reader.ReadToEndAsync(Cancel));
        await Until.IsSoAsync(() => connection.IsDisposed, seconds: 30);
    }

    [Fact]
    public async Task A_client_that_never_closes_is_disconnected_some_time_after_the_sandbox_closed()
    {
        FakeTimeProvider time = new();
        await using HostFixture host = await StartAsync(configureServices: services => services.AddSingleton<TimeProvider>(time));
        (string path, ScriptedConnection connection, _) = await ListenAsync(host);
        using ClientWebSocket socket = await ConnectAsync(host, path + "/ports/1");
        connection.Finish();
        Assert.Equal((WebSocketCloseStatus.NormalClosure, ""), await CloseOf(socket));

        await Until.IsSoAsync(
            () =>
            {
                time.Advance(PortRelay.ClosingTime);
                return connection.IsDisposed;
            },
            seconds: 60);
    }

    [Fact]
    public async Task A_client_that_gives_no_sign_of_life_is_disconnected()
    {
        FakeTimeProvider time = new();
        await using HostFixture host = await StartAsync(configureServices: services => services.AddSingleton<TimeProvider>(time));
        (string path, ScriptedConnection connection, _) = await ListenAsync(host);
        using RawClient client = await RawClient.ConnectAsync(host.Address);
        await client.SendAsync(Handshake(path + "/ports/1"));
        Assert.Equal("HTTP/1.1 101 Switching Protocols", await client.ReadStatusAsync());

        await AdvanceAsync(time, connection, 6_000);

        Assert.True(connection.IsDisposed);
        string frames = await client.ReadToEndAsync();
        Assert.Contains("\0", frames, StringComparison.Ordinal);
        Assert.Equal(200, (await host.GetAsync(path)).Status);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_client_from_which_nothing_is_read_is_disconnected_after_the_same_time_but_not_while_the_session_is_paused(bool hasClosed)
    {
        FakeTimeProvider time = new();
        await using HostFixture host = await StartAsync(configureServices: services => services.AddSingleton<TimeProvider>(time));
        (string path, ScriptedConnection connection, _) = await ListenAsync(host);
        ScriptedSession session = host.Sessions[path.Split('/')[^1]];
        using ClientWebSocket socket = await ConnectAsync(host, path + "/ports/1");
        if (hasClosed)
        {
            await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, Cancel);
            Assert.Equal(0, await connection.Received.ReadAsync(new byte[1], Cancel));
        }
        else
        {
            // More than the program in the sandbox takes without reading.
            _ = socket.SendAsync(new byte[1_000_000], WebSocketMessageType.Binary, endOfMessage: true, Cancel);

            // While the host still reads, the time without a byte is the client's silence, which also counts in a pause.
            await Until.IsSoAsync(() => connection.IsFull, seconds: 60);
        }

        session.IsPaused = true;
        await AdvanceAsync(time, connection, 3 * (int)(PortRelay.DeadTime / PortRelay.PingInterval));
        Assert.False(connection.IsDisposed);
        session.IsPaused = false;
        await AdvanceAsync(time, connection, 6_000);

        Assert.True(connection.IsDisposed);
        Assert.Null(session.End);
    }

    [Fact]
    public async Task A_client_that_answers_pings_stays_connected()
    {
        FakeTimeProvider time = new();
        await using HostFixture host = await StartAsync(configureServices: services => services.AddSingleton<TimeProvider>(time));
        (string path, ScriptedConnection connection, _) = await ListenAsync(host);
        using RawClient client = await RawClient.ConnectAsync(host.Address);
        await client.SendAsync(Handshake(path + "/ports/1"));
        await ReadHeadAsync(client);

        // The relay reads from the sandbox after it has started its timer.
        await connection.SendAsync([1]);
        Assert.Equal([0x82, 1, 1], await ReadBytesAsync(client, 3));

        // The byte behind the answer shows that the host has read the answer.
        for (int i = 0; i < 3 * (PortRelay.DeadTime / PortRelay.PingInterval); i++)
        {
            Task<byte[]> ping = ReadControlFrameAsync(client);
            for (int ticks = 2; ticks < PortRelay.DeadTime / PortRelay.PingInterval && !ping.IsCompleted; ticks++)
            {
                // The host sends no ping while the last one ends. A ping that comes late must not look like a silent client.
                time.Advance(PortRelay.PingInterval);
                await Task.WhenAny(ping, Task.Delay(TimeSpan.FromSeconds(10), TimeProvider.System, Cancel));
            }

            Assert.Equal([0x89, 0], await ping);
            await client.SendAsync([0x8a, 0x80, 0, 0, 0, 0, 0x82, 0x81, 0, 0, 0, 0, (byte)'x']);
            Assert.Equal((byte)'x', connection.Received.ReadByte());
        }

        Assert.False(connection.IsDisposed);
    }

    [Fact]
    public async Task A_text_message_is_closed_with_1003()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedConnection connection, _) = await ListenAsync(host);
        using ClientWebSocket socket = await ConnectAsync(host, path + "/ports/1");

        await socket.SendAsync("text"u8.ToArray(), WebSocketMessageType.Text, endOfMessage: true, Cancel);

        Assert.Equal((WebSocketCloseStatus.InvalidMessageType, ""), await CloseOf(socket));
        await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, Cancel);
        await Until.IsSoAsync(() => connection.IsDisposed, seconds: 30);
    }

    [Fact]
    public async Task A_connection_that_breaks_is_closed_with_1011()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedConnection connection, _) = await ListenAsync(host);
        using ClientWebSocket socket = await ConnectAsync(host, path + "/ports/1");

        connection.Finish(new IOException("/secret"));

        Assert.Equal((WebSocketCloseStatus.InternalServerError, ""), await CloseOf(socket));
    }

    [Fact]
    public async Task A_session_that_ends_closes_with_4410_and_the_reason()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedConnection connection, _) = await ListenAsync(host);
        using ClientWebSocket socket = await ConnectAsync(host, path + "/ports/1");

        host.Sessions[path.Split('/')[^1]].EndBy(SandboxSessionEnd.Lifetime);
        connection.Finish(new IOException("ended"));

        Assert.Equal(((WebSocketCloseStatus)4_410, "lifetime"), await CloseOf(socket));
    }

    [Fact]
    [Slow]
    public async Task A_host_that_stops_closes_with_1001()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedConnection connection, _) = await ListenAsync(host);
        using ClientWebSocket socket = await ConnectAsync(host, path + "/ports/1");

        Task stopping = host.App.StopAsync(Cancel);

        Assert.Equal((WebSocketCloseStatus.EndpointUnavailable, ""), await CloseOf(socket));
        await socket.CloseOutputAsync(WebSocketCloseStatus.NormalClosure, null, Cancel);
        await stopping;
        Assert.True(connection.IsDisposed);
    }

    [Fact]
    [Slow]
    public async Task A_client_that_disconnects_closes_its_connection_and_not_the_session()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedConnection connection, _) = await ListenAsync(host);
        using (RawClient client = await RawClient.ConnectAsync(host.Address))
        {
            await client.SendAsync(Handshake(path + "/ports/1"));
            Assert.Equal("HTTP/1.1 101 Switching Protocols", await client.ReadStatusAsync());
        }

        await Until.IsSoAsync(() => connection.IsDisposed, seconds: 30);
        Assert.Null(host.Sessions[path.Split('/')[^1]].End);
    }

    [Fact]
    [Slow]
    public async Task A_frame_that_is_no_frame_closes_the_connection()
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedConnection connection, _) = await ListenAsync(host);
        using RawClient client = await RawClient.ConnectAsync(host.Address);
        await client.SendAsync(Handshake(path + "/ports/1"));
        await client.SendAsync([.. Enumerable.Repeat((byte)0xff, 100)]);

        await client.ReadToEndAsync();

        await Until.IsSoAsync(() => connection.IsDisposed, seconds: 30);
        Assert.Equal(200, (await host.GetAsync(path)).Status);
    }

    [Theory]
    [InlineData("0")]
    [InlineData("65536")]
    [InlineData("-1")]
    [InlineData("http")]
    [InlineData("80x")]
    public async Task An_invalid_port_is_400(string port)
    {
        await using HostFixture host = await StartAsync();
        (string path, _, List<int> ports) = await ListenAsync(host);

        Answer answer = await host.GetAsync($"{path}/ports/{port}?resume=no");

        Assert.Equal((400, $"port: must be a whole number from 1 to 65535, not \"{port}\". resume: must be true or false, not \"no\"."), (answer.Status, answer.Error));
        Assert.Empty(ports);
    }

    [Fact]
    public async Task A_request_that_is_no_handshake_is_426()
    {
        await using HostFixture host = await StartAsync();
        (string path, _, List<int> ports) = await ListenAsync(host);

        Answer answer = await host.GetAsync(path + "/ports/80");

        Assert.Equal((426, "this path is a WebSocket; send its handshake.", "websocket"), (answer.Status, answer.Error, answer.Response.Headers.Upgrade.ToString()));
        Assert.Empty(ports);
    }

    [Theory]
    [InlineData(502)]
    [InlineData(409)]
    [InlineData(429)]
    public async Task A_connection_that_cannot_be_opened_has_a_status_before_the_upgrade(int status)
    {
        await using HostFixture host = await StartAsync();
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        session.IsPaused = status == 409;
        if (status == 429)
        {
            session.Connect = _ => throw new SandboxCapacityException("64 connections are open in this session.");
        }

        using RawClient client = await RawClient.ConnectAsync(host.Address);
        await client.SendAsync(Handshake(path + "/ports/80").Replace("Upgrade: websocket", "Upgrade: websocket\r\nX-Last: yes", StringComparison.Ordinal));

        Assert.StartsWith($"HTTP/1.1 {status} ", await client.ReadStatusAsync(), StringComparison.Ordinal);
        if (status == 409)
        {
            session.Connect = _ => Task.FromResult<SandboxConnection>(new ScriptedConnection());
            using ClientWebSocket socket = await ConnectAsync(host, path + "/ports/80?resume=true");
            Assert.False(session.IsPaused);
        }
    }

    [Fact]
    public async Task A_key_is_needed_for_the_handshake_too()
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["api_keys"] = new JsonArray("alpha", "beta") });
        using HttpClient alpha = host.NewClient("alpha");
        string id = await SessionTests.NewIdAsync(host, alpha);
        host.Sessions[id].Connect = _ => Task.FromResult<SandboxConnection>(new ScriptedConnection());

        foreach ((string header, int status) in new[] { ("X-None: 1", 401), ("X-API-Key: beta", 404), ("X-API-Key: gamma", 403), ("X-API-Key: alpha", 101) })
        {
            using RawClient client = await RawClient.ConnectAsync(host.Address);
            await client.SendAsync(Handshake($"/sessions/{id}/ports/80").Replace("Host: localhost", $"Host: localhost\r\n{header}", StringComparison.Ordinal));
            Assert.StartsWith($"HTTP/1.1 {status} ", await client.ReadStatusAsync(), StringComparison.Ordinal);
        }
    }

    private static async Task AdvanceAsync(FakeTimeProvider time, ScriptedConnection connection, int most)
    {
        for (int i = 0; i < most && !connection.IsDisposed; i++)
        {
            time.Advance(PortRelay.PingInterval);
            await Task.Delay(TimeSpan.FromMilliseconds(10), TimeProvider.System, Cancel);
        }
    }

    private static string Handshake(string path) =>
        $"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";

    private static async Task<(string Path, ScriptedConnection Connection, List<int> Ports)> ListenAsync(HostFixture host)
    {
        (string path, ScriptedSession session) = await ProcessTests.OpenAsync(host);
        ScriptedConnection connection = new();
        List<int> ports = [];
        session.Connect = port =>
        {
            ports.Add(port);
            return Task.FromResult<SandboxConnection>(connection);
        };
        return (path, connection, ports);
    }

    private static async Task<ClientWebSocket> ConnectAsync(HostFixture host, string path)
    {
        ClientWebSocket socket = new();
        await socket.ConnectAsync(new Uri($"ws://127.0.0.1:{host.Address.Port}{path}"), Cancel);
        return socket;
    }

    private static async Task ReadHeadAsync(RawClient client)
    {
        string head = "";
        while (!head.EndsWith("\r\n\r\n", StringComparison.Ordinal))
        {
            head += (char)(await ReadBytesAsync(client, 1))[0];
        }
    }

    private static async Task<byte[]> ReadBytesAsync(RawClient client, int count)
    {
        byte[] bytes = new byte[count];
        await client.Tcp.GetStream().ReadExactlyAsync(bytes, Cancel);
        return bytes;
    }

    // A WebSocket also sends pongs by itself, by the clock of the machine.
    private static async Task<byte[]> ReadControlFrameAsync(RawClient client)
    {
        byte[] frame;
        do
        {
            frame = await ReadBytesAsync(client, 2);
        }
        while (frame is [0x8a, 0]);

        return frame;
    }

    private static async Task<byte[]> ReadAsync(ClientWebSocket socket, int count)
    {
        byte[] bytes = new byte[count];
        int at = 0;
        while (at < count)
        {
            ValueWebSocketReceiveResult got = await socket.ReceiveAsync(bytes.AsMemory(at), Cancel);
            Assert.Equal(WebSocketMessageType.Binary, got.MessageType);
            at += got.Count;
        }

        return bytes;
    }

    private static async Task<(WebSocketCloseStatus? Status, string? Reason)> CloseOf(ClientWebSocket socket)
    {
        ValueWebSocketReceiveResult got = await socket.ReceiveAsync(new byte[1].AsMemory(), Cancel);
        Assert.Equal(WebSocketMessageType.Close, got.MessageType);
        return (socket.CloseStatus, socket.CloseStatusDescription);
    }

    private static async Task EchoAsync(ScriptedConnection connection)
    {
        byte[] buffer = new byte[64 << 10];
        int read;
        while ((read = await connection.Received.ReadAsync(buffer, Cancel)) > 0)
        {
            await connection.SendAsync(buffer[..read]);
        }

        connection.Finish();
    }
}

public sealed class HttpHostPortTests() : PortTests(ContractHost.HttpHost);

public sealed class MinimalApiPortTests() : PortTests(ContractHost.MinimalApi);
