using System.Net;
using System.Text.Json.Nodes;
using Boxer.AspNetCore.Protection;
using Boxer.AspNetCore.Running;
using Boxer.Tests.Support;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;

namespace Boxer.Tests.HttpHost.Sessions;

/// <summary>Tests of the number of streams without an end of their own, by client.</summary>
public abstract class StreamBudgetTests(ContractHost contract) : ContractTests(contract)
{
    [Fact]
    public async Task One_client_has_at_most_half_of_the_streams_and_leaves_the_rest_to_others()
    {
        await using HostFixture host = await StartAsync();
        StreamBudget budget = host.App.Services.GetRequiredService<StreamBudget>();
        DefaultHttpContext first = From("192.0.2.1"), second = From("192.0.2.2"), third = From("192.0.2.3");
        List<IDisposable> open = [];
        for (int i = 0; i < budget.MaxStreams / 2; i++)
        {
            open.Add(budget.Open(first));
        }

        HttpFaultException own = Assert.Throws<HttpFaultException>(() => budget.Open(first));
        Assert.Equal((429, TimeSpan.FromSeconds(1)), (own.Status, own.RetryAfter));
        while (open.Count < budget.MaxStreams)
        {
            open.Add(budget.Open(second));
        }

        Assert.Equal("too many streams of events, connections to ports and waiting pauses are open: try again later.", Assert.Throws<HttpFaultException>(() => budget.Open(third)).Message);
        open[0].Dispose();
        open[0].Dispose();
        budget.Open(third).Dispose();
        budget.Open(first).Dispose();
        open.ForEach(stream => stream.Dispose());
        Assert.Equal(budget.MaxStreams / 2, Enumerable.Range(0, budget.MaxStreams / 2).Select(_ => budget.Open(first)).Count());
    }

    [Fact]
    public async Task Events_watches_and_connections_of_a_key_are_429_beyond_its_share_and_those_of_others_are_not()
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["api_keys"] = new JsonArray("alpha", "beta") });
        using HttpClient alpha = host.NewClient("alpha"), beta = host.NewClient("beta");
        (string ofAlpha, ScriptedSession session) = await OpenAsync(host, alpha);
        (string ofBeta, ScriptedSession other) = await OpenAsync(host, beta);
        Assert.Equal("200 200 101", await StatusesAsync(host, ofAlpha, alpha));

        StreamBudget budget = host.App.Services.GetRequiredService<StreamBudget>();
        DefaultHttpContext context = new() { User = new([new([new("boxer:client", session.FairnessKey!)])]) };
        List<IDisposable> open = [];
        await Until.IsSoAsync(() => Fill(budget, context, open), seconds: 30);

        Assert.Equal("429 429 429", await StatusesAsync(host, ofAlpha, alpha));
        Answer refused = await host.GetAsync(ofAlpha + "/files/watch", alpha);
        Assert.Equal($"this client has {budget.MaxStreams / 2} streams of events, connections to ports and waiting pauses open, the maximum: close one, or try again later.", refused.Error);
        Assert.Equal("1", refused.Response.Headers.RetryAfter!.ToString());

        // A refused stream resumes nothing.
        session.IsPaused = true;
        Assert.Equal(429, (await host.GetAsync(ofAlpha + "/files/watch?resume=true", alpha)).Status);
        Assert.Equal(429, (await host.GetAsync(ofAlpha + "/processes/1/events?resume=true", alpha)).Status);
        Assert.True(session.IsPaused);
        session.IsPaused = false;
        Assert.Equal("200 200 101", await StatusesAsync(host, ofBeta, beta));

        open[0].Dispose();
        Assert.Equal(200, (await host.GetAsync(ofAlpha + "/files/watch", alpha)).Status);
        Assert.Null(other.End);
    }

    [Fact]
    public async Task A_pause_that_waits_for_calls_counts_as_a_stream()
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["api_keys"] = new JsonArray("alpha", "beta") });
        using HttpClient alpha = host.NewClient("alpha"), beta = host.NewClient("beta");
        (string ofAlpha, ScriptedSession session) = await OpenAsync(host, alpha);
        (string ofBeta, _) = await OpenAsync(host, beta);
        StreamBudget budget = host.App.Services.GetRequiredService<StreamBudget>();
        DefaultHttpContext context = new() { User = new([new([new("boxer:client", session.FairnessKey!)])]) };
        List<IDisposable> open = [];
        Assert.True(Fill(budget, context, open));
        open[0].Dispose();
        TaskCompletionSource calls = new();
        session.CallsEnded = calls.Task;

        Task<Answer> waiting = host.SendAsync("POST", ofAlpha + "/pause", null, alpha);
        await Until.IsSoAsync(() => session.Pauses == 1, seconds: 30);

        Assert.Equal(429, (await host.SendAsync("POST", ofAlpha + "/pause", null, alpha)).Status);
        Assert.Equal(200, (await host.SendAsync("POST", ofBeta + "/pause", null, beta)).Status);
        Assert.False(session.IsPaused || waiting.IsCompleted);
        calls.SetResult();
        Assert.Equal(200, (await waiting).Status);

        // Its place is free a moment after the answer.
        await Until.IsSoAsync(async () => (await host.SendAsync("POST", ofAlpha + "/pause", null, alpha)).Status == 200, 30);
    }

    // The connection to a port may still be closing.
    private static bool Fill(StreamBudget budget, HttpContext context, List<IDisposable> open)
    {
        try
        {
            while (open.Count < budget.MaxStreams / 2)
            {
                open.Add(budget.Open(context));
            }

            return true;
        }
        catch (HttpFaultException)
        {
            return false;
        }
    }

    private static DefaultHttpContext From(string address) => new() { Connection = { RemoteIpAddress = IPAddress.Parse(address) } };

    private static async Task<(string Path, ScriptedSession Session)> OpenAsync(HostFixture host, HttpClient client)
    {
        string id = await SessionTests.NewIdAsync(host, client);
        await host.SendJsonAsync("POST", $"/sessions/{id}/processes", """{"cmd": ["a"]}""", client);
        host.Sessions[id].Connect = _ => Task.FromResult<SandboxConnection>(new ScriptedConnection());
        host.Sessions[id].Started[0].Finish(new SandboxProcessEnd(Termination.Exited(0)));
        return ($"/sessions/{id}", host.Sessions[id]);
    }

    private static async Task<string> StatusesAsync(HostFixture host, string path, HttpClient client)
    {
        int events = (await host.GetAsync(path + "/processes/1/events", client)).Status;
        int watch = (await host.GetAsync(path + "/files/watch", client)).Status;
        using RawClient socket = await RawClient.ConnectAsync(host.Address);
        await socket.SendAsync(
            $"GET {path}/ports/80 HTTP/1.1\r\nHost: localhost\r\nAuthorization: {client.DefaultRequestHeaders.Authorization}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            + "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n");
        string status = (await socket.ReadStatusAsync())!.Split(' ')[1];
        return $"{events} {watch} {status}";
    }
}

public sealed class HttpHostStreamBudgetTests() : StreamBudgetTests(ContractHost.HttpHost);

public sealed class MinimalApiStreamBudgetTests() : StreamBudgetTests(ContractHost.MinimalApi);
