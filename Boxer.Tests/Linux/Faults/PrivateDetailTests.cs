using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json.Nodes;
using Boxer.Images.Manifests;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Faults;

/// <summary>
/// No response of the HTTP host contains a path, an address or a secret of its configuration, whatever fails; the log does. Each of them has a
/// marker, and every response is searched for all markers.
/// </summary>
[Collection(Sandboxes.Name)]
public sealed class PrivateDetailTests(PythonImage image) : IAsyncLifetime
{
    // Registries that requests name. The addresses of their mirrors are private.
    private const string Mirrored = "mirrored.example";
    private const string Dead = "dead.example";
    private const string Secure = "secure.example";
    private const string Proxied = "proxied.example";
    private const string Failing = "failing.example";
    private const string Malformed = "malformed.example";
    private const string WithoutUser = "withoutuser.example";
    private const string NoHelper = "nohelper.example";

    // A port on which nothing listens.
    private const string Nowhere = "127.0.0.1:1";

    private static readonly string[] Guarded = [Failing, Malformed, WithoutUser, NoHelper];

    private readonly string _mark = "mark" + Guid.NewGuid().ToString("N")[..8];
    private readonly StandInRunsc _runsc = new();
    private readonly X509Certificate2 _certificate = SelfSigned();
    private readonly Dictionary<string, ScriptedRegistry> _registries = new(StringComparer.Ordinal);
    private readonly List<string> _answers = [];
    private string _root = "";
    private HostProcess? _host;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private string Home => Path.Join(_root, "home");

    private string DockerConfig => Path.Join(_root, "docker.json");

    public async ValueTask InitializeAsync()
    {
        image.Require();
        _root = Directory.CreateTempSubdirectory(_mark).FullName;
        foreach (string name in (string[])[Mirrored, .. Guarded])
        {
            _registries[name] = new ScriptedRegistry();
        }

        _registries[Secure] = new ScriptedRegistry(certificate: _certificate);
        _registries[Mirrored].Script = Answer;
        foreach (string name in Guarded)
        {
            _registries[name].Script = _ => new(401, [], ("WWW-Authenticate", "Basic realm=\"x\""));
        }

        await WriteProgramAsync("docker-credential-fails", $"echo {_mark}-helper-output; echo {_mark}-helper-error >&2; exit 3");
        await WriteProgramAsync("docker-credential-malformed", $$"""echo '{"Secret": "{{_mark}}-helper-secret"'""");
        await WriteCredentialsAsync();
        await File.WriteAllTextAsync(Path.Join(_root, "ca.pem"), SelfSigned().ExportCertificatePem(), Cancel);
        JsonObject mirrors = new(_registries.Select(one => KeyValuePair.Create(one.Key, (JsonNode?)new JsonArray(one.Value.Url))))
        {
            [Dead] = new JsonArray($"http://{Nowhere}"),
            [$"{_mark}.mirrored.example"] = new JsonArray($"http://{Nowhere}"),
        };
        _host = await HostProcess.StartAsync(
            image,
            new JsonObject
            {
                ["home"] = Home,
                ["runsc_path"] = _runsc.Path,
                ["docker_config"] = DockerConfig,
                ["registry_certificates"] = new JsonObject { [_registries[Secure].Host] = Path.Join(_root, "ca.pem") },
                ["registry_mirrors"] = mirrors,
                ["allowed_registries"] = new JsonArray(Proxied, $"{_mark}.allowed.example"),
                ["cgroup_parent"] = $"{_mark}-parent",
                ["api_keys"] = new JsonArray("client", $"{_mark}-other-key"),
            },
            ["env", $"PATH={_root}:{Environment.GetEnvironmentVariable("PATH")}", $"HTTPS_PROXY=http://user:{_mark}-proxy@{Nowhere}", "NO_PROXY=127.0.0.1"]);
        _host.Client.DefaultRequestHeaders.Authorization = new("Bearer", "client");
    }

    public async ValueTask DisposeAsync()
    {
        if (_host is not null)
        {
            await _host.DisposeAsync();
            Directory.Delete(_root, recursive: true);
        }

        foreach (ScriptedRegistry registry in _registries.Values)
        {
            registry.Dispose();
        }

        _certificate.Dispose();
        _runsc.Dispose();
    }

    [Fact]
    public async Task No_response_about_a_pull_has_a_path_an_address_or_a_secret_and_the_log_does()
    {
        await PullFaultsAsync();

        await CheckAnswersAsync();
        await CheckLogAsync(
            $"{_mark}-helper-output", $"{_mark}-helper-error", $"{_mark}.allowed.example", $"{DockerConfig}: the entry of", $"{DockerConfig} is malformed",
            $"{DockerConfig} names the credential helper", _registries[Mirrored].Host, _registries[Secure].Host, Nowhere);
    }

