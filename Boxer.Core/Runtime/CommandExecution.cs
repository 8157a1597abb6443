using Boxer.Common;
using Boxer.Processes;
using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>
/// One command in one sandbox, from the hand-over to the outcome. <see cref="RunAsync"/> is called once; disposing ends the reading and sampling.
/// The sandbox outlives it.
/// </summary>
internal sealed class CommandExecution : IAsyncDisposable
{
    // Minimum time for the hand-over. The wall clock restarts when the command starts.
    private static readonly TimeSpan HandOverPatience = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan ExitPatience = TimeSpan.FromSeconds(10);

    // The reading must end before CommandStopper stops waiting.
    private static readonly TimeSpan LateStartPatience = CommandStopper.KillGrace / 2;
    private readonly SandboxResources _sandbox;
    private readonly CommandPlan _plan;
    private readonly DescriptorPoller _poller;
    private readonly TimeProvider _time;
    private readonly Action _onStarted;
    private readonly Action<SandboxStream, ReadOnlyMemory<byte>> _onOutput;
    private readonly CommandInputs _inputs;
    private readonly StartGate _gate;
    private readonly CommandStopper _stopper;
    private readonly TimeSpan _startPatience;
    private readonly CancellationTokenSource _clock;
    private readonly CleanupStack _held = new();

    // Set by RunAsync before the hand-over.
    private OutOfMemoryMonitor? _memory;
    private UsageMonitor _usage = null!;
    private CommandStreams _streams = null!;
    private CommandLimits _limits = null!;
    private Task<InitEvent> _command = null!;

    // The limit for which the command was stopped; null when it ended by itself.
    private TerminationKind? _stopped;

    /// <param name="sandbox">The sandbox, whose PID 1 waits.</param>
    /// <param name="plan">The command.</param>
    /// <param name="gate">Learns that the command starts.</param>
    /// <param name="poller">Waits for descriptors.</param>
    /// <param name="time">The clock.</param>
    /// <param name="onStarted">Called when the command has started, before any call of <paramref name="onOutput"/>.</param>
    /// <param name="onOutput">Receives what the command prints.</param>
    internal CommandExecution(
        SandboxResources sandbox,
        CommandPlan plan,
        StartGate gate,
        DescriptorPoller poller,
        TimeProvider time,
        Action onStarted,
        Action<SandboxStream, ReadOnlyMemory<byte>> onOutput)
    {
        _sandbox = sandbox;
        _plan = plan;
        _gate = gate;
        _poller = poller;
        _time = time;
        _onStarted = onStarted;
        _onOutput = onOutput;
        _inputs = new CommandInputs(Init, plan.Files, plan.Workspace, time);
        _stopper = new CommandStopper(sandbox, plan, gate, time);
        _startPatience = WallClock > HandOverPatience ? WallClock : HandOverPatience;
        _clock = new CancellationTokenSource(_startPatience, time);
    }

    private InitChannel Init => _sandbox.Init!;

    private TimeSpan WallClock => _plan.Limits.WallClock!.Value;

    private bool HasStarted => _gate.HasStarted;

