using System.Collections.Concurrent;
using System.Text;
using System.Text.Json.Nodes;
using Boxer.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace Boxer.Tests.Cli;

/// <summary>A server that gives prepared answers to requests about sessions, and records the requests.</summary>
internal sealed class FakeSessionServer : IAsyncDisposable
{
    internal const string Session = "a1b2c3d4e5f6g7h8i9j0k1l2m3";
    private readonly WebApplication _app;
    private readonly ConcurrentDictionary<string, ConcurrentQueue<Prepared>> _answers = new(StringComparer.Ordinal);

    private FakeSessionServer(WebApplication app)
    {
        _app = app;
        app.Run(AnswerAsync);
    }

    internal string Address => _app.Urls.Single();

    /// <summary>Each request as <c>METHOD path?query body</c>, in the order of arrival.</summary>
    internal ConcurrentQueue<string> Requests { get; } = new();

    /// <summary>The header Authorization of each request.</summary>
    internal ConcurrentQueue<string> Keys { get; } = new();

    internal static async Task<FakeSessionServer> StartAsync()
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Logging.ClearProviders();
        WebApplication app = builder.Build();
        FakeSessionServer server = new(app);
        await app.StartAsync(TestContext.Current.CancellationToken);
        return server;
    }

    /// <summary>Adds an answer. Answers to the same request are given one after the other; the last one stays.</summary>
    /// <param name="request">Method and path.</param>
    /// <param name="status">The status.</param>
    /// <param name="body">JSON, or events if it begins with <c>event:</c>.</param>
    /// <param name="after">A request that must have arrived before the answer is given.</param>
    internal FakeSessionServer Answer(string request, int status, string body, string? after = null)
    {
        _answers.GetOrAdd(request, _ => new()).Enqueue(new(status, body, after));
        return this;
    }

    /// <summary>An event of a process.</summary>
    internal static string Event(string name, JsonObject data) => $"event: {name}\ndata: {data.ToJsonString()}\n\n";

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    private async Task AnswerAsync(HttpContext context)
    {
        using StreamReader reader = new(context.Request.Body);
        string sent = await reader.ReadToEndAsync(context.RequestAborted);
        string resume = context.Request.Headers["Last-Event-ID"].ToString();
        string request = $"{context.Request.Method} {context.Request.Path}";
        Requests.Enqueue($"{request}{context.Request.QueryString}{(resume.Length > 0 ? $" after {resume}" : "")} {sent}".TrimEnd());
        Keys.Enqueue(context.Request.Headers.Authorization.ToString());
        (int status, string body, string? after) = _answers.TryGetValue(request, out ConcurrentQueue<Prepared>? answers)
            ? answers.Count > 1 && answers.TryDequeue(out Prepared? next) ? next : answers.First()
            : new(404, """{"error":"unexpected"}""", null);
        if (after is not null)
        {
            await Until.IsSoAsync(() => Requests.Contains(after), 60);
        }

        context.Response.StatusCode = status;
        context.Response.ContentType = body.StartsWith("event:", StringComparison.Ordinal) ? "text/event-stream" : "application/json";
        await context.Response.WriteAsync(body, Encoding.UTF8, context.RequestAborted);
    }

    private sealed record Prepared(int Status, string Body, string? After);
}
