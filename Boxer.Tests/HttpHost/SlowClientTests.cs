using System.Net;
using System.Net.Sockets;
using System.Text.Json.Nodes;
using Boxer.AspNetCore;
using Boxer.AspNetCore.Protection;
using Boxer.AspNetCore.Running;
using Boxer.Tests.Support;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.HttpHost;

/// <summary>Tests of clients that send slowly, stop reading or disconnect silently.</summary>
public abstract class SlowClientTests(ContractHost contract) : ContractTests(contract)
{
    private const string Simple = """{"image": "i", "cmd": ["a"]}""";

    [Fact]
    public async Task Slow_bodies_do_not_use_up_the_run_limit()
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["max_concurrent_runs"] = 1, ["max_queued_runs"] = 1 });
        List<RawClient> clients = [];
        for (int i = 0; i < 20; i++)
        {
            RawClient client = await RawClient.ConnectAsync(host.Address);
            clients.Add(client);
            await client.SendAsync("POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{" + new string(' ', 4_000));
        }

        Assert.Equal(200, (await host.RunAsync(Simple)).Status);
        clients.ForEach(client => client.Dispose());
    }

    [Theory]
    [InlineData("POST /files HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n--b\r\nContent-Disposition: form-data; name=file\r\n\r\n")]
    [InlineData("POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n{")]
    public async Task A_body_that_stalls_is_rejected(string start)
    {
        FakeTimeProvider time = new();
        await using HostFixture host = await StartAsync(configureServices: services => services.AddSingleton<TimeProvider>(time));
        using RawClient client = await RawClient.ConnectAsync(host.Address);

        // Enough bytes that the average rate stays above the minimum for minutes.
        await client.SendAsync(start + new string(' ', 100_000));
        string answer = await client.ReadToEndAsync(time, TimeSpan.FromSeconds(15));

        Assert.Contains("HTTP/1.1 400 Bad Request", answer, StringComparison.Ordinal);
        Assert.Contains("the body arrives too slowly: fewer than 3600 bytes came within 15 s.", answer, StringComparison.Ordinal);
        Assert.DoesNotContain(Directory.GetFiles(host.Home, "*", SearchOption.AllDirectories), file => file.Contains("/staging/", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("HTTP/1.1", true)]
    [InlineData("HTTP/2", false)]
    public async Task DisconnectMonitor_aborts_a_request_with_unread_bytes_behind_it_except_over_http2(string protocol, bool isEnded)
    {
        CancellationToken cancel = TestContext.Current.CancellationToken;
        FakeTimeProvider time = new();
        using TcpListener listener = new(IPAddress.Loopback, 0);
        listener.Start();
        using TcpClient client = new();
        await client.ConnectAsync((IPEndPoint)listener.LocalEndpoint, cancel);
        using Socket accepted = await listener.AcceptSocketAsync(cancel);
        await client.GetStream().WriteAsync(new byte[] { 1 }, cancel);
        Assert.True(accepted.Poll(TimeSpan.FromSeconds(10), SelectMode.SelectRead));
        DefaultHttpContext context = new();
        context.Request.Protocol = protocol;
        context.Features.Set<IConnectionSocketFeature>(new AcceptedSocket(accepted));
        WatchedRequest request = new();
        context.Features.Set<IHttpRequestLifetimeFeature>(request);

        using DisconnectMonitor monitor = new(context, time);
        for (int i = 0; i < 5; i++)
        {
            time.Advance(DisconnectMonitor.Period);
        }

        Assert.Equal(isEnded, request.IsAborted);
    }

    private sealed record AcceptedSocket(Socket Socket) : IConnectionSocketFeature;

    private sealed class WatchedRequest : IHttpRequestLifetimeFeature
    {
        public bool IsAborted { get; private set; }

        public CancellationToken RequestAborted { get; set; }

        public void Abort() => IsAborted = true;
    }

    [Fact]
    [Slow]
    public async Task A_body_that_exceeds_its_deadline_is_rejected()
    {
        FakeTimeProvider time = new();
        await using HostFixture host = await StartAsync(configureServices: services => services.AddSingleton<TimeProvider>(time));
        using RawClient client = await RawClient.ConnectAsync(host.Address);
        await client.SendAsync("POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10000000\r\n\r\n{");
        Task<string> answer = client.ReadToEndAsync();
        for (int i = 0; i < 100 && !answer.IsCompleted; i++)
        {
            try
            {
                await client.SendAsync(new string(' ', 8_000));
            }
            catch (IOException)
            {
                // The host closed the connection.
            }

            await Task.WhenAny(answer, Task.Delay(TimeSpan.FromMilliseconds(100), TimeProvider.System, TestContext.Current.CancellationToken));

            // On a busy machine the host may read late, which must not look like a slow client: small steps, and each after another answer of the host.
            Assert.Equal(200, (await host.GetAsync("/healthz")).Status);
            time.Advance(TimeSpan.FromSeconds(3));
        }

        Assert.Contains("the body did not arrive within 120 s.", await answer, StringComparison.Ordinal);
    }

    [Fact]
    public void One_client_leaves_capacity_for_another()
    {
        RequestBodyBudget budget = new(Http, Sandboxes);
        List<RequestBodyLease> first = [.. Enumerable.Range(0, budget.MaxBodies / 2).Select(_ => budget.Reserve(From("10.0.0.1")))];
        Assert.Equal(429, Assert.Throws<HttpFaultException>(() => budget.Reserve(From("10.0.0.1"))).Status);
        using RequestBodyLease other = budget.Reserve(From("10.0.0.2"));

        // One client can have half of the 256 MiB; each byte of a body counts four times.
        first[0].Add(32 << 20);
        Assert.Equal(429, Assert.Throws<HttpFaultException>(() => first[1].Add(1)).Status);
        other.Add(1);

        // The memory is released, and only once.
        first[0].ReleaseBuffer();
        using RequestBodyLease next = budget.Reserve(From("10.0.0.1"));
        first[0].Dispose();
        first[0].Dispose();
        first[1].Add(32 << 20);
        first.ForEach(place => place.Dispose());
    }

    [Fact]
    public void Unread_responses_are_dropped_when_they_exceed_the_budget()
    {
        ResponseBudget budget = new(Http, Sandboxes, Microsoft.Extensions.Logging.Abstractions.NullLogger<ResponseBudget>.Instance);
        List<string> aborted = [];
        using IDisposable small = budget.Reserve(From("10.0.0.2", () => aborted.Add("small")), 20 << 20);
        List<IDisposable> large = [];
        for (int i = 0; i < 12; i++)
        {
            string name = $"large {i}";
            large.Add(budget.Reserve(From("10.0.0.1", () => aborted.Add(name)), 20 << 20));
        }

        // The limit is 256 MiB: the client with the most bytes loses its oldest response.
        Assert.Equal(["large 0"], aborted);
        large.ForEach(answer => answer.Dispose());
        using IDisposable again = budget.Reserve(From("10.0.0.1"), 200 << 20);
        Assert.Equal(["large 0"], aborted);
    }

    [Fact]
    [Slow]
    public async Task A_client_that_closes_behind_unread_bytes_ends_its_run()
    {
        await using HostFixture host = await StartAsync();
        TaskCompletionSource started = new(), ended = new();
        host.Runner.Script = (_, token) => RunTests.WaitForEnd(started, ended, token);
        using RawClient client = await RawClient.ConnectAsync(host.Address);
        await client.SendAsync($"POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Length: {Simple.Length}\r\n\r\n{Simple}");
        await started.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);

        await client.SendAsync(new byte[2 << 20]);
        client.Dispose();

        await ended.Task.WaitAsync(TimeSpan.FromSeconds(30), TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task CreateSocket_sets_keep_alive_on_accepted_connections()
    {
        using Socket listener = BoxerHttpWebHostBuilderExtensions.CreateSocket(new IPEndPoint(IPAddress.Loopback, 0));
        listener.Listen();
        using Socket client = new(SocketType.Stream, ProtocolType.Tcp);
        await client.ConnectAsync(listener.LocalEndPoint!, TestContext.Current.CancellationToken);

        using Socket accepted = await listener.AcceptAsync(TestContext.Current.CancellationToken);

        byte[] userTimeout = new byte[4];
        accepted.GetRawSocketOption((int)SocketOptionLevel.Tcp, 18, userTimeout);
        Assert.Equal(
            (1, 15, 5, 3, 30_000),
            ((int)accepted.GetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive)!,
                (int)accepted.GetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveTime)!,
                (int)accepted.GetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveInterval)!,
                (int)accepted.GetSocketOption(SocketOptionLevel.Tcp, SocketOptionName.TcpKeepAliveRetryCount)!,
                BitConverter.ToInt32(userTimeout)));
    }

    private static IOptions<BoxerHttpOptions> Http => Options.Create(new BoxerHttpOptions());

    private static IOptions<BoxerOptions> Sandboxes => Options.Create(new BoxerOptions { DefaultLimits = { StandardOutputBytes = 10 << 20 } });

    private static DefaultHttpContext From(string address, Action? abort = null)
    {
        DefaultHttpContext context = new();
        context.Connection.RemoteIpAddress = IPAddress.Parse(address);
        context.Features.Set<Microsoft.AspNetCore.Http.Features.IHttpRequestLifetimeFeature>(new Lifetime(abort));
        return context;
    }

    private sealed class Lifetime(Action? abort) : Microsoft.AspNetCore.Http.Features.IHttpRequestLifetimeFeature
    {
        public CancellationToken RequestAborted { get; set; }

        public void Abort() => abort?.Invoke();
    }
}

public sealed class HttpHostSlowClientTests() : SlowClientTests(ContractHost.HttpHost);

public sealed class MinimalApiSlowClientTests() : SlowClientTests(ContractHost.MinimalApi);