    /// <summary>Hands the command over and waits for its outcome.</summary>
    /// <param name="processors">The processors that the command is promised; disposed when the command has ended.</param>
    /// <param name="killing">Destroys the sandbox at once.</param>
    /// <param name="cancellationToken">Destroys the sandbox; a command that runs has its grace first.</param>
    /// <exception cref="SandboxRuntimeException">The sandbox broke before the command ran.</exception>
    /// <exception cref="InvalidSandboxRequestException">An input is rejected, or cannot be read.</exception>
    internal async Task<CommandOutcome> RunAsync(IDisposable processors, CancellationToken killing, CancellationToken cancellationToken)
    {
        PrepareSandbox();
        DateTimeOffset handedOverAt = _time.GetUtcNow();
        long start = _time.GetTimestamp();
        _held.Push(killing.UnsafeRegister(_ => _stopper.Destroy(), null));
        _held.Push(cancellationToken.UnsafeRegister(_ => _stopper.Cancel(), null));
        _streams.Start();
        _limits = new CommandLimits(_plan, _memory, _usage, _streams, _stopper.Destroyed);
        _command = ConverseAsync(_stopper.Destroyed);
        InitEvent end = await WaitForEndAsync().ConfigureAwait(false);
        _gate.Release();
        processors.Dispose();
        SandboxUsage usage = await ReadUsageAsync(end).ConfigureAwait(false);
        if (cancellationToken.IsCancellationRequested && end is InitEnded)
        {
            // A command that ended within its grace has its last output in the pipes.
            await DrainWithinGraceAsync(_streams.DrainAsync(), CancellationToken.None).ConfigureAwait(false);
        }

        ThrowIfCancelled(killing, cancellationToken);
        ThrowIfInputFailed();
        TimeSpan runTime = _time.GetElapsedTime(start);
        var outputs = new OutputFiles(_plan.Outputs);
        try
        {
            using WorkspaceChanges? changes = _plan.Start.ChangeEntries > 0 ? new WorkspaceChanges(_plan.Workspace!.Path.Text, _plan.Start.ChangeBytes) : null;
            await ReceiveFilesAsync(end, new CommandFiles(_sandbox, outputs, changes, _time), cancellationToken).ConfigureAwait(false);
            changes?.Complete();
            TimeSpan outputsTime = _time.GetElapsedTime(start) - runTime;
            OutOfMemory outOfMemory = _sandbox.Cgroup?.ReadOutOfMemory() ?? OutOfMemory.None;
            await DrainAsync(end, cancellationToken).ConfigureAwait(false);
            ThrowIfCancelled(killing, cancellationToken);
            TerminationKind? stopped = _limits.Find(_stopped, end, HasStarted, outOfMemory, usage.Cpu);
            ThrowIfNotStarted(end, stopped);
            return new CommandOutcome(
                Terminations.From(stopped, end, _plan),
                _streams.Stdout,
                _streams.Stderr,
                outputs,
                changes,
                usage,
                handedOverAt,
                runTime,
                outputsTime,
                CleanupTime: _time.GetElapsedTime(start) - runTime - outputsTime);
        }
        catch
        {
            // Without a result nobody learns where the files are.
            await outputs.DiscardAsync(_sandbox.Logger).ConfigureAwait(false);
            throw;
        }
    }

    /// <summary>Ends the reading and sampling.</summary>
    public async ValueTask DisposeAsync()
    {
        _gate.Release();
        if (_streams is not null)
        {
            // The caller can use its stream again when the run is over.
            await _streams.CloseInputAsync().ConfigureAwait(false);
        }

        // A failure must not hide the outcome of the command or the exception of its run.
        await _held.AbandonAsync().ConfigureAwait(false);
        _clock.Dispose();
        _stopper.Dispose();
    }

    private void PrepareSandbox()
    {
        Cgroup? cgroup = _sandbox.Cgroup;
        if (cgroup is not null)
        {
            cgroup.Apply(_plan.Cgroup);
            cgroup.SetCpuWeight(Cgroup.CommandWeight);
            _memory = _held.Push(new OutOfMemoryMonitor(cgroup, _poller, _time));
        }

        _streams = new CommandStreams(_held, _sandbox.Passed, _plan.Streams, _gate, _onOutput, _poller, _time);
        _usage = _held.Push(new UsageMonitor(cgroup, _plan.Limits.CpuTime, _plan.Cgroup.CpuCores, _time));
    }

    /// <summary>Sends the inputs and GO, and reads what PID 1 reports until the command is over.</summary>
    private async Task<InitEvent> ConverseAsync(CancellationToken cancellationToken)
    {
        try
        {
            await Init.StartAsync(_plan.Start, _plan.Frame, _streams.Guest, cancellationToken).ConfigureAwait(false);
            _streams.CloseGuest();
            await _inputs.SendAsync(cancellationToken).ConfigureAwait(false);
            _usage.StartCount();
            cancellationToken.ThrowIfCancellationRequested();
            _gate.Announce();
            await Init.GoAsync(cancellationToken).ConfigureAwait(false);
            while (true)
            {
                InitEvent message = await Init.ReadEventAsync(cancellationToken).ConfigureAwait(false);
                if (message is not InitStarted)
                {
                    return message;
                }

                Start();
            }
        }
        catch (InitProtocolException) when (HasStarted)
        {
            // Only our own program spoke before the command ran; afterwards it may be the guest's doing.
            return new InitClosed();
        }
        catch (Exception exception) when (cancellationToken.IsCancellationRequested && exception is OperationCanceledException or InvalidSandboxRequestException)
        {
            // A content may end with another exception when its read is cancelled.
            await ReadLateStartAsync().ConfigureAwait(false);
            return new InitClosed();
        }
    }

    private void Start() => _gate.Start(() =>
    {
        _clock.CancelAfter(WallClock);
        _onStarted();
    });