    [Fact]
    public async Task No_response_about_a_run_has_a_path_or_a_tools_output_and_the_log_does()
    {
        await RunAsync(200, PythonImage.Name);
        await RequestFaultsAsync();
        await RuntimeFaultsAsync();
        string[] cgroup = await CgroupFaultsAsync();
        await HomeFaultsAsync();
        await RunAsync(200, PythonImage.Name);

        await CheckAnswersAsync();
        await CheckLogAsync($"{_mark}-runsc", Home, $"exec {_runsc.Path}");
        string log = await _host!.Log;
        Assert.All(cgroup, detail => Assert.Contains(detail, log, StringComparison.Ordinal));
    }

    private async Task CheckAnswersAsync()
    {
        foreach (string path in (string[])["/healthz", "/health/ready", "/metrics", "/openapi/v1.json"])
        {
            await SendAsync(200, HttpMethod.Get, path);
        }

        string own = _host!.Address["http://".Length..];
        string[] markers =
        [
            _mark, Path.GetDirectoryName(_runsc.Path)!, Nowhere, image.Url["http://".Length..], .. _registries.Values.Select(registry => registry.Host),
            "/run/boxer", "/sys/fs/cgroup", Path.GetTempPath(), "DockerConfigPath", "docker_config", "NetworkBlocks", "network_blocks",
        ];
        string[] told = [.. _answers.Where(answer => markers.Any(marker => answer.Replace(own, "", StringComparison.Ordinal).Contains(marker, StringComparison.Ordinal)))];
        Assert.True(told.Length == 0, string.Join('\n', told));
    }

    private async Task CheckLogAsync(params string[] details)
    {
        Assert.Equal(0, await _host!.StopAsync());
        string log = await _host.Log;
        Assert.All(details, detail => Assert.Contains(detail, log, StringComparison.Ordinal));
    }

    private async Task PullFaultsAsync()
    {
        foreach ((string repository, int status) in ((string, int)[])
        [
            ("bare401", 502), ("basic", 502), ("realm", 502), ("token", 502), ("e403", 502), ("e404", 404), ("e500", 502), ("e429", 502), ("redirect", 502), ("manifest", 502), ("digest", 502), ("layer", 502),
        ])
        {
            await RunAsync(status, $"{Mirrored}/{repository}:1");
        }

        foreach (string registry in (string[])[Dead, Secure, Proxied, .. Guarded])
        {
            await RunAsync(502, $"{registry}/a:1");
        }

        await RunAsync(400, "forbidden.example/a:1");
        await File.WriteAllTextAsync(DockerConfig, "{", Cancel);
        await RunAsync(502, $"{Failing}/a:1");
        File.Delete(DockerConfig);
        Directory.CreateDirectory(DockerConfig);
        await RunAsync(502, $"{Failing}/a:1");
        Directory.Delete(DockerConfig);
        await WriteCredentialsAsync();
    }

    private async Task RequestFaultsAsync()
    {
        await RunAsync(404, "not-there:1");
        await RunAsync(404, PythonImage.Name.Replace("3.12", "9.99", StringComparison.Ordinal), ("pull", "never"));
        await RunAsync(400, "A B");
        await RunAsync(400, PythonImage.Name, ("user", "nobody-there"));
        await RunAsync(200, PythonImage.Name, ("cwd", "/not/there"));
        await RunAsync(400, PythonImage.Name, ("network", "host"));
        await RunAsync(400, PythonImage.Name, ("files", new JsonArray("not/there")));
        await RunAsync(400, PythonImage.Name, ("limits", new JsonObject { ["memory_mb"] = 1_000_000 }));
        await RunAsync(400, PythonImage.Name, ("cmd", new JsonArray("not-there")));
        await RunAsync(400, PythonImage.Name, ("limits", new JsonObject { ["memory_mb"] = 1 }));
        await SendAsync(404, HttpMethod.Get, "/files?path=not/there");
        await SendAsync(400, HttpMethod.Get, "/files?path=../up");
        await SendAsync(404, HttpMethod.Delete, "/files?path=not/there");
        await SendAsync(404, HttpMethod.Get, "/nowhere");
        await SendAsync(405, HttpMethod.Put, "/run");
        await SendAsync(400, HttpMethod.Post, "/run", new StringContent("{"));
        await UploadAsync(200, "a", new byte[10]);
        await UploadAsync(400, "a/b", new byte[10]);
        await UploadAsync(413, "b", new byte[11 << 20]);
    }

    private async Task RuntimeFaultsAsync()
    {
        foreach (string script in (string[])[$"echo {_mark}-runsc $0 >&2; exit 3", "echo nonsense >&0; exec sleep 1000"])
        {
            _runsc.Do(script);
            await RunAsync(500, PythonImage.Name);
        }

        _runsc.Lie($"go(); send(9, text('{_mark}'))");
        await RunAsync(500, PythonImage.Name);
        _runsc.Do("");
        _runsc.Remove();
        await RunAsync(500, PythonImage.Name);
        _runsc.PutBack();
    }

    // Only with cgroup v1 can a single hierarchy be made to fail.
    private async Task<string[]> CgroupFaultsAsync()
    {
        string parent = $"/sys/fs/cgroup/pids/{_mark}-parent";
        if (!Directory.Exists(parent))
        {
            return [];
        }

        await WhileReadOnlyAsync(parent, () => RunAsync(500, PythonImage.Name));
        return [$"{_mark}-parent"];
    }

