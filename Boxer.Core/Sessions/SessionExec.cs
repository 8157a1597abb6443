using Boxer.Diagnostics;
using Boxer.Networking;
using Boxer.Running;
using Boxer.Runtime.Kept;
using Boxer.Validation;

namespace Boxer.Sessions;

/// <summary>One foreground command of a session: its walk from the command to the result.</summary>
internal sealed class SessionExec
{
    private readonly SessionParts _parts;
    private readonly SessionCalls _calls;
    private readonly RunEvents _events;
    private readonly string _id = $"boxer-{Guid.NewGuid()}";

    private SessionExec(SessionParts parts, SessionCalls calls, RunEvents events)
    {
        _parts = parts;
        _calls = calls;
        _events = events;
    }

    /// <summary>Executes a command. It never fails: the result or the exception goes to the events.</summary>
    /// <param name="parts">The session.</param>
    /// <param name="calls">Runs operations on the sandbox.</param>
    /// <param name="command">The command.</param>
    /// <param name="events">Receives the events of the command, and its result or exception.</param>
    /// <param name="cancellationToken">Ends the command: the caller's token, or the end of the enumeration.</param>
    /// <param name="callers">The caller's token alone.</param>
    internal static async Task ExecuteAsync(
        SessionParts parts, SessionCalls calls, CheckedCommand command, RunEvents events, CancellationToken cancellationToken, CancellationToken callers)
    {
        var exec = new SessionExec(parts, calls, events);
        using var trace = new StageTrace(parts.Metrics, parts.Time, "boxer.session.exec") { Network = parts.Request.Network.Name };
        trace.Activity?.SetTag("boxer.session.id", parts.Id);
        trace.Activity?.SetTag("boxer.run.id", exec._id);
        try
        {
            SandboxResult result = await exec.WalkAsync(command, trace, cancellationToken).ConfigureAwait(false);
            trace.Activity?.SetTag("boxer.termination", result.Termination.Kind.ToString());
            parts.Metrics.Sessions.Executed(result.Termination.Kind, trace.Elapsed);
            events.Add(new SandboxEnded(result));
            events.Complete();
        }
        catch (Exception exception)
        {
            trace.Fail(exception);
            parts.Metrics.Sessions.ExecFailed(exception, trace.Elapsed);
            events.Complete(exception switch
            {
                SandboxException own => own.ForRun(parts.Image, exec._id, events.MayHaveStarted),
                OperationCanceledException when callers.IsCancellationRequested => new OperationCanceledException(exception.Message, exception, callers),
                _ => exception,
            });
        }
    }

    private async Task<SandboxResult> WalkAsync(CheckedCommand command, StageTrace trace, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using IDisposable call = _parts.Life.Begin();
        using IDisposable place = _calls.EnterExec();
        ExecPlan plan = SessionPlanner.BuildCommand(_parts.Guest, command);
        using IDisposable processors = await trace.StageAsync(
            "processors", () => _calls.WithinAsync(_parts.Processors.AcquireAsync, cancellationToken)).ConfigureAwait(false);
        NetworkReport? before = await ReadNetworkAsync(cancellationToken).ConfigureAwait(false);
        ExecOutcome outcome = await _calls.WithinAsync(token => HandOverAsync(plan, token), cancellationToken).ConfigureAwait(false);
        if (_parts.Life.End is not (null or SandboxSessionEnd.MemoryLimit or SandboxSessionEnd.SandboxDied))
        {
            // The command did not die by itself: its session was ended.
            throw _parts.Life.EndedException(isRetrySafe: false);
        }

        NetworkReport? after = await ReadNetworkAsync(cancellationToken).ConfigureAwait(false);
        return Conclude(outcome, before is null || after is null ? null : SessionNetwork.Subtract(before, after), trace);
    }

    private async Task<ExecOutcome> HandOverAsync(ExecPlan plan, CancellationToken cancellationToken)
    {
        _events.MayHaveStarted = true;
        try
        {
            // The disk may have been full while the command waited, and have free space again.
            return await _parts.Sandbox.ExecAsync(
                plan with { DiskFull = _parts.Disk.Full },
                () => _events.Add(new SandboxStarted(_id)),
                (stream, data) => _events.Add(new SandboxDataReceived(stream, data)),
                cancellationToken).ConfigureAwait(false);
        }
        catch (KeptSandboxEndedException)
        {
            _events.MayHaveStarted = false;
            throw;
        }
    }

    // A missing report does not take the result from a command that came to its end.
    private async Task<NetworkReport?> ReadNetworkAsync(CancellationToken cancellationToken)
    {
        try
        {
            return await _parts.Network.ReadAsync(cancellationToken).ConfigureAwait(false);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            Log.NetworkNotReported(_parts.Logger, _id, exception);
            return null;
        }
    }

    private SandboxResult Conclude(ExecOutcome outcome, NetworkReport? network, StageTrace trace) => new(outcome.End.Termination)
    {
        Id = _id,
        StandardOutputBytes = outcome.Stdout,
        StandardErrorBytes = outcome.Stderr,
        Network = network ?? NetworkReport.None,
        NetworkIncomplete = network is null ? "This host could not read what the command did with its network." : null,
        ImageDigest = _parts.ImageDigest,
        Usage = outcome.End.Usage,
        LeftBehind = outcome.End.LeftBehind,
        Timings = new SandboxTimings
        {
            Queue = trace.TimeOf("processors"),
            Run = outcome.RunTime,
            Cleanup = outcome.DrainTime,
            Total = trace.Elapsed,
        },
        UnenforcedLimits = _parts.UnenforcedLimits,
    };
}