    /// <summary>Keeps reading from a destroyed sandbox, to learn whether the command started. This decides whether the run may be repeated.</summary>
    private async Task ReadLateStartAsync()
    {
        if (!_gate.MayHaveStarted || HasStarted)
        {
            return;
        }

        using var patience = new CancellationTokenSource(LateStartPatience, _time);
        try
        {
            if (await Init.ReadEventAsync(patience.Token).ConfigureAwait(false) is InitStarted)
            {
                Start();
            }
        }
        catch (Exception exception) when (exception is OperationCanceledException or InitProtocolException)
        {
            // Nobody knows: the command counts as started.
        }
    }

    /// <summary>Waits until the command ends, and stops it if it reaches a limit first.</summary>
    private async Task<InitEvent> WaitForEndAsync()
    {
        _stopped = await _limits.WaitAsync(_command, _clock.Token, _stopper.Cancelled).ConfigureAwait(false);
        return await _stopper.EndAsync(_command, _stopped, _limits).ConfigureAwait(false);
    }

    // The end of a sandbox that was destroyed can be seen before the second token, which is linked to the first, is cancelled.
    private static void ThrowIfCancelled(CancellationToken killing, CancellationToken cancellationToken)
    {
        killing.ThrowIfCancellationRequested();
        cancellationToken.ThrowIfCancellationRequested();
    }

    private async Task ReceiveFilesAsync(InitEvent end, CommandFiles files, CancellationToken cancellationToken)
    {
        if (end is InitEnded)
        {
            await files.ReceiveAsync(_memory, cancellationToken).ConfigureAwait(false);
        }
        else if (HasStarted)
        {
            await files.SkipAsync("The sandbox was destroyed before its files were out.").ConfigureAwait(false);
        }
    }

    // Everything that the command printed is in the pipes, and after a report of PID 1 no process is left to print.
    private async Task DrainAsync(InitEvent end, CancellationToken cancellationToken)
    {
        bool isReported = end is InitEnded;
        if (!isReported)
        {
            _sandbox.Kill();
        }

        if (end is InitClosed)
        {
            // A sandbox that does not die prints no more either; its disposal goes on waiting.
            await _sandbox.Process!.WaitForExitAsync(ExitPatience, _time, cancellationToken).ConfigureAwait(false);
        }

        Task drained = _streams.DrainAsync();
        if (isReported && !await DrainWithinGraceAsync(drained, cancellationToken).ConfigureAwait(false))
        {
            // A process prints on in spite of the report.
            _sandbox.Kill();
        }

        await drained.WaitAsync(cancellationToken).ConfigureAwait(false);
        await _streams.CloseInputAsync().ConfigureAwait(false);
    }

    /// <returns>Whether the pipes were drained in time.</returns>
    private async Task<bool> DrainWithinGraceAsync(Task drained, CancellationToken cancellationToken) =>
        drained.IsCompleted || await Task.WhenAny(drained, Task.Delay(CommandStopper.KillGrace, _time, cancellationToken)).ConfigureAwait(false) == drained;

    private void ThrowIfInputFailed()
    {
        if (_streams.Input is { IsFaulted: true, Exception.InnerException: { } unreadable })
        {
            throw new InvalidSandboxRequestException(nameof(SandboxRequest.StandardInputStream), "it cannot be read.", unreadable.Message, unreadable);
        }
    }

    private void ThrowIfNotStarted(InitEvent end, TerminationKind? stopped)
    {
        if (HasStarted)
        {
            return;
        }

        if (stopped == TerminationKind.WallClockLimit)
        {
            string patience = $"{_startPatience.TotalSeconds:0.###} s";
            throw _inputs.Field is { } field
                ? new InvalidSandboxRequestException(field, $"its content did not come within {patience}.")
                : new SandboxRuntimeException($"The command did not start within {patience} of its hand-over.");
        }

        if (stopped is null && end is InitClosed or InitFault)
        {
            throw new SandboxRuntimeException(end is InitFault fault
                ? $"The sandbox could not be prepared: {fault.Stage} (errno {fault.Errno})."
                : "The sandbox ended before the command ran.");
        }
    }

    private async Task<SandboxUsage> ReadUsageAsync(InitEvent end)
    {
        (TimeSpan? cpu, long? peakMemoryBytes) = await _usage.StopAsync().ConfigureAwait(false);
        var ended = end as InitEnded;
        return new SandboxUsage
        {
            CommandCpu = ended?.UserCpu + ended?.SystemCpu,
            SandboxCpu = cpu,
            PeakMemoryBytes = peakMemoryBytes,
            MaxResidentBytes = ended?.MaxResidentBytes is > 0 and { } bytes ? bytes : null,
        };
    }
}
