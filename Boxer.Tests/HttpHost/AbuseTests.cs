using System.Text;
using System.Text.Json.Nodes;
using Boxer.Tests.Support;
using CsCheck;

namespace Boxer.Tests.HttpHost;

/// <summary>Tests of hostile requests: each gets a typed response, and the host keeps serving.</summary>
public abstract class AbuseTests(ContractHost contract) : ContractTests(contract)
{
    public static TheoryData<string, string, int> Requests => new()
    {
        { "a header line of 40 KiB", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: " + new string('a', 40_000) + "\r\n\r\n", 431 },
        { "70 headers", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + string.Concat(Enumerable.Range(0, 70).Select(i => $"A{i}: a\r\n")) + "\r\n", 431 },
        { "a long path", "GET /" + new string('a', 20_000) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", 414 },
        { "two lengths", "POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400 },
        { "a length below zero", "POST /run HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n{}", 400 },
        { "a chunk that has no size", "POST /run HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", 400 },
        { "an unknown encoding", "POST /run HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n{}", 400 },
        { "no host", "GET /healthz HTTP/1.1\r\n\r\n", 400 },
        { "two hosts", "GET /healthz HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400 },
        { "another protocol", "GET /healthz HTTP/9.9\r\nHost: localhost\r\n\r\n", 505 },
        { "no HTTP", "\u0016\u0003\u0001\u0002\r\n\r\n", 400 },
        { "a NUL in a header", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nA: a\0b\r\n\r\n", 400 },
    };

    [Theory]
    [MemberData(nameof(Requests))]
    public async Task Malformed_HTTP_is_rejected_and_the_host_keeps_serving(string what, string request, int status)
    {
        await using HostFixture host = await StartAsync();
        using RawClient client = await RawClient.ConnectAsync(host.Address);

        await client.SendAsync(request);

        Assert.True(((await client.ReadStatusAsync()) ?? "").StartsWith($"HTTP/1.1 {status} ", StringComparison.Ordinal), what);
        Assert.Equal(200, (await host.GetAsync("/healthz")).Status);
    }

    [Theory]
    [InlineData("""{"image": "i", "cmd": [ITEMS]}""", "1", 2_000_000, "the body has more than 100000 values; put what is large into one text, or upload it with POST /files.")]
    [InlineData("""{"image": "i", "cmd": ["a"], "x": [ITEMS]}""", "[]", 2_000_000, "the body has more than 100000 values; put what is large into one text, or upload it with POST /files.")]
    [InlineData("""{"image": "i", "cmd": ["a"], "env": [ITEMS]}""", "\"\"", 40_000, "env: has 40000 entries; at most 32768 are allowed.")]
    [InlineData("""{"image": "i", "cmd": ["a"], "files": [ITEMS]}""", "\"\"", 40_000, "files: has 40000 entries; at most 1000 are allowed.")]
    [InlineData("""{"image": "i", "cmd": ["a"], "egress": {"allow": [ITEMS]}}""", "\"\"", 40_000, "egress.allow: has 40000 entries; at most 32768 are allowed.")]
    public async Task List_lengths_are_checked_before_items_are_created(string body, string item, int count, string error)
    {
        await using HostFixture host = await StartAsync();

        Answer answer = await host.RunAsync(body.Replace("ITEMS", string.Join(',', Enumerable.Repeat(item, count)), StringComparison.Ordinal));

        Assert.Equal((400, error), (answer.Status, answer.Error));
    }

    [Theory]
    [InlineData("""{"image": "i", "cmd": ["a"], "limits": {"memory_mb": 1e999999}}""")]
    [InlineData("""{"image": "i", "cmd": ["a"], "egress": {"allow": ["\ud800"]}}""")]
    [InlineData("""{"image": "i", "cmd": ["a"], "egress": {"quota_bytes": 1e999999}}""")]
    [InlineData("""{"image": "\udc00", "cmd": ["a"], "user": "\udc00", "cwd": "\udc00", "network": "\udc00", "pull": "\udc00"}""")]
    public async Task Unreadable_values_are_400(string body)
    {
        await using HostFixture host = await StartAsync();

        Assert.Equal(400, (await host.RunAsync(body)).Status);
    }

    [Fact]
    public async Task Random_run_bodies_get_a_typed_response()
    {
        await using HostFixture host = await StartAsync();
        string[] words =
        [
            "{", "}", "[", "]", ":", ",", "\"", "\\", "\\ud800", "null", "true", "-0", "1e400", "0.1", "\"image\":\"i\"", "\"cmd\":[\"a\"]", "\"env\":[\"A=\"]",
            "\"limits\":{\"memory_mb\":64}", "\"egress\":{\"deny\":[\"\\udc00\"]}", "\"files\":[\"a\"]", "\"cwd\":\"/\"", "\"persist\":true", "\"\\ud800\":1", "\0", "\u00FF", " ", "\n", "\"pull\":\"x\"",
        ];
        Gen<byte[]> structured = Gen.Select(Generators.Pick(words).Array[0, 12], Gen.Bool, (picked, asObject) =>
            Encoding.Latin1.GetBytes(asObject ? "{" + string.Join(',', picked) + "}" : string.Concat(picked)));

        await Gen.OneOf(structured, Gen.Byte.Array[0, 100]).SampleAsync(
            async body =>
            {
                Answer answer = await host.PostAsync("/run", new ByteArrayContent(body));
                return answer.Status is 200 or 400 && (answer.Status == 200 || answer.Error.Length > 0);
            },
            iter: 2_000,
            threads: 2);
    }

    [Fact]
    public async Task Random_upload_forms_get_a_typed_response()
    {
        await using HostFixture host = await StartAsync();
        string[] words =
        [
            "--b", "--b--", "\r\n", "\r\n\r\n", "\n", "Content-Disposition: form-data; name=file", "Content-Disposition: form-data; name=path", "Content-Disposition: form-data; name=\"",
            "Content-Disposition: form-data; name=path; filename*=utf-8''%ff", "Content-Type: multipart/mixed; boundary=c", "--c", "Content-Transfer-Encoding: base64", "a/b", "../x", "\0", "\u00FF", "--", "b",
        ];

        await Generators.Pick(words).Array[0, 24].SampleAsync(
            async picked =>
            {
                ByteArrayContent form = new(Encoding.Latin1.GetBytes("--b\r\n" + string.Concat(picked)));
                form.Headers.TryAddWithoutValidation("Content-Type", "multipart/form-data; boundary=b");
                Answer answer = await host.PostAsync("/files", form);
                return answer.Status is 200 or 400 && (answer.Status == 200 || answer.Error.Length > 0);
            },
            iter: 2_000,
            threads: 2);
    }

    [Fact]
    public async Task Outputs_of_another_key_are_404()
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["api_keys"] = new JsonArray("first", "second") });
        host.Runner.Script = (request, _) =>
        {
            Directory.CreateDirectory(request.OutputFiles.Directory!);
            File.WriteAllText(Path.Combine(request.OutputFiles.Directory!, "secret"), "x");
            return ScriptedRunner.Events(ScriptedRunner.Result());
        };
        using HttpClient first = host.NewClient("first"), second = host.NewClient("second");
        Answer run = await host.RunAsync("""{"image": "i", "cmd": ["a"], "persist": true}""", first);
        string output = (string)run.Json["outputs"]![0]!["path"]!;

        Assert.Equal(200, (await host.DownloadAsync(output, first)).Status);
        foreach (string path in new[] { output, output[..output.LastIndexOf('/')], "output", "output/boxer-00000000-0000-4000-8000-000000000000/secret" })
        {
            Assert.Equal(404, (await host.DownloadAsync(path, second)).Status);
            using HttpResponseMessage deleted = await second.DeleteAsync(new Uri($"/files?path={Uri.EscapeDataString(path)}", UriKind.Relative), TestContext.Current.CancellationToken);
            Assert.Equal(404, (int)deleted.StatusCode);
        }

        Assert.Equal(400, (await host.DownloadAsync("../" + output, second)).Status);
        Assert.Equal(400, (await host.RunAsync(new JsonObject { ["image"] = "i", ["cmd"] = new JsonArray("a"), ["files"] = new JsonArray(output) }, second)).Status);
        Assert.Equal(200, (await host.DownloadAsync(output, first)).Status);
    }
}

public sealed class HttpHostAbuseTests() : AbuseTests(ContractHost.HttpHost);

public sealed class MinimalApiAbuseTests() : AbuseTests(ContractHost.MinimalApi);
