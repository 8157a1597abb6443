using System.Globalization;
using System.Net;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using Boxer.Images;
using Boxer.Images.Registry;
using Boxer.Images.Store;
using Boxer.Tests.Support;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Images.Registry;

/// <summary>Credentials, TLS, proxies and resumed downloads of registries.</summary>
public sealed class RegistryAccessTests(RegistryFixture registry) : IClassFixture<RegistryFixture>, IDisposable
{
    private const string Basic = "Basic dXNlcjpwYXNzOndvcmQ="; // user, pass:word
    private const string Accounts = "user:$2b$05$abcdefghijklmnopqrstuuDIEddBSuRWBBEY6g5zv60IAP5bSSfki\n";
    private static readonly byte[] Layer = new Archive().File("file", "content").ToBytes();
    private readonly ScratchDirectory _scratch = new();
    private readonly ScriptedRegistry _registry = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task DockerConfigCredentials_reads_the_login_of_skopeo()
    {
        Assert.SkipWhen(registry.Missing is not null, registry.Missing ?? "");
        await using var guarded = new RegistryFixture { Accounts = Accounts };
        await guarded.InitializeAsync();
        await HostProgram.RunAsync("skopeo", "login", "--authfile", _scratch["auth.json"], "--tls-verify=false", "-u", "user", "-p", "pass:word", guarded.Host);
        await HostProgram.RunAsync("sh", "-ec", $"umoci init --layout {_scratch["layout"]}; umoci new --image {_scratch["layout"]}:latest");
        await guarded.PushAsync(_scratch["layout"], "latest", "team/app:1", "--dest-authfile", _scratch["auth.json"]);
        string reference = $"{guarded.Host}/team/app:1";

        Assert.Contains("needs a user name and password", (await FailAsync<ImagePullException>(reference, guarded.Host, null)).Message, StringComparison.Ordinal);

        await using ImageStore store = Store(options => options.With(changed => { changed.AllowedRegistries = [guarded.Host]; changed.Credentials = new DockerConfigCredentials(_scratch["auth.json"]); }));
        await using IImageLease lease = await store.AcquireAsync(ImageReference.Parse(reference), Cancel);
        Assert.StartsWith("sha256:", lease.Digest, StringComparison.Ordinal);
    }

