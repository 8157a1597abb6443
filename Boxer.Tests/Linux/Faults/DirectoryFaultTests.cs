using Boxer.Machine;
using Boxer.Network;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Faults;

/// <summary>Directories that cannot be written: the message names the directory, the cause and the remedy.</summary>
[Collection(Sandboxes.Name)]
public sealed class DirectoryFaultTests(PythonImage image) : IAsyncLifetime
{
    private readonly string _mount = Directory.CreateTempSubdirectory("boxer-small-").FullName;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public async ValueTask DisposeAsync()
    {
        await HostProgram.RunAsync("sh", "-c", $"umount {_mount} || true");
        Directory.Delete(_mount, recursive: true);
    }

    [Theory]
    [InlineData("ro", typeof(SandboxPrivilegeException), "make it writable, or set Home to another directory")]
    [InlineData("nr_inodes=6", typeof(SandboxRuntimeException), "There is no free space or no free inode in")]
    [InlineData("size=64k", typeof(SandboxRuntimeException), "There is no free space or no free inode in")]
    public async Task A_home_that_cannot_be_written_is_reported_with_the_remedy_and_recovers(string mounted, Type type, string message)
    {
        image.Require();
        await MountAsync(mounted);
        BoxerOptions options = image.Options();
        options.Home = _mount;
        string[] before = OwnTraces.Instances();
        await using var runner = new SandboxRunner(options, [new NoneNetworkMode()]);

        Exception? fault = await Record.ExceptionAsync(() => runner.StartAsync(Cancel));

        Assert.True(fault?.GetType() == type && fault.Message.Contains(message, StringComparison.Ordinal) && fault.Message.Contains(_mount, StringComparison.Ordinal), $"{fault}");
        Assert.Empty(OwnTraces.Instances().Except(before, StringComparer.Ordinal));
        await HostProgram.RunAsync("mount", "-o", "remount,rw,size=100m,nr_inodes=100000", _mount);
        await runner.StartAsync(Cancel);
        Assert.Empty(Directory.GetFiles(_mount, ".probe-*"));
    }

    [Fact]
    public async Task A_full_instance_directory_is_no_privilege_fault_and_leaves_nothing()
    {
        image.Require();
        await MountAsync("nr_inodes=2");

        SandboxRuntimeException fault = Assert.Throws<SandboxRuntimeException>(() => InstanceDirectory.Create(_mount));

        Assert.Contains($"Nothing can be created in {_mount}", fault.Message, StringComparison.Ordinal);
        Assert.Empty(Directory.GetFileSystemEntries(_mount));
    }

    private async Task MountAsync(string options)
    {
        await HostProgram.RunAsync("mount", "-t", "tmpfs", "-o", $"mode=0700,{options}", "tmpfs", _mount);
    }
}
