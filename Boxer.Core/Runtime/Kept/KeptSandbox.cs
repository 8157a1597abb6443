using System.Net.Sockets;
using System.Runtime.CompilerServices;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Processes;
using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime.Kept;

/// <summary>A booted sandbox that serves commands until it ends.</summary>
internal sealed partial class KeptSandbox : IKeptSandbox
{
    /// <summary>Time of the runtime's processes to end after a kill, so that all output is in the pipes.</summary>
    internal static readonly TimeSpan ExitPatience = TimeSpan.FromSeconds(2);
    private readonly SandboxResources _resources;
    private readonly DescriptorPoller _poller;
    private readonly TimeProvider _time;
    private readonly MemoryWatch _memory;
    private readonly BackgroundTasks _calls = new();
    private readonly TaskCompletionSource<KeptSandboxEnd> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _disposed;

    private KeptSandbox(SandboxResources resources, OpenPlan plan, DescriptorPoller poller, TimeProvider time)
    {
        _resources = resources;
        _poller = poller;
        _time = time;
        Plan = plan;
        Clock = new CommandClock(time);
        _memory = new MemoryWatch(resources.Cgroup, poller, time, Kill);
        Channel = new SessionChannel(resources.Init!);
        _ = WatchAsync();
    }

    /// <inheritdoc/>
    public Task<KeptSandboxEnd> Ended => _ended.Task;

    /// <summary>The plan of the sandbox.</summary>
    internal OpenPlan Plan { get; }

    /// <summary>The clock of its commands, which stands still while it is frozen.</summary>
    internal CommandClock Clock { get; }

    /// <summary>The channel.</summary>
    internal SessionChannel Channel { get; }

    /// <summary>The cgroup; <see langword="null"/> if cgroups are ignored.</summary>
    internal Cgroup? Cgroup => _resources.Cgroup;

    /// <summary>Opens a session in a booted sandbox, and fills its workspace.</summary>
    /// <param name="resources">The sandbox on this host, whose PID 1 waits. The caller disposes it, after the result.</param>
    /// <param name="plan">The plan.</param>
    /// <param name="poller">Waits for descriptors.</param>
    /// <param name="time">The clock.</param>
    /// <param name="patience">Maximum time of the opening.</param>
    /// <param name="cancellationToken">Cancels the operation; the sandbox is of no use afterwards.</param>
    /// <exception cref="SandboxRuntimeException">The sandbox broke, or did not open in time.</exception>
    /// <exception cref="InvalidSandboxRequestException">
    /// A file or an input of the workspace is rejected, or cannot be read, or did not come in time.
    /// </exception>
    internal static async Task<KeptSandbox> OpenAsync(
        SandboxResources resources, OpenPlan plan, DescriptorPoller poller, TimeProvider time, TimeSpan patience, CancellationToken cancellationToken)
    {
        if (resources.Cgroup is { } cgroup)
        {
            cgroup.Apply(plan.Cgroup);
            cgroup.SetCpuWeight(Cgroup.CommandWeight);
        }

        return await new KeptOpening(resources.Init!, plan, time, patience).RunAsync(cancellationToken).ConfigureAwait(false) switch
        {
            InitOpened => new KeptSandbox(resources, plan, poller, time),
            InitFileFailed failed => throw Rejection(failed, plan),
            InitFault fault => throw new SandboxRuntimeException($"The sandbox could not be prepared: {fault.Stage} (errno {fault.Errno})."),
            _ => throw new SandboxRuntimeException("The sandbox ended before it was open."),
        };
    }

    /// <inheritdoc/>
    public Task<ExecOutcome> ExecAsync(
        ExecPlan plan, Action onStarted, Action<SandboxStream, ReadOnlyMemory<byte>> onOutput, CancellationToken cancellationToken) => CallAsync(async () =>
    {
        var command = new ForegroundCommand(this, plan, _poller, _time, onStarted, onOutput, cancellationToken);
        await using ConfiguredAsyncDisposable disposed = command.ConfigureAwait(false);
        return await command.RunAsync().ConfigureAwait(false);
    });

