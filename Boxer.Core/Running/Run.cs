using System.Diagnostics;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Networking;
using Boxer.Runtime;
using Boxer.Runtime.Init;
using Boxer.Validation;

namespace Boxer.Running;

/// <summary>One run: its walk from the request to the result, and the resources that it holds on the way. <see cref="WalkAsync"/> is the outline.</summary>
internal sealed class Run
{
    private readonly RunServices _services;
    private readonly RunEvents _events;
    private readonly RunTrace _trace;
    private readonly string _id;
    private readonly CancellationToken _cancellationToken;
    private readonly CleanupStack _held;

    // Set by the steps of the walk, in this order.
    private CheckedRequest _request = null!;
    private Preparation _ready = null!;
    private RunSandbox _sandbox = null!;

    private Run(RunServices services, RunEvents events, RunTrace trace, CleanupStack held, string id, CancellationToken cancellationToken)
    {
        _services = services;
        _events = events;
        _trace = trace;
        _held = held;
        _id = id;
        _cancellationToken = cancellationToken;
    }

    /// <summary>Executes a run. It never fails: the result or the exception of the run goes to the events.</summary>
    /// <param name="services">The parts of the runner.</param>
    /// <param name="request">The request.</param>
    /// <param name="events">Receives the events of the run, and its result or exception.</param>
    /// <param name="cancellationToken">Cancels the run: the caller's token and the disposal of the runner together.</param>
    /// <param name="callers">The caller's token alone.</param>
    internal static async Task ExecuteAsync(
        RunServices services, SandboxRequest request, RunEvents events, CancellationToken cancellationToken, CancellationToken callers)
    {
        string id = $"boxer-{Guid.NewGuid()}";
        try
        {
            SandboxResult result;
            using (var trace = new RunTrace(services.Metrics, services.Time, id))
            {
                result = await new Run(services, events, trace, new CleanupStack(), id, cancellationToken).WalkAsync(request).ConfigureAwait(false);
            }

            events.Add(new SandboxEnded(result));
            events.Complete();
        }
        catch (Exception exception)
        {
            events.Complete(RunFaults.Translate(exception, services, request.Image, id, events.MayHaveStarted, callers));
        }
    }

    private async Task<SandboxResult> WalkAsync(SandboxRequest submitted)
    {
        try
        {
            _request = Validate(submitted);
            _ready = new Preparation(_services, _request, _trace, _events, _held, _id, _cancellationToken);
            await _ready.PrepareAsync().ConfigureAwait(false);
            CommandOutcome outcome = await RunCommandAsync().ConfigureAwait(false);
            return Conclude(outcome, await ReportNetworkAsync(outcome.Outputs).ConfigureAwait(false));
        }
        catch (Exception exception)
        {
            SandboxRuntimeException? fault = RunFaults.OfHost(exception);
            _trace.Fail(fault ?? exception);
            if (fault is null)
            {
                throw;
            }

            throw fault;
        }
        finally
        {
            // Off the caller's path. The running slot is released after the sandbox is gone, so that clean-up cannot pile up.
            _ = _services.Background.RunAsync(() => CleanUpAsync(_trace.StartCleanup()));
        }
    }

    private CheckedRequest Validate(SandboxRequest submitted)
    {
        CheckedRequest request = _services.Validator.Validate(submitted);
        _trace.Network = request.Network.Name;
        Preparation.CheckUsable(request.Network);
        return request;
    }

    /// <summary>Gets a sandbox and hands the command over. Another sandbox replaces one that died before its command started.</summary>
    private async Task<CommandOutcome> RunCommandAsync()
    {
        // A pooled sandbox can always be replaced. A booted one is replaced once, if it waited for processors.
        for (bool mayBootAgain = true; ;)
        {
            _sandbox = await _ready.GetSandboxAsync().ConfigureAwait(false);
            CommandPlan plan = CommandPlanner.Build(
                _request, _ready.Image.Config, _ready.Accounts, _ready.User, _sandbox.Guest, _services.Options.Platform, _ready.Host.CountsCpu);
            Task<IDisposable> processors = _ready.Place.AcquireProcessorsAsync(
                _request.Limits.CpuCores!.Value, isExclusive: _request.Limits.CpuTime is not null, _cancellationToken);
            bool isReplaceable = _sandbox.IsPooled || (mayBootAgain && !processors.IsCompleted);
            mayBootAgain &= _sandbox.IsPooled;
            if (await HandOverAsync(plan, processors, isReplaceable).ConfigureAwait(false) is { } outcome)
            {
                return outcome;
            }
        }
    }

