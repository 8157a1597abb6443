using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>Statements of docs/sandbox.md about the kernel. <see cref="AccountsTests"/> and <see cref="LimitTests"/> check the rest of the page.</summary>
[Collection(Sandboxes.Name)]
public sealed class SandboxPageTests(SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task The_calls_that_the_page_lists_are_missing()
    {
        SandboxResult result = await shared.Runner.RunAsync(
            Python("""
                import ctypes, errno, os, platform
                libc = ctypes.CDLL(None, use_errno=True)
                numbers = {"io_uring_setup": 425, "openat2": 437, "pidfd_open": 434, "landlock_create_ruleset": 444, "copy_file_range": 326 if platform.machine() == "x86_64" else 285}
                for name, number in numbers.items():
                    result = libc.syscall(ctypes.c_long(number), 0, 0, 0, 0, 0, 0)
                    print(name, errno.errorcode.get(ctypes.get_errno()) if result < 0 else result)
                try: os.open("/tmp", os.O_TMPFILE | os.O_RDWR); print("O_TMPFILE works")
                except OSError as e: print("O_TMPFILE", e.strerror)
                print("unshare", libc.unshare(0x10000000), errno.errorcode[ctypes.get_errno()])
                """),
            Cancel);

        Assert.Equal(
            """
            io_uring_setup ENOSYS
            openat2 ENOSYS
            pidfd_open ENOSYS
            landlock_create_ruleset ENOSYS
            copy_file_range ENOSYS
            O_TMPFILE Operation not supported
            unshare -1 EPERM

            """,
            result.StandardOutput + result.StandardError);
    }

    [Fact]
    public async Task Without_a_network_connections_and_names_fail_at_once()
    {
        SandboxResult result = await shared.Runner.RunAsync(
            Python("""
                import errno, socket
                try: socket.create_connection(("203.0.113.1", 80), timeout=5)
                except OSError as e: print(errno.errorcode.get(e.errno))
                try: socket.getaddrinfo("example.com", 80)
                except socket.gaierror as e: print(e.errno == socket.EAI_AGAIN, e.strerror)
                """),
            Cancel);

        Assert.Equal("EHOSTUNREACH\nTrue Temporary failure in name resolution\n", result.StandardOutput + result.StandardError);
    }

    [Fact]
    public async Task A_missing_file_in_a_directory_that_cannot_be_written_is_denied()
    {
        SandboxResult result = await shared.Runner.RunAsync(Shell("rm -f /usr/missing; echo $?"), Cancel);

        Assert.Equal("1\nrm: cannot remove '/usr/missing': Permission denied\n", result.StandardOutput + result.StandardError);
    }
}
