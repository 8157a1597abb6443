using System.Text;
using Boxer.Common;
using Boxer.Images;
using Boxer.Images.Manifests;
using Boxer.Images.Store;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Images.Sources;

/// <summary>Images from files of this host, written by usual tools, and by hand for hostile content.</summary>
public sealed class ImageSourceTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [Slow]
    [InlineData("oci:DIR/copy:v1", "oci:DIR/copy:v1")]
    [InlineData("oci:DIR/copy:v1", "oci:DIR/copy")]
    [InlineData("oci-archive:DIR/copy.tar:v1", "oci-archive:DIR/copy.tar:v1")]
    [InlineData("oci-archive:DIR/copy.tar:v1", "oci-archive:DIR/copy.tar")]
    [InlineData("docker-archive:DIR/copy.tar:team/app:v1", "docker-archive:DIR/copy.tar:team/app:v1")]
    [InlineData("docker-archive:DIR/copy.tar:team/app:v1", "docker-archive:DIR/copy.tar:docker.io/team/app:v1")]
    [InlineData("docker-archive:DIR/copy.tar:team/app:v1", "docker-archive:DIR/copy.tar")]
    public async Task ImportAsync_of_a_source_of_skopeo_gives_the_tree_that_umoci_unpacks(string written, string read)
    {
        await MakeLayoutAsync();
        await HostProgram.RunAsync("skopeo", "copy", $"oci:{_scratch["layout"]}:latest", written.Replace("DIR", _scratch.Path, StringComparison.Ordinal));
        await HostProgram.RunAsync("umoci", "raw", "unpack", "--image", _scratch["layout"] + ":latest", _scratch["umoci"]);
        await using ImageStore store = Store();

        await using IImageLease lease = await store.AcquireImportedAsync(ImageSource.Parse(read.Replace("DIR", _scratch.Path, StringComparison.Ordinal)), Local, cancellationToken: Cancel);

        Assert.Equal(await ScratchDirectory.ListAsync(_scratch["umoci"]), await ScratchDirectory.ListAsync(lease.RootPath));
        Assert.Equal(["/bin/app", "--fast"], lease.Config.Entrypoint);
        Assert.Equal(["serve", "8080"], lease.Config.Cmd);
        Assert.Equal("SIGQUIT", lease.Config.StopSignal);

        // By its name, without any registry to ask.
        await using IImageLease again = await store.AcquireAsync(Local, Cancel);
        Assert.Equal(lease.Digest, again.Digest);
        Assert.Empty(Directory.EnumerateFileSystemEntries(Directory.EnumerateDirectories(_scratch["home/tmp"]).Single()));
    }

    [Theory]
    [Slow]
    [InlineData("gzip", "docker-archive")]
    [InlineData("zstd", "docker-archive")]
    [InlineData("gzip", "oci-archive")]
    [InlineData("zstd", "rootfs")]
    [InlineData("gzip", "rootfs")]
    [InlineData("cat", "rootfs")]
    public async Task Archives_may_be_compressed(string program, string kind)
    {
        await MakeLayoutAsync();
        await HostProgram.RunAsync("umoci", "raw", "unpack", "--image", _scratch["layout"] + ":latest", _scratch["umoci"]);
        string archive = _scratch["archive.tar"];
        await (kind == "rootfs"
            ? HostProgram.RunAsync("tar", "-cf", archive, "-C", _scratch["umoci"], ".")
            : HostProgram.RunAsync("skopeo", "copy", $"oci:{_scratch["layout"]}:latest", $"{kind}:{archive}:team/app:v1"));
        await HostProgram.RunAsync("sh", "-c", $"{program} < '{archive}' > '{archive}.z'");
        await using ImageStore store = Store();

        await using IImageLease lease = await store.AcquireImportedAsync(ImageSource.Parse($"{kind}:{archive}.z"), Local, cancellationToken: Cancel);

        Assert.Equal(await ScratchDirectory.ListAsync(_scratch["umoci"]), await ScratchDirectory.ListAsync(lease.RootPath));
    }

    [Theory]
    [InlineData("gzip")]
    [InlineData("zstd")]
    public async Task Layers_may_be_compressed(string format)
    {
        await MakeLayoutAsync();

        // Through an archive with plain layers: skopeo compresses only uncompressed layers.
        await HostProgram.RunAsync("skopeo", "copy", $"oci:{_scratch["layout"]}:latest", $"docker-archive:{_scratch["plain.tar"]}:a:1");
        await HostProgram.RunAsync("skopeo", "copy", "--dest-compress-format", format, "--format", "oci", $"docker-archive:{_scratch["plain.tar"]}", $"oci:{_scratch["copy"]}:v1");
        await HostProgram.RunAsync("umoci", "raw", "unpack", "--image", _scratch["layout"] + ":latest", _scratch["umoci"]);
        await using ImageStore store = Store();

        await using IImageLease lease = await store.AcquireImportedAsync(ImageSource.Parse($"oci:{_scratch["copy"]}"), Local, cancellationToken: Cancel);

        Assert.Equal(await ScratchDirectory.ListAsync(_scratch["umoci"]), await ScratchDirectory.ListAsync(lease.RootPath));
        Assert.Equal(format == "zstd", File.ReadAllText(ManifestOf(_scratch["copy"])).Contains("tar+zstd", StringComparison.Ordinal));
    }

    [Fact]
    public async Task ImportAsync_replaces_the_image_of_a_reference()
    {
        await using ImageStore store = Store();
        await using (IImageLease first = await store.AcquireImportedAsync(RootOf(new Archive().File("a", "one")), Local, cancellationToken: Cancel))
        {
            Assert.Equal("one", File.ReadAllText(Path.Combine(first.RootPath, "a")));
        }

        await using IImageLease second = await store.AcquireImportedAsync(RootOf(new Archive().File("a", "two")), Local, cancellationToken: Cancel);
        await using IImageLease found = await store.AcquireAsync(Local, Cancel);
        Assert.Equal("two", File.ReadAllText(Path.Combine(found.RootPath, "a")));
        Assert.Equal(second.Digest, found.Digest);
    }

    [Fact]
    public async Task Layers_of_docker_save_that_are_links_are_found()
    {
        byte[] layer = new Archive().File("a", "one").ToBytes();
        string config = $$"""{"os":"linux","architecture":"{{ImagePlatform.Current.Architecture}}","rootfs":{"type":"layers","diff_ids":["{{ImageDigest.Sha256Of(layer)}}","{{ImageDigest.Sha256Of(layer)}}"]} }""";
        Archive archive = new Archive()
            .File("c.json", config)
            .Add('0', "one/layer.tar", content: layer)
            .Link("two/layer.tar", "../one/layer.tar")
            .File("manifest.json", """[{"Config":"c.json","RepoTags":["a:1"],"Layers":["one/layer.tar","two/layer.tar"]}]""");
        File.WriteAllBytes(_scratch["d.tar"], archive.ToBytes());
        await using ImageStore store = Store();

        await using IImageLease lease = await store.AcquireImportedAsync(new(ImageSourceKind.DockerArchive, _scratch["d.tar"], "a:1"), Local, cancellationToken: Cancel);

        Assert.Equal("one", File.ReadAllText(Path.Combine(lease.RootPath, "a")));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_last_of_two_entries_of_one_name_counts(bool isLinkLast)
    {
        byte[] layer = new Archive().File("a", "one").ToBytes();
        string Config(string workingDir) =>
            $$"""{"os":"linux","architecture":"{{ImagePlatform.Current.Architecture}}","config":{"WorkingDir":"{{workingDir}}"},"rootfs":{"type":"layers","diff_ids":["{{ImageDigest.Sha256Of(layer)}}"]} }""";
        Archive archive = new Archive().File("other.json", Config("/link")).Add('0', "layer.tar", content: layer);
        archive = isLinkLast
            ? archive.File("c.json", Config("/file")).Link("./c.json", "other.json")
            : archive.Link("c.json", "other.json").File("./c.json", Config("/file"));
        ImageSource source = Tar(ImageSourceKind.DockerArchive, archive.File("manifest.json", """[{"Config":"c.json","Layers":["layer.tar"]}]"""));
        await using ImageStore store = Store();

        await using IImageLease lease = await store.AcquireImportedAsync(source, Local, cancellationToken: Cancel);

        Assert.Equal(isLinkLast ? "/link" : "/file", lease.Config.WorkingDir);
    }

    public static TheoryData<string> Refusals => [.. RefusalTable.Keys];

    private static string LongName { get; } = string.Join('/', Enumerable.Repeat(new string('n', 250), 16));

    // The reader names the path of the fault, and the document decides how long and odd that is.
    private static string OddJson { get; } = "{\n \"\\u001b[31m\\u202e\\n" + new string('x', 10_000) + "\": tru}";

    private static Dictionary<string, (Func<ImageSourceTests, ImageSource> Make, string Message)> RefusalTable { get; } = new(StringComparer.Ordinal)
    {
        ["no such file"] = (test => new(ImageSourceKind.OciArchive, test._scratch["none.tar"]), "none.tar"),
        ["no such directory"] = (test => new(ImageSourceKind.OciLayout, test._scratch["none"]), "none"),
        ["a directory that is no layout"] = (test => test.Layout(), "there is no file index.json"),
        ["an archive that is no layout"] = (test => test.Tar(ImageSourceKind.OciArchive, new Archive().File("a")), "there is no file index.json"),
        ["an archive that docker did not save"] = (test => test.Tar(ImageSourceKind.DockerArchive, new Archive().File("a")), "there is no file manifest.json"),
        ["no tar archive"] = (test => test.Tar(ImageSourceKind.OciArchive, new Archive().Raw('0', new byte[600], [], [], 0, 0, 0), damaged: true), "checksum"),
        ["malformed index"] = (test => test.Layout(("index.json", "{")), "index.json is malformed"),
        ["huge index"] = (test => test.Layout(("index.json", new string(' ', 5_000_000))), "5000000 bytes"),
        ["empty index"] = (test => test.Layout(("index.json", """{"manifests":[]}""")), "names no image"),
        ["malformed digest"] = (test => test.Layout(("index.json", """{"manifests":[{"digest":"../../../etc/passwd","size":1}]}""")), "malformed digest"),
        ["missing blob"] = (test => test.Layout(("index.json", Index('a'))), "there is no file blobs/sha256/aaaa"),
        ["blob that is another"] = (test => test.Layout(("index.json", Index('b')), ("blobs/sha256/" + new string('b', 64), "{}")), "has the digest sha256:44136fa355b3678a"),
        ["blob that is a link to a file of this host"] = (
            test =>
            {
                ImageSource source = test.Layout(("index.json", Index('c')), ("blobs/sha256/x", ""));
                File.CreateSymbolicLink(Path.Combine(source.Path, "blobs", "sha256", new string('c', 64)), "/etc/passwd");
                return source;
            },
            "is a symbolic link"),
        ["directory of blobs that is a link"] = (
            test =>
            {
                ImageSource source = test.Layout(("index.json", Index('c')));
                File.CreateSymbolicLink(Path.Combine(source.Path, "blobs"), "/etc");
                return source;
            },
            "is a symbolic link"),
        ["blob that is a FIFO"] = (
            test =>
            {
                ImageSource source = test.Layout(("index.json", Index('d')), ("blobs/sha256/x", ""));
                HostProgram.RunAsync("mkfifo", Path.Combine(source.Path, "blobs", "sha256", new string('d', 64))).GetAwaiter().GetResult();
                return source;
            },
            "not a regular file"),
        ["root archive that is a FIFO"] = (
            test =>
            {
                HostProgram.RunAsync("mkfifo", test._scratch["fifo"]).GetAwaiter().GetResult();
                return new(ImageSourceKind.RootArchive, test._scratch["fifo"]);
            },
            "not a regular file"),
        ["config outside of the archive"] = (
            test => test.Tar(ImageSourceKind.DockerArchive, new Archive().File("manifest.json", """[{"Config":"/etc/passwd","Layers":[]}]""")), "there is no file /etc/passwd"),
        ["link in the archive that leads out"] = (
            test => test.Tar(ImageSourceKind.DockerArchive, new Archive().Link("c.json", "../../etc/passwd").File("manifest.json", """[{"Config":"c.json","Layers":[]}]""")), "there is no file c.json"),
        ["several images"] = (
            test => test.Tar(ImageSourceKind.DockerArchive, new Archive().File("manifest.json", """[{"Config":"a","RepoTags":["a:1"]},{"Config":"b","RepoTags":["b:1"]}]""")), "names 2 images; say which: a:1, b:1"),
        ["a name that it does not have"] = (
            test => test.Tar(ImageSourceKind.DockerArchive, new Archive().File("manifest.json", """[{"Config":"a","RepoTags":["a:1"]}]"""), name: "b:1"), "no image \"b:1\"; it names: a:1"),
        ["config whose name has a NUL in it"] = (
            test => test.Tar(ImageSourceKind.DockerArchive, new Archive().File("manifest.json", """[{"Config":"a\u0000b","Layers":[]}]""")), "a name has a NUL in it"),
        ["layer whose name has a NUL in it"] = (
            test => test.Tar(ImageSourceKind.DockerArchive, new Archive().File("c.json", "{}").File("manifest.json", """[{"Config":"c.json","Layers":["a\u0000b"]}]""")), "a name has a NUL in it"),
        ["names without end"] = (
            test => test.Tar(ImageSourceKind.DockerArchive, Enumerable.Range(0, 4200).Aggregate(new Archive(), (archive, i) => archive.File($"{i}/{LongName}"))), "longer than 16777216 bytes"),
        ["links without end"] = (
            test => test.Tar(ImageSourceKind.DockerArchive, Enumerable.Range(0, 4200).Aggregate(new Archive(), (archive, i) => archive.Link($"{i}", LongName))), "longer than 16777216 bytes"),
        ["index that is odd"] = (test => test.Layout(("index.json", OddJson)), "index.json is malformed at line 2, byte 1002"),
        ["list of images that is odd"] = (
            test => test.Tar(ImageSourceKind.DockerArchive, new Archive().File("manifest.json", $"[{OddJson}]")), "manifest.json is malformed at line 2, byte 1002"),
        ["index in two cases"] = (test => test.Layout(("index.json", """{"manifests":[],"Manifests":[]}""")), "index.json is malformed at line 1, byte"),
        ["list of images in two cases"] = (
            test => test.Tar(ImageSourceKind.DockerArchive, new Archive().File("manifest.json", """[{"Config":"a","config":"b","Layers":[]}]""")), "manifest.json is malformed at line 1, byte"),
        ["layer that leads out of the root"] = (test => test.RootOf(new Archive().File("../a")), "\"..\""),
    };

    [Theory]
    [MemberData(nameof(Refusals))]
    public async Task ImportAsync_explains_faults_and_leaves_nothing(string name)
    {
        (Func<ImageSourceTests, ImageSource> make, string message) = RefusalTable[name];
        ImageSource source = make(this);
        await using ImageStore store = Store();

        Exception fault = await Assert.ThrowsAnyAsync<SandboxException>(() => store.ImportAsync(source, Local, cancellationToken: Cancel));

        Assert.True(fault is ImagePullException or ImageNotFoundException, fault.ToString());
        Assert.Contains(message, fault.Message, StringComparison.Ordinal);
        Assert.Contains(source.ToString(), fault.Message, StringComparison.Ordinal);
        Assert.InRange(fault.Message.Length, 1, 500);
        Assert.All(fault.Message.Chunk(200), part => Assert.Equal(new string(part), UntrustedText.Show(new string(part))));
        Assert.Empty(Directory.EnumerateFileSystemEntries(Directory.EnumerateDirectories(_scratch["home/tmp"]).Single()));
        Assert.Empty(Directory.EnumerateFiles(_scratch["home/references"]));
    }

    [Theory]
    [Slow]
    [InlineData("gzip")]
    [InlineData("zstd")]
    public async Task A_decompression_bomb_ends_at_its_limit(string program)
    {
        await HostProgram.RunAsync("sh", "-c", $"head -c 400000000 /dev/zero | {program} -1 > '{_scratch["bomb"]}'");
        foreach (ImageSourceKind kind in (ImageSourceKind[])[ImageSourceKind.RootArchive, ImageSourceKind.OciArchive])
        {
            await using ImageStore store = Store(options => options.With(changed => changed.MaxImageBytes = 100_000_000));
            ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => store.ImportAsync(new(kind, _scratch["bomb"]), Local, cancellationToken: Cancel));
            Assert.Contains("more than 100000000 bytes", fault.Message, StringComparison.Ordinal);
            Assert.Empty(Directory.EnumerateFileSystemEntries(Directory.EnumerateDirectories(_scratch["home/tmp"]).Single()));
        }
    }

    [Theory]
    [InlineData("gzip")]
    [InlineData("zstd")]
    public async Task A_truncated_compressed_layer_is_rejected(string program)
    {
        File.WriteAllBytes(_scratch["whole"], new Archive().File("a", new string('a', 100_000)).ToBytes());
        await HostProgram.RunAsync("sh", "-c", $"{program} < '{_scratch["whole"]}' > '{_scratch["z"]}'; truncate -s -20 '{_scratch["z"]}'");
        await using ImageStore store = Store();

        await Assert.ThrowsAsync<ImagePullException>(() => store.ImportAsync(new(ImageSourceKind.RootArchive, _scratch["z"]), Local, cancellationToken: Cancel));
    }

    [Fact]
    public async Task A_zstd_window_of_gigabytes_is_rejected()
    {
        await HostProgram.RunAsync("sh", "-c", $"head -c 300000000 /dev/zero | zstd --ultra --long=31 -1 > '{_scratch["z"]}'");
        await using ImageStore store = Store();

        ImagePullException fault = await Assert.ThrowsAsync<ImagePullException>(() => store.ImportAsync(new(ImageSourceKind.RootArchive, _scratch["z"]), Local, cancellationToken: Cancel));
        Assert.Contains("zstd", fault.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("docker-archive:/a.tar:b:1", ImageSourceKind.DockerArchive, "/a.tar", "b:1")]
    [InlineData("oci:layout", ImageSourceKind.OciLayout, "layout", null)]
    [InlineData("rootfs:/a:b.tar", ImageSourceKind.RootArchive, "/a:b.tar", null)]
    public void ImageSource_Parse_reads_all_kinds(string text, ImageSourceKind kind, string path, string? name)
    {
        ImageSource source = ImageSource.Parse(text);
        Assert.Equal((kind, path, name), (source.Kind, source.Path, source.Name));
        Assert.Equal(text, source.ToString());
    }

    [Theory]
    [InlineData("docker://a")]
    [InlineData("oci:")]
    [InlineData("oci:a:")]
    [InlineData("/a.tar")]
    public void ImageSource_Parse_rejects_other_texts(string text) => Assert.Contains("write oci:DIRECTORY", Assert.Throws<FormatException>(() => ImageSource.Parse(text)).Message, StringComparison.Ordinal);

    public void Dispose() => _scratch.Dispose();

    private static ImageReference Local => ImageReference.Parse("local.example/app:1");

    private static string Index(char digit) => $$"""{"schemaVersion":2,"manifests":[{"digest":"sha256:{{new string(digit, 64)}}","size":2}]}""";

    private static string ManifestOf(string layout)
    {
        string index = File.ReadAllText(Path.Combine(layout, "index.json"));
        int at = index.IndexOf("sha256:", StringComparison.Ordinal) + 7;
        return Path.Combine(layout, "blobs", "sha256", index.Substring(at, 64));
    }

    private ImageStore Store(Func<ImageStoreOptions, ImageStoreOptions>? change = null)
    {
        var options = new ImageStoreOptions
        {
            Home = _scratch["home"],
            RootsDirectory = _scratch["roots"],
            RootKind = ImageRootKind.Flattened,
            Registries = [new() { Name = "local.example", Mirrors = ["http://127.0.0.1:1"] }],
        };
        return new ImageStore(change is null ? options : change(options));
    }

    private ImageSource RootOf(Archive archive)
    {
        string path = _scratch[Guid.NewGuid().ToString("N")];
        File.WriteAllBytes(path, archive.ToBytes());
        return new(ImageSourceKind.RootArchive, path);
    }

    private ImageSource Tar(ImageSourceKind kind, Archive archive, bool damaged = false, string? name = null)
    {
        byte[] bytes = archive.ToBytes();
        if (damaged)
        {
            bytes[3] ^= 1;
        }

        File.WriteAllBytes(_scratch["a.tar"], bytes);
        return new(kind, _scratch["a.tar"], name);
    }

    private ImageSource Layout(params (string Name, string Content)[] files)
    {
        string path = Directory.CreateDirectory(_scratch["layout"]).FullName;
        foreach ((string name, string content) in files)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(path, name))!);
            File.WriteAllText(Path.Combine(path, name), content, Encoding.ASCII);
        }

        return new(ImageSourceKind.OciLayout, path);
    }

    /// <summary>An image of two layers, with links, whiteouts and a command of its own.</summary>
    private async Task MakeLayoutAsync()
    {
        string[] missing = [.. ((string[])["skopeo", "umoci", "zstd"]).Where(program => !(Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(path => File.Exists(Path.Combine(path, program))))];
        Assert.SkipWhen(missing.Length > 0, $"not installed: {string.Join(", ", missing)}");
        Assert.SkipUnless(Unistd.geteuid() == 0, "owners need root");
        string files = Directory.CreateDirectory(_scratch["files"]).FullName;
        string image = _scratch["layout"] + ":latest";
        await HostProgram.RunAsync("sh", "-c", """
            cd "$1" && mkdir -p bin etc srv/removed && echo app > bin/app && chmod 4755 bin/app && ln -s app bin/link && ln bin/app bin/hard
            echo first > srv/changed; echo first > srv/gone; echo first > srv/removed/deep; truncate -s 5M srv/hole; chown 1000:1000 srv/changed
            """, "sh", files);
        await HostProgram.RunAsync("umoci", "init", "--layout", _scratch["layout"]);
        await HostProgram.RunAsync("umoci", "new", "--image", image);
        await HostProgram.RunAsync("umoci", "insert", "--image", image, files, "/");
        File.WriteAllText(_scratch["changed"], "second");
        await HostProgram.RunAsync("umoci", "insert", "--image", image, _scratch["changed"], "/srv/changed");
        await HostProgram.RunAsync("umoci", "insert", "--image", image, "--whiteout", "/srv/gone");
        await HostProgram.RunAsync("umoci", "config", "--image", image, "--config.entrypoint", "/bin/app", "--config.entrypoint", "--fast", "--config.cmd", "serve", "--config.cmd", "8080", "--config.stopsignal", "SIGQUIT");
    }
}
