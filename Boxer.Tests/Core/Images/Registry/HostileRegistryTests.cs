using System.Net;
using System.Security.Cryptography;
using System.Text;
using Boxer.Common;
using Boxer.Images;
using Boxer.Images.Disk;
using Boxer.Images.Manifests;
using Boxer.Images.Registry;
using Boxer.Images.Store;
using Boxer.Tests.Support;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Images.Registry;

/// <summary>A store against registries that send wrong data, reject requests or break.</summary>
public sealed class HostileRegistryTests : IDisposable
{
    private static readonly byte[] Layer = new Archive().File("file", "content").ToBytes();

    private readonly ScratchDirectory _scratch = new();
    private readonly ScriptedRegistry _registry = new();

    [Fact]
    public async Task AcquireAsync_rejects_content_with_a_wrong_digest_and_leaves_nothing()
    {
        string blob = _registry.AddImage("a", "latest", [Layer]);
        byte[] lie = _registry.Content[blob].Body.ToArray();
        lie[^9] ^= 1;
        _registry.Content[blob] = new(200, lie);

        ImagePullException fault = await FailAsync<ImagePullException>("a");

        Assert.NotEmpty(fault.Message);
        Assert.Empty(Files("layers").Concat(Files("blobs")).Concat(Files("references")).Concat(Files("roots")));
    }

    [Fact]
    public async Task AcquireAsync_rejects_wrong_content_with_the_right_digest()
    {
        byte[] other = Archive.Gzip(new Archive().File("file", "other").ToBytes());
        _registry.AddImage("a", "latest", [Layer], blobs: [other]);

        Assert.Contains("has the digest", (await FailAsync<ImagePullException>("a")).Message, StringComparison.Ordinal);
        Assert.Empty(Files("layers").Concat(Files("references")).Concat(Files("roots")));
    }

