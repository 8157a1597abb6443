using System.Runtime.InteropServices;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Processes;

/// <summary>
/// A program started with posix_spawn(3): its descriptors are named one by one and nothing else is inherited by luck, and it is
/// held by a pidfd, so that a signal never reaches a stranger that got the same number.
/// </summary>
internal sealed class ChildProcess : IDisposable
{
    private readonly SafeFileHandle _pidfd;
    private readonly DescriptorPoller.Registration _registration;

    private ChildProcess(int id, SafeFileHandle pidfd, DescriptorPoller.Registration registration)
    {
        Id = id;
        _pidfd = pidfd;
        _registration = registration;
        Exited = WaitAsync();
    }

    /// <summary>The process id.</summary>
    internal int Id { get; }

    /// <summary>Completes when the process has ended and is reaped: its exit code, or 128 + the signal.</summary>
    internal Task<int> Exited { get; }

    /// <summary>Starts a program.</summary>
    /// <param name="poller">Waits for the end.</param>
    /// <param name="path">The program: an absolute path.</param>
    /// <param name="arguments">Its arguments, without argv[0].</param>
    /// <param name="environment">Its whole environment, as <c>NAME=value</c>.</param>
    /// <param name="descriptors">What becomes descriptor 0, 1, 2, ... of the child.</param>
    internal static unsafe ChildProcess Start(
        DescriptorPoller poller,
        string path,
        IReadOnlyList<string> arguments,
        IReadOnlyList<string> environment,
        ReadOnlySpan<SafeHandle> descriptors)
    {
        byte* actions = stackalloc byte[Spawn.SizeOfPosixSpawnFileActions];
        Check.Error(Spawn.posix_spawn_file_actions_init(actions), "posix_spawn_file_actions_init");
        byte** argv = null;
        byte** envp = null;
        byte* program = null;
        int pid;
        try
        {
            // The duplicates are made in order, so a source must not be a number that was given away before.
            for (int i = 0; i < descriptors.Length; i++)
            {
                int source = descriptors[i].DangerousGetHandle().ToInt32();
                if (source < i)
                {
                    throw new InvalidOperationException($"Descriptor {source} would be overwritten before it is handed over.");
                }

                Check.Error(Spawn.posix_spawn_file_actions_adddup2(actions, source, i), "posix_spawn_file_actions_adddup2");
            }

            program = (byte*)Marshal.StringToCoTaskMemUTF8(path);
            argv = ToNative([path, .. arguments]);
            envp = ToNative(environment);
            Check.Error(Spawn.posix_spawn(out pid, program, actions, null, argv, envp), "posix_spawn", path);
        }
        finally
        {
            Marshal.FreeCoTaskMem((nint)program);
            Free(argv);
            Free(envp);
            _ = Spawn.posix_spawn_file_actions_destroy(actions);
        }

        // Our child stays a zombie until we reap it, so the number cannot be another process's yet.
        var pidfd = new SafeFileHandle(SysPidfd.pidfd_open(pid, 0), ownsHandle: true);
        try
        {
            Check.Result(pidfd.IsInvalid ? -1 : 0, "pidfd_open");
            return new ChildProcess(pid, pidfd, poller.Register(pidfd));
        }
        catch
        {
            _ = Signal.kill(pid, Signal.SIGKILL);
            _ = Reap(SysPidfd.P_PID, (uint)pid);
            pidfd.Dispose();
            throw;
        }
    }

    /// <summary>Kills the process; nothing happens if it has ended.</summary>
    internal void Kill()
    {
        try
        {
            _ = SysPidfd.pidfd_send_signal(_pidfd, Signal.SIGKILL);
        }
        catch (ObjectDisposedException)
        {
            // It has ended.
        }
    }

    /// <summary>Closes the pidfd. Called after <see cref="Exited"/> has completed.</summary>
    public void Dispose()
    {
        _registration.Dispose();
        _pidfd.Dispose();
    }

    private async Task<int> WaitAsync()
    {
        await _registration.WaitAsync(SysEpoll.EPOLLIN).ConfigureAwait(false);
        return Reap(SysPidfd.P_PIDFD, (uint)_pidfd.DangerousGetHandle().ToInt32());
    }

    private static unsafe int Reap(int idType, uint id)
    {
        const int SizeOfSiginfo = 128;
        const int OffsetOfCode = 8;
        const int OffsetOfStatus = 24;
        byte* info = stackalloc byte[SizeOfSiginfo];
        int result;
        do
        {
            result = SysPidfd.waitid(idType, id, info, SysPidfd.WEXITED);
        }
        while (result < 0 && Marshal.GetLastPInvokeError() == Errno.EINTR);

        // Somebody else in this process reaped it (a wait for any child): how it ended is lost, that it ended is not.
        if (result < 0)
        {
            return -1;
        }

        int status = *(int*)(info + OffsetOfStatus);
        return *(int*)(info + OffsetOfCode) == SysPidfd.CLD_EXITED ? status : 128 + status;
    }

    private static unsafe byte** ToNative(IReadOnlyList<string> strings)
    {
        var array = (byte**)NativeMemory.AllocZeroed((nuint)strings.Count + 1, (nuint)sizeof(byte*));
        for (int i = 0; i < strings.Count; i++)
        {
            array[i] = (byte*)Marshal.StringToCoTaskMemUTF8(strings[i]);
        }

        return array;
    }

    private static unsafe void Free(byte** array)
    {
        if (array is null)
        {
            return;
        }

        for (byte** item = array; *item is not null; item++)
        {
            Marshal.FreeCoTaskMem((nint)(*item));
        }

        NativeMemory.Free(array);
    }
}