    [Theory]
    [Slow]
    [InlineData("own", false)]
    [InlineData("own", true)]
    [InlineData("insecure", false)]
    [InlineData("insecure", true)]
    [InlineData("none", false)]
    [InlineData("other", true)]
    public async Task A_real_registry_with_TLS_is_pulled_from_with_its_certificate_or_insecurely(string how, bool guarded)
    {
        Assert.SkipWhen(registry.Missing is not null, registry.Missing ?? "");
        using X509Certificate2 authority = Authority("Own");
        using X509Certificate2 other = Authority("Other");
        using X509Certificate2 server = Certificate(authority, "127.0.0.1");
        await File.WriteAllTextAsync(_scratch["ca.pem"], (how == "other" ? other : authority).ExportCertificatePem(), Cancel);
        await using var secure = new RegistryFixture { Certificate = server, Authority = authority, Accounts = guarded ? Accounts : "" };
        await secure.InitializeAsync();
        OciLayout.Write(_scratch["layout"], Layer);
        await secure.PushAsync(_scratch["layout"], "latest", "team/app:1", guarded ? ["--dest-creds=user:pass:word"] : []);
        ImageReference reference = ImageReference.Parse($"{secure.Host}/team/app:1");
        ImageStoreOptions Change(ImageStoreOptions options) => options.With(changed =>
        {
            changed.AllowedRegistries = how == "insecure" ? [] : [secure.Host];
            changed.Registries = [new() { Name = secure.Host, Insecure = how == "insecure", Certificate = how is "own" or "other" ? _scratch["ca.pem"] : null }];
            changed.Credentials = guarded ? Config($$"""{"auths":{"{{secure.Host}}":{"auth":"{{Basic[6..]}}"} } }""") : null;
        });
        await using ImageStore store = Store(Change);

        if (how is "own" or "insecure")
        {
            await using IImageLease lease = await store.AcquireAsync(reference, Cancel);
            Assert.Equal("content", await File.ReadAllTextAsync(Path.Combine(lease.RootPath, "file"), Cancel));
            if (guarded)
            {
                await using ImageStore anybody = Store(options => Change(options).With(changed => { changed.Credentials = null; changed.Home = _scratch["anybody"]; changed.RootsDirectory = null; }));
                Assert.Contains("needs a user name and password", (await Assert.ThrowsAsync<ImagePullException>(() => anybody.AcquireAsync(reference, Cancel))).Message, StringComparison.Ordinal);
            }
        }
        else
        {
            Assert.Contains($"no secure connection to {secure.Host}", (await Assert.ThrowsAsync<ImagePullException>(() => store.AcquireAsync(reference, Cancel))).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task No_redirect_leads_from_https_to_http()
    {
        using X509Certificate2 authority = Authority("Own");
        using X509Certificate2 server = Certificate(authority, "127.0.0.1");
        await File.WriteAllTextAsync(_scratch["ca.pem"], authority.ExportCertificatePem(), Cancel);
        using var secure = new ScriptedRegistry(certificate: server);
        string blob = secure.AddImage("a", "latest", [Layer]);
        _registry.Content["/storage"] = secure.Content[blob];
        secure.Content[blob] = new(307, [], ("Location", _registry.Url + "/storage"));
        await using ImageStore store = Store(options => options.With(changed =>
        {
            changed.AllowedRegistries = [secure.Host, _registry.Host];
            changed.Registries =
            [
                new() { Name = "test.example", Mirrors = [secure.Url] },
                new() { Name = "plain.example", Mirrors = [_registry.Url] },
                new() { Name = _registry.Host, Insecure = true },
                new() { Name = secure.Host, Certificate = _scratch["ca.pem"] },
            ];
        }));

        ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => store.AcquireAsync(ImageReference.Parse("test.example/a"), Cancel));

        Assert.Contains($"redirects to http://{_registry.Host}, which is rejected because it is not https", fault.Message, StringComparison.Ordinal);
        Assert.Empty(_registry.Requests);
    }

    [Fact]
    public async Task Basic_credentials_are_sent_to_the_registry_and_not_along_redirects()
    {
        using var storage = new ScriptedRegistry("127.0.0.3");
        string blob = _registry.AddImage("a", "latest", [Layer]);
        storage.Content["/storage"] = _registry.Content[blob];
        _registry.Script = request => request.Headers.GetValueOrDefault("Authorization") != Basic ? new(401, [], ("WWW-Authenticate", "Basic realm=\"x\""))
            : request.Path == blob ? new(307, [], ("Location", storage.Url + "/storage"))
            : null;

        await using ImageStore store = Store(options => options.With(changed =>
        {
            changed.Credentials = Config($$"""{"auths":{"{{_registry.Host}}":{"auth":"{{Basic[6..]}}"} } }""");
            changed.Registries = [.. options.Registries, new() { Name = "storage.example", Mirrors = [storage.Url] }];
        }));
        await using IImageLease lease = await store.AcquireAsync(ImageReference.Parse("test.example/a"), Cancel);

        Assert.Equal("content", await File.ReadAllTextAsync(Path.Combine(lease.RootPath, "file"), Cancel));
        Assert.False(Assert.Single(storage.Requests).Headers.ContainsKey("Authorization"));
    }

    [Theory]
    [InlineData("auth")]
    [InlineData("url")]
    [InlineData("helper")]
    [InlineData("store")]
    public async Task A_token_service_gets_the_password(string kept)
    {
        _registry.AddImage("a", "latest", [Layer]);
        _registry.Script = request => request switch
        {
            { Path: var path } when path.StartsWith("/token", StringComparison.Ordinal) =>
                request.Headers.GetValueOrDefault("Authorization") == Basic ? new(200, """{"token":"secret"}"""u8.ToArray()) : new(401, []),
            _ when request.Headers.GetValueOrDefault("Authorization") != "Bearer secret" => new(401, [], ("WWW-Authenticate", $"Bearer realm=\"{_registry.Url}/token\",service=\"s\"")),
            _ => null,
        };
        string helper = Helper($$"""read server; [ "$server" = "{{_registry.Host}}" ] && echo '{"ServerURL":"x","Username":"user","Secret":"pass:word"}'""");

        await PullAsync(kept switch
        {
            "auth" => $$"""{"auths":{"other.example":{"auth":"eDp5"},"{{_registry.Host}}":{"auth":"{{Basic[6..]}}"} } }""",
            "url" => $$"""{"auths":{"http://{{_registry.Host}}/v1/":{"auth":"{{Basic[6..]}}"} } }""",
            "helper" => $$"""{"credHelpers":{"{{_registry.Host}}":"{{helper}}"},"credsStore":"none"}""",
            _ => $$"""{"auths":{"{{_registry.Host}}":{} },"credsStore":"{{helper}}"}""",
        });
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Identity_tokens_are_exchanged_for_access_tokens(bool helped)
    {
        _registry.AddImage("a", "latest", [Layer]);
        _registry.Script = request => request switch
        {
            { Path: "/token", Body: "grant_type=refresh_token&service=s&scope=repository%3Aa%3Apull&client_id=boxer&refresh_token=idtoken" } => new(200, """{"access_token":"secret"}"""u8.ToArray()),
            { Path: "/token" } => new(400, []),
            _ when request.Headers.GetValueOrDefault("Authorization") != "Bearer secret" => new(401, [], ("WWW-Authenticate", $"Bearer realm=\"{_registry.Url}/token\",service=\"s\"")),
            _ => null,
        };

        await PullAsync(helped
            ? $$"""{"credsStore":"{{Helper("""echo '{"Username":"<token>","Secret":"idtoken"}'""")}}"}"""
            : $$"""{"auths":{"{{_registry.Host}}":{"identitytoken":"idtoken"} } }""");
    }

    [Theory]
    [InlineData("""{"auths":{"HOST":{"auth":"bm9uc2Vuc2U="}}}""", "is no user name and password")]
    [InlineData("""{"auths":""", "is malformed")]
    [InlineData("""{"credsStore":"../../bin/sh"}""", "credential helper '../../bin/sh'")]
    [InlineData("""{"credsStore":"not-installed"}""", "docker-credential-not-installed is not in PATH")]
    [InlineData("""{"credsStore":"FAILS"}""", "out of order")]
    [InlineData("""{"credsStore":"NONSENSE"}""", "returned a malformed response")]
    [InlineData("""{"credsStore":"NOTFOUND"}""", "needs a user name and password")]
    [InlineData("""{"auths":{"HOST":{"auth":"dXNlcjp3cm9uZw=="}}}""", "rejects the credential of HOST; log in again")]
    public async Task Faults_of_credentials_are_explained(string config, string message)
    {
        _registry.Script = _ => new(401, [], ("WWW-Authenticate", "Basic realm=\"x\""));
        config = config.Replace("FAILS", Helper("echo out of order; exit 3"), StringComparison.Ordinal)
            .Replace("NONSENSE", Helper("echo nonsense"), StringComparison.Ordinal)
            .Replace("NOTFOUND", Helper("echo credentials not found in native keychain; exit 1"), StringComparison.Ordinal)
            .Replace("HOST", _registry.Host, StringComparison.Ordinal);

        ImagePullException fault = await FailAsync<ImagePullException>("test.example/a", null, Config(config));

        Assert.Contains(message.Replace("HOST", _registry.Host, StringComparison.Ordinal), fault.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("wrong", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_unrelated_token_service_gets_no_secret()
    {
        using var odd = new ScriptedRegistry("127.0.0.2");
        _registry.Script = _ => new(401, [], ("WWW-Authenticate", $"Bearer realm=\"https://{odd.Host}/token\",service=\"s\""));

        ImagePullException fault = await FailAsync<ImagePullException>("test.example/a", null, Config($$"""{"auths":{"{{_registry.Host}}":{"auth":"{{Basic[6..]}}"} } }"""));

        Assert.Contains($"the token service {odd.Host}, which is not given the credential", fault.Message, StringComparison.Ordinal);
        Assert.Empty(odd.Requests);
    }

    [Fact]
    public async Task A_registry_named_by_a_user_cannot_redirect_to_configured_private_addresses()
    {
        _registry.AddImage("a", "latest", [Layer]);
        var options = new RegistryClientOptions();
        using var client = new RegistryHttp(new RegistryEndpoints([new RegistryOptions { Name = "m", Mirrors = [_registry.Url] }], []), options);
        var target = new Uri(_registry.Url + "/v2/a/manifests/latest");

        // First, so that a kept connection would be reused.
        using (var request = new HttpRequestMessage(HttpMethod.Get, target))
        using (HttpResponseMessage answer = await client.SendAsync(new RegistryEndpoint(new Uri(_registry.Url), IsConfigured: true), request, Cancel))
        {
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        }

        using var again = new HttpRequestMessage(HttpMethod.Get, target);
        RegistryException fault = await Assert.ThrowsAsync<RegistryException>(() => client.SendAsync(new RegistryEndpoint(new Uri("https://public.example"), IsConfigured: false), again, Cancel));
        Assert.Contains("has no public address", fault.Message, StringComparison.Ordinal);
        Assert.Single(_registry.Requests);
    }

    [Theory]
    [Slow]
    [InlineData("own", null)]
    [InlineData("none", "no secure connection")]
    [InlineData("other", "no secure connection")]
    [InlineData("name", "no secure connection")]
    [InlineData("insecure", null)]
    public async Task Certificates_are_trusted_as_configured(string how, string? message)
    {
        using X509Certificate2 authority = Authority("Own");
        using X509Certificate2 other = Authority("Other");
        using X509Certificate2 server = Certificate(authority, how == "name" ? "127.0.0.9" : "127.0.0.1");
        await File.WriteAllTextAsync(_scratch["own.pem"], (how == "other" ? other : authority).ExportCertificatePem(), Cancel);
        using var secure = new ScriptedRegistry(certificate: server);
        secure.AddImage("a", "latest", [Layer]);
        ImageStoreOptions Change(ImageStoreOptions options) => options.With(changed =>
        {
            changed.AllowedRegistries = how == "insecure" ? [] : [secure.Host];
            changed.Registries = [new() { Name = secure.Host, Insecure = how == "insecure", Certificate = how is "none" or "insecure" ? null : _scratch["own.pem"] }];
        });
        await using ImageStore store = Store(Change);

        Task<IImageLease> pull = store.AcquireAsync(ImageReference.Parse($"{secure.Host}/a"), Cancel);

        if (message is null)
        {
            Assert.Equal("content", await File.ReadAllTextAsync(Path.Combine((await pull).RootPath, "file"), Cancel));
        }
        else
        {
            // The next request is http, which this registry does not support.
            Assert.Contains(message, (await Assert.ThrowsAsync<ImagePullException>(() => pull)).Message, StringComparison.Ordinal);
            Assert.Empty(secure.Requests);
        }
    }

    [Fact]
    public void Unreadable_certificates_are_explained()
    {
        File.WriteAllText(_scratch["empty.pem"], "nothing");
        ArgumentException fault = Assert.Throws<ArgumentException>(() => Store(options => options.With(changed => changed.Registries = [new() { Name = "a.example", Certificate = _scratch["missing.pem"] }, new() { Name = "b.example", Certificate = _scratch["empty.pem"] }])));
        Assert.Contains("a.example", fault.Message, StringComparison.Ordinal);
        Assert.Contains("empty.pem has no certificate in PEM form", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Registries_are_asked_through_the_proxy_unless_their_addresses_are_private()
    {
        using var proxy = new ScriptedRegistry("127.0.0.4");
        const string Origin = "http://mirror.invalid:5000";
        proxy.AddImage("a", "latest", [Layer]);
        proxy.Script = request => proxy.Content.GetValueOrDefault(request.Path.Replace(Origin, "", StringComparison.Ordinal));
        ImageStoreOptions Change(ImageStoreOptions options) => options.With(changed =>
        {
            changed.Proxy = new WebProxy(proxy.Url);
            changed.Registries = [new() { Name = "test.example", Mirrors = [Origin] }, new() { Name = "local.example", Mirrors = [_registry.Url] }];
        });
        await using ImageStore store = Store(Change);
        await using IImageLease lease = await store.AcquireAsync(ImageReference.Parse("test.example/a"), Cancel);
        Assert.Equal("content", await File.ReadAllTextAsync(Path.Combine(lease.RootPath, "file"), Cancel));
        Assert.All(proxy.Requests, request => Assert.StartsWith(Origin, request.Path, StringComparison.Ordinal));

        // The proxy is never used for loopback addresses.
        _registry.AddImage("b", "latest", [Layer]);
        await using IImageLease local = await store.AcquireAsync(ImageReference.Parse("local.example/b"), Cancel);

        int before = proxy.Requests.Count;
        ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => store.AcquireAsync(ImageReference.Parse("10.1.2.3:5000/a"), Cancel));
        Assert.Contains("10.1.2.3:5000 has no public address", fault.Message, StringComparison.Ordinal);
        Assert.Equal(before, proxy.Requests.Count);
    }

    [Fact]
    public async Task An_interrupted_blob_resumes_where_it_stopped()
    {
        byte[] layer = new Archive().Add('0', "file", content: RandomNumberGenerator.GetBytes(3_000_000)).ToBytes();
        string blob = _registry.AddImage("a", "latest", [layer]);
        byte[] body = _registry.Content[blob].Body;
        var starts = new List<long>();
        _registry.Script = request =>
        {
            if (request.Path != blob)
            {
                return null;
            }

            long start = request.Headers.TryGetValue("Range", out string? range) ? long.Parse(range["bytes=".Length..^1], CultureInfo.InvariantCulture) : 0;
            starts.Add(start);
            byte[] rest = body[(int)start..];
            byte[] part = rest[..Math.Min(rest.Length, 1_000_000)];
            return start == 0
                ? new(200, part) { StatedLength = body.Length }
                : new(206, part, ("Content-Range", $"bytes {start}-{body.Length - 1}/{body.Length}")) { StatedLength = rest.Length };
        };

        await using ImageStore store = Store();
        await using IImageLease lease = await store.AcquireAsync(ImageReference.Parse("test.example/a"), Cancel);

        Assert.Equal(3_000_000, new FileInfo(Path.Combine(lease.RootPath, "file")).Length);
        Assert.Equal([0, 1_000_000, 2_000_000, 3_000_000], starts.Take(4));
    }

    [Theory]
    [InlineData("bytes 0-9/10", "answered 206")]
    [InlineData("nonsense", "answered 206")]
    public async Task A_wrong_range_of_a_blob_is_rejected(string range, string message)
    {
        string blob = _registry.AddImage("a", "latest", [Layer]);
        byte[] body = _registry.Content[blob].Body;
        _registry.Script = request => request.Path != blob ? null
            : request.Headers.ContainsKey("Range") ? new(206, body, ("Content-Range", range))
            : new(200, body[..9]) { StatedLength = body.Length };

        Assert.Contains(message, (await FailAsync<ImagePullException>("test.example/a", null, null)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_blob_that_is_interrupted_again_and_again_fails()
    {
        string blob = _registry.AddImage("a", "latest", [Layer]);
        byte[] body = _registry.Content[blob].Body;
        _registry.Script = request => request.Path == blob ? new(200, body[..9]) { StatedLength = body.Length } : null;

        ImagePullException fault = await FailAsync<ImagePullException>("test.example/a", null, null);

        Assert.Contains($"blob {blob[(blob.LastIndexOf('/') + 1)..]}", fault.Message, StringComparison.Ordinal);
        Assert.InRange(_registry.Requests.Count(request => request.Path == blob), 3, 25);
    }

    [Fact]
    public async Task Retry_after_may_be_a_date()
    {
        _registry.AddImage("a", "latest", [Layer]);
        var time = new FakeTimeProvider(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));
        int requests = 0;
        _registry.Script = _ => Interlocked.Increment(ref requests) == 1 ? new(503, [], ("Retry-After", "Thu, 01 Jan 2026 00:00:40 GMT")) : null;
        await using ImageStore store = Store(options => options.With(changed => changed.TimeProvider = time));

        Task<IImageLease> pull = store.AcquireAsync(ImageReference.Parse("test.example/a"), Cancel);
        while (Volatile.Read(ref requests) == 0)
        {
            await Task.Delay(10, Cancel);
        }

        await Task.Delay(200, Cancel);
        time.Advance(TimeSpan.FromSeconds(30));
        await Task.Delay(200, Cancel);
        Assert.Equal(1, requests);
        time.Advance(TimeSpan.FromSeconds(11));
        await pull;

        _registry.Script = _ => new(429, [], ("Retry-After", "Thu, 01 Jan 2026 01:00:00 GMT"));
        Assert.Contains("asks to wait", (await Assert.ThrowsAsync<ImagePullException>(() => store.AcquireAsync(ImageReference.Parse("test.example/b"), Cancel))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task PullPolicy_decides_when_the_registry_is_asked()
    {
        await using ImageStore store = Store();
        ImageReference tag = ImageReference.Parse("test.example/a");
        Task<IImageLease> AcquireAsync(ImageReference reference, PullPolicy policy) => store.AcquireAsync(reference, new ImageAcquireOptions { Policy = policy }, Cancel);
        Assert.Contains("is not in the local store", (await Assert.ThrowsAsync<ImageNotFoundException>(() => AcquireAsync(tag, PullPolicy.Never))).Message, StringComparison.Ordinal);
        Assert.Empty(_registry.Requests);
        _registry.AddImage("a", "latest", [Layer]);
        string first = (await AcquireAsync(tag, PullPolicy.Missing)).Digest;

        _registry.AddImage("a", "latest", [Layer, new Archive().File("more").ToBytes()]);
        int before = _registry.Requests.Count;
        Assert.Equal(first, (await AcquireAsync(tag, PullPolicy.Missing)).Digest);
        Assert.Equal(first, (await AcquireAsync(tag, PullPolicy.Never)).Digest);
        Assert.Equal(before, _registry.Requests.Count);
        string second = (await AcquireAsync(tag, PullPolicy.Always)).Digest;
        Assert.NotEqual(first, second);
        Assert.Equal(second, (await AcquireAsync(tag, PullPolicy.Missing)).Digest);

        // A stored image is not pulled again, and the registry is not asked for a digest.
        before = _registry.Requests.Count;
        Assert.Equal(second, (await AcquireAsync(tag, PullPolicy.Always)).Digest);
        Assert.Equal(before + 1, _registry.Requests.Count);
        Assert.Equal(first, (await AcquireAsync(ImageReference.Parse("test.example/a@" + first), PullPolicy.Missing)).Digest);
        before = _registry.Requests.Count;
        Assert.Equal(first, (await AcquireAsync(ImageReference.Parse("test.example/a@" + first), PullPolicy.Always)).Digest);
        Assert.Equal(before, _registry.Requests.Count);
    }

    [Fact]
    public async Task All_callers_of_a_pull_receive_its_progress()
    {
        string blob = _registry.AddImage("a", "latest", [new Archive().Add('0', "file", content: RandomNumberGenerator.GetBytes(3_000_000)).ToBytes(), Layer]);
        var gate = new TaskCompletionSource();
        _registry.Content[blob] = _registry.Content[blob] with { Gate = gate.Task };
        await using ImageStore store = Store();
        var one = new Reports();
        var other = new Reports();
        Task<IImageLease> first = store.AcquireAsync(ImageReference.Parse("test.example/a"), new ImageAcquireOptions { Progress = one }, Cancel);
        Task<IImageLease> second = store.AcquireAsync(ImageReference.Parse("test.example/a"), new ImageAcquireOptions { Progress = other }, Cancel);
        while (!_registry.Requests.Any(request => request.Path == blob))
        {
            await Task.Delay(10, Cancel);
        }

        gate.SetResult();
        await first;
        await second;

        string digest = blob[(blob.LastIndexOf('/') + 1)..];
        PullProgress[] large = [.. one.All.Where(report => report.Digest == digest)];
        Assert.Equal(new PullProgress(digest, 0, large[0].TotalBytes, false), large[0]);
        Assert.Equal(new PullProgress(digest, large[0].TotalBytes, large[0].TotalBytes, true), large[^1]);
        Assert.InRange(large.Length, 4, 10);
        Assert.Equal(large.Select(report => report.Bytes).Order(), large.Select(report => report.Bytes));
        Assert.Contains(other.All, report => report.IsStored && report.Digest == digest);
        Assert.Equal(2, one.All.Count(report => report.IsStored));
    }

    [Fact]
    [Slow]
    public async Task Certificates_of_one_port_are_not_trusted_at_another()
    {
        using X509Certificate2 authority = Authority("Own");
        using X509Certificate2 other = Authority("Other");
        using X509Certificate2 server = Certificate(authority, "127.0.0.1");
        using X509Certificate2 otherServer = Certificate(other, "127.0.0.1");
        await File.WriteAllTextAsync(_scratch["own.pem"], authority.ExportCertificatePem(), Cancel);
        await File.WriteAllTextAsync(_scratch["other.pem"], other.ExportCertificatePem(), Cancel);
        using var own = new ScriptedRegistry(certificate: server);
        using var impostor = new ScriptedRegistry(certificate: otherServer);
        using var any = new ScriptedRegistry(certificate: otherServer);
        using var insecure = new ScriptedRegistry(certificate: otherServer);
        using var beside = new ScriptedRegistry(certificate: server);
        ScriptedRegistry[] all = [own, impostor, any, insecure, beside];
        foreach (ScriptedRegistry each in all)
        {
            each.AddImage("a", "latest", [Layer]);
        }

        await using ImageStore store = Store(options => options.With(changed =>
        {
            changed.AllowedRegistries = [.. all.Select(each => each.Host)];
            changed.Registries =
            [
                new() { Name = insecure.Host, Insecure = true },
                new() { Name = own.Host, Certificate = _scratch["own.pem"] },
                new() { Name = impostor.Host, Certificate = _scratch["own.pem"] },
                new() { Name = "127.0.0.1", Certificate = _scratch["other.pem"] },
            ];
        }));

        foreach (ScriptedRegistry believed in (ScriptedRegistry[])[own, any, insecure])
        {
            await using IImageLease lease = await store.AcquireAsync(ImageReference.Parse(believed.Host + "/a"), Cancel);
        }

        foreach (ScriptedRegistry refused in (ScriptedRegistry[])[impostor, beside])
        {
            ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => store.AcquireAsync(ImageReference.Parse(refused.Host + "/a"), Cancel));
            Assert.Contains("no secure connection to " + refused.Host, fault.Message, StringComparison.Ordinal);
            Assert.Empty(refused.Requests);
        }
    }

    [Theory]
    [InlineData("registry.example:5000", "https://registry.example:5000/v2/", true)]
    [InlineData("Registry.Example:5000", "https://registry.example:5000/v2/", true)]
    [InlineData("registry.example:5000", "https://registry.example:5001/v2/", false)]
    [InlineData("registry.example:5000", "https://registry.example/v2/", false)]
    [InlineData("registry.example", "https://registry.example/v2/", true)]
    [InlineData("registry.example", "https://registry.example:5000/v2/", false)]
    [InlineData("registry.example", "https://other.registry.example/v2/", false)]
    [InlineData("[::1]", "https://[::1]/v2/", true)]
    [InlineData("[::1]", "https://[::1]:5000/v2/", false)]
    [InlineData("[::1]:5000", "https://[::1]:5000/v2/", true)]
    [InlineData("[::1]:5000", "https://[::1]:5001/v2/", false)]
    public void Insecure_applies_to_a_host_with_its_port(string insecure, string address, bool expected)
    {
        using var certificates = new RegistryCertificates([new RegistryOptions { Name = insecure, Insecure = true }]);
        Assert.Equal(expected, certificates.ValidationFor(new Uri(address)) is { } validation && validation(this, null, null, SslPolicyErrors.RemoteCertificateNotAvailable));
    }

    [Theory]
    [Slow]
    [InlineData("429", "answered 429 for manifest latest of a and asks to wait 3600 s before the next request")]
    [InlineData("403", "answered 403 for manifest latest of a")]
    [InlineData("digest", "has the digest sha256:")]
    [InlineData("layer", "answered 403 for blob sha256:")]
    [InlineData("elsewhere", "no answer from 127.0.0.1:1: ")]
    public async Task Http_is_not_tried_after_an_answer_over_https(string how, string message)
    {
        using X509Certificate2 authority = Authority("Own");
        using X509Certificate2 server = Certificate(authority, "127.0.0.1");
        await File.WriteAllTextAsync(_scratch["ca.pem"], authority.ExportCertificatePem(), Cancel);
        using var secure = new ScriptedRegistry(certificate: server);
        string blob = secure.AddImage("a", "latest", [Layer]);
        secure.Script = request => (how, request.Path == blob) switch
        {
            ("429", _) => new(429, [], ("Retry-After", "3600")),
            ("403", _) or ("layer", true) => new(403, []),
            ("digest", true) => new(200, [.. secure.Content[blob].Body[..^1], 1]),
            ("elsewhere", true) => new(307, [], ("Location", "https://127.0.0.1:1/storage")),
            _ => null,
        };
        var time = new FakeTimeProvider(DateTimeOffset.UtcNow);
        await using ImageStore store = Store(options => options.With(changed =>
        {
            changed.TimeProvider = time;
            changed.PullTimeout = TimeSpan.FromDays(1);
            changed.AllowedRegistries = [secure.Host, "127.0.0.1:1"];
            changed.Registries = [new() { Name = secure.Host, Certificate = _scratch["ca.pem"] }];
        }));

        // The clock skips the delays between attempts.
        Task<IImageLease> pull = store.AcquireAsync(ImageReference.Parse(secure.Host + "/a"), Cancel);
        while (await Task.WhenAny(pull, Task.Delay(20, Cancel)) != pull)
        {
            time.Advance(TimeSpan.FromSeconds(1));
        }

        ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => pull);

        // A request over http would fail with another reason: this registry does not support it.
        Assert.Contains(message, fault.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("; ", fault.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("no answer from " + secure.Host, fault.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("HOST")]
    [InlineData("https://HOST")]
    [InlineData("https://HOST/")]
    [InlineData("https://HOST/v1/")]
    [InlineData("http://HOST/v2")]
    [InlineData(null)]
    public async Task A_part_of_a_registry_has_a_credential_of_its_own(string? key)
    {
        string host = _registry.Host;
        string entry = key is null ? "" : $$""","{{key.Replace("HOST", host, StringComparison.Ordinal)}}":{"auth":"{{Basic[6..]}}"}""";
        DockerConfigCredentials credentials = Config($$"""{"auths":{"{{host}}/team":{"auth":"b3RoZXI6b3RoZXI="},"https://{{host}}/team/":{"auth":"b3RoZXI6b3RoZXI="},"{{host}}/v1/team":{"auth":"b3RoZXI6b3RoZXI="}{{entry}} } }""");

        RegistryCredential? found = await credentials.FindAsync(host, Cancel);

        Assert.Equal(key is null ? null : "user pass:word", found is null ? null : $"{found.UserName} {found.Secret}");
    }

    [Fact]
    public async Task A_progress_listener_that_throws_does_not_fail_the_pull()
    {
        string blob = _registry.AddImage("a", "latest", [new Archive().Add('0', "file", content: RandomNumberGenerator.GetBytes(2_000_000)).ToBytes()]);
        var gate = new TaskCompletionSource();
        _registry.Content[blob] = _registry.Content[blob] with { Gate = gate.Task };
        await using ImageStore store = Store();
        var listens = new Reports();
        var throws = new Throwing();
        Task<IImageLease> first = store.AcquireAsync(ImageReference.Parse("test.example/a"), new ImageAcquireOptions { Progress = throws }, Cancel);
        Task<IImageLease> second = store.AcquireAsync(ImageReference.Parse("test.example/a"), new ImageAcquireOptions { Progress = listens }, Cancel);
        while (!first.IsCompleted && !_registry.Requests.Any(request => request.Path == blob))
        {
            await Task.Delay(10, Cancel);
        }

        gate.SetResult();

        Assert.Equal((await first).RootPath, (await second).RootPath);
        Assert.Equal(1, throws.Times);
        Assert.Contains(listens.All, report => report.IsStored);
        Assert.Single(_registry.Requests, request => request.Path == blob);
    }

    public void Dispose()
    {
        _registry.Dispose();
        _scratch.Dispose();
    }

    private static X509Certificate2 Authority(string name)
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest($"CN={name}", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(true, false, 0, true));
        return request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(2));
    }

    private static X509Certificate2 Certificate(X509Certificate2 authority, string address)
    {
        using var key = RSA.Create(2048);
        var request = new CertificateRequest("CN=registry", key, HashAlgorithmName.SHA256, RSASignaturePadding.Pkcs1);
        var names = new SubjectAlternativeNameBuilder();
        names.AddIpAddress(IPAddress.Parse(address));
        request.CertificateExtensions.Add(names.Build());
        using X509Certificate2 certificate = request.Create(authority, DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1), [1, 2, 3]);
        using X509Certificate2 whole = certificate.CopyWithPrivateKey(key);
        return X509CertificateLoader.LoadPkcs12(whole.Export(X509ContentType.Pfx), null);
    }

    private string Helper(string script)
    {
        string name = "boxer-test-" + Guid.NewGuid().ToString("N");
        string path = _scratch["docker-credential-" + name];
        File.WriteAllText(path, "#!/bin/sh\n" + script + "\n");
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        Environment.SetEnvironmentVariable("PATH", Environment.GetEnvironmentVariable("PATH") + ":" + _scratch.Path);
        return name;
    }

    private DockerConfigCredentials Config(string json)
    {
        File.WriteAllText(_scratch["config.json"], json);
        return new DockerConfigCredentials(_scratch["config.json"]);
    }

    private async Task PullAsync(string config)
    {
        await using ImageStore store = Store(options => options.With(changed => changed.Credentials = Config(config)));
        await using IImageLease lease = await store.AcquireAsync(ImageReference.Parse("test.example/a"), Cancel);
        Assert.Equal("content", await File.ReadAllTextAsync(Path.Combine(lease.RootPath, "file"), Cancel));
    }

    private async Task<T> FailAsync<T>(string reference, string? allowed, IRegistryCredentials? credentials)
        where T : Exception
    {
        await using ImageStore store = Store(options => options.With(changed => { changed.AllowedRegistries = allowed is null ? [] : [allowed]; changed.Credentials = credentials; }));
        return await Assert.ThrowsAsync<T>(() => store.AcquireAsync(ImageReference.Parse(reference), Cancel));
    }

    private ImageStore Store(Func<ImageStoreOptions, ImageStoreOptions>? change = null)
    {
        var options = new ImageStoreOptions
        {
            Home = _scratch["home"],
            RootsDirectory = _scratch["roots"],
            RootKind = ImageRootKind.Flattened,
            Registries = [new() { Name = "test.example", Mirrors = [_registry.Url] }],
        };
        return new ImageStore(change is null ? options : change(options));
    }

    private sealed class Reports : IProgress<PullProgress>
    {
        private readonly Lock _lock = new();
        private readonly List<PullProgress> _all = [];

        public IReadOnlyList<PullProgress> All
        {
            get
            {
                lock (_lock)
                {
                    return [.. _all];
                }
            }
        }

        public void Report(PullProgress value)
        {
            lock (_lock)
            {
                _all.Add(value);
            }
        }
    }

    private sealed class Throwing : IProgress<PullProgress>
    {
        public int Times { get; private set; }

        public void Report(PullProgress value)
        {
            Times++;
            throw new InvalidOperationException("a fault of a listener");
        }
    }
}
