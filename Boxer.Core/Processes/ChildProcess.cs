using System.Runtime.InteropServices;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Processes;

/// <summary>
/// Child process started with posix_spawn(3). It inherits the descriptors that its caller names; .NET opens all others close-on-exec. A signal goes
/// through a pidfd of the process, so that it never reaches another process that got the same id. The pidfd is opened when it is needed: a process
/// that nobody waits for takes no descriptor.
/// </summary>
internal sealed class ChildProcess : IDisposable
{
    private static readonly TimeSpan ExitPause = TimeSpan.FromMilliseconds(100);
    private readonly DescriptorPoller _poller;
    private readonly ulong? _startTime;
    private readonly Lock _gate = new();
    private SafeFileHandle? _pidfd;
    private DescriptorPoller.Registration? _registration;
    private Task<int>? _exited;

    private ChildProcess(DescriptorPoller poller, int id, ulong? startTime)
    {
        _poller = poller;
        Id = id;
        _startTime = startTime;
    }

    /// <summary>Process id.</summary>
    internal int Id { get; }

    /// <summary>
    /// Completes when the process has ended and is reaped, with its exit code, or 128 + the signal; -1 if another part of this process reaped it.
    /// The first use opens the pidfd.
    /// </summary>
    /// <exception cref="IOException">This process has no free descriptors.</exception>
    internal Task<int> Exited
    {
        get
        {
            lock (_gate)
            {
                return _exited ??= Wait();
            }
        }
    }

    /// <summary>Starts a program.</summary>
    /// <param name="poller">Poller that waits for the end of the process.</param>
    /// <param name="path">Absolute path of the program.</param>
    /// <param name="arguments">Arguments, without argv[0].</param>
    /// <param name="environment">Whole environment, as <c>NAME=value</c>.</param>
    /// <param name="descriptors">Descriptors 0, 1, 2, ... of the child.</param>
    /// <exception cref="NativeException">The program cannot be started.</exception>
    internal static ChildProcess Start(
        DescriptorPoller poller,
        string path,
        IReadOnlyList<string> arguments,
        IReadOnlyList<string> environment,
        ReadOnlySpan<SafeHandle> descriptors)
    {
        int pid = SpawnProcess(path, arguments, environment, descriptors);

        // The child stays a zombie until this class reaps it, so no other process can have its id yet.
        try
        {
            return new ChildProcess(poller, pid, ProcessTable.ReadStartTime(pid));
        }
        catch
        {
            _ = Signal.kill(pid, Signal.SIGKILL);
            _ = Reap(SysPidfd.P_PID, (uint)pid);
            throw;
        }
    }

    /// <summary>Kills the process, if it has not ended.</summary>
    internal void Kill()
    {
        lock (_gate)
        {
            if (_exited is { IsCompleted: true })
            {
                return;
            }

            try
            {
                bool isHeld = _pidfd is not null;
                SafeFileHandle? pidfd = _pidfd ?? Open();
                if (pidfd is null)
                {
                    return;
                }

                _ = SysPidfd.pidfd_send_signal(pidfd, Signal.SIGKILL);
                if (!isHeld)
                {
                    pidfd.Dispose();
                }
            }
            catch (IOException)
            {
                // This process has no free descriptors. The disposal of the sandbox tries again.
            }
            catch (ObjectDisposedException)
            {
                // The process has ended.
            }
        }
    }

    /// <summary>Waits until the process has ended, for a limited time, also while this process has no free descriptors.</summary>
    /// <param name="patience">The time.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    internal Task WaitForExitAsync(TimeSpan patience, TimeProvider time, CancellationToken cancellationToken) =>
        WaitForExitAsync(() => Exited, patience, time, cancellationToken);

