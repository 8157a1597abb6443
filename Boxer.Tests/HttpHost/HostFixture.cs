using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using Boxer.AspNetCore.Configuration;
using Boxer.HttpHost;
using Boxer.Networking;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;
using Microsoft.Extensions.Logging;

namespace Boxer.Tests.HttpHost;

/// <summary>
/// The real host on a free loopback port, with a temporary home directory. It uses a <see cref="ScriptedRunner"/>, or Boxer's own runner if
/// <see cref="StartAsync"/> asks for it.
/// </summary>
internal sealed class HostFixture : IAsyncDisposable
{
    private HostFixture(WebApplication app, string home, ScriptedRunner runner, ScriptedSessions sessions, ContractDocument document)
    {
        App = app;
        Document = document;
        Home = home;
        Runner = runner;
        Sessions = sessions;
        Client = NewClient();
    }

    public WebApplication App { get; }

    /// <summary>The OpenAPI document that every response to <see cref="Client"/> is checked against.</summary>
    public ContractDocument Document { get; }

    public string Home { get; }

    public ScriptedRunner Runner { get; }

    public ScriptedSessions Sessions { get; }

    public HttpClient Client { get; }

    public Uri Address => new(App.Urls.Single());

    /// <summary>Starts a host.</summary>
    /// <param name="contract">The application.</param>
    /// <param name="config">Configuration keys in addition to home and listen_addr.</param>
    /// <param name="realSandboxes">Whether to use Boxer's own runner.</param>
    /// <param name="configureServices">Further registrations.</param>
    public static async Task<HostFixture> StartAsync(
        ContractHost contract, JsonObject? config = null, bool realSandboxes = false, Action<IServiceCollection>? configureServices = null)
    {
        string home = Directory.CreateTempSubdirectory("boxer-http-").FullName;
        JsonObject complete = (JsonObject?)config?.DeepClone() ?? [];
        complete.TryAdd("home", home);
        complete.TryAdd("listen_addr", "127.0.0.1:0");
        string file = Path.Combine(home, "config.json");
        await File.WriteAllTextAsync(file, complete.ToJsonString());
        BoxerJsonConfiguration configuration = BoxerJsonConfiguration.Read(file, new Dictionary<string, string>(StringComparer.Ordinal), home);
        Assert.Empty(configuration.Faults);

        ScriptedRunner runner = new();
        ScriptedSessions sessions = new();
        WebApplication app = contract == ContractHost.HttpHost
            ? HostComposition.Build(configuration, realSandboxes ? null : AddScripted)
            : MinimalApi.Facade.Build([], builder =>
            {
                builder.WebHost.ConfigureKestrel(configuration.Listen);
                if (!realSandboxes)
                {
                    AddScripted(builder.Services);
                }

                configuration.Configure(builder.Services);
            });
        await app.StartAsync();
        bool hasKeys = complete.ContainsKey("api_keys");
        return new HostFixture(app, home, runner, sessions, await ContractDocument.OfAsync(app, contract, hasKeys));

        void AddScripted(IServiceCollection services)
        {
            services.RemoveAll<ILoggerProvider>();
            services.AddSingleton<ISandboxRunner>(runner);
            services.AddSingleton<ISandboxSessions>(sessions);
            foreach (string mode in new[] { "none", "sandbox", "host" })
            {
                services.AddSingleton<INetworkMode>(new NamedMode(mode));
            }

            configureServices?.Invoke(services);
        }
    }

    /// <summary>Creates a client with its own connections.</summary>
    public HttpClient NewClient(string? apiKey = null)
    {
        HttpClient client = new(new ContractHandler(Document)) { BaseAddress = Address, Timeout = TimeSpan.FromSeconds(60) };
        if (apiKey is not null)
        {
            client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", apiKey);
        }

        return client;
    }

    public Task<Answer> RunAsync(string json, HttpClient? client = null) =>
        PostAsync("/run", new StringContent(json, Encoding.UTF8, "application/json"), client);

    public Task<Answer> RunAsync(JsonObject body, HttpClient? client = null) => RunAsync(body.ToJsonString(), client);

    public async Task<Answer> PostAsync(string path, HttpContent content, HttpClient? client = null)
    {
        using HttpResponseMessage response = await (client ?? Client).PostAsync(new Uri(path, UriKind.Relative), content);
        return await Answer.ReadAsync(response);
    }

    /// <summary>Sends a request with a body.</summary>
    public async Task<Answer> SendAsync(string method, string path, HttpContent? content = null, HttpClient? client = null)
    {
        using HttpRequestMessage request = new(new HttpMethod(method), new Uri(path, UriKind.Relative)) { Content = content };
        using HttpResponseMessage response = await (client ?? Client).SendAsync(request);
        return await Answer.ReadAsync(response);
    }

    /// <summary>Sends a request with a JSON body.</summary>
    public Task<Answer> SendJsonAsync(string method, string path, string json, HttpClient? client = null) =>
        SendAsync(method, path, new StringContent(json, Encoding.UTF8, "application/json"), client);

    public Task<Answer> UploadAsync(string path, byte[] content, HttpClient? client = null)
    {
        MultipartFormDataContent form = new()
        {
            { new ByteArrayContent(content), "file", "name" },
            { new StringContent(path), "path" },
        };
        return PostAsync("/files", form, client);
    }

    public Task<Answer> UploadAsync(string path, string content, HttpClient? client = null) =>
        UploadAsync(path, Encoding.UTF8.GetBytes(content), client);

    public async Task<Answer> GetAsync(string pathAndQuery, HttpClient? client = null)
    {
        using HttpResponseMessage response = await (client ?? Client).GetAsync(new Uri(pathAndQuery, UriKind.Relative));
        return await Answer.ReadAsync(response);
    }

    public Task<Answer> DownloadAsync(string path, HttpClient? client = null) =>
        GetAsync($"/files?path={Uri.EscapeDataString(path)}", client);

    public async ValueTask DisposeAsync()
    {
        Client.Dispose();
        await App.StopAsync();
        await App.DisposeAsync();
        Directory.Delete(Home, recursive: true);
    }
}

/// <summary>A network mode that has only a name: the scripted runner creates no networks.</summary>
internal sealed class NamedMode(string name) : INetworkMode
{
    public string Name => name;

    public bool SupportsPooling => false;

    public string? GetUnavailableReason() => null;

    public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken) => throw new NotSupportedException();
}

/// <summary>A response with its body.</summary>
internal sealed record Answer(int Status, string Text, byte[] Bytes, HttpResponseMessage Response)
{
    public JsonNode Json => JsonNode.Parse(Text)!;

    public string Error => (string)Json["error"]!;

    public static async Task<Answer> ReadAsync(HttpResponseMessage response)
    {
        byte[] bytes = await response.Content.ReadAsByteArrayAsync();
        return new Answer((int)response.StatusCode, Encoding.UTF8.GetString(bytes), bytes, response);
    }
}