    /// <returns><see langword="null"/> if the sandbox died before its command started, and another one can replace it.</returns>
    private async Task<CommandOutcome?> HandOverAsync(CommandPlan plan, Task<IDisposable> granting, bool isReplaceable)
    {
        Sandbox sandbox = _sandbox.Sandbox;
        Exception? lost = null;
        try
        {
            using IDisposable processors = await _trace.StageAsync("processors", () => WaitForProcessorsAsync(granting)).ConfigureAwait(false);
            CommandOutcome outcome = await sandbox.RunAsync(
                plan,
                processors,
                () => _events.Add(new SandboxStarted(_id)),
                (stream, data) => _events.Add(new SandboxDataReceived(stream, data)),
                _services.Disposing,
                _cancellationToken).ConfigureAwait(false);
            if (!isReplaceable || sandbox.MayHaveStarted || outcome.Termination.Kind != TerminationKind.SandboxDied)
            {
                return outcome;
            }
        }
        catch (Exception exception) when (isReplaceable && !sandbox.MayHaveStarted && exception is SandboxRuntimeException or IOException or InitProtocolException)
        {
            lost = exception;
        }
        finally
        {
            _events.MayHaveStarted = sandbox.MayHaveStarted;
        }

        // A frozen sandbox does not show that it was killed. The run has done nothing yet.
        Log.WaitingSandboxDied(_services.Logger, _id, lost);
        sandbox.Kill();
        return null;
    }

    /// <summary>Waits for the processors with the sandbox frozen: one that is awake takes a few percent of a processor, even when idle.</summary>
    private async Task<IDisposable> WaitForProcessorsAsync(Task<IDisposable> granting)
    {
        if (granting.IsCompleted || !_request.Network.SupportsFreeze)
        {
            return await granting.ConfigureAwait(false);
        }

        Sandbox sandbox = _sandbox.Sandbox;
        try
        {
            sandbox.Freeze();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // It waits awake, or it is gone, which the hand-over notices.
        }

        IDisposable processors = await granting.ConfigureAwait(false);
        try
        {
            sandbox.Thaw();
            return processors;
        }
        catch
        {
            processors.Dispose();
            throw;
        }
    }

    // A missing report does not take the result from a run that came to its end. A run that is cancelled meanwhile has no result, and keeps no files.
    private async Task<NetworkReport?> ReportNetworkAsync(OutputFiles outputs)
    {
        try
        {
            return (await _sandbox.Network.ReportAsync(_cancellationToken).ConfigureAwait(false)).Bound();
        }
        catch (Exception exception) when (_cancellationToken.IsCancellationRequested)
        {
            await outputs.DiscardAsync(_services.Logger).ConfigureAwait(false);
            throw exception as OperationCanceledException ?? new OperationCanceledException(exception.Message, exception, _cancellationToken);
        }
        catch (Exception exception)
        {
            Log.NetworkNotReported(_services.Logger, _id, exception);
            return null;
        }
    }

    private SandboxResult Conclude(CommandOutcome outcome, NetworkReport? network)
    {
        TerminationKind kind = outcome.Termination.Kind;
        SandboxTimings timings = _trace.End(outcome, _ready.Image.Digest);
        var milliseconds = (long)timings.Total.TotalMilliseconds;
        if (outcome.Outputs.Fault is not null)
        {
            Log.OutputsNotWritten(_services.Logger, _id, outcome.Outputs.Fault);
        }

        Log.RunEnded(_services.Logger, _id, _ready.Image.Digest, kind, milliseconds);
        if (kind == TerminationKind.SandboxDied)
        {
            Log.RunDied(_services.Logger, _id, _ready.Image.Digest, milliseconds);
        }

        return new SandboxResult(outcome.Termination)
        {
            Id = _id,
            StandardOutputBytes = outcome.Stdout,
            StandardErrorBytes = outcome.Stderr,
            OutputFiles = outcome.Outputs.Files,
            OutputFilesIncomplete = outcome.Outputs.Incomplete,
            OutputFilesDropped = outcome.Outputs.Dropped,
            WorkspaceChanges = outcome.Changes?.Archive ?? default,
            WorkspaceIncomplete = outcome.Changes?.Incomplete,
            Network = network ?? NetworkReport.None,
            NetworkIncomplete = network is null ? "This host could not read what the run did with its network." : null,
            ImageDigest = _ready.Image.Digest,
            Usage = outcome.Usage,
            Timings = timings,
            UnenforcedLimits = _ready.Host.FindUnenforced(_request.Limits, _ready.User.Uid),
        };
    }

    private async Task CleanUpAsync(Activity? activity)
    {
        using Activity? timed = activity;
        await Task.Yield();
        long start = _services.Time.GetTimestamp();
        try
        {
            await _held.DisposeAsync().ConfigureAwait(false);
        }
        catch (AggregateException exception)
        {
            Log.CleanupFailed(_services.Logger, _id, exception);
        }

        _services.Metrics.Stage("cleanup", _services.Time.GetElapsedTime(start));
        _services.Host.Ready?.Pool?.TriggerRefill();
    }
}