    private Task HomeFaultsAsync() => WhileReadOnlyAsync(Home, async () =>
    {
        await UploadAsync(500, "c", new byte[10]);
        await RunAsync(502, $"{Mirrored}/whole:1");
        await RunAsync(200, PythonImage.Name, ("persist", true), ("cmd", new JsonArray("sh", "-c", "echo x >/output/x")));
    });

    // Responses of the mirrored registry, by repository.
    private ScriptedAnswer? Answer(ScriptedRequest request)
    {
        ScriptedRegistry own = _registries[Mirrored];
        byte[] layer = Encoding.UTF8.GetBytes("no archive");
        if (own.Content.IsEmpty)
        {
            own.AddImage("layer", "1", [layer]);
            own.AddImage("whole", "1", [new byte[1_024]]);
            own.AddManifest("manifest", "1", "{"u8.ToArray());
        }

        return request.Path.Split('/')[2] switch
        {
            "bare401" => new(401, []),
            "basic" => new(401, [], ("WWW-Authenticate", "Basic realm=\"x\"")),
            "realm" => new(401, [], ("WWW-Authenticate", "Bearer realm=\"http://elsewhere.example/token\"")),
            "token" => new(401, [], ("WWW-Authenticate", $"Bearer realm=\"{own.Url}/v2/nonsense/token\"")),
            "nonsense" => new(200, "{"u8.ToArray()),
            "e403" => new(403, []),
            "e404" => new(404, []),
            "e500" => new(500, []),
            "e429" => new(429, [], ("Retry-After", "3600")),
            "redirect" => new(307, [], ("Location", "http://elsewhere.example/")),
            "digest" => new(200, "{}"u8.ToArray(), ("Content-Type", ImageMediaTypes.OciManifest), ("Docker-Content-Digest", "sha256:" + new string('0', 64))),
            _ => null,
        };
    }

    private Task WriteCredentialsAsync() => File.WriteAllTextAsync(
        DockerConfig,
        new JsonObject
        {
            ["auths"] = new JsonObject { [_registries[WithoutUser].Host] = new JsonObject { ["auth"] = Convert.ToBase64String(Encoding.UTF8.GetBytes(_mark)) } },
            ["credHelpers"] = new JsonObject
            {
                [_registries[Failing].Host] = "fails",
                [_registries[Malformed].Host] = "malformed",
                [_registries[NoHelper].Host] = $"{_mark}-not-installed",
            },
        }.ToJsonString(),
        Cancel);

    private async Task WriteProgramAsync(string name, string script)
    {
        string path = Path.Join(_root, name);
        await File.WriteAllTextAsync(path, $"#!/bin/sh\n{script}\n", Cancel);
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
    }

    private async Task RunAsync(int status, string reference, params (string Name, JsonNode? Value)[] fields)
    {
        foreach (string path in (string[])["/run", "/run/stream"])
        {
            JsonObject body = new() { ["image"] = reference, ["cmd"] = new JsonArray("true") };
            foreach ((string name, JsonNode? value) in fields)
            {
                body[name] = value?.DeepClone();
            }

            // A run that started has its status in the last event.
            await SendAsync(path == "/run" ? status : null, HttpMethod.Post, path, JsonContent.Create(body));
        }
    }

    private Task UploadAsync(int status, string path, byte[] content) =>
        SendAsync(status, HttpMethod.Post, "/files", new MultipartFormDataContent { { new ByteArrayContent(content), "file", "name" }, { new StringContent(path), "path" } });

    private async Task SendAsync(int? status, HttpMethod method, string path, HttpContent? content = null)
    {
        string asked = content is null or MultipartFormDataContent ? "" : await content.ReadAsStringAsync(Cancel);
        using HttpRequestMessage request = new(method, new Uri(path, UriKind.Relative)) { Content = content };
        using HttpResponseMessage response = await _host!.Client.SendAsync(request, Cancel);
        string answer = $"{response.Headers}{response.Content.Headers}{await response.Content.ReadAsStringAsync(Cancel)}";
        Assert.True(status is null || (int)response.StatusCode == status, $"{method} {path} {asked}: {(int)response.StatusCode} {answer}");
        _answers.Add($"{method} {path} {asked}: {answer}");
    }

    private static async Task WhileReadOnlyAsync(string directory, Func<Task> action)
    {
        await HostProgram.RunAsync("mount", "--bind", directory, directory);
        try
        {
            await HostProgram.RunAsync("mount", "-o", "remount,bind,ro", directory);
            await action();
        }
        finally
        {
            await HostProgram.RunAsync("umount", "-l", directory);
        }
    }

    private static X509Certificate2 SelfSigned()
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest("CN=registry", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        using X509Certificate2 certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        return X509CertificateLoader.LoadPkcs12(certificate.Export(X509ContentType.Pfx), null);
    }
}
