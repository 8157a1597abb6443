using System.Text.Json.Nodes;
using Boxer.Tests.Support;

namespace Boxer.Tests.Programs;

/// <summary>Clients generated from the OpenAPI document compile and call every endpoint of a host with API keys.</summary>
[LongTests]
[Collection(Sandboxes.Name)]
public sealed class GeneratedClientTests(PythonImage image) : IDisposable
{
    private const string KiotaVersion = "1.38.0";
    private const string Key = "generated-client";
    private readonly string _work = Directory.CreateTempSubdirectory("boxer-client-").FullName;

    public void Dispose() => Directory.Delete(_work, recursive: true);

    [Fact]
    public async Task A_client_that_openapi_typescript_generates_calls_every_endpoint()
    {
        Assert.SkipUnless(HostProgram.Exists("npm"), "Needs npm in PATH: run ./test-programs.sh.");
        await using HostProcess host = await StartAsync("typescript");

        await InWorkAsync("npm", "install", "--no-audit", "--no-fund", "--no-package-lock");
        await InWorkAsync("npx", "--no-install", "openapi-typescript", "openapi.json", "-o", "schema.ts");
        await InWorkAsync("npx", "--no-install", "tsc", "--project", ".");

        Assert.Equal("all endpoints\n", await InWorkAsync("node", "client.js", host.Address, Key));
    }

    [Fact]
    public async Task A_client_that_Kiota_generates_calls_every_endpoint()
    {
        await using HostProcess host = await StartAsync("csharp");

        await InWorkAsync("dotnet", "tool", "install", "Microsoft.OpenApi.Kiota", "--version", KiotaVersion, "--tool-path", "tools");
        await InWorkAsync("env", "KIOTA_OFFLINE_ENABLED=true", "tools/kiota", "generate", "--language", "CSharp", "--openapi", "openapi.json", "--output", "Generated", "--namespace-name", "Generated", "--class-name", "BoxerClient");
        await InWorkAsync("dotnet", "build", "GeneratedClient.csproj", "-c", "Release", "-v", "quiet", "--nologo");

        Assert.Equal("all endpoints\n", await InWorkAsync("dotnet", "bin/Release/net10.0/GeneratedClient.dll", host.Address, Key));
    }

    /// <summary>Starts a host, and writes its OpenAPI document and the sources of a client to the work directory.</summary>
    private async Task<HostProcess> StartAsync(string client)
    {
        image.Require();
        HostProcess host = await HostProcess.StartAsync(image, new JsonObject { ["api_keys"] = new JsonArray(Key) });
        foreach (string source in Directory.EnumerateFiles(Path.Join(AppContext.BaseDirectory, "Clients", client)))
        {
            File.Copy(source, Path.Join(_work, Path.GetFileName(source)));
        }

        using HttpClient http = host.NewClient(Key);
        await File.WriteAllTextAsync(Path.Join(_work, "openapi.json"), await http.GetStringAsync(new Uri("/openapi/v1.json", UriKind.Relative), TestContext.Current.CancellationToken), TestContext.Current.CancellationToken);
        return host;
    }

    private Task<string> InWorkAsync(params string[] command) => HostProgram.RunAsync("env", ["--chdir", _work, "DOTNET_CLI_TELEMETRY_OPTOUT=1", .. command]);
}