    /// <inheritdoc/>
    public Task<IGuestProcess> StartAsync(ExecPlan plan, CancellationToken cancellationToken) => CallAsync<IGuestProcess>(async () =>
    {
        // A process outlives this call.
        var cancelling = new CancellationTokenSource();
        SessionExec exec = ForegroundCommand.ToExec(plan, plan.Terminal is null ? SessionStreams.Relayed : SessionStreams.Terminal);
        IDisposable watching = WatchMemory();
        SessionProcess process = Channel.Start(exec);

        Task<ExecEnd> ended = FollowShortenedAsync(plan, process, watching, cancelling.Token);
        try
        {
            if (await process.Started.WaitAsync(cancellationToken).ConfigureAwait(false) is SessionProcessNotStarted)
            {
                // The caller sees at once that it has ended.
                await ended.ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException)
        {
            // A process whose output nobody takes does not end.
            _ = process.Output!.DiscardAsync();
            await cancelling.CancelAsync().ConfigureAwait(false);
            throw;
        }

        // A process that reached a limit before its turn has an end without a start.
        return process.Frame.IsBegun || !Channel.Ended.IsCompleted
            ? new GuestProcess(process, plan.Terminal is not null, ended)
            : throw new KeptSandboxEndedException(await Ended.ConfigureAwait(false));
    });

    // The arguments and the environment may have megabytes, and are on their way: what lives as long as the process has only the shortened plan.
    private Task<ExecEnd> FollowShortenedAsync(ExecPlan plan, SessionProcess process, IDisposable watching, CancellationToken cancellationToken)
    {
        plan = plan with { Arguments = [plan.Arguments[0]], Environment = [] };
        return CallAsync(() => FollowAsync(plan, process, watching, cancellationToken));
    }

    /// <inheritdoc/>
    public Task<SandboxConnection> ConnectAsync(int port, CancellationToken cancellationToken) => CallAsync<SandboxConnection>(async () =>
    {
        int failure = 0;
        foreach (int family in (int[])[4, 6])
        {
            SessionConnection connection = Channel.Connect(family, port);
            switch (await WaitForConnectionAsync(connection, port, cancellationToken).ConfigureAwait(false))
            {
                case SessionConnected:
                    return new GuestConnection(connection, Ended);
                case SessionNotConnected { Errno: var errno }:
                    failure = failure == 0 ? errno : failure;
                    break;
                default:
                    throw new KeptSandboxEndedException(await Ended.ConfigureAwait(false));
            }
        }

        throw new IOException($"The sandbox does not accept a connection to port {port}: {Terminations.Describe(failure)}.", GuestConnection.Failure(failure));
    });

    /// <inheritdoc/>
    public Task<IFileWorker> OpenFilesAsync(InitIdentity user, CancellationToken cancellationToken) => CallAsync<IFileWorker>(async () =>
    {
        (Socket ours, SafeFileHandle theirs) = SocketPair.Create();
        try
        {
            return await WaitForWorkerAsync(Channel.StartFiles(user, theirs), ours, cancellationToken).ConfigureAwait(false);
        }
        catch
        {
            // A worker that starts nevertheless ends with its socket. The other end is the frame's, which may be on its way.
            ours.Dispose();
            throw;
        }
    });

    /// <inheritdoc/>
    public Task<long> ReadDiskUseAsync(CancellationToken cancellationToken) => CallAsync(async () =>
        await AnswerAsync(Channel.ReadUsageAsync(), cancellationToken).ConfigureAwait(false) is { } report
            ? report.DiskBytes
            : throw new KeptSandboxEndedException(await Ended.ConfigureAwait(false)));

    /// <inheritdoc/>
    public bool CanFreeze => Cgroup?.CanFreeze == true;

    /// <inheritdoc/>
    public bool TryFreeze()
    {
        if (Cgroup?.TryFreeze() == false)
        {
            return false;
        }

        Clock.Stop();
        return true;
    }

    /// <inheritdoc/>
    public void Thaw()
    {
        Cgroup?.Thaw();
        Clock.Continue();
    }

    /// <inheritdoc/>
    public void Kill() => Kill("The host killed it.");

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            Kill();
            await Ended.ConfigureAwait(false);
            await _calls.WhenAllAsync().ConfigureAwait(false);
            await Channel.DisposeAsync().ConfigureAwait(false);
        }
    }

    /// <summary>Kills the sandbox at the memory limit, until the result is disposed.</summary>
    internal IDisposable WatchMemory() => _memory.Begin();

    /// <summary>Creates the end of a command.</summary>
    /// <param name="stopped">The limit for which it was stopped; <see langword="null"/> if it ended by itself.</param>
    /// <param name="end">The last report of PID 1; <see langword="null"/> if the sandbox ended before.</param>
    /// <param name="plan">The command.</param>
    /// <param name="usage">Its usage.</param>
    /// <param name="isBegun">Whether its frame was sent, at least in part.</param>
    internal async Task<ExecEnd> ConcludeAsync(TerminationKind? stopped, SessionItemEvent? end, ExecPlan plan, SandboxUsage usage, bool isBegun)
    {
        // The memory limit outranks whatever else was tried while the sandbox was stuck.
        // A command that was withdrawn never reached the sandbox, which goes on.
        if (end is null && (isBegun || stopped is null) && await Ended.ConfigureAwait(false) == KeptSandboxEnd.MemoryLimit)
        {
            stopped = TerminationKind.MemoryLimit;
        }

        return new ExecEnd(ExecTerminations.From(stopped, end, plan, Plan), usage, (end as SessionProcessEnded)?.LeftBehind ?? 0);
    }

    /// <summary>Reads the usage of a command. A PID 1 that does not answer loses its sandbox, so that the command does not escape its limit.</summary>
    /// <param name="process">The command.</param>
    /// <returns><see langword="null"/> if the command, or the sandbox, has ended.</returns>
    internal Task<SessionProcessUsage?> ReadUsageAsync(SessionProcess process) => AnswerAsync(process.ReadUsageAsync(), CancellationToken.None);

    /// <summary>Waits until the runtime's process has ended, for a limited time.</summary>
    internal Task WaitForExitAsync() => _resources.Process?.WaitForExitAsync(ExitPatience, _time, CancellationToken.None) ?? Task.CompletedTask;

    // Only the paths of a workspace are relative.
    private static InvalidSandboxRequestException Rejection(InitFileFailed failed, OpenPlan plan)
    {
        string field = failed.Path.StartsWith('/') && failed.Path != plan.Workspace?.Path.Text ? nameof(SandboxRequest.Files) : nameof(SandboxRequest.Workspace);
        return new(field, $"\"{UntrustedText.Show(failed.Path)}\" could not be made in the sandbox: {Terminations.Describe(failed.Errno)}.");
    }

    private void Kill(string reason)
    {
        _resources.Kill();
        Channel.End(reason);
    }

    private async Task<ExecEnd> FollowAsync(ExecPlan plan, SessionProcess process, IDisposable watching, CancellationToken cancelling)
    {
        using (watching)
        using (var watch = new CommandWatch(this, plan, process, _time, cancelling))
        {
            (TerminationKind? stopped, SessionItemEvent? end) = await watch.FollowAsync(() => { }).ConfigureAwait(false);
            return await ConcludeAsync(stopped, end, plan, ForegroundCommand.ToUsage(end), process.Frame.IsBegun).ConfigureAwait(false);
        }
    }

    private async Task<T> CallAsync<T>(Func<Task<T>> call)
    {
        if (Ended.IsCompleted)
        {
            throw new KeptSandboxEndedException(await Ended.ConfigureAwait(false));
        }

        T result = default!;
        await _calls.RunAsync(async () => result = await call().ConfigureAwait(false)).ConfigureAwait(false);
        return result;
    }

    // A PID 1 that lied is not asked again.
    private async Task WatchAsync()
    {
        string reason = await Channel.Ended.ConfigureAwait(false);
        Log.KeptSandboxEnded(_resources.Logger, _resources.Directory, reason);
        _resources.Kill();
        _ended.TrySetResult(ReadEnd());
    }

    private KeptSandboxEnd ReadEnd()
    {
        try
        {
            return Cgroup?.ReadOutOfMemory() == OutOfMemory.OwnLimit ? KeptSandboxEnd.MemoryLimit : KeptSandboxEnd.Died;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return KeptSandboxEnd.Died;
        }
    }
}
