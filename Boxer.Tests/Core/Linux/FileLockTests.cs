using System.Globalization;
using Boxer.Machine;
using Boxer.Linux;
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
    public void A_lock_is_held_until_it_is_let_go_also_against_this_process()
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
    public void A_lock_that_is_let_go_is_free_also_where_a_child_still_has_its_descriptor()
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
    public void A_directory_is_locked_as_a_file_is()
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
    public void A_link_is_not_followed_and_what_cannot_be_made_is_an_error()
    {
        File.CreateSymbolicLink(Path.Join(_directory, "link"), "/etc/passwd");
        Assert.Throws<NativeException>(() => FileLock.TryTakeOrCreate(Path.Join(_directory, "link")));
        Assert.Throws<NativeException>(() => FileLock.TryCreate(Path.Join(_directory, "none/a")));
    }

    [Fact]
    public async Task An_instance_that_cannot_be_made_is_an_error_and_not_an_endless_attempt()
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
