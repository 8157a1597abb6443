using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;

namespace Boxer.Tests.HttpHost;

public abstract class FilesTests(ContractHost contract) : ContractTests(contract)
{
    private static readonly Uri Files = new("/files", UriKind.Relative);

    [Theory]
    [InlineData("a")]
    [InlineData("job/main.py")]
    [InlineData("a b/ü/日本/🎲.txt")]
    [InlineData("..a/b..")]
    [InlineData("back\\slash")]
    [InlineData("a%2fb?x=1&y#z+")]
    [InlineData("outputs/x")]
    [InlineData("new\nline")]
    public async Task A_download_returns_the_uploaded_bytes(string path)
    {
        await using HostFixture host = await StartAsync();
        byte[] content = [.. Enumerable.Range(0, 100_000).Select(i => (byte)(i * 7))];

        Answer uploaded = await host.UploadAsync(path, content);
        Answer downloaded = await host.DownloadAsync(path);

        Assert.Equal(200, uploaded.Status);
        Assert.Equal(path, (string)uploaded.Json["path"]!);
        Assert.Equal(200, downloaded.Status);
        Assert.Equal(content, downloaded.Bytes);
        Assert.Equal("application/octet-stream", downloaded.Response.Content.Headers.ContentType!.ToString());
        Assert.Equal("attachment", downloaded.Response.Content.Headers.ContentDisposition!.DispositionType);
        Assert.Equal("nosniff", Assert.Single(downloaded.Response.Headers.GetValues("X-Content-Type-Options")));
        Assert.Equal(content.Length, downloaded.Response.Content.Headers.ContentLength);
    }

    public static TheoryData<string, string> BadPaths => new()
    {
        { "", "path: The path is empty; give a relative path such as job/main.py." },
        { "/etc/passwd", "path: The path is absolute; give it without the leading slash." },
        { "..", "path: The path has the name ..; give the path without it." },
        { "../x", "path: The path has the name ..; give the path without it." },
        { "a/../../x", "path: The path has the name ..; give the path without it." },
        { "./a", "path: The path has the name .; give the path without it." },
        { "a/.", "path: The path has the name .; give the path without it." },
        { "a//b", "path: The path has an empty name between or after slashes; write each slash once and none at the end." },
        { "a/", "path: The path has an empty name between or after slashes; write each slash once and none at the end." },
        { "a\0b", "path: The path has a NUL character; remove it." },
        { new string('a', 256), "path: The path has a name of more than 255 bytes; shorten it." },
        { string.Concat(Enumerable.Repeat("é", 128)), "path: The path has a name of more than 255 bytes; shorten it." },
        { string.Concat(Enumerable.Repeat("aaa/", 1_023)) + "aaa", "path: The path has 4095 bytes; at most 4094 are allowed." },
        { string.Concat(Enumerable.Repeat("aaa/", 1_024)) + "a", "path: The path has 4097 bytes; at most 4094 are allowed." },
    };

    [Theory]
    [MemberData(nameof(BadPaths))]
    public async Task Paths_that_are_not_clean_and_relative_are_rejected_for_upload_and_download(string path, string error)
    {
        await using HostFixture host = await StartAsync();

        Answer uploaded = await host.UploadAsync(path, "x");
        Answer downloaded = await host.DownloadAsync(path);

        Assert.Equal((400, error), (uploaded.Status, uploaded.Error));
        Assert.Equal(400, downloaded.Status);
        Assert.StartsWith("path: ", downloaded.Error, StringComparison.Ordinal);
        Assert.Empty(Stored(host));
    }

    [Theory]
    [InlineData("output")]
    [InlineData("output/x")]
    [InlineData("output/boxer-1/x")]
    public async Task Uploads_below_output_are_rejected(string path)
    {
        await using HostFixture host = await StartAsync();

        Answer answer = await host.UploadAsync(path, "x");

        Assert.Equal(400, answer.Status);
        Assert.Equal($"path: '{path}' is reserved for outputs of runs; choose another directory.", answer.Error);
        Assert.Equal(404, (await host.DownloadAsync(path)).Status);
    }

