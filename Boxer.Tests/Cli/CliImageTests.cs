using System.Diagnostics;
using System.Globalization;
using Boxer.Images;
using Boxer.Images.Roots;
using Boxer.Images.Store;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Cli;

/// <summary>Tests of the image commands, each in its own process.</summary>
[Slow]
public sealed class CliImageTests : IDisposable
{
    private const int LargeFiles = 400;
    private const int MostAttempts = 40;
    private readonly ScratchDirectory _scratch = new();
    private readonly ScriptedRegistry _registry = new();

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private string[] Common => ["--home", _scratch["home"], "--mirror", $"test.example={_registry.Url}", "--docker-config", _scratch["config.json"]];

    [Fact]
    public async Task Images_are_pulled_listed_and_removed()
    {
        _registry.AddImage("team/app", "v1", [new Archive().File("file", "content").ToBytes()]);

        CliResult pulled = await CliProcess.RunAsync(["pull", "test.example/team/app:v1", .. Common]);
        Assert.Equal((0, ""), (pulled.ExitCode, pulled.Stderr));
        string digest = pulled.Stdout.Trim().Split(' ')[1];
        Assert.Matches("^sha256:[0-9a-f]{64}$", digest);

        CliResult listed = await CliProcess.RunAsync(["images", .. Common]);
        Assert.Equal(0, listed.ExitCode);
        Assert.Matches($@"test\.example/team/app:v1 +{digest[7..19]} +[0-9.]+ kB +20", listed.Stdout);
        Assert.Equal("test.example/team/app:v1\n", (await CliProcess.RunAsync(["images", "-q", .. Common])).Stdout);

        CliResult missing = await CliProcess.RunAsync(["rm", "test.example/team/app:v1", "test.example/team/other:v1", .. Common]);
        Assert.Equal((1, "test.example/team/app:v1\n"), (missing.ExitCode, missing.Stdout));
        Assert.StartsWith("test.example/team/other:v1 is not in the local store", missing.Stderr, StringComparison.Ordinal);
        Assert.Equal("", (await CliProcess.RunAsync(["images", "-q", .. Common])).Stdout);
        Assert.Empty(Directory.EnumerateFiles(_scratch["home/blobs"], "*", SearchOption.AllDirectories));
    }

    [Fact]
    public async Task Images_are_imported_and_pruned()
    {
        await File.WriteAllBytesAsync(_scratch["root.tar"], new Archive().File("file", "content").ToBytes(), Cancel);

        CliResult imported = await CliProcess.RunAsync(["import", "rootfs:" + _scratch["root.tar"], "local/app:v1", .. Common]);
        Assert.Equal((0, ""), (imported.ExitCode, imported.Stderr));
        Assert.StartsWith("docker.io/local/app:v1 sha256:", imported.Stdout, StringComparison.Ordinal);

        Assert.StartsWith("0 images", (await CliProcess.RunAsync(["prune", .. Common])).Stdout, StringComparison.Ordinal);
        Assert.StartsWith("0 images", (await CliProcess.RunAsync(["prune", "--unused-days", "1", .. Common])).Stdout, StringComparison.Ordinal);
        Assert.StartsWith("1 images", (await CliProcess.RunAsync(["prune", "--all", .. Common])).Stdout, StringComparison.Ordinal);
        Assert.Empty(Directory.EnumerateFileSystemEntries(_scratch["home/tmp"]));
    }

