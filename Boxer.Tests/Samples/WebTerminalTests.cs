using System.Net;
using System.Net.WebSockets;
using Boxer.Tests.Support;
using Microsoft.AspNetCore.Builder;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using WebTerminal;

namespace Boxer.Tests.Samples;

/// <summary>The sample WebTerminal with a fake shell. WebTerminalSandboxTests uses a real one.</summary>
public sealed class WebTerminalTests : IAsyncLifetime
{
    private readonly FakeShell _shell = new();
    private WebApplication _app = null!;

    private string Address => _app.Urls.Single();

    public async ValueTask InitializeAsync() => _app = await StartAsync("--Terminal:Port", "0");

    public ValueTask DisposeAsync() => _app.DisposeAsync();

    [Fact]
    public async Task A_page_sees_output_types_and_resizes()
    {
        using TerminalPage page = await TerminalPage.OpenAsync(Address, "cols=90&rows=20");
        await page.ReadAsync("size 90x20");
        await page.SendAsync("""{"cols":120,"rows":40}""");
        await page.ReadAsync("size 120x40");
        foreach (string ignored in (string[])["nonsense", "{}", """{"cols":0,"rows":40}""", """{"cols":1e9,"rows":40}""", """{"cols":70000,"rows":40}"""])
        {
            await page.SendAsync(ignored);
        }

        await page.TypeAsync("ünicode");
        Assert.Equal("size 90x20\nsize 120x40\nünicode", await page.ReadAsync("ünicode"));
        Assert.Equal($$"""{"session":"{{FakeShell.SessionId}}"}""", Assert.Single(page.Messages));
        Assert.Equal(("bash", "xterm-256color"), (_shell.Started!.Command.Single(), _shell.Started.Environment["TERM"]));
    }

    [Fact]
    public async Task The_end_of_the_shell_is_shown_and_closes_the_session()
    {
        using TerminalPage page = await TerminalPage.OpenAsync(Address);
        await page.ReadAsync("size 80x24");
        await page.TypeAsync("exit");

        Assert.EndsWith("exit", await page.ReadToEndAsync(), StringComparison.Ordinal);
        Assert.Contains("3", page.Messages[1], StringComparison.Ordinal);
        await Until.IsSoAsync(() => _shell.IsClosed, 60);
    }

    [Fact]
    public async Task A_page_that_is_loaded_again_shows_the_same_shell()
    {
        using (TerminalPage first = await TerminalPage.OpenAsync(Address))
        {
            await first.TypeAsync("before");
            await first.ReadAsync("before");
        }

        using TerminalPage again = await TerminalPage.OpenAsync(Address, $"session={FakeShell.SessionId}&cols=100&rows=30");
        Assert.Equal("size 80x24\nbeforesize 100x30\n", await again.ReadAsync("size 100x30\n"));
        Assert.False(_shell.IsClosed);
        using TerminalPage other = await TerminalPage.OpenAsync(Address, "session=unknown");
        await other.ReadAsync("size 80x24");
        Assert.Equal(2, _shell.Opened);
    }

    [Fact]
    public async Task A_session_that_cannot_be_opened_is_reported()
    {
        await using WebApplication app = await StartAsync("--Terminal:Port", "0", "--Terminal:Image", "missing");
        using TerminalPage page = await TerminalPage.OpenAsync(app.Urls.Single());

        Assert.Equal("", await page.ReadToEndAsync());
        Assert.Equal("""{"end":"There is no such image."}""", Assert.Single(page.Messages));
    }

    [Theory]
    [InlineData("http://evil.example", null)]
    [InlineData("null", null)]
    [InlineData("", null)]
    [InlineData("https://127.0.0.1", null)]
    [InlineData("http://evil.example", "evil.example")]
    [InlineData("http://localhost.evil.example", "localhost.evil.example")]
    public async Task Pages_of_other_sites_are_rejected(string origin, string? host)
    {
        WebSocketException exception = await Assert.ThrowsAsync<WebSocketException>(() => TerminalPage.OpenAsync(Address, origin: origin, host: host));

        Assert.Contains("403", exception.Message, StringComparison.Ordinal);
        Assert.Equal(0, _shell.Opened);
    }

    [Fact]
    public async Task The_page_is_served_to_this_machine_only()
    {
        using HttpClient client = new() { BaseAddress = new Uri(Address) };
        using HttpResponseMessage page = await client.GetAsync(new Uri("/", UriKind.Relative), TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, page.StatusCode);
        Assert.Contains("default-src 'self'", page.Headers.GetValues("Content-Security-Policy").Single(), StringComparison.Ordinal);
        Assert.Contains("page.js", await page.Content.ReadAsStringAsync(TestContext.Current.CancellationToken), StringComparison.Ordinal);

        using HttpRequestMessage rebound = new(HttpMethod.Get, "/") { Headers = { Host = "evil.example" } };
        using HttpResponseMessage rejected = await client.SendAsync(rebound, TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.Forbidden, rejected.StatusCode);
        Assert.Equal(HttpStatusCode.BadRequest, (await client.GetAsync(new Uri("/terminal", UriKind.Relative), TestContext.Current.CancellationToken)).StatusCode);
    }

    private async Task<WebApplication> StartAsync(params string[] arguments)
    {
        WebApplication app = TerminalApp.Build(arguments, builder =>
        {
            builder.Logging.ClearProviders();
            builder.Services.AddSingleton<ISandboxSessions>(_shell);
            // The checks of the machine at the start are of no use here.
            builder.Services.AddSingleton<ISandboxRunner>(new HttpHost.ScriptedRunner());
        });
        await app.StartAsync(TestContext.Current.CancellationToken);
        return app;
    }
}
