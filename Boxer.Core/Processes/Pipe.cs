using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Processes;

/// <summary>
/// Pipe (pipe(7)) between this process and a child. This process's end is non-blocking, the child's end blocks. Every user may open it by name: a
/// command that has it may run as any user, and nobody else has a path to it.
/// </summary>
internal sealed class Pipe : IDisposable
{
    private const uint EveryUser = 0x1B6; // 0666

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
    /// <exception cref="NativeException">The process has no free descriptors.</exception>
    internal static Pipe ForReading()
    {
        (SafeFileHandle read, SafeFileHandle write) = Create();
        return new Pipe(SetNonBlocking(read, write), write);
    }

    /// <summary>Creates a pipe that this process writes and the child reads.</summary>
    /// <exception cref="NativeException">The process has no free descriptors.</exception>
    internal static Pipe ForWriting()
    {
        (SafeFileHandle read, SafeFileHandle write) = Create();
        return new Pipe(SetNonBlocking(write, read), read);
    }

    public void Dispose()
    {
        Ours.Dispose();
        Theirs.Dispose();
    }

    private static unsafe (SafeFileHandle Read, SafeFileHandle Write) Create()
    {
        int* ends = stackalloc int[2];
        Check.Result(Unistd.pipe2(ends, Fcntl.O_CLOEXEC), "pipe2");
        (SafeFileHandle read, SafeFileHandle write) = (new SafeFileHandle(ends[0], ownsHandle: true), new SafeFileHandle(ends[1], ownsHandle: true));
        Check.Result(SysStat.fchmod(read, EveryUser), "fchmod");
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
