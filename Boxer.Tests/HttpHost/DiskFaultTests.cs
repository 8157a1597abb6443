using System.Text.Json.Nodes;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.HttpHost;

/// <summary>Tests of a full or read-only disk: it is reported, releases all resources, and works again after it is repaired.</summary>
public abstract class DiskFaultTests(ContractHost contract) : ContractTests(contract), IAsyncLifetime
{
    private string _home = "";

    // The host has its lock file open for writing, so its whole home cannot be remounted read-only.
    private string Space => Path.Combine(_home, "files/shared");

    public async ValueTask InitializeAsync()
    {
        // A test that is skipped here is not disposed.
        Assert.SkipUnless(Unistd.geteuid() == 0, "Needs root, to mount a small disk.");
        _home = Directory.CreateTempSubdirectory("boxer-disk-").FullName;
        await HostProgram.RunAsync("mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", _home);
        Directory.CreateDirectory(Path.Combine(_home, "files"), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        Directory.CreateDirectory(Space, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        await HostProgram.RunAsync("mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", Space);
    }

    public async ValueTask DisposeAsync()
    {
        await HostProgram.RunAsync("umount", "-l", Space);
        await HostProgram.RunAsync("umount", "-l", _home);
        Directory.Delete(_home);
        GC.SuppressFinalize(this);
    }

    [Fact]
    public async Task A_full_disk_is_507_not_a_fault_of_the_form()
    {
        await using HostFixture host = await StartAsync();

        Answer full = await host.UploadAsync("a", new byte[3 << 20]);
        Answer fits = await host.UploadAsync("a", new byte[1 << 20]);

        Assert.Equal((507, "the disk of this host is full; nothing was stored."), (full.Status, full.Error));
        Assert.Equal(200, fits.Status);
        Assert.Empty(Directory.GetFiles(Path.Combine(_home, "files/shared/staging")));
    }

    [Fact]
    public async Task A_failed_delete_after_a_run_releases_its_permit()
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Script = (_, _) => RemountedAsync();
        for (int i = 0; i < 5; i++)
        {
            await HostProgram.RunAsync("mount", "-o", "remount,rw", Space);
            Assert.Equal(200, (await host.UploadAsync("a", "x")).Status);

            Assert.Equal(200, (await host.RunAsync("""{"image": "i", "cmd": ["a"], "files": ["a"]}""")).Status);
        }

        await HostProgram.RunAsync("mount", "-o", "remount,rw", Space);
    }

    [Fact]
    public async Task Output_is_returned_even_if_output_files_cannot_be_kept()
    {
        await using HostFixture host = await StartAsync();
        host.Runner.Script = (request, _) =>
        {
            Directory.CreateDirectory(request.OutputFiles.Directory!);
            File.WriteAllText(Path.Combine(request.OutputFiles.Directory!, "f"), "x");
            return RemountedAsync();
        };

        Answer answer = await host.RunAsync("""{"image": "i", "cmd": ["a"], "persist": true}""");
        await HostProgram.RunAsync("mount", "-o", "remount,rw", Space);

        Assert.Equal((200, "printed"), (answer.Status, (string)answer.Json["stdout"]!));
        Assert.Equal("None was kept: this host could not store them.", (string)answer.Json["outputs_incomplete"]!);
    }

    private async IAsyncEnumerable<SandboxEvent> RemountedAsync()
    {
        yield return new SandboxStarted("boxer-1");
        await HostProgram.RunAsync("mount", "-o", "remount,ro", Space);
        yield return new SandboxEnded(ScriptedRunner.Result(stdout: "printed", id: "boxer-1"));
    }

    private Task<HostFixture> StartAsync() => StartAsync(
        new JsonObject { ["home"] = _home, ["max_concurrent_runs"] = 1, ["max_queued_runs"] = 0 });
}

public sealed class HttpHostDiskFaultTests() : DiskFaultTests(ContractHost.HttpHost);

public sealed class MinimalApiDiskFaultTests() : DiskFaultTests(ContractHost.MinimalApi);
