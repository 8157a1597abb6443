using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Processes;

/// <summary>
/// Pipe (pipe(7)) between this process and a child. This process's end is non-blocking, the child's end blocks. Its owner may open it by name, such
/// as /dev/stdout.
/// </summary>
internal sealed class Pipe : IDisposable
{
    private const uint EveryUser = 0x1B6; // 0666
    private const uint OwnerOnly = 0x180; // 0600
    private const uint Unchanged = uint.MaxValue;

    private Pipe(SafeFileHandle ours, SafeFileHandle theirs)
    {
        Ours = ours;
        Theirs = theirs;
    }

    /// <summary>End of this process.</summary>
    internal SafeFileHandle Ours { get; }

    /// <summary>End of the child.</summary>
    internal SafeFileHandle Theirs { get; }

    /// <summary>Creates a pipe that this process reads and the child writes.</summary>
    /// <param name="owner">The user that may open it by name; <see langword="null"/>: every user, because the child's user is not known yet.</param>
    /// <exception cref="NativeException">The process has no free descriptors.</exception>
    internal static Pipe ForReading(uint? owner = null)
    {
        (SafeFileHandle read, SafeFileHandle write) = Create(owner);
        return new Pipe(SetNonBlocking(read, write), write);
    }

    /// <summary>Creates a pipe that this process writes and the child reads.</summary>
    /// <param name="owner">The user that may open it by name; <see langword="null"/>: every user, because the child's user is not known yet.</param>
    /// <exception cref="NativeException">The process has no free descriptors.</exception>
    internal static Pipe ForWriting(uint? owner = null)
    {
        (SafeFileHandle read, SafeFileHandle write) = Create(owner);
        return new Pipe(SetNonBlocking(write, read), read);
    }

    public void Dispose()
    {
        Ours.Dispose();
        Theirs.Dispose();
    }

    private static unsafe (SafeFileHandle Read, SafeFileHandle Write) Create(uint? owner)
    {
        int* ends = stackalloc int[2];
        Check.Result(Unistd.pipe2(ends, Fcntl.O_CLOEXEC), "pipe2");
        (SafeFileHandle read, SafeFileHandle write) = (new SafeFileHandle(ends[0], ownsHandle: true), new SafeFileHandle(ends[1], ownsHandle: true));

        // In a sandbox other users have a path to it, through /proc/PID/fd. Only root can change the owner; both ends have the same.
        bool isOwned = owner is { } user && Unistd.fchown(read, user, Unchanged) == 0;
        Check.Result(SysStat.fchmod(read, isOwned ? OwnerOnly : EveryUser), "fchmod");
        return (read, write);
    }

    // O_NONBLOCK is a flag of the open file description. Each end has its own.
    private static SafeFileHandle SetNonBlocking(SafeFileHandle end, SafeFileHandle other)
    {
        try
        {
            int flags = Check.Result(Fcntl.fcntl(end, Fcntl.F_GETFL, 0), "fcntl");
            Check.Result(Fcntl.fcntl(end, Fcntl.F_SETFL, flags | Fcntl.O_NONBLOCK), "fcntl");
            return end;
        }
        catch
        {
            end.Dispose();
            other.Dispose();
            throw;
        }
    }
}