    [Theory]
    [InlineData("/files?path=%2e%2e%2fconfig.json")]
    [InlineData("/files?path=..%2fconfig.json")]
    [InlineData("/files?path=%2fetc%2fpasswd")]
    [InlineData("/files?path=a%00")]
    [InlineData("/files")]
    [InlineData("/files?path=")]
    [InlineData("/files?path=a&path=b")]
    [InlineData("/files?path=a,b&path=")]
    public async Task Encoded_path_traversal_is_400(string query)
    {
        await using HostFixture host = await StartAsync();

        Assert.Equal(400, (await host.GetAsync(query)).Status);
    }

    [Theory]
    [InlineData("/files?path=missing")]
    [InlineData("/files?path=%252e%252e%252fconfig.json")]
    [InlineData("/files?path=config.json")]
    [InlineData("/files?path=%ff%fe")]
    [InlineData("/files?path=dir")]
    [InlineData("/files?path=dir/a/below")]
    public async Task Downloads_of_unknown_files_are_404(string query)
    {
        await using HostFixture host = await StartAsync();
        await host.UploadAsync("dir/a", "x");

        Answer answer = await host.GetAsync(query);

        Assert.Equal(404, answer.Status);
        Assert.StartsWith("path: there is no file ", answer.Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_upload_replaces_the_file_at_its_path()
    {
        await using HostFixture host = await StartAsync();

        await host.UploadAsync("a", "first");
        await host.UploadAsync("a", "second");

        Assert.Equal("second", (await host.DownloadAsync("a")).Text);
    }

    [Fact]
    public async Task A_file_and_a_directory_cannot_have_one_path()
    {
        await using HostFixture host = await StartAsync();
        await host.UploadAsync("a", "x");
        await host.UploadAsync("d/e", "x");

        Answer below = await host.UploadAsync("a/b", "x");
        Answer over = await host.UploadAsync("d", "x");

        Assert.Equal((400, "path: 'a' is a file, so nothing can be below it; choose another path."), (below.Status, below.Error));
        Assert.Equal((400, "path: 'd' is a directory with files in it; choose another path."), (over.Status, over.Error));
    }

    [Fact]
    public async Task The_order_of_the_parts_does_not_matter()
    {
        await using HostFixture host = await StartAsync();
        MultipartFormDataContent form = new()
        {
            { new StringContent("first.txt"), "path" },
            { new StringContent("content"), "file" },
        };

        Assert.Equal(200, (await host.PostAsync("/files", form)).Status);
        Assert.Equal("content", (await host.DownloadAsync("first.txt")).Text);
    }

    [Fact]
    public async Task Empty_files_can_be_stored()
    {
        await using HostFixture host = await StartAsync();

        Assert.Equal(200, (await host.UploadAsync("empty", "")).Status);
        Answer answer = await host.DownloadAsync("empty");
        Assert.Equal(200, answer.Status);
        Assert.Empty(answer.Bytes);
    }

    public static TheoryData<string[], string> BadForms => new()
    {
        { ["file"], "path: the part is missing; send file and path as multipart/form-data." },
        { ["path"], "file: the part is missing; send file and path as multipart/form-data." },
        { ["file", "path", "file"], "file: appears twice; send it once." },
        { ["path", "path", "file"], "path: appears twice; send it once." },
        { ["file", "path", "mode"], "the body has a part that is neither file nor path; send these two." },
    };

    [Theory]
    [MemberData(nameof(BadForms))]
    public async Task Forms_with_other_parts_are_rejected_and_nothing_is_stored(string[] parts, string error)
    {
        await using HostFixture host = await StartAsync();
        MultipartFormDataContent form = [];
        foreach (string part in parts)
        {
            form.Add(new StringContent("a"), part);
        }

        Answer answer = await host.PostAsync("/files", form);

        Assert.Equal((400, error), (answer.Status, answer.Error));
        Assert.Equal(404, (await host.DownloadAsync("a")).Status);
        Assert.Empty(Stored(host));
    }

    [Theory]
    [InlineData("application/json", "{}", "the body is not multipart/form-data; send file and path as multipart/form-data.")]
    [InlineData("multipart/form-data", "x", "the body's Content-Type has no boundary that can be used; send file and path as multipart/form-data.")]
    [InlineData("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=file\r\n\r\nbroken off", "the body is not valid multipart/form-data; it is broken off, or its headers are too large.")]
    [InlineData("multipart/form-data; boundary=b", "", "the body is not valid multipart/form-data; it is broken off, or its headers are too large.")]
    [InlineData("multipart/form-data; boundary=b", "--b\r\nContent-Disposition: attachment\r\n\r\nx\r\n--b--\r\n", "the body has a part that is neither file nor path; send these two.")]
    [InlineData("multipart/form-data; boundary=b", "--b\r\nno colon\r\n\r\nx\r\n--b--\r\n", "the body is not valid multipart/form-data; it is broken off, or its headers are too large.")]
    public async Task Bodies_that_are_not_multipart_are_rejected(string contentType, string body, string error)
    {
        await using HostFixture host = await StartAsync();
        ByteArrayContent content = new(Encoding.UTF8.GetBytes(body));
        content.Headers.ContentType = MediaTypeHeaderValue.Parse(contentType);

        Answer answer = await host.PostAsync("/files", content);

        Assert.Equal((400, error), (answer.Status, answer.Error));
        Assert.Empty(Stored(host));
    }

    [Fact]
    public async Task Endless_boundaries_and_part_headers_are_rejected()
    {
        await using HostFixture host = await StartAsync();
        ByteArrayContent boundary = new("x"u8.ToArray());
        boundary.Headers.TryAddWithoutValidation("Content-Type", $"multipart/form-data; boundary={new string('b', 5_000)}");
        ByteArrayContent headers = new(Encoding.ASCII.GetBytes($"--b\r\nX: {new string('h', 50_000)}\r\n\r\nx\r\n--b--\r\n"));
        headers.Headers.ContentType = MediaTypeHeaderValue.Parse("multipart/form-data; boundary=b");

        Assert.Equal(400, (await host.PostAsync("/files", boundary)).Status);
        Assert.Equal(400, (await host.PostAsync("/files", headers)).Status);
    }

    [Fact]
    public async Task A_path_that_is_not_UTF8_is_rejected()
    {
        await using HostFixture host = await StartAsync();
        MultipartFormDataContent form = new() { { new ByteArrayContent([0x61, 0xff]), "path" }, { new StringContent("x"), "file" } };

        Answer answer = await host.PostAsync("/files", form);

        Assert.Equal((400, "path: The path is not valid UTF-8; encode it as UTF-8."), (answer.Status, answer.Error));
    }

    [Fact]
    public async Task The_upload_limit_is_exact()
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["upload_limit_bytes"] = 1_000 });

