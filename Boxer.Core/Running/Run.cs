using System.Diagnostics;
using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Images;
using Boxer.Linux;
using Boxer.Machine;
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
    private AdmissionQueue.Ticket _place = null!;
    private PreparedHost _host = null!;
    private IImageLease _image = null!;
    private ImageAccounts _accounts = null!;
    private ImageUser _user = null!;
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
        catch (OperationCanceledException) when (services.Disposing.IsCancellationRequested && !callers.IsCancellationRequested)
        {
            events.Complete(new SandboxRuntimeException("The runner was disposed while the command ran.").ForRun(request.Image, id, events.MayHaveStarted));
        }
        catch (OperationCanceledException exception) when (callers.IsCancellationRequested)
        {
            events.Complete(new OperationCanceledException(exception.Message, exception, callers));
        }
        catch (SandboxException exception)
        {
            events.Complete(exception.ForRun(request.Image, id, events.MayHaveStarted));
        }
        catch (Exception exception)
        {
            events.Complete(exception);
        }
    }

    private async Task<SandboxResult> WalkAsync(SandboxRequest submitted)
    {
        try
        {
            _request = Validate(submitted);
            _place = _held.Push(_services.Admission.Enter(_request.FairnessKey));
            _host = await PrepareHostAsync().ConfigureAwait(false);
            _image = await _trace.StageAsync("image", AcquireImageAsync).ConfigureAwait(false);
            _accounts = new ImageAccounts(_image.RootPath);
            _user = CommandPlanner.ResolveUser(_request.User, _image.Config, _accounts);
            _held.Push(await _trace.StageAsync("queue", AcquireSlotAsync).ConfigureAwait(false));
            CommandOutcome outcome = await RunCommandAsync().ConfigureAwait(false);
            return Conclude(outcome, await ReportNetworkAsync(outcome.Outputs).ConfigureAwait(false));
        }
        catch (Exception exception) when (HostFault.Is(exception) || exception is InitProtocolException)
        {
            var fault = new SandboxRuntimeException($"The sandbox failed on this host: {exception.Message}", exception);
            _trace.Fail(fault);
            throw fault;
        }
        catch (Exception exception)
        {
            _trace.Fail(exception);
            throw;
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
        INetworkMode mode = request.Network;
        _trace.Network = mode.Name;
        return mode.GetUnavailableReason() is not { } obstacle
            ? request
            : throw new SandboxPrivilegeException($"The network mode '{mode.Name}' cannot be used: {obstacle}")
            {
                PublicMessage = $"The network mode '{mode.Name}' cannot be used on this host; use another one, such as 'none'.",
            };
    }

    private ValueTask<PreparedHost> PrepareHostAsync() =>
        _services.Host.GetAsync(_services.Options.QueueTimeout + _services.Options.BootTimeout, _cancellationToken);

    private async Task<IImageLease> AcquireImageAsync()
    {
        if (_request.PullPolicy != PullPolicy.Always || _request.Image.Digest is not null)
        {
            try
            {
                var options = new ImageAcquireOptions { Policy = PullPolicy.Never };
                return _held.Push(await _host.Images.AcquireAsync(_request.Image, options, _cancellationToken).ConfigureAwait(false));
            }
            catch (ImageNotFoundException) when (_request.PullPolicy != PullPolicy.Never)
            {
                // It is pulled.
            }
        }

        // A run that waits for a registry leaves its place in the queue to runs whose images are here.
        _place.Dispose();
        using (_services.Admission.EnterPull(_request.FairnessKey))
        {
            IImageLease image = _held.Push(await _trace.StageAsync("pull", PullImageAsync).ConfigureAwait(false));
            _place = _held.Push(_services.Admission.Enter(_request.FairnessKey));
            return image;
        }
    }

    private async Task<IImageLease> PullImageAsync()
    {
        using var progress = new PullEvents(_request.Image.ToString(), _events, _services.Time);
        if (_request.PullPolicy == PullPolicy.Missing)
        {
            progress.Begin();
        }

        var options = new ImageAcquireOptions { Policy = _request.PullPolicy, Progress = progress };
        return await _host.Images.AcquireAsync(_request.Image, options, _cancellationToken).ConfigureAwait(false);
    }

    private Task<IDisposable> AcquireSlotAsync() => _place.AcquireSlotAsync(_request.Limits.MemoryBytes!.Value, _cancellationToken);

    /// <summary>Gets a sandbox and hands the command over. Another sandbox replaces one that died before its command started.</summary>
    private async Task<CommandOutcome> RunCommandAsync()
    {
        var source = new SandboxSource(_host, _request, _image, _id, _trace, _held);

        // A pooled sandbox can always be replaced. A booted one is replaced once, if it waited for processors.
        for (bool mayBootAgain = true; ;)
        {
            _sandbox = await source.GetAsync(_cancellationToken).ConfigureAwait(false);
            CommandPlan plan = CommandPlanner.Build(_request, _image.Config, _accounts, _user, _sandbox.Guest, _services.Options.Platform, _host.CountsCpu);
            Task<IDisposable> processors = _place.AcquireProcessorsAsync(
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
        SandboxTimings timings = _trace.End(outcome, _image.Digest);
        var milliseconds = (long)timings.Total.TotalMilliseconds;
        if (outcome.Outputs.Fault is not null)
        {
            Log.OutputsNotWritten(_services.Logger, _id, outcome.Outputs.Fault);
        }

        Log.RunEnded(_services.Logger, _id, _image.Digest, kind, milliseconds);
        if (kind == TerminationKind.SandboxDied)
        {
            Log.RunDied(_services.Logger, _id, _image.Digest, milliseconds);
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
            ImageDigest = _image.Digest,
            Usage = outcome.Usage,
            Timings = timings,
            UnenforcedLimits = _host.FindUnenforced(_request.Limits, _user.Uid),
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