    [Theory]
    [InlineData("manifest")]
    [InlineData("config")]
    public async Task AcquireAsync_rejects_manifests_and_configs_with_a_wrong_digest(string which)
    {
        _registry.AddImage("a", "latest", [Layer]);
        string path = which == "manifest"
            ? _registry.Content.Keys.Single(key => key.Contains("/manifests/sha256:", StringComparison.Ordinal))
            : _registry.Content.Single(pair => pair.Value.Body.AsSpan().IndexOf("diff_ids"u8) >= 0).Key;
        _registry.Content[path] = _registry.Content[path] with { Body = [.. _registry.Content[path].Body[..^1], (byte)' '] };

        string reference = which == "manifest" ? "a@" + path[(path.LastIndexOf('/') + 1)..] : "a";
        Assert.Contains("has the digest", (await FailAsync<ImagePullException>(reference)).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AcquireAsync_rejects_a_manifest_that_differs_from_its_digest_header()
    {
        _registry.AddImage("a", "latest", [Layer]);
        const string Path = "/v2/a/manifests/latest";
        ScriptedAnswer answer = _registry.Content[Path];
        _registry.Content[Path] = new(200, answer.Body, [.. answer.Headers, ("Docker-Content-Digest", "sha256:" + new string('0', 64))]);

        Assert.Contains("instead of sha256:000", (await FailAsync<ImagePullException>("a")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task AcquireAsync_retries_a_short_body_and_then_fails()
    {
        string blob = _registry.AddImage("a", "latest", [Layer]);
        ScriptedAnswer whole = _registry.Content[blob];
        int requests = 0;
        _registry.Script = request => request.Path == blob && Interlocked.Increment(ref requests) == 1
            ? whole with { Body = whole.Body[..^5], StatedLength = whole.Body.Length } : null;
        await using (ImageStore store = Store())
        {
            await using IImageLease lease = await AcquireAsync(store, "a");
            Assert.Equal("content", File.ReadAllText(Path.Combine(lease.RootPath, "file")));
            Assert.Equal(2, requests);
        }

        _registry.AddImage("b", "latest", [new Archive().File("other", "x").ToBytes()]);
        _registry.Script = request => request.Path.StartsWith("/v2/b/blobs/", StringComparison.Ordinal) && _registry.Content[request.Path].Body.AsSpan(0, 2).SequenceEqual((byte[])[0x1F, 0x8B])
            ? _registry.Content[request.Path] with { Body = _registry.Content[request.Path].Body[..^5], StatedLength = -1 } : null;
        Assert.NotEmpty((await FailAsync<ImagePullException>("b")).Message);
    }

    [Fact]
    public async Task Endless_bodies_end_at_their_limit()
    {
        string blob = _registry.AddImage("a", "latest", [Layer]);
        _registry.Content[blob] = _registry.Content[blob] with { Endless = true };
        Assert.Contains("longer than", (await FailAsync<ImagePullException>("a")).Message, StringComparison.Ordinal);

        _registry.Content["/v2/b/manifests/latest"] = new(200, new byte[65536], ("Content-Type", ImageMediaTypes.OciManifest)) { Endless = true };
        Assert.Contains("the manifest is longer than 4194304", (await FailAsync<ImagePullException>("b")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_decompression_bomb_ends_at_its_limit()
    {
        byte[] zeros = new Archive().Add('0', "zeros", content: new byte[8 * 1024 * 1024]).ToBytes();
        _registry.AddImage("a", "latest", [zeros]);

        Assert.Contains("more than 1000000 bytes", (await FailAsync<ImagePullException>("a", options => options.With(changed => changed.MaxImageBytes = 1_000_000))).Message, StringComparison.Ordinal);
        Assert.Contains("more than 5", (await FailAsync<ImagePullException>("b", options =>
        {
            _registry.AddImage("b", "latest", [Enumerable.Range(0, 6).Aggregate(new Archive(), (archive, i) => archive.File($"f{i}")).ToBytes()]);
            return options.With(changed => changed.MaxImageEntries = 5);
        })).Message, StringComparison.Ordinal);
        Assert.Empty(Files("layers").Concat(Files("roots")).Concat(Files("references")));
    }

    [Theory]
    [MemberData(nameof(RootKinds.All), MemberType = typeof(RootKinds))]
    public async Task A_rejection_names_the_image_the_layer_and_the_entry(ImageRootKind kind)
    {
        RootKinds.SkipUnlessPossible(kind);
        byte[] hostile = Archive.Gzip(new Archive().File("good").File("../escape").ToBytes());
        _registry.AddImage("a", "latest", [Layer, new Archive().File("good").File("../escape").ToBytes()]);

        ImagePullException fault = await FailAsync<ImagePullException>("a", options => options.With(changed => changed.RootKind = kind));

        Assert.Contains("The image test.example/a:latest", fault.Message, StringComparison.Ordinal);
        Assert.Contains($"layer {ImageDigest.Sha256Of(hostile)}: Entry \"../escape\" is refused: a name has \"..\" in it.", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Gzip_of_several_members_is_one_layer()
    {
        byte[] blob = [.. Archive.Gzip(Layer[..700]), .. Archive.Gzip(Layer[700..])];
        _registry.AddImage("a", "latest", [Layer], blobs: [blob]);

        await using ImageStore store = Store();
        await using IImageLease lease = await AcquireAsync(store, "a");
        Assert.Equal("content", File.ReadAllText(Path.Combine(lease.RootPath, "file")));
    }

    [Theory]
    [InlineData("truncated")]
    [InlineData("flipped")]
    public async Task AcquireAsync_rejects_damaged_gzip_with_the_right_digest(string how)
    {
        byte[] blob = Archive.Gzip(Layer);
        if (how == "truncated")
        {
            blob = blob[..^20];
        }
        else
        {
            blob[blob.Length / 2] ^= 0x55;
        }

        _registry.AddImage("a", "latest", [Layer], blobs: [blob]);

        Assert.NotEmpty((await FailAsync<ImagePullException>("a")).Message);
        Assert.Empty(Files("layers").Concat(Files("roots")).Concat(Files("references")));
    }

    [Fact]
    public async Task Loopback_addresses_are_rejected_unless_they_are_listed()
    {
        using var other = new ScriptedRegistry("127.0.0.2");
        other.AddImage("a", "latest", [Layer]);
        string reference = $"{other.Host}/a";

        ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(async () =>
        {
            await using ImageStore store = Store();
            await store.AcquireAsync(ImageReference.Parse(reference), TestContext.Current.CancellationToken);
        });

        Assert.Contains("has no public address; list it in AllowedRegistries", fault.Message, StringComparison.Ordinal);
        Assert.Empty(other.Requests);
    }

    [Fact]
    public async Task Redirect_to_an_unlisted_address_is_not_followed()
    {
        using var other = new ScriptedRegistry("127.0.0.2");
        string blob = _registry.AddImage("a", "latest", [Layer]);
        foreach (string target in (string[])[other.Url + blob, "https://" + other.Host + blob, "ftp://127.0.0.2/", "http://user:password@" + _registry.Host + blob])
        {
            _registry.Script = request => request.Path == blob ? new(307, [], ("Location", target)) : null;
            Assert.NotEmpty((await FailAsync<ImagePullException>("a")).Message);
            Assert.DoesNotContain(other.Requests, request => request.Path.StartsWith("/v2", StringComparison.Ordinal));
        }

        _registry.Script = request => request.Path == blob ? new(302, [], ("Location", blob)) : null;
        Assert.Contains("more than 5 times", (await FailAsync<ImagePullException>("a")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_token_is_requested_once_and_not_sent_along_redirects()
    {
        using var storage = new ScriptedRegistry("127.0.0.3");
        string blob = _registry.AddImage("a", "latest", [Layer]);
        storage.Content["/storage"] = _registry.Content[blob];
        _registry.Script = request => request switch
        {
            { Path: var path } when path.StartsWith("/token", StringComparison.Ordinal) => new(200, """{"token":"secret"}"""u8.ToArray()),
            _ when request.Headers.GetValueOrDefault("Authorization") != "Bearer secret" =>
                new(401, [], ("WWW-Authenticate", $"Bearer realm=\"{_registry.Url}/token\",service=\"registry\",scope=\"repository:everything:push\"")),
            { Path: var path } when path == blob => new(307, [], ("Location", storage.Url + "/storage")),
            _ => null,
        };

        await using ImageStore store = Store(options => options.With(changed =>
        {
            // The storage is another host, which may be reached.
            changed.Registries = [.. options.Registries, new() { Name = "storage.example", Mirrors = [storage.Url] }];
        }));
        await using IImageLease lease = await AcquireAsync(store, "a");

        Assert.Equal("/token?service=registry&scope=repository%3Aa%3Apull", Assert.Single(_registry.Requests, request => request.Path.StartsWith("/token", StringComparison.Ordinal)).Path);
        Assert.False(Assert.Single(storage.Requests).Headers.ContainsKey("Authorization"));
    }

    [Theory]
    [InlineData("http://127.0.0.2:1/token")]
    [InlineData("http://token.example/token")]
    [InlineData("file:///etc/passwd")]
    [InlineData("nonsense")]
    public async Task A_token_service_without_TLS_is_rejected(string realm)
    {
        _registry.Script = _ => new(401, [], ("WWW-Authenticate", $"Bearer realm=\"{realm}\""));

        Assert.Contains("token service that is rejected", (await FailAsync<ImagePullException>("a")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Error_statuses_give_different_faults()
    {
        Assert.Contains("MANIFEST_UNKNOWN", (await FailAsync<ImageNotFoundException>("missing")).Message, StringComparison.Ordinal);

        _registry.Script = _ => new(401, [], ("WWW-Authenticate", "Basic realm=\"x\""));
        Assert.Contains("user name and password", (await FailAsync<ImagePullException>("a")).Message, StringComparison.Ordinal);

        _registry.Script = _ => new(403, []);
        Assert.Contains("answered 403", (await FailAsync<ImagePullException>("a")).Message, StringComparison.Ordinal);

        _registry.Script = request => request.Path.StartsWith("/token", StringComparison.Ordinal)
            ? new(200, """{"access_token":"t"}"""u8.ToArray())
            : new(401, """{"errors":[{"code":"UNAUTHORIZED"}]}"""u8.ToArray(), ("WWW-Authenticate", $"Bearer realm=\"{_registry.Url}/token\""));
        Assert.Contains("does not exist at", (await FailAsync<ImageNotFoundException>("a")).Message, StringComparison.Ordinal);

        _registry.Script = _ => new(418, "teapot"u8.ToArray());
        Assert.Contains("answered 418", (await FailAsync<ImagePullException>("a")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_busy_registry_is_asked_again()
    {
        _registry.AddImage("a", "latest", [Layer]);
        int requests = 0;
        _registry.Script = _ => Interlocked.Increment(ref requests) switch
        {
            1 => new(503, []),
            2 => new(429, [], ("Retry-After", "0")),
            _ => null,
        };

        await using (ImageStore store = Store())
        {
            await using IImageLease lease = await AcquireAsync(store, "a");
        }

        _registry.Script = _ => new(429, [], ("Retry-After", "3600"));
        Assert.Contains("wait 3600 s before the next request", (await FailAsync<ImagePullException>("b")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_config_with_the_digest_of_a_layer_is_not_read_into_memory()
    {
        byte[] layer = new Archive().Add('0', "zeros", content: new byte[64 * 1024 * 1024]).ToBytes();
        string blob = _registry.AddImage("a", "latest", [layer], blobs: [layer]);
        await using ImageStore store = Store();
        await using IImageLease lease = await AcquireAsync(store, "a");
        string digest = blob.Split('/')[^1];
        Assert.True(File.Exists(_scratch["home/blobs/sha256/" + digest["sha256:".Length..]]));
        _registry.Content["/v2/b/blobs/" + digest] = _registry.Content[blob];
        foreach (long size in (long[])[100, layer.Length])
        {
            _registry.AddManifest("b", "latest", Encoding.UTF8.GetBytes($$"""{"schemaVersion":2,"config":{"mediaType":"{{ImageMediaTypes.OciConfig}}","digest":"{{digest}}","size":{{size}}},"layers":[]}"""));

            ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => AcquireAsync(store, "b"));

            Assert.Contains(
                size == 100 ? $"blob {digest} has {layer.Length} bytes instead of the 100" : $"the image's config has {size} bytes; 8388608 are allowed", fault.Message, StringComparison.Ordinal);
        }

        using var directory = new ImageDirectory(_scratch["home"]);
        Assert.True(ImageDigest.TryParse(digest, out ImageDigest named));
        Assert.Null(directory.ReadBlob(named, long.MaxValue));
    }

    [Theory]
    [InlineData("manifest")]
    [InlineData("config")]
    public async Task Messages_about_malformed_JSON_do_not_quote_it(string which)
    {
        // The reader names the path of the fault, and the document decides how long and odd that is.
        string name = "\\u001b[31m\\u202e\\n" + new string('x', 10_000);
        foreach ((string json, string place) in ((string, string)[])
            [
                ($"{{\n  \"{name}\": tru}}", "line 2, byte "),
                ($"{{\n\"annotations\":{{}},\n \"config\":{{\"annotations\":{{\"{name}\":{{}} }},\"Env\":{{}} }} }}", "line 3, byte "),
                ($"{{\"config\":\"{name}", "line 1, byte "),
            ])
        {
            byte[] bytes = Encoding.UTF8.GetBytes(json);
            if (which == "manifest")
            {
                _registry.AddManifest("a", "latest", bytes);
            }
            else
            {
                AddImage(bytes, [], 0);
            }

            ImagePullException fault = await FailAsync<ImagePullException>("a");

            Assert.Matches($"{which} is malformed at {place}[1-9][0-9]*\\.$", fault.Message);
            Assert.Equal(UntrustedText.Show(fault.Message), fault.Message);
        }
    }

    [Theory]
    [InlineData("os", "OS")]
    [InlineData("rootfs", "RootFS")]
    public async Task A_config_with_duplicate_properties_in_two_cases_is_rejected(string name, string other)
    {
        string config = Encoding.UTF8.GetString(Config());
        AddImage(Encoding.UTF8.GetBytes(config.Replace($"\"{name}\":", $"\"{other}\":null,\"{name}\":", StringComparison.Ordinal)), [], 0);

        Assert.Contains("the image's config is malformed at line 1, byte", (await FailAsync<ImagePullException>("a")).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("manifest")]
    [InlineData("config")]
    [InlineData("layer")]
    public async Task A_body_that_is_received_too_slowly_is_a_fault(string which)
    {
        // The clock advances by a second at each look, so each read takes one.
        var time = new FakeTimeProvider { AutoAdvanceAmount = TimeSpan.FromSeconds(1) };
        string layer = _registry.AddImage("a", "latest", [Layer]);
        string path = which switch
        {
            "manifest" => "/v2/a/manifests/latest",
            "config" => _registry.Content.Keys.Single(key => key.Contains("/blobs/", StringComparison.Ordinal) && key != layer),
            _ => layer,
        };
        _registry.Content[path] = _registry.Content[path] with { Drip = 1, Pause = TimeSpan.FromMilliseconds(10) };

        ImagePullException fault = await FailAsync<ImagePullException>("a", options => options.With(changed => { changed.TimeProvider = time; changed.PullTimeout = TimeSpan.FromDays(1); }));

        Assert.Matches($"{(which == "manifest" ? "the manifest" : $"blob {path.Split('/')[^1]}")} is received too slowly: [0-9]+ bytes in 30 s", fault.Message);
        Assert.Single(_registry.Requests, request => request.Path == path);
    }

    [Fact]
    public async Task A_slow_body_ends_with_the_pull_timeout_and_delays_no_other_pull()
    {
        var time = new FakeTimeProvider();
        byte[] random = RandomNumberGenerator.GetBytes(1_000_000);
        string blob = _registry.AddImage("a", "latest", [new Archive().Add('0', "file", content: random).ToBytes()]);
        _registry.Content[blob] = _registry.Content[blob] with { Drip = 5 };
        _registry.AddImage("b", "latest", [Layer]);
        await using ImageStore store = Store(options => options.With(changed => { changed.MaxConcurrentPulls = 1; changed.TimeProvider = time; }));
        Task<IImageLease> slow = AcquireAsync(store, "a");
        while (!_registry.Requests.Any(request => request.Path == blob))
        {
            await Task.Delay(10, TestContext.Current.CancellationToken);
        }

        await Task.Delay(300, TestContext.Current.CancellationToken);
        time.Advance(TimeSpan.FromMinutes(9));
        Assert.False(slow.IsCompleted);
        time.Advance(TimeSpan.FromMinutes(1));

        Assert.Contains("was not pulled within 600 s", (await Assert.ThrowsAsync<ImagePullException>(() => slow)).Message, StringComparison.Ordinal);

        // The only concurrent pull is free again.
        await using IImageLease lease = await AcquireAsync(store, "b");
        Assert.Equal("content", File.ReadAllText(Path.Combine(lease.RootPath, "file")));
    }

    [Fact]
    public async Task An_index_with_thousands_of_entries_is_searched_and_not_listed_in_the_message()
    {
        _registry.AddImage("a", "right", [Layer]);
        ImageDigest digest = ImageDigest.Sha256Of(_registry.Content["/v2/a/manifests/right"].Body);
        string Index(string last) => $$"""{"schemaVersion":2,"manifests":[{{string.Concat(Enumerable.Range(0, 15_000).Select(i =>
            $$$"""{"mediaType":"{{{ImageMediaTypes.OciManifest}}}","digest":"{{{digest}}}","size":1,"platform":{"os":"os{{{i}}}","architecture":"x"}},"""))}}{{last}}]}""";
        string Entry(string os) => $$$"""{"mediaType":"{{{ImageMediaTypes.OciManifest}}}","digest":"{{{digest}}}","size":1,"platform":{"os":"{{{os}}}","architecture":"{{{ImagePlatform.Current.Architecture}}}"}}""";
        _registry.AddManifest("a", "latest", Encoding.UTF8.GetBytes(Index(Entry("linux"))), ImageMediaTypes.OciIndex);
        _registry.AddManifest("none", "latest", Encoding.UTF8.GetBytes(Index(Entry("plan9"))), ImageMediaTypes.OciIndex);
        await using (ImageStore store = Store())
        {
            await using IImageLease lease = await AcquireAsync(store, "a");
            Assert.Equal(digest.ToString(), lease.Digest);
        }

        Assert.InRange((await FailAsync<ImageNotFoundException>("none")).Message.Length, 1, 1000);
    }

    [Theory]
    [InlineData("fewer", "names 1 layers, its manifest 2")]
    [InlineData("more", "names 3 layers, its manifest 2")]
    [InlineData("malformed", "malformed digest: sha256:../../etc")]
    [InlineData("swapped", "has the digest")]
    public async Task A_config_with_other_layers_than_the_manifest_is_rejected(string how, string message)
    {
        byte[][] archives = [Layer, new Archive().File("other", "x").ToBytes()];
        string[] diffIds = [.. archives.Select(archive => ImageDigest.Sha256Of(archive).ToString())];
        diffIds = how switch { "fewer" => diffIds[..1], "more" => [.. diffIds, diffIds[0]], "malformed" => [diffIds[0], "sha256:../../etc"], _ => [diffIds[1], diffIds[0]] };
        byte[] config = Encoding.UTF8.GetBytes($$"""{"architecture":"{{ImagePlatform.Current.Architecture}}","os":"linux","rootfs":{"type":"layers","diff_ids":[{{string.Join(',', diffIds.Select(diffId => $"\"{diffId}\""))}}]} }""");
        AddImage(config, [.. archives.Select(Archive.Gzip)], 0);

        Assert.Contains(message, (await FailAsync<ImagePullException>("a")).Message, StringComparison.Ordinal);
        Assert.Empty(Files("layers").Concat(Files("blobs")).Concat(Files("references")).Concat(Files("roots")));
    }

    [Theory]
    [InlineData(-1, false)]
    [InlineData(-1, true)]
    [InlineData(1, false)]
    [InlineData(1, true)]
    public async Task A_blob_with_another_size_than_its_descriptor_is_rejected(int more, bool isLengthStated)
    {
        byte[] blob = Archive.Gzip(Layer);
        AddImage(Config(Layer), [blob], more);
        string path = "/v2/a/blobs/" + ImageDigest.Sha256Of(blob);
        _registry.Content[path] = _registry.Content[path] with { StatedLength = isLengthStated ? null : -1 };

        string message = (await FailForwardedAsync<ImagePullException>("a")).Message;

        Assert.Contains(isLengthStated ? $"has {blob.Length} bytes instead of the {blob.Length + more}" : $"{blob.Length + more}", message, StringComparison.Ordinal);
        Assert.Empty(Files("layers").Concat(Files("blobs")).Concat(Files("references")).Concat(Files("roots")));
    }

    [Theory]
    [InlineData("manifest", "the manifest is malformed")]
    [InlineData("index", "the manifest is malformed")]
    [InlineData("config", "the image's config is malformed")]
    [InlineData("token", "malformed response")]
    [InlineData("error", "answered 418")]
    public async Task Deeply_nested_JSON_is_rejected(string which, string message)
    {
        string deep = new string('[', 10_000) + new string(']', 10_000);
        byte[] nested = Encoding.UTF8.GetBytes($$"""{"schemaVersion":2,"{{(which == "index" ? "manifests" : which == "error" ? "errors" : which == "token" ? "token" : "annotations")}}":{{deep}}}""");
        switch (which)
        {
            case "config":
                AddImage(nested, [Archive.Gzip(Layer)], 0);
                break;
            case "token":
                _registry.Script = request => request.Path.StartsWith("/token", StringComparison.Ordinal) ? new(200, nested) : new(401, [], ("WWW-Authenticate", $"Bearer realm=\"{_registry.Url}/token\""));
                break;
            case "error":
                _registry.Script = _ => new(418, nested);
                break;
            default:
                _registry.AddManifest("a", "latest", nested);
                break;
        }

        Assert.Contains(message, (await FailAsync<ImagePullException>("a")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Loops_of_redirects_and_challenges_end()
    {
        using var other = new ScriptedRegistry("127.0.0.2");
        _registry.Script = request => new(307, [], ("Location", other.Url + request.Path));
        other.Script = request => new(307, [], ("Location", _registry.Url + request.Path));
        ImageStoreOptions Both(ImageStoreOptions options) => options.With(changed => changed.Registries = [.. options.Registries, new() { Name = "other.example", Mirrors = [other.Url] }]);
        Assert.Contains("redirects more than 5 times", (await FailAsync<ImagePullException>("a", Both)).Message, StringComparison.Ordinal);
        Assert.InRange(_registry.Requests.Count + other.Requests.Count, 1, 10);

        // A token service that requires a token itself, or redirects.
        foreach (int status in (int[])[401, 307])
        {
            _registry.Requests.Clear();
            _registry.Script = request => request.Path.StartsWith("/token", StringComparison.Ordinal)
                ? new(status, [], ("WWW-Authenticate", $"Bearer realm=\"{_registry.Url}/token\""), ("Location", _registry.Url + "/token"))
                : new(401, [], ("WWW-Authenticate", $"Bearer realm=\"{_registry.Url}/token\""));
            await using ImageStore store = Store();
            SandboxException fault = await Assert.ThrowsAnyAsync<SandboxException>(() => AcquireAsync(store, "a"));
            Assert.Contains(status == 401 ? "does not exist at" : "answered 307 for token", fault.Message, StringComparison.Ordinal);
            Assert.InRange(_registry.Requests.Count, 2, 4);
        }

        // Each token has just expired.
        _registry.Requests.Clear();
        int tokens = 0;
        _registry.Script = request => request.Path.StartsWith("/token", StringComparison.Ordinal)
            ? new(200, Encoding.UTF8.GetBytes($$"""{"token":"t{{tokens++}}"}"""))
            : new(401, [], ("WWW-Authenticate", $"Bearer realm=\"{_registry.Url}/token\""));
        Assert.Contains("does not exist at", (await FailAsync<ImageNotFoundException>("a")).Message, StringComparison.Ordinal);
        Assert.InRange(_registry.Requests.Count, 3, 4);
    }

    [Fact]
    public async Task A_token_that_expires_during_a_pull_is_renewed()
    {
        string blob = _registry.AddImage("a", "latest", [Layer]);
        int tokens = 0;
        _registry.Script = request => request switch
        {
            { Path: var path } when path.StartsWith("/token", StringComparison.Ordinal) => new(200, Encoding.UTF8.GetBytes($$"""{"token":"t{{++tokens}}"}""")),
            { Path: var path } when request.Headers.GetValueOrDefault("Authorization") != (path == blob ? "Bearer t2" : "Bearer t1") => new(401, [], ("WWW-Authenticate", $"Bearer realm=\"{_registry.Url}/token\"")),
            _ => null,
        };

        await using ImageStore store = Store();
        await using IImageLease lease = await AcquireAsync(store, "a");

        Assert.Equal(2, tokens);
        Assert.Equal("content", File.ReadAllText(Path.Combine(lease.RootPath, "file")));
    }

    [Theory]
    [InlineData("Retry-After", "99999999999999999999", "answered 503")]
    [InlineData("Retry-After", "2147483647", "wait 2147483647 s before the next request")]
    [InlineData("Retry-After", "-5", "answered 503")]
    [InlineData("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT", "asks to wait")]
    [InlineData("Retry-After", "Mon, 01 Jan 0001 00:00:00 GMT", "answered 503")]
    [InlineData("Content-Length", "-5", "answered 503")]
    [InlineData("Content-Length", "9999999999999999999999", "answered 503")]
    [InlineData("Content-Length", "nonsense", "answered 503")]
    public async Task Malformed_headers_are_ignored_or_rejected(string name, string value, string message)
    {
        _registry.Script = _ => new(503, [], (name, value)) { StatedLength = name == "Content-Length" ? -1 : null };

        Assert.Contains(message, (await FailForwardedAsync<ImagePullException>("a")).Message, StringComparison.Ordinal);
        Assert.InRange(_registry.Requests.Count, 1, 4);
    }

    [Theory]
    [InlineData(5_000, 100)]
    [InlineData(1, 500_000)]
    public async Task Endless_headers_end_at_their_limit(int count, int length)
    {
        _registry.AddImage("a", "latest", [Layer]);
        ScriptedAnswer answer = _registry.Content["/v2/a/manifests/latest"];
        _registry.Content["/v2/a/manifests/latest"] = new(200, answer.Body, [.. answer.Headers, .. Enumerable.Range(0, count).Select(i => ($"X-{i}", new string('x', length)))]);

        string message = (await FailForwardedAsync<ImagePullException>("a")).Message;

        Assert.Contains("no answer from", message, StringComparison.Ordinal);
        Assert.InRange(message.Length, 1, 1000);
    }

    [Theory]
    [InlineData(-20, "the manifest is malformed")]
    [InlineData(20, "could not be read to its end")]
    public async Task A_manifest_with_a_wrong_Content_Length_is_rejected(int more, string message)
    {
        _registry.AddImage("a", "latest", [Layer]);
        ScriptedAnswer answer = _registry.Content["/v2/a/manifests/latest"];
        _registry.Content["/v2/a/manifests/latest"] = answer with { StatedLength = answer.Body.Length + more };

        Assert.Contains(message, (await FailForwardedAsync<ImagePullException>("a")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Bytes_after_the_end_of_an_archive_only_count_for_digest_and_size()
    {
        byte[] two = [.. Layer, .. new Archive().File("smuggled", "x").ToBytes()];
        _registry.AddImage("a", "latest", [two]);
        await using (ImageStore store = Store())
        {
            await using IImageLease lease = await AcquireAsync(store, "a");
            Assert.Equal(["file"], Directory.EnumerateFiles(lease.RootPath).Select(Path.GetFileName));
        }

        _registry.AddImage("b", "latest", [Layer], blobs: [Archive.Gzip([.. two, 0])]);
        Assert.Contains("has the digest", (await FailAsync<ImagePullException>("b")).Message, StringComparison.Ordinal);
        _registry.AddImage("c", "latest", [[.. Layer, .. new byte[8_000_000]]]);
        Assert.Contains("more than 1000000 bytes", (await FailAsync<ImagePullException>("c", options => options.With(changed => changed.MaxImageBytes = 1_000_000))).Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_next_mirror_is_asked_and_the_registry_itself_only_if_it_is_listed()
    {
        using var empty = new ScriptedRegistry();
        _registry.AddImage("library/a", "latest", [Layer]);
        await using ImageStore store = Store(options => options.With(changed => changed.Registries = [new() { Name = "docker.io", Mirrors = [empty.Url, _registry.Url] }]));
        await using IImageLease lease = await store.AcquireAsync(ImageReference.Parse("a"), TestContext.Current.CancellationToken);

        Assert.Single(empty.Requests);
        ImageNotFoundException fault = await Assert.ThrowsAsync<ImageNotFoundException>(
            () => store.AcquireAsync(ImageReference.Parse("b"), TestContext.Current.CancellationToken));
        Assert.DoesNotContain("registry-1", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void RegistryEndpoints_For_follows_the_configuration()
    {
        static string[] For(RegistryEndpoints places, string reference) => [.. places.For(ImageReference.Parse(reference)).Select(place => place.ToString())];
        var open = new RegistryEndpoints([new RegistryOptions { Name = "mirrored.example", Mirrors = ["http://10.0.0.1:5000/prefix/", "https://docker.io"] }], []);
        Assert.Equal(["https://registry-1.docker.io"], For(open, "a"));
        Assert.Equal(["http://10.0.0.1:5000/prefix", "https://registry-1.docker.io"], For(open, "mirrored.example/a"));
        Assert.Equal(["https://localhost:5000"], For(open, "localhost:5000/a"));
        Assert.True(open.MayBePrivate("10.0.0.1", 5000));
        Assert.False(open.MayBePrivate("10.0.0.1", 5001));

        var listed = new RegistryEndpoints([], ["localhost:5000", "[::1]:5000", "private.example"]);
        Assert.Equal(["https://localhost:5000", "http://localhost:5000"], For(listed, "localhost:5000/a"));
        Assert.Equal(["https://[::1]:5000", "http://[::1]:5000"], For(listed, "[::1]:5000/a"));
        Assert.True(listed.MayBePrivate("::1", 5000));
        Assert.Equal(["https://private.example"], For(listed, "private.example/a"));
        Assert.Contains("docker.io are not allowed", Assert.Throws<InvalidSandboxRequestException>(() => For(listed, "a")).Message, StringComparison.Ordinal);

        ArgumentException fault = Assert.Throws<ArgumentException>(() => new RegistryEndpoints(
            [new RegistryOptions { Name = "a/b" }, new RegistryOptions { Name = "c", Mirrors = ["127.0.0.1:5000", "ftp://x", "http://user@x", "http://x/?q"] }, new RegistryOptions { Name = "C" }], ["http://x", ""]));
        Assert.Equal(8, fault.Message.Split("; write ").Length + fault.Message.Split("is listed twice").Length - 2);
    }

    [Theory]
    [InlineData("8.8.8.8", true)]
    [InlineData("2606:4700::1", true)]
    [InlineData("::ffff:8.8.8.8", true)]
    [InlineData("64:ff9b::808:808", true)]
    [InlineData("127.0.0.1", false)]
    [InlineData("0.0.0.0", false)]
    [InlineData("10.1.2.3", false)]
    [InlineData("100.64.0.1", false)]
    [InlineData("169.254.169.254", false)]
    [InlineData("172.31.0.1", false)]
    [InlineData("192.168.0.1", false)]
    [InlineData("198.18.0.1", false)]
    [InlineData("224.0.0.1", false)]
    [InlineData("255.255.255.255", false)]
    [InlineData("::", false)]
    [InlineData("::1", false)]
    [InlineData("::127.0.0.1", false)]
    [InlineData("::ffff:127.0.0.1", false)]
    [InlineData("64:ff9b::7f00:1", false)]
    [InlineData("2002:7f00:1::", false)]
    [InlineData("2001::1", false)]
    [InlineData("fe80::1", false)]
    [InlineData("fd00::1", false)]
    [InlineData("ff02::1", false)]
    public void SpecialAddressRanges_IsPublic_tells_public_addresses(string address, bool expected) =>
        Assert.Equal(expected, SpecialAddressRanges.IsPublic(IPAddress.Parse(address)));

    public void Dispose()
    {
        _registry.Dispose();
        _scratch.Dispose();
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

    private static Task<IImageLease> AcquireAsync(ImageStore store, string reference) =>
        store.AcquireAsync(ImageReference.Parse("test.example/" + reference), TestContext.Current.CancellationToken);

    private async Task<T> FailAsync<T>(string reference, Func<ImageStoreOptions, ImageStoreOptions>? change = null)
        where T : Exception
    {
        await using ImageStore store = Store(change);
        T fault = await Assert.ThrowsAsync<T>(() => AcquireAsync(store, reference));
        Assert.Empty(Directory.EnumerateDirectories(_scratch["home/tmp"]).SelectMany(Directory.EnumerateFileSystemEntries));
        return fault;
    }

    // The clock skips the delays between attempts.
    private async Task<T> FailForwardedAsync<T>(string reference)
        where T : Exception
    {
        var time = new FakeTimeProvider(DateTimeOffset.UtcNow);
        await using ImageStore store = Store(options => options.With(changed => { changed.TimeProvider = time; changed.PullTimeout = TimeSpan.FromDays(1); }));
        Task<IImageLease> pull = AcquireAsync(store, reference);
        while (await Task.WhenAny(pull, Task.Delay(20, TestContext.Current.CancellationToken)) != pull)
        {
            time.Advance(TimeSpan.FromSeconds(1));
        }

        return await Assert.ThrowsAsync<T>(() => pull);
    }

    private static byte[] Config(params byte[][] archives) => Encoding.UTF8.GetBytes(
        $$"""{"architecture":"{{ImagePlatform.Current.Architecture}}","os":"linux","rootfs":{"type":"layers","diff_ids":[{{string.Join(',', archives.Select(archive => $"\"{ImageDigest.Sha256Of(archive)}\""))}}]} }""");

    private void AddImage(byte[] config, byte[][] blobs, int more)
    {
        string Descriptor(string mediaType, byte[] content, int lie)
        {
            ImageDigest digest = ImageDigest.Sha256Of(content);
            _registry.Content[$"/v2/a/blobs/{digest}"] = new(200, content);
            return $$"""{"mediaType":"{{mediaType}}","digest":"{{digest}}","size":{{content.Length + lie}} }""";
        }

        _registry.AddManifest("a", "latest", Encoding.UTF8.GetBytes($$"""
            {"schemaVersion":2,"config":{{Descriptor(ImageMediaTypes.OciConfig, config, 0)}},
             "layers":[{{string.Join(',', blobs.Select(blob => Descriptor(ImageMediaTypes.OciLayer + "+gzip", blob, more)))}}]}
            """));
    }

    private IEnumerable<string> Files(string name) => Directory.EnumerateFileSystemEntries(_scratch["home/" + name], "*", SearchOption.AllDirectories).Where(path => Path.GetFileName(path) is not ("sha256"));
}
