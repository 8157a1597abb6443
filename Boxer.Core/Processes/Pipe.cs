using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Processes;

/// <summary>A pipe (pipe(7)) between this process and a child: our end does not block, the child's end does.</summary>
internal sealed class Pipe : IDisposable
{
    private Pipe(SafeFileHandle ours, SafeFileHandle theirs)
    {
        Ours = ours;
        Theirs = theirs;
    }

    internal SafeFileHandle Ours { get; }

    internal SafeFileHandle Theirs { get; }

    /// <summary>A pipe that we read and the child writes.</summary>
    internal static Pipe ForReading()
    {
        (SafeFileHandle read, SafeFileHandle write) = Create();
        return new Pipe(SetNonBlocking(read, write), write);
    }

    /// <summary>A pipe that we write and the child reads.</summary>
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
        return (new SafeFileHandle(ends[0], ownsHandle: true), new SafeFileHandle(ends[1], ownsHandle: true));
    }

    // O_NONBLOCK belongs to the open file description, and the two ends have one each.
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
