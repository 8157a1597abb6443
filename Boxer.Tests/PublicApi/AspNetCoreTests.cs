using System.Net.Http.Json;
using System.Security.Claims;
using System.Text.Encodings.Web;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization.Metadata;
using Boxer.AspNetCore;
using Boxer.AspNetCore.Configuration;
using Boxer.Testing;
using Microsoft.AspNetCore.Authentication;
using Microsoft.AspNetCore.Authorization;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Boxer.PublicApi.Tests;

/// <summary>Tests of the HTTP facade as a part of a larger application.</summary>
public sealed class AspNetCoreTests : IAsyncLifetime
{
    private readonly string _files = Directory.CreateTempSubdirectory("boxer-facade-").FullName;
    private readonly FakeSandboxRunner _runner = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public ValueTask InitializeAsync()
    {
        _runner.WhenAny().Returns("42\n");
        return default;
    }

    public ValueTask DisposeAsync()
    {
        Directory.Delete(_files, recursive: true);
        return default;
    }

    [Fact]
    public async Task MapBoxer_maps_below_a_prefix_and_leaves_other_endpoints_alone()
    {
        await using WebApplication app = await StartAsync(http => http.ApiKeys.Add(new BoxerApiKey("secret")), app =>
        {
            app.MapBoxer("/sandboxes");
            app.MapGet("/own", () => "own");
        });
        using HttpClient client = ClientOf(app);

        Assert.Equal("own", await client.GetStringAsync("/own", Cancel));
        Assert.Equal("""{"ok":true}""", await client.GetStringAsync("/sandboxes/healthz", Cancel));
        Assert.Equal((401, "an API key is required; send it as Authorization: Bearer KEY or as X-API-Key: KEY."), await RunAsync(client, "/sandboxes/run"));
        Assert.Equal(404, (int)(await client.GetAsync("/run", Cancel)).StatusCode);
        client.DefaultRequestHeaders.Add("X-API-Key", "wrong");
        Assert.Equal((403, "the API key is not one of this host's."), await RunAsync(client, "/sandboxes/run"));
        client.DefaultRequestHeaders.Remove("X-API-Key");
        client.DefaultRequestHeaders.Add("X-API-Key", "secret");
        Assert.Equal((200, "42\n"), await RunAsync(client, "/sandboxes/run"));
        JsonNode document = (await client.GetFromJsonAsync<JsonNode>("/sandboxes/openapi/v1.json", Cancel))!;
        Assert.Equal(
            ["/sandboxes/files", "/sandboxes/health/ready", "/sandboxes/healthz", "/sandboxes/run", "/sandboxes/run/stream"],
            document["paths"]!.AsObject().Select(path => path.Key).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task UseBoxerHttp_requires_a_key_everywhere_except_for_health()
    {
        await using WebApplication app = await StartAsync(http => http.ApiKeys.Add(new BoxerApiKey("secret")), app =>
        {
            app.UseBoxerHttp();
            app.MapBoxer();
            app.MapGet("/own", () => "own");
        });
        using HttpClient client = ClientOf(app);

        Assert.Equal("""{"ok":true}""", await client.GetStringAsync("/healthz", Cancel));
        Assert.Equal(401, (int)(await client.GetAsync("/own", Cancel)).StatusCode);
        Assert.Equal(401, (int)(await client.GetAsync("/unknown", Cancel)).StatusCode);
        client.DefaultRequestHeaders.Authorization = new("Bearer", "secret");
        Assert.Equal("own", await client.GetStringAsync("/own", Cancel));
        Assert.Equal(404, (int)(await client.GetAsync("/unknown", Cancel)).StatusCode);
    }

    [Fact]
    public async Task MapBoxer_rejects_requests_of_other_sites()
    {
        await using WebApplication app = await StartAsync(_ => { }, app => app.MapBoxer());
        using HttpClient client = ClientOf(app);
        client.DefaultRequestHeaders.Add("Origin", "http://evil.example");

        Assert.Equal((403, "requests from web pages of other sites are refused; open a page of this host itself."), await RunAsync(client, "/run"));
        Assert.Empty(_runner.Requests);
    }

    [Fact]
    public async Task BoxerApiKey_AllowedNetworks_restricts_a_key()
    {
        await using WebApplication app = await StartAsync(
            http =>
            {
                http.ApiKeys.Add(new BoxerApiKey("all"));
                http.ApiKeys.Add(new BoxerApiKey("alone") { AllowedNetworks = ["none"] });
            },
            app => app.MapBoxer());
        using HttpClient all = ClientOf(app, "all");
        using HttpClient alone = ClientOf(app, "alone");

        Assert.Equal(200, (await RunAsync(all, "/run", "sandbox")).Status);
        Assert.Equal((400, "network: \"host\" is not a network of this host; use one of none, sandbox."), await RunAsync(all, "/run", "host"));
        Assert.Equal(200, (await RunAsync(alone, "/run", "none")).Status);
        Assert.Equal((400, "network: \"sandbox\" is not a network of this host; use one of none."), await RunAsync(alone, "/run", "sandbox"));
        Assert.Equal(2, _runner.Requests.Select(request => request.FairnessKey).Distinct().Count());
        Assert.DoesNotContain("alone", new BoxerApiKey("alone") { AllowedNetworks = ["none"] }.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Users_of_another_authentication_scheme_have_their_own_files(bool isNamedByPolicy)
    {
        await using WebApplication app = await StartAsync(
            _ => { },
            app => app.MapBoxer().RequireAuthorization("users"),
            services =>
            {
                services.AddAuthentication("named").AddScheme<AuthenticationSchemeOptions, NamedUsers>("named", null);
                services.AddAuthorizationBuilder().AddPolicy("users", policy => policy.AddAuthenticationSchemes(isNamedByPolicy ? ["named"] : []).RequireAuthenticatedUser());
            });
        using HttpClient nobody = ClientOf(app);
        using HttpClient ann = ClientOf(app);
        using HttpClient bob = ClientOf(app);
        ann.DefaultRequestHeaders.Add("X-User", "ann");
        bob.DefaultRequestHeaders.Add("X-User", "bob");

        Assert.Equal(401, (int)(await nobody.GetAsync("/files?path=a", Cancel)).StatusCode);
        using MultipartFormDataContent form = new() { { new ByteArrayContent([1]), "file", "a" }, { new StringContent("a"), "path" } };
        Assert.Equal(200, (int)(await ann.PostAsync("/files", form, Cancel)).StatusCode);
        Assert.Equal(200, (int)(await ann.GetAsync("/files?path=a", Cancel)).StatusCode);
        Assert.Equal(404, (int)(await bob.GetAsync("/files?path=a", Cancel)).StatusCode);
        Assert.All(Directory.EnumerateDirectories(_files), space => Assert.DoesNotContain("ann", Path.GetFileName(space), StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Without_keys_the_authorization_of_the_application_applies(bool byFallback)
    {
        await using WebApplication app = await StartAsync(
            _ => { },
            app => _ = byFallback ? app.MapBoxer() : app.MapBoxer().RequireAuthorization("users"),
            services =>
            {
                services.AddAuthentication("named").AddScheme<AuthenticationSchemeOptions, NamedUsers>("named", null);
                AuthorizationPolicy users = new AuthorizationPolicyBuilder().RequireAuthenticatedUser().Build();
                services.AddAuthorizationBuilder().AddPolicy("users", users).SetFallbackPolicy(byFallback ? users : null);
            });
        using HttpClient nobody = ClientOf(app);
        using HttpClient ann = ClientOf(app);
        ann.DefaultRequestHeaders.Add("X-User", "ann");

        foreach (string path in new[] { "/files?path=a", "/health/ready", "/openapi/v1.json" })
        {
            Assert.Equal(401, (int)(await nobody.GetAsync(path, Cancel)).StatusCode);
        }

        Assert.Equal(401, (int)(await nobody.PostAsJsonAsync("/run", new { image = "i", cmd = new[] { "a" } }, Cancel)).StatusCode);
        Assert.Empty(_runner.Requests);
        Assert.Equal("""{"ok":true}""", await nobody.GetStringAsync("/healthz", Cancel));
        Assert.Equal((200, "42\n"), await RunAsync(ann, "/run"));
        Assert.StartsWith("user-", Assert.Single(_runner.Requests).FairnessKey, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Other_endpoints_keep_their_body_limit()
    {
        await using WebApplication app = await StartAsync(_ => { }, app =>
        {
            app.MapBoxer();
            app.MapPost("/own", async context => await context.Request.Body.CopyToAsync(Stream.Null, context.RequestAborted));
        });
        using HttpClient client = ClientOf(app);
        using ByteArrayContent large = new(new byte[31 << 20]);
        client.DefaultRequestHeaders.ExpectContinue = true;

        Assert.Equal(413, (int)(await client.PostAsync("/own", large, Cancel)).StatusCode);
    }

    [Fact]
    public async Task Readiness_reveals_nothing_about_other_checks()
    {
        await using WebApplication app = await StartAsync(_ => { }, app => app.MapBoxer(), services =>
            services.AddHealthChecks().AddCheck("database", () => throw new InvalidOperationException("Host=db.internal;Password=secret")));
        using HttpClient client = ClientOf(app);

        using HttpResponseMessage answer = await client.GetAsync("/health/ready", Cancel);
        Assert.Equal((200, """{"ready":true,"checks":{}}"""), ((int)answer.StatusCode, await answer.Content.ReadAsStringAsync(Cancel)));
    }

    [Fact]
    public async Task The_OpenAPI_document_needs_no_reflection()
    {
        await using WebApplication app = await StartAsync(_ => { }, app => app.MapBoxer(), services =>
            services.PostConfigure<Microsoft.AspNetCore.Http.Json.JsonOptions>(json =>
            {
                // An application compiled ahead of time has no reflection resolver.
                foreach (DefaultJsonTypeInfoResolver reflection in json.SerializerOptions.TypeInfoResolverChain.OfType<DefaultJsonTypeInfoResolver>().ToList())
                {
                    json.SerializerOptions.TypeInfoResolverChain.Remove(reflection);
                }
            }));
        using HttpClient client = ClientOf(app);

        using HttpResponseMessage answer = await client.GetAsync("/openapi/v1.json", Cancel);
        string text = await answer.Content.ReadAsStringAsync(Cancel);
        Assert.True(answer.IsSuccessStatusCode, text);
        await using WebApplication usual = await StartAsync(http => http.FilesDirectory = Path.Combine(_files, "usual"), app => app.MapBoxer());
        using HttpClient other = ClientOf(usual);
        Assert.Equal(await other.GetStringAsync("/openapi/v1.json", Cancel), text);
    }

    [Fact]
    public async Task The_application_can_add_names_and_responses_to_endpoints()
    {
        await using WebApplication app = await StartAsync(_ => { }, app =>
        {
            app.MapBoxer("/a").WithMetadata(new ProducesResponseTypeMetadata(StatusCodes.Status418ImATeapot, typeof(string), ["text/plain"]));
            app.MapGet("/run", () => "own").WithName("run");
            app.MapGet("/link", (LinkGenerator links) => links.GetPathByName("run"));
        });
        using HttpClient client = ClientOf(app);

        Assert.Equal("/run", await client.GetStringAsync("/link", Cancel));
        JsonNode document = (await client.GetFromJsonAsync<JsonNode>("/a/openapi/v1.json", Cancel))!;
        JsonNode run = document["paths"]!["/a/run"]!["post"]!;
        Assert.Equal("run", (string?)run["operationId"]);
        Assert.NotNull(run["responses"]!["418"]);
    }

    [Fact]
    public async Task JSON_options_of_the_application_are_unchanged()
    {
        await using WebApplication app = await StartAsync(_ => { }, app =>
        {
            app.MapBoxer("/a");
            app.MapPost("/member", (Counted body) => body.Count);
            app.MapPost("/list", (List<int> body) => body.Single());
            app.MapPost("/long", (long[] body) => body.Single());
            app.MapPost("/bare", ([FromBody] int body) => body);
        });
        using HttpClient client = ClientOf(app);

        foreach ((string path, string body) in new[] { ("/member", """{"count":"5"}"""), ("/list", """["5"]"""), ("/long", """["5"]"""), ("/bare", "\"5\"") })
        {
            using StringContent content = new(body, System.Text.Encoding.UTF8, "application/json");
            using HttpResponseMessage answer = await client.PostAsync(path, content, Cancel);
            Assert.Equal((path, 200, "5"), (path, (int)answer.StatusCode, await answer.Content.ReadAsStringAsync(Cancel)));
        }
    }

    [Fact]
    public async Task Invalid_options_keep_the_application_from_starting_and_are_listed_together()
    {
        OptionsValidationException exception = await Assert.ThrowsAsync<OptionsValidationException>(() => StartAsync(
            http =>
            {
                http.ApiKeys.Add(new BoxerApiKey("has space"));
                http.HostNames.Add("a/b");
                http.FilesDirectory = "relative";
                http.MaxUploadBytes = 0;
                http.MaxStoredBytes = 0;
                http.MaxStoredFiles = 0;
                http.MaxRequestBytes = 1;
                http.MaxInlineOutputBytes = -1;
                http.MaxInlineOutputFiles = -1;
                http.MaxBufferedRequestBytes = 1;
                http.MaxBufferedAnswerBytes = 1;
                http.RequestBodyTimeout = TimeSpan.Zero;
                http.StopGrace = TimeSpan.FromHours(2);
            },
            app => app.MapBoxer()));

        Assert.Equal(
            ["ApiKeys[0]", "HostNames[0]", "FilesDirectory", "MaxUploadBytes", "MaxStoredBytes", "MaxStoredFiles", "MaxRequestBytes", "MaxInlineOutputBytes", "MaxInlineOutputFiles", "MaxBufferedRequestBytes", "MaxBufferedAnswerBytes", "RequestBodyTimeout", "StopGrace"],
            exception.Failures.Select(failure => failure.Split(':')[0]));
        Assert.DoesNotContain("has space", exception.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void MapBoxer_and_UseBoxerHttp_fail_without_AddBoxerHttp()
    {
        using WebApplication app = WebApplication.CreateSlimBuilder().Build();

        Assert.Contains("AddBoxerHttp", Assert.Throws<InvalidOperationException>(() => app.MapBoxer()).Message, StringComparison.Ordinal);
        Assert.Contains("AddBoxerHttp", Assert.Throws<InvalidOperationException>(() => app.UseBoxerHttp()).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void BoxerJsonConfiguration_configures_a_host()
    {
        string file = Path.Combine(_files, "config.json");
        File.WriteAllText(file, """{"home": "~/boxes", "listen_addr": ":9", "upload_limit_bytes": 5, "allowed_networks": ["none"], "defaults": {"memory_mb": 64}}""");
        BoxerJsonConfiguration configuration = BoxerJsonConfiguration.Read(file, new Dictionary<string, string>(StringComparer.Ordinal), "/home/me");
        ServiceCollection services = new();
        services.AddBoxerHttp();
        configuration.Configure(services);
        using ServiceProvider provider = services.BuildServiceProvider();

        Assert.Empty(configuration.Faults);
        Assert.Equal((file, "[::]:9", true, false), (configuration.File, configuration.ListenAddress, configuration.IsOpenToStrangers, configuration.OmitsHostNetwork));
        BoxerOptions options = provider.GetRequiredService<IOptions<BoxerOptions>>().Value;
        Assert.Equal(("/home/me/boxes", 64 << 20), (options.Home, options.DefaultLimits.MemoryBytes));
        Assert.Equal((5, "none"), (provider.GetRequiredService<IOptions<BoxerHttpOptions>>().Value.MaxUploadBytes, Assert.Single(provider.GetRequiredService<IOptions<BoxerHttpOptions>>().Value.AllowedNetworks)));
        Assert.Equal("defaults.memory_mb: is bad.", Assert.Single(BoxerJsonConfiguration.NameFaults(new OptionsValidationException("", typeof(BoxerOptions), ["DefaultLimits.MemoryBytes: is bad."]))));
        Assert.Equal("max_memory_mb is too much.", BoxerJsonConfiguration.NameFault(new SandboxPrivilegeException("MaxMemoryBytes is too much.")));
    }

    private async Task<WebApplication> StartAsync(Action<BoxerHttpOptions> configure, Action<WebApplication> map, Action<IServiceCollection>? register = null)
    {
        WebApplicationBuilder builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseBoxerServerLimits().UseUrls("http://127.0.0.1:0");
        builder.Logging.ClearProviders();
        builder.Services.AddSingleton<ISandboxRunner>(_runner);
        builder.Services.AddBoxerHttp(http =>
        {
            http.FilesDirectory = _files;
            configure(http);
        });
        register?.Invoke(builder.Services);
        WebApplication app = builder.Build();
        map(app);
        await app.StartAsync(Cancel);
        return app;
    }

    private static HttpClient ClientOf(WebApplication app, string? key = null)
    {
        HttpClient client = new() { BaseAddress = new Uri(app.Urls.Single()) };
        if (key is not null)
        {
            client.DefaultRequestHeaders.Authorization = new("Bearer", key);
        }

        return client;
    }

    private static async Task<(int Status, string Text)> RunAsync(HttpClient client, string path, string network = "none")
    {
        using HttpResponseMessage response = await client.PostAsJsonAsync(path, new { image = "i", cmd = new[] { "a" }, network }, Cancel);
        JsonNode body = (await response.Content.ReadFromJsonAsync<JsonNode>(Cancel))!;
        return ((int)response.StatusCode, (string)(body["error"] ?? body["stdout"])!);
    }

    private sealed record Counted(int Count);

    /// <summary>An authentication scheme of the application, with the user's name in a header.</summary>
    private sealed class NamedUsers(IOptionsMonitor<AuthenticationSchemeOptions> options, ILoggerFactory loggers, UrlEncoder encoder)
        : AuthenticationHandler<AuthenticationSchemeOptions>(options, loggers, encoder)
    {
        protected override Task<AuthenticateResult> HandleAuthenticateAsync() => Task.FromResult(
            (string?)Request.Headers["X-User"] is { } name
                ? AuthenticateResult.Success(new AuthenticationTicket(new ClaimsPrincipal(new ClaimsIdentity([new Claim(ClaimTypes.NameIdentifier, name)], "named")), "named"))
                : AuthenticateResult.NoResult());
    }
}