    [Theory]
    [InlineData(125, "was not found", "pull", "test.example/missing")]
    [InlineData(125, "the repository must be lower-case", "pull", "UPPER")]
    [InlineData(125, "is not a source of an image", "import", "tar:x", "a")]
    [InlineData(125, "must have the form NAME=VALUE", "images", "--mirror", "nonsense")]
    [InlineData(1, "Required argument 'IMAGE' missing", "pull")]
    [InlineData(1, "'nonsense'", "nonsense")]
    public async Task Errors_are_printed_in_one_line(int exitCode, string message, params string[] arguments)
    {
        CliResult result = await CliProcess.RunAsync([.. arguments, .. Common]);

        Assert.Equal(exitCode, result.ExitCode);
        Assert.Contains(message, result.Stderr, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", result.Stderr, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_proxy_of_the_environment_is_used()
    {
        _registry.AddImage("a", "latest", [new Archive().File("file", "content").ToBytes()]);
        _registry.Script = request => _registry.Content.GetValueOrDefault(request.Path.Replace("http://mirror.invalid:5000", "", StringComparison.Ordinal));

        CliResult result = await CliProcess.RunAsync(
            ["pull", "proxied.example/a", .. Common, "--mirror", "proxied.example=http://mirror.invalid:5000"], new() { ["http_proxy"] = _registry.Url });

        Assert.Equal((0, ""), (result.ExitCode, result.Stderr));
        Assert.All(_registry.Requests, request => Assert.StartsWith("http://mirror.invalid:5000/v2/a/", request.Path, StringComparison.Ordinal));
    }

    [Theory]
    [InlineData("gzip", "registry")]
    [InlineData("zstd", "registry")]
    [InlineData("gzip", "rootfs")]
    public async Task A_layer_larger_than_memory_is_unpacked(string program, string source)
    {
        const int Size = 200_000_000;
        const string HeapOfAllObjects = "0x3000000"; // 48 MiB
        await HostProgram.RunAsync("sh", "-ec", $"head -c {Size} /dev/zero > {_scratch["zeros"]}; tar -cf {_scratch["root.tar"]} -C {_scratch.Path} zeros; rm {_scratch["zeros"]}; {program} -1 < {_scratch["root.tar"]} > {_scratch["root.z"]}");
        string[] command = ["import", "rootfs:" + _scratch["root.z"], "test.example/a:latest"];
        if (source == "registry")
        {
            ImageDigest diffId = ImageDigest.Sha256Of(await File.ReadAllBytesAsync(_scratch["root.tar"], Cancel));
            _registry.AddImage("a", "latest", [diffId], [await File.ReadAllBytesAsync(_scratch["root.z"], Cancel)]);
            command = ["pull", "test.example/a"];
        }

        CliResult result = await CliProcess.RunAsync([.. command, .. Common], new() { ["DOTNET_GCHeapHardLimit"] = HeapOfAllObjects });

        Assert.Equal((0, ""), (result.ExitCode, result.Stderr));
        Assert.Equal(Size, Directory.EnumerateFiles(_scratch["home/layers"], "zeros", SearchOption.AllDirectories).Sum(path => new FileInfo(path).Length));
    }

    // The process is killed at each request to the registry, and at intervals after the last one, while it unpacks, syncs and renames.
    [Fact]
    public async Task A_pull_that_is_killed_at_any_point_leaves_no_partial_image_in_use()
    {
        byte[][] layers = [.. Enumerable.Range(0, 4).Select(i => Enumerable.Range(0, 40).Aggregate(new Archive(), (archive, n) => archive.File($"layer{i}/file{n}", new string((char)('a' + i), 20_000))).ToBytes())];
        _registry.AddImage("a", "latest", layers);
        const int Requests = 6;
        int killed = 0;
        foreach ((int request, int delay) in (IEnumerable<(int, int)>)[.. Enumerable.Range(1, Requests).Select(n => (n, 0)), .. Enumerable.Range(0, 14).Select(n => (Requests, n * 8))])
        {
            TreeRemover.Remove(_scratch["home/references"]);
            int seen = 0;
            var reached = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _registry.Script = _ =>
            {
                if (Interlocked.Increment(ref seen) == request)
                {
                    reached.TrySetResult();
                }

                return null;
            };
            using Process process = CliProcess.Start(["pull", "test.example/a", .. Common]);
            await Task.WhenAny(reached.Task, process.WaitForExitAsync(Cancel));
            await Task.Delay(delay, Cancel);
            process.Kill();
            await process.WaitForExitAsync(Cancel);
            killed += process.ExitCode == 0 ? 0 : 1;
            AssertWhole();
        }

        Assert.InRange(killed, Requests, int.MaxValue);
        _registry.Script = _ => null;
        CliResult last = await CliProcess.RunAsync(["pull", "test.example/a", .. Common]);
        Assert.Equal((0, ""), (last.ExitCode, last.Stderr));
        await using var store = new ImageStore(new ImageStoreOptions { Home = _scratch["home"] });
        await using IImageLease lease = await store.AcquireAsync(ImageReference.Parse("test.example/a"), new ImageAcquireOptions { Policy = PullPolicy.Never }, Cancel);
        Assert.Equal(160, Directory.EnumerateFiles(lease.RootPath, "file*", SearchOption.AllDirectories).Count(IsWhole));
        Assert.Single(Directory.EnumerateDirectories(_scratch["home/tmp"]));
        Assert.Single(MountTable.Below(_scratch["home"]));
    }

    // The process is killed as soon as there is a partial root, and a little later each time.
    [Theory]
    [InlineData("unpack")]
    [InlineData("flatten")]
    public async Task A_process_that_is_killed_while_it_creates_a_root_leaves_nothing(string what)
    {
        Assert.SkipUnless(Unistd.geteuid() == 0, "needs root: overlay mounts");
        Assert.SkipUnless(HostProgram.Exists("setpriv"), "not installed: setpriv");
        AddLargeImage();

        // Without CAP_SYS_ADMIN nothing can be mounted, so roots are flattened.
        string[] launcher = what == "flatten" ? ["setpriv", "--bounding-set=-sys_admin"] : [];
        bool IsUnderWay() => Making().Count(directory => Directory.EnumerateDirectories(directory, "layer*").Any()) >= (what == "flatten" ? 1 : 2);
        int killed = 0;

        // On a busy machine the process may end first, so that there are more attempts, until one succeeds.
        for (int i = 0; i < 6 || (killed == 0 && i < MostAttempts); i++)
        {
            foreach (string kind in (string[])["references", "layers", "roots", "blobs"])
            {
                TreeRemover.Remove(_scratch["home/" + kind]);
            }

            killed += await KillAsync([.. launcher, .. CommandOf("pull", "test.example/a")], IsUnderWay, (i % 6) * 15) ? 1 : 0;
            AssertWhole(LargeFiles);
            AssertRootsWhole();
        }

        Assert.InRange(killed, 1, 6);
        await HostProgram.RunAsync("sh", ["-ec", "exec \"$@\" 2>&1", "sh", .. launcher, .. CommandOf("pull", "test.example/a")]);
        await AssertNothingIsLeftAsync(what == "flatten" ? ImageRootKind.Flattened : ImageRootKind.Overlay);
    }

    [Theory]
    [InlineData("rm", "test.example/a")]
    [InlineData("prune", "--all")]
    public async Task A_process_that_is_killed_while_it_removes_an_image_leaves_nothing(string command, string argument)
    {
        AddLargeImage();
        int killed = 0;
        for (int i = 0; i < 4 || (killed == 0 && i < MostAttempts); i++)
        {
            CliResult pulled = await CliProcess.RunAsync(["pull", "test.example/a", .. Common]);
            Assert.Equal((0, ""), (pulled.ExitCode, pulled.Stderr));
            killed += await KillAsync(CommandOf(command, argument), () => Making().Length > 0 || !Directory.EnumerateFiles(_scratch["home/references"]).Any(), (i % 4) * 5) ? 1 : 0;
            AssertWhole(LargeFiles);
        }

        Assert.InRange(killed, 1, 4);
        CliResult again = await CliProcess.RunAsync(["pull", "test.example/a", .. Common]);
        Assert.Equal((0, ""), (again.ExitCode, again.Stderr));
        await AssertNothingIsLeftAsync(null);
    }

    public void Dispose()
    {
        OverlayMounts.UnmountBelow(_scratch.Path);
        _registry.Dispose();
        _scratch.Dispose();
    }

    private void AddLargeImage() => _registry.AddImage(
        "a", "latest", [.. Enumerable.Range(0, 3).Select(i => Enumerable.Range(0, LargeFiles).Aggregate(new Archive(), (archive, n) => archive.File($"layer{i}/file{n}", new string((char)('a' + i), 20_000))).ToBytes())]);

    private string[] CommandOf(params string[] arguments) => ["dotnet", Path.Join(AppContext.BaseDirectory, "boxer.dll"), .. arguments, .. Common];

    // Entries that processes are creating, or have moved aside to remove.
    private string[] Making() => Directory.Exists(_scratch["home/tmp"])
        ? [.. Directory.GetDirectories(_scratch["home/tmp"]).SelectMany(directory => Directory.Exists(directory) ? Directory.GetDirectories(directory) : [])]
        : [];

    /// <summary>Starts a command and kills it some milliseconds after an event.</summary>
    /// <returns>Whether the command was still running.</returns>
    private static async Task<bool> KillAsync(string[] command, Func<bool> happens, int delay)
    {
        using Process process = HostProgram.Start(command[0], command[1..]);
        while (!process.HasExited)
        {
            try
            {
                if (happens())
                {
                    break;
                }
            }
            catch (DirectoryNotFoundException)
            {
                // The entry is being renamed or removed.
            }

            await Task.Delay(1, Cancel);
        }

        await Task.Delay(delay, Cancel);
        process.Kill();
        await process.WaitForExitAsync(Cancel);
        return process.ExitCode != 0;
    }

    private void AssertRootsWhole()
    {
        foreach (string root in Directory.Exists(_scratch["home/roots/sha256"]) ? Directory.GetDirectories(_scratch["home/roots/sha256"]) : [])
        {
            Assert.Equal(3 * LargeFiles, Directory.EnumerateFiles(root, "file*", SearchOption.AllDirectories).Count(IsWhole));
        }
    }

    /// <summary>Asserts that the image is correct and that killed processes left nothing else.</summary>
    private async Task AssertNothingIsLeftAsync(ImageRootKind? kind)
    {
        Assert.Empty(Directory.EnumerateFileSystemEntries(_scratch["home/tmp"]));
        Assert.Empty(MountTable.Below(_scratch["home"]));
        await using var store = new ImageStore(new ImageStoreOptions { Home = _scratch["home"], RootKind = kind });
        await using IImageLease lease = await store.AcquireAsync(ImageReference.Parse("test.example/a"), new ImageAcquireOptions { Policy = PullPolicy.Never }, Cancel);
        Assert.Equal(3 * LargeFiles, Directory.EnumerateFiles(lease.RootPath, "file*", SearchOption.AllDirectories).Count(IsWhole));
    }

    // Published entries are complete, whichever process was killed.
    private void AssertWhole(int files = 40)
    {
        foreach (string layer in Directory.Exists(_scratch["home/layers/sha256"]) ? Directory.GetDirectories(_scratch["home/layers/sha256"]) : [])
        {
            Assert.Equal(files, Directory.EnumerateFiles(layer, "*", SearchOption.AllDirectories).Count(IsWhole));
        }

        foreach (string blob in Directory.Exists(_scratch["home/blobs/sha256"]) ? Directory.GetFiles(_scratch["home/blobs/sha256"]) : [])
        {
            if (Path.GetExtension(blob) == ".origins")
            {
                Assert.All(File.ReadAllLines(blob), line => Assert.Matches("^(sha256:[0-9a-f]{64}|-) http://127.0.0.1:[0-9]+/$", line));
            }
            else
            {
                Assert.Equal(Path.GetFileName(blob), ImageDigest.Sha256Of(File.ReadAllBytes(blob)).Hex);
            }
        }
    }

    private static bool IsWhole(string path)
    {
        string content = File.ReadAllText(path);
        int layer = int.Parse(Path.GetFileName(Path.GetDirectoryName(path)!)["layer".Length..], CultureInfo.InvariantCulture);
        return content == new string((char)('a' + layer), 20_000);
    }
}
