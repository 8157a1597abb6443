using Boxer.Common;
using Boxer.Processes;
using Boxer.Runtime.Init;

namespace Boxer.Runtime.Kept;

/// <summary>One foreground command in a kept sandbox, from the hand-over to the outcome. <see cref="RunAsync"/> is called once.</summary>
internal sealed class ForegroundCommand : IAsyncDisposable
{
    /// <summary>Time for the rest of the output after the end. A caller may be slow to take it.</summary>
    internal static readonly TimeSpan DrainPatience = TimeSpan.FromSeconds(10);

    // Processes that were left behind may print on for ever. A pipe holds 64 KiB, and at most 1 MiB (pipe(7)).
    private const long MostLeft = (1 << 20) + (64 << 10);
    private readonly KeptSandbox _sandbox;
    private readonly ExecPlan _plan;
    private readonly Action _onStarted;
    private readonly TimeProvider _time;
    private readonly CancellationToken _cancellationToken;
    private readonly Action<SandboxStream, ReadOnlyMemory<byte>> _onOutput;
    private readonly DescriptorPoller _poller;
    private readonly StartGate _gate = new();
    private readonly CleanupStack _held = new();

    // Set by RunAsync before the hand-over.
    private CommandStreams _streams = null!;
    private UsageMonitor _usage = null!;

    /// <param name="sandbox">The sandbox.</param>
    /// <param name="plan">The command.</param>
    /// <param name="poller">Waits for descriptors.</param>
    /// <param name="time">The clock.</param>
    /// <param name="onStarted">Called when the command has started.</param>
    /// <param name="onOutput">Receives what the command prints.</param>
    /// <param name="cancellationToken">Stops the command.</param>
    internal ForegroundCommand(
        KeptSandbox sandbox,
        ExecPlan plan,
        DescriptorPoller poller,
        TimeProvider time,
        Action onStarted,
        Action<SandboxStream, ReadOnlyMemory<byte>> onOutput,
        CancellationToken cancellationToken)
    {
        _sandbox = sandbox;
        _plan = plan;
        _onStarted = onStarted;
        _onOutput = onOutput;
        _poller = poller;
        _time = time;
        _cancellationToken = cancellationToken;
    }

    /// <summary>Hands the command over and waits for its outcome.</summary>
    /// <exception cref="KeptSandboxEndedException">The sandbox ended before the command was handed over.</exception>
    /// <exception cref="InvalidSandboxRequestException">The input stream cannot be read.</exception>
    internal async Task<ExecOutcome> RunAsync()
    {
        _held.Push(_sandbox.WatchMemory());
        var streams = new StreamPlan(_plan.Stdin, _plan.StdinStream, _plan.OutputLimit, _plan.KeepsOutput, _plan.User.UserId);
        _streams = new CommandStreams(_held, [], streams, _gate, _onOutput, _poller, _time);
        _usage = _held.Push(new UsageMonitor(_sandbox.Cgroup, cpuLimit: null, _sandbox.Plan.Cgroup.CpuCores, _time));
        DateTimeOffset handedOverAt = _time.GetUtcNow();
        long start = _time.GetTimestamp();
        _streams.Start();
        SessionProcess process = _sandbox.Channel.Start(ToExec(_plan, SessionStreams.Descriptors), _streams.Guest);
        using var watch = new CommandWatch(_sandbox, _plan, process, _time, _cancellationToken);
        watch.Reasons.Add(_streams.StdoutExceeded, TerminationKind.OutputLimit);
        watch.Reasons.Add(_streams.StderrExceeded, TerminationKind.OutputLimit);
        watch.Reasons.Add(_usage.ForkRefused, TerminationKind.PidsLimit);
        watch.Reasons.AddFailure(_streams.Input, TerminationKind.SandboxDied);
        (TerminationKind? stopped, SessionItemEvent? end) = await watch.FollowAsync(() => _gate.Start(_onStarted)).ConfigureAwait(false);
        _gate.Release();
        bool isExceeded = IsExceeded();
        (TimeSpan? cpu, long? peakMemoryBytes) = await _usage.StopAsync().ConfigureAwait(false);
        TimeSpan runTime = _time.GetElapsedTime(start);
        await DrainAsync(end).ConfigureAwait(false);
        await ThrowIfVoidAsync(process, stopped).ConfigureAwait(false);

        // Output of processes that were left behind is not the command's fault.
        if (isExceeded || (IsExceeded() && end is not SessionProcessEnded { LeftBehind: > 0 }))
        {
            stopped ??= TerminationKind.OutputLimit;
        }

        if (stopped == TerminationKind.PidsLimit && !_usage.IsOwnPidsLimit)
        {
            stopped = TerminationKind.SandboxDied;
        }

        SandboxUsage usage = ToUsage(end, cpu, peakMemoryBytes);
        ExecEnd ended = await _sandbox.ConcludeAsync(stopped, end, _plan, usage, process.Frame.IsBegun).ConfigureAwait(false);
        return new ExecOutcome(ended, _streams.Stdout, _streams.Stderr, handedOverAt, runTime, _time.GetElapsedTime(start) - runTime);
    }