    /// <summary>Waits until a process has ended, for a limited time.</summary>
    /// <param name="exited">Returns the task that completes with the process, or throws an <see cref="IOException"/>.</param>
    /// <param name="patience">The time.</param>
    /// <param name="time">The clock.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    internal static async Task WaitForExitAsync(Func<Task> exited, TimeSpan patience, TimeProvider time, CancellationToken cancellationToken)
    {
        using var over = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task late = Task.Delay(patience, time, over.Token);
        while (!late.IsCompleted)
        {
            try
            {
                await Task.WhenAny(exited(), late).ConfigureAwait(false);
                break;
            }
            catch (IOException)
            {
                // A descriptor may become free.
                await Task.WhenAny(Task.Delay(ExitPause, time, over.Token), late).ConfigureAwait(false);
            }
        }

        await over.CancelAsync().ConfigureAwait(false);
        cancellationToken.ThrowIfCancellationRequested();
    }

    /// <summary>Closes the pidfd. Call it after <see cref="Exited"/> has completed.</summary>
    public void Dispose()
    {
        _registration?.Dispose();
        _pidfd?.Dispose();
    }

    private Task<int> Wait()
    {
        if (Open() is not { } pidfd)
        {
            return Task.FromResult(-1);
        }

        try
        {
            _registration = _poller.Register(pidfd);
        }
        catch
        {
            pidfd.Dispose();
            throw;
        }

        _pidfd = pidfd;
        return WaitAsync(pidfd, _registration);
    }

    // Another part of this process may have reaped the child, and another process may have its id: the start time of the process behind the pidfd is
    // compared. It is read after the pidfd was opened.
    private SafeFileHandle? Open()
    {
        var pidfd = new SafeFileHandle(SysPidfd.pidfd_open(Id, 0), ownsHandle: true);
        if (pidfd.IsInvalid && Marshal.GetLastPInvokeError() != Errno.ESRCH)
        {
            throw new NativeException("pidfd_open", Marshal.GetLastPInvokeError(), subject: null);
        }

        bool isOurs = false;
        try
        {
            isOurs = !pidfd.IsInvalid && ProcessTable.ReadStartTime(Id) == _startTime;
            return isOurs ? pidfd : null;
        }
        finally
        {
            if (!isOurs)
            {
                pidfd.Dispose();
            }
        }
    }

    private static unsafe int SpawnProcess(string path, IReadOnlyList<string> arguments, IReadOnlyList<string> environment, ReadOnlySpan<SafeHandle> descriptors)
    {
        byte* actions = stackalloc byte[Spawn.SizeOfPosixSpawnFileActions];
        Check.Error(Spawn.posix_spawn_file_actions_init(actions), "posix_spawn_file_actions_init");
        byte** argv = null;
        byte** envp = null;
        byte* program = null;
        try
        {
            // The duplicates are made in order, so a source must not be a number that an earlier duplicate has overwritten.
            for (int i = 0; i < descriptors.Length; i++)
            {
                int source = descriptors[i].DangerousGetHandle().ToInt32();
                if (source < i)
                {
                    throw new InvalidOperationException($"Descriptor {source} would be overwritten before it is duplicated.");
                }

                Check.Error(Spawn.posix_spawn_file_actions_adddup2(actions, source, i), "posix_spawn_file_actions_adddup2");
            }

            program = (byte*)Marshal.StringToCoTaskMemUTF8(path);
            argv = ToNative([path, .. arguments]);
            envp = ToNative(environment);
            Check.Error(Spawn.posix_spawn(out int pid, program, actions, null, argv, envp), "posix_spawn", path);
            return pid;
        }
        finally
        {
            Marshal.FreeCoTaskMem((nint)program);
            Free(argv);
            Free(envp);
            _ = Spawn.posix_spawn_file_actions_destroy(actions);
        }
    }

    private static async Task<int> WaitAsync(SafeFileHandle pidfd, DescriptorPoller.Registration registration)
    {
        await registration.WaitAsync(SysEpoll.EPOLLIN).ConfigureAwait(false);
        return Reap(SysPidfd.P_PIDFD, (uint)pidfd.DangerousGetHandle().ToInt32());
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
        while (Check.IsInterrupted(result));

        // Another part of this process reaped the child with a wait for any child, so its status is lost.
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