        Assert.Equal(200, (await host.UploadAsync("fits", new byte[1_000])).Status);
        Answer answer = await host.UploadAsync("over", new byte[1_001]);
        Answer far = await host.UploadAsync("far", new byte[1_000_000]);

        Assert.Equal((413, "The file is larger than 1000 bytes, the maximum size of one file."), (answer.Status, answer.Error));
        Assert.Equal(413, far.Status);
        Assert.Equal(404, (await host.DownloadAsync("over")).Status);
        Assert.Equal(["fits"], Stored(host));
    }

    [Fact]
    public async Task A_full_space_is_413_until_a_file_is_deleted()
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["upload_quota_bytes"] = 1_000, ["upload_quota_files"] = 3 });

        Assert.Equal(200, (await host.UploadAsync("a", new byte[600])).Status);
        Answer bytes = await host.UploadAsync("b", new byte[600]);
        Assert.Equal((413, "The file space is full: it may hold 1000 bytes. Delete files that are not needed."), (bytes.Status, bytes.Error));
        using (HttpResponseMessage deleted = await host.Client.DeleteAsync(new Uri("/files?path=a", UriKind.Relative), TestContext.Current.CancellationToken))
        {
            Assert.True(deleted.IsSuccessStatusCode);
        }

        Assert.Equal(404, (await host.DownloadAsync("a")).Status);
        Assert.Equal(200, (await host.UploadAsync("b", new byte[600])).Status);
        Assert.Equal(200, (await host.UploadAsync("c", "")).Status);
        Assert.Equal(200, (await host.UploadAsync("d", "")).Status);
        Assert.Equal(413, (await host.UploadAsync("e", "")).Status);
    }

    [Fact]
    public async Task A_run_deletes_only_the_uploads_that_it_used()
    {
        await using HostFixture host = await StartAsync();
        await host.UploadAsync("job/used", "x");
        await host.UploadAsync("job/other", "x");

        Assert.Equal(200, (await host.RunAsync("""{"image": "i", "cmd": ["a"], "files": ["job/used"]}""")).Status);

        Assert.Equal(404, (await host.DownloadAsync("job/used")).Status);
        Assert.Equal(200, (await host.DownloadAsync("job/other")).Status);
        Assert.Equal(["job/other"], Stored(host));
    }

    [Fact]
    public async Task Uploads_stay_if_the_command_never_started()
    {
        await using HostFixture host = await StartAsync();
        await host.UploadAsync("a", "x");
        host.Runner.Throws(new SandboxCapacityException("full", TimeSpan.FromSeconds(1)));
        Assert.Equal(429, (await host.RunAsync("""{"image": "i", "cmd": ["a"], "files": ["a"]}""")).Status);
        host.Runner.Returns(ScriptedRunner.Result(new Termination(TerminationKind.NotStarted) { Errno = 2 }));
        Assert.Equal(400, (await host.RunAsync("""{"image": "i", "cmd": ["a"], "files": ["a"]}""")).Status);

        Assert.Equal(200, (await host.DownloadAsync("a")).Status);
    }

    [Theory]
    [InlineData("/run")]
    [InlineData("/run/stream")]
    public async Task With_persist_uploads_and_outputs_stay(string endpoint)
    {
        await using HostFixture host = await StartAsync();
        await host.UploadAsync("a", "x");
        WriteOutputs(host, ("plot.png", "pixels"), ("sub/deep.txt", "deep"));

        Answer answer = await host.PostAsync(endpoint, new StringContent("""{"image": "i", "cmd": ["a"], "files": ["a"], "persist": true}"""));

        Assert.Equal(200, answer.Status);
        Assert.Equal(200, (await host.DownloadAsync("a")).Status);
        Assert.Equal("pixels", (await host.DownloadAsync("output/boxer-9/plot.png")).Text);
        Assert.Equal("deep", (await host.DownloadAsync("output/boxer-9/sub/deep.txt")).Text);
        Assert.Equal(404, (await host.DownloadAsync("output/boxer-9")).Status);
        if (endpoint == "/run")
        {
            Assert.Equal(
                """[{"path":"output/boxer-9/plot.png","size":6},{"path":"output/boxer-9/sub/deep.txt","size":4}]""",
                answer.Json["outputs"]!.ToJsonString());
        }
    }

    [Fact]
    public async Task Outputs_that_exceed_the_quota_are_reported_as_not_kept()
    {
        await using HostFixture host = await StartAsync(new JsonObject { ["upload_quota_bytes"] = 5 });
        WriteOutputs(host, ("plot.png", "pixels"));

        Answer answer = await host.RunAsync("""{"image": "i", "cmd": ["a"], "persist": true}""");

        Assert.Equal(200, answer.Status);
        Assert.Empty(answer.Json["outputs"]!.AsArray());
        Assert.Equal(
            "None was kept: The file space is full: it may hold 5 bytes. Delete files that are not needed.",
            (string)answer.Json["outputs_incomplete"]!);
        Assert.Empty(Stored(host));
    }

    [Fact]
    public async Task Only_regular_files_among_the_outputs_are_served()
    {
        await using HostFixture host = await StartAsync();
        string outside = Directory.CreateTempSubdirectory("boxer-outside-").FullName;
        Directory.CreateDirectory(Path.Combine(outside, "empty"));
        host.Runner.Script = (request, _) =>
        {
            string directory = request.OutputFiles.Directory!;
            Directory.CreateDirectory(directory);
            File.CreateSymbolicLink(Path.Combine(directory, "link"), "/etc/passwd");
            Directory.CreateSymbolicLink(Path.Combine(directory, "dirlink"), "/etc");
            Directory.CreateSymbolicLink(Path.Combine(directory, "outside"), outside);
            File.WriteAllText(Path.Combine(directory, "file"), "x");
            return ScriptedRunner.Events(ScriptedRunner.Result(id: "boxer-9"));
        };

        Answer answer = await host.RunAsync("""{"image": "i", "cmd": ["a"], "persist": true}""");

        Assert.Equal("""[{"path":"output/boxer-9/file","size":1}]""", answer.Json["outputs"]!.ToJsonString());
        Assert.Equal(404, (await host.DownloadAsync("output/boxer-9/link")).Status);
        Assert.Equal(404, (await host.DownloadAsync("output/boxer-9/dirlink/passwd")).Status);
        Assert.True(Directory.Exists(Path.Combine(outside, "empty")));
        Directory.Delete(outside, recursive: true);
    }

    [Fact]
    public async Task Files_survive_a_restart_and_partial_ones_do_not()
    {
        string home = Directory.CreateTempSubdirectory("boxer-http-").FullName;
        JsonObject config = new() { ["home"] = home };
        await using (HostFixture first = await StartAsync(config))
        {
            await first.UploadAsync("job/a", "kept");
            await File.WriteAllTextAsync(Path.Combine(home, "files/shared/staging/half"), "x", TestContext.Current.CancellationToken);
        }

        await using (HostFixture second = await StartAsync(config))
        {
            Assert.Equal("kept", (await second.DownloadAsync("job/a")).Text);
            Assert.Empty(Directory.EnumerateFileSystemEntries(Path.Combine(home, "files/shared/staging")));
        }

        Directory.Delete(home, recursive: true);
    }

    [Fact]
    public async Task A_browser_cannot_upload_from_another_site()
    {
        await using HostFixture host = await StartAsync();
        foreach ((string origin, int status) in new[]
        {
            ("http://evil.example", 403),
            ("null", 403),
            (host.Address.GetLeftPart(UriPartial.Authority), 200),
        })
        {
            using HttpRequestMessage request = new(HttpMethod.Post, Files)
            {
                Content = new MultipartFormDataContent { { new StringContent("x"), "file" }, { new StringContent("a"), "path" } },
            };
            request.Headers.Add("Origin", origin);
            using HttpResponseMessage response = await host.Client.SendAsync(request, TestContext.Current.CancellationToken);
            Assert.Equal(status, (int)response.StatusCode);
        }
    }

    [Fact]
    public async Task A_rebound_name_cannot_upload()
    {
        await using HostFixture host = await StartAsync();
        using HttpRequestMessage request = new(HttpMethod.Post, new Uri("/run", UriKind.Relative)) { Content = new StringContent("{}") };
        request.Headers.Host = "evil.example";
        request.Headers.Add("Origin", "http://evil.example");

        using HttpResponseMessage response = await host.Client.SendAsync(request, TestContext.Current.CancellationToken);

        Assert.Equal(421, (int)response.StatusCode);
    }

    internal static List<string> Stored(HostFixture host)
    {
        string files = Path.Combine(host.Home, "files");
        return
        [
            .. Directory.EnumerateFiles(files, "*", SearchOption.AllDirectories)
                .Select(file => Path.GetRelativePath(Path.Combine(files, "shared/data"), file))
                .Where(file => file != "../../lock"),
        ];
    }

    private static void WriteOutputs(HostFixture host, params (string Path, string Text)[] outputs) =>
        host.Runner.Script = (request, _) =>
        {
            foreach ((string path, string text) in outputs)
            {
                string file = Path.Combine(request.OutputFiles.Directory!, path);
                Directory.CreateDirectory(Path.GetDirectoryName(file)!);
                File.WriteAllText(file, text);
            }

            return ScriptedRunner.Events(ScriptedRunner.Result(id: "boxer-9"));
        };
}

public sealed class HttpHostFilesTests() : FilesTests(ContractHost.HttpHost);

public sealed class MinimalApiFilesTests() : FilesTests(ContractHost.MinimalApi);