    /// <summary>Ends the reading and sampling.</summary>
    public async ValueTask DisposeAsync()
    {
        _gate.Release();
        if (_streams is not null)
        {
            await _streams.CloseInputAsync().ConfigureAwait(false);
            await _streams.AbandonAsync().ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        await _held.AbandonAsync().ConfigureAwait(false);
    }

    /// <summary>Creates the content of the EXEC frame.</summary>
    internal static SessionExec ToExec(ExecPlan plan, SessionStreams streams) => new()
    {
        Arguments = plan.Arguments,
        Environment = plan.Environment,
        WorkingDirectory = plan.WorkingDirectory,
        User = plan.User,
        ResourceLimits = plan.ResourceLimits,
        Streams = streams,
        MergeOutput = plan.MergeOutput,
        Columns = plan.Terminal?.Columns ?? 0,
        Rows = plan.Terminal?.Rows ?? 0,
    };

    /// <summary>Creates the usage of a command.</summary>
    /// <param name="end">The last report of PID 1.</param>
    /// <param name="sandboxCpu">Processor time of the sandbox while the command ran, or <see langword="null"/>.</param>
    /// <param name="peakMemoryBytes">Highest memory of the sandbox while the command ran, or <see langword="null"/>.</param>
    internal static SandboxUsage ToUsage(SessionItemEvent? end, TimeSpan? sandboxCpu = null, long? peakMemoryBytes = null)
    {
        var ended = end as SessionProcessEnded;
        return new SandboxUsage
        {
            CommandCpu = ended?.UserCpu + ended?.SystemCpu,
            SandboxCpu = sandboxCpu,
            PeakMemoryBytes = peakMemoryBytes,
            MaxResidentBytes = ended?.MaxResidentBytes is > 0 and { } bytes ? bytes : null,
        };
    }

    private bool IsExceeded() => _streams.StdoutExceeded.IsCompleted || _streams.StderrExceeded.IsCompleted;

    // The command's own output is in the pipes when its end is reported, and that of a dead sandbox when its processes have ended.
    private async Task DrainAsync(SessionItemEvent? end)
    {
        if (end is null)
        {
            await _sandbox.WaitForExitAsync().ConfigureAwait(false);
        }

        Task drained = _streams.DrainAsync(MostLeft);
        using var patience = new CancellationTokenSource(DrainPatience, _time);
        try
        {
            await drained.WaitAsync(patience.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException) when (!drained.IsCompleted)
        {
            await _streams.AbandonAsync().ConfigureAwait(false);
        }

        await _streams.CloseInputAsync().ConfigureAwait(false);
    }

    private async Task ThrowIfVoidAsync(SessionProcess process, TerminationKind? stopped)
    {
        _cancellationToken.ThrowIfCancellationRequested();
        if (_streams.Input is { IsFaulted: true, Exception.InnerException: { } unreadable })
        {
            throw new InvalidSandboxRequestException(nameof(SandboxRequest.StandardInputStream), "it cannot be read.", unreadable.Message, unreadable);
        }

        // A command that reached a limit before its turn was withdrawn, and the sandbox goes on.
        if (!process.Frame.IsBegun && stopped is null)
        {
            throw new KeptSandboxEndedException(await _sandbox.Ended.ConfigureAwait(false));
        }
    }
}
