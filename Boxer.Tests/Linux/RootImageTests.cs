using System.Security.Cryptography;
using Boxer.Hosting;
using Boxer.Images;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>Sandboxes that boot from a root in one file: the same as from a directory, and nothing is written to it.</summary>
[Collection(Sandboxes.Name)]
public sealed class RootImageTests(SharedRunner shared) : IDisposable
{
    private const string Listing = """
        import hashlib, os, stat
        total = hashlib.sha256()
        count = 0
        for path, directories, files in os.walk(b"/"):
            if path == b"/":
                directories[:] = [name for name in directories if name not in (b"proc", b"sys", b"dev", b"tmp", b"output", b"home")]
            directories.sort()
            for name in sorted(directories + files):
                full = os.path.join(path, name)
                status = os.lstat(full)
                is_directory = stat.S_ISDIR(status.st_mode)
                entry = [full, oct(status.st_mode), status.st_uid, status.st_gid, 0 if is_directory else status.st_size, 0 if is_directory else status.st_nlink]
                # What a run writes by itself has its own time, and so have directories that it is in.
                if not full.startswith(b"/etc") and not is_directory:
                    entry.append(status.st_mtime_ns)
                if stat.S_ISLNK(status.st_mode):
                    entry.append(os.readlink(full))
                elif stat.S_ISREG(status.st_mode) and os.access(full, os.R_OK):
                    entry.append(hashlib.sha256(open(full, "rb").read()).hexdigest())
                total.update(repr(entry).encode())
                count += 1
        print(count, total.hexdigest())
        """;

    private readonly string _home = Directory.CreateTempSubdirectory("boxer-root-image-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_home, recursive: true);

    [Fact]
    public async Task Sandboxes_boot_from_it_as_soon_as_it_is_there_find_the_same_and_write_nothing_to_it()
    {
        BoxerOptions options = shared.Options;
        options.Home = _home;
        SandboxRequest look = SharedRunner.Python(Listing);
        look.User = "0";
        look.Limits = new() { MemoryMegabytes = 512 };
        SandboxRequest write = SharedRunner.Shell("echo changed > /usr/bin/env; rm -rf /usr/lib/python3; echo made > /made; cat /usr/bin/env /made");
        write.User = "0";

        string file;
        string digest;
        await using (SandboxRunner runner = BoxerRunner.Create(options))
        {
            Assert.Empty(RootImages());
            SandboxResult fromDirectory = await runner.RunAsync(look, Cancel);
            file = await WaitForRootImageAsync();
            digest = await DigestAsync(file);
            Assert.Equal(1, await BootedFromAsync(runner, file));
            SandboxResult fromFile = await runner.RunAsync(look, Cancel);
            Assert.Equal(0, fromDirectory.ExitCode);
            Assert.NotEmpty(fromDirectory.Stdout);
            Assert.Equal(fromDirectory.Stdout, fromFile.Stdout);
            Assert.Equal("changed\nmade\n", (await runner.RunAsync(write, Cancel)).Stdout);
            Assert.Equal(fromDirectory.Stdout, (await runner.RunAsync(look, Cancel)).Stdout);
        }

        options.Pool.Enabled = true;
        await using (SandboxRunner runner = BoxerRunner.Create(options))
        {
            Assert.Equal("changed\nmade\n", (await runner.WarmAsync(write)).Stdout);
        }

        Assert.Equal(digest, await DigestAsync(file));
    }

    [Fact]
    public async Task It_goes_with_its_image_and_is_not_made_where_the_quota_has_no_room()
    {
        ImageReference reference = ImageReference.Parse(PythonImage.Name);
        await using (ImageStore store = Store(null))
        {
            await (await store.AcquireAsync(reference, Cancel)).DisposeAsync();
            string file = await WaitForRootImageAsync();
            long bytes = (await store.ListAsync(Cancel)).Single().Bytes;
            Assert.True(bytes > new FileInfo(file).Length);
            await using (IImageLease lease = await store.AcquireAsync(reference, Cancel))
            {
                while (lease.RootImagePath is null)
                {
                    await Task.Delay(20, Cancel);
                }

                Assert.Equal(file, lease.RootImagePath);
                Assert.Equal(ImageRemoval.InUse, await store.RemoveAsync(reference, Cancel));
                Assert.True(File.Exists(file));
            }

            Assert.Equal(ImageRemoval.Removed, await store.RemoveAsync(reference, Cancel));
            Assert.Empty(RootImages());
        }

        await using (ImageStore store = Store(400_000_000))
        {
            await using IImageLease lease = await store.AcquireAsync(reference, Cancel);
            await Task.Delay(TimeSpan.FromSeconds(4), Cancel);
            Assert.Null(lease.RootImagePath);
            Assert.Empty(RootImages());
        }

        ImageStore Store(long? quota) => new(new ImageStoreOptions
        {
            Home = _home,
            MakeRootImages = true,
            MaxStoreBytes = quota,
            RegistryMirrors = shared.Options.RegistryMirrors.ToDictionary(pair => pair.Key, pair => (IReadOnlyList<string>)[.. pair.Value]),
        });
    }

    // The home is this test's alone, and so is the file: how many sandboxes have it in their configuration.
    private static async Task<int> BootedFromAsync(SandboxRunner runner, string file)
    {
        await using OpenRun run = await OpenRun.StartAsync(runner, SharedRunner.Shell(OpenRun.Counting));
        string found = await HostProgram.RunAsync("sh", "-c", "grep -rslF \"$1\" /run/boxer --include=config.json || true", "sh", file);
        return found.Split('\n', StringSplitOptions.RemoveEmptyEntries).Length;
    }

    private string[] RootImages() => Directory.Exists(Path.Join(_home, "roots")) ? Directory.GetFiles(Path.Join(_home, "roots"), "*.erofs", SearchOption.AllDirectories) : [];

    private async Task<string> WaitForRootImageAsync()
    {
        while (RootImages().Length == 0)
        {
            await Task.Delay(50, Cancel);
        }

        return Assert.Single(RootImages());
    }

    private static async Task<string> DigestAsync(string file)
    {
        await using FileStream stream = File.OpenRead(file);
        return Convert.ToHexString(await SHA256.HashDataAsync(stream, Cancel));
    }
}
