using System.Globalization;
using Boxer.Linux;
using Boxer.Machine;
using Boxer.Native;
using Boxer.Tests.Support;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Tests.Core.Linux;

public sealed class FileLockTests : IDisposable
{
    private const int F_DUPFD = 0;
    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-lock-").FullName;

    public void Dispose() => Directory.Delete(_directory, recursive: true);

    [Fact]
    public void TryTake_fails_until_the_lock_is_released_also_in_this_process()
    {
        string path = Path.Join(_directory, "a.lock");
        Assert.Null(FileLock.TryTake(path));
        using (FileLock? first = FileLock.TryCreate(path))
        {
            Assert.NotNull(first);
            Assert.Null(FileLock.TryCreate(path));
            Assert.Null(FileLock.TryTake(path));
            Assert.Null(FileLock.TryTakeOrCreate(path));
        }

        using FileLock? second = FileLock.TryTake(path);
        Assert.NotNull(second);
    }

    [Fact]
    public void Dispose_releases_the_lock_even_if_a_child_has_its_descriptor()
    {
        string path = Path.Join(_directory, "a.lock");
        FileLock held = FileLock.TryCreate(path)!;
        string number = Directory.GetFiles("/proc/self/fd").First(link => new FileInfo(link).LinkTarget == path);
        using var descriptor = new SafeFileHandle(int.Parse(Path.GetFileName(number), CultureInfo.InvariantCulture), ownsHandle: false);
        using var childs = new SafeFileHandle(Fcntl.fcntl(descriptor, F_DUPFD, 0), ownsHandle: true);

        held.Dispose();

        using FileLock? next = FileLock.TryTake(path);
        Assert.NotNull(next);
    }

    [Fact]
    public void TryTakeDirectory_locks_a_directory()
    {
        using (FileLock? first = FileLock.TryTakeDirectory(_directory))
        {
            Assert.NotNull(first);
            Assert.Null(FileLock.TryTakeDirectory(_directory));
        }

        using FileLock? second = FileLock.TryTakeDirectory(_directory);
        Assert.NotNull(second);
    }

    [Fact]
    public void TryTakeOrCreate_does_not_follow_a_link_and_throws_if_it_cannot_create_the_file()
    {
        File.CreateSymbolicLink(Path.Join(_directory, "link"), "/etc/passwd");
        Assert.Throws<NativeException>(() => FileLock.TryTakeOrCreate(Path.Join(_directory, "link")));
        Assert.Throws<NativeException>(() => FileLock.TryCreate(Path.Join(_directory, "none/a")));
    }

    [Fact]
    public async Task InstanceDirectory_Create_throws_if_the_directory_cannot_be_made()
    {
        Assert.SkipUnless(Unistd.geteuid() == 0, "Needs root, to mount a file system without room.");
        string full = Directory.CreateDirectory(Path.Join(_directory, "full")).FullName;
        await HostProgram.RunAsync("mount", "-t", "tmpfs", "-o", "nr_inodes=1,mode=0700", "tmpfs", full);
        try
        {
            SandboxRuntimeException fault = Assert.Throws<SandboxRuntimeException>(() => InstanceDirectory.Create(full));
            Assert.Contains(full, fault.Message, StringComparison.Ordinal);
        }
        finally
        {
            await HostProgram.RunAsync("umount", full);
        }
    }
}
