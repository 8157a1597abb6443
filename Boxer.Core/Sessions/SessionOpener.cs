using System.Diagnostics;
using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Running;
using Boxer.Runtime;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;
using Boxer.Validation;

namespace Boxer.Sessions;

/// <summary>The opening of one session: its walk from the request to the open sandbox. <see cref="WalkAsync"/> is the outline.</summary>
internal sealed class SessionOpener
{
    private readonly RunServices _runs;
    private readonly SessionServices _sessions;
    private readonly SessionBounds _bounds;
    private readonly StageTrace _trace;
    private readonly CancellationToken _cancellationToken;
    private readonly CleanupStack _held;
    private readonly string _id = SessionIds.Create();

    // Names the sandbox on this host. The identifier of the session is a secret.
    private readonly string _runId = $"boxer-{Guid.NewGuid()}";

    private SessionOpener(
        RunServices runs, SessionServices sessions, SessionBounds bounds, StageTrace trace, CleanupStack held, CancellationToken cancellationToken)
    {
        _held = held;
        _runs = runs;
        _sessions = sessions;
        _bounds = bounds;
        _trace = trace;
        _cancellationToken = cancellationToken;
    }

    /// <summary>Opens a session.</summary>
    /// <param name="runs">The parts of the runner.</param>
    /// <param name="sessions">The parts that sessions share.</param>
    /// <param name="bounds">Bounds the open sessions.</param>
    /// <param name="submitted">The request.</param>
    /// <param name="cancellationToken">Cancels the opening: the caller's token and the disposal of the runner together.</param>
    /// <param name="callers">The caller's token alone.</param>
    internal static async Task<Session> OpenAsync(
        RunServices runs, SessionServices sessions, SessionBounds bounds, SandboxSessionRequest submitted, CancellationToken cancellationToken, CancellationToken callers)
    {
        using var trace = new StageTrace(runs.Metrics, runs.Time, "boxer.session.open");
        var opener = new SessionOpener(runs, sessions, bounds, trace, new CleanupStack(), cancellationToken);
        trace.Activity?.SetTag("boxer.session.id", opener._id);
        try
        {
            Session session = await opener.WalkAsync(submitted).ConfigureAwait(false);
            sessions.Metrics.Sessions.Opened(trace.Network, trace.Elapsed);
            return session;
        }
        catch (Exception exception)
        {
            Exception fault = RunFaults.OfHost(exception) ?? exception;
            trace.Fail(fault);
            sessions.Metrics.Sessions.NotOpened(fault, trace.Network);
            Activity? activity = trace.StartCleanup();
            _ = runs.Background.RunAsync(() => opener.CleanUpAsync(activity));
            throw RunFaults.Translate(fault, runs, submitted.Image, opener._runId, mayHaveStarted: false, callers);
        }
    }

    private async Task<Session> WalkAsync(SandboxSessionRequest submitted)
    {
        CheckedSession request = _sessions.Requests.Validate(submitted);
        _trace.Network = request.Network.Name;
        Preparation.CheckUsable(request.Network);
        IDisposable place = _held.Push(_bounds.Enter(request.FairnessKey, request.Limits.MemoryBytes!.Value));
        var ready = new Preparation(_runs, request, _trace, new RunEvents(), _held, _runId, _cancellationToken);
        await ready.PrepareAsync().ConfigureAwait(false);
        SessionGuest guest = SessionPlanner.GuestOf(request, ready.Image.Config, ready.Accounts, ready.User);
        (RunSandbox sandbox, IKeptSandbox kept) = await OpenSandboxAsync(request, ready, guest).ConfigureAwait(false);
        AdmissionQueue.Ticket ticket = _held.Push(_runs.Admission.EnterSession(request.FairnessKey));
        _cancellationToken.ThrowIfCancellationRequested();

        // An open session counts by its memory only. Runs have the slots.
        ready.Slot.KeepOnlyMemory();
        ready.Place.Dispose();
        _runs.Host.Ready?.Pool?.TriggerRefill();
        return new SessionFactory
        {
            Services = _sessions,
            Id = _id,
            Image = submitted.Image,
            ImageDigest = ready.Image.Digest,
            Request = request,
            Guest = guest,
            Sandbox = kept,
            Network = sandbox.Network,
            Ticket = ticket,
            Place = place,
            UnenforcedLimits = ready.Host.FindUnenforced(request.Limits, ready.User.Uid),
            Held = _held,
        }.Create();
    }

    private async Task<(RunSandbox Sandbox, IKeptSandbox Kept)> OpenSandboxAsync(CheckedSession request, Preparation ready, SessionGuest guest)
    {
        while (true)
        {
            // A session that opens in another sandbox keeps nothing of one that died.
            var attempt = new CleanupStack();
            RunSandbox? sandbox = null;
            try
            {
                sandbox = await ready.GetSandboxAsync(attempt).ConfigureAwait(false);
                if (!ready.Host.Launcher.TakesDescriptors)
                {
                    throw new SandboxRuntimeException("This host's runsc does not deliver descriptors to a booted sandbox, which sessions need; install a newer runsc.");
                }

                OpenPlan plan = SessionPlanner.BuildOpening(request, guest, sandbox.Guest, _runs.Options.Platform);
                KeptSandbox kept = attempt.Push(await _trace.StageAsync("open", () => OpenAsync(sandbox.Sandbox, plan)).ConfigureAwait(false));
                _held.Push(attempt);
                return (sandbox, kept);
            }
            catch (Exception exception) when (sandbox is { IsPooled: true } && exception is SandboxRuntimeException or IOException or InitProtocolException)
            {
                // A frozen sandbox does not show that it was killed. Another one replaces it.
                Log.WaitingSandboxDied(_runs.Logger, _runId, exception);
                sandbox.Sandbox.Kill();
                _ = _runs.Background.RunAsync(() => RemoveAsync(attempt));
            }
            catch
            {
                _held.Push(attempt);
                throw;
            }
        }
    }

    private Task<KeptSandbox> OpenAsync(Sandbox sandbox, OpenPlan plan) =>
        KeptSandbox.OpenAsync(sandbox.Resources, plan, sandbox.Poller, _runs.Time, PatienceOf(plan, _runs.Options.BootTimeout), _cancellationToken);

    // The inputs get as much time as those of a run.
    private static TimeSpan PatienceOf(OpenPlan plan, TimeSpan bootTimeout) => plan.Limits.WallClock is { } wallClock && wallClock > bootTimeout ? wallClock : bootTimeout;

    // Nobody waits for the removal.
    private async Task RemoveAsync(CleanupStack held)
    {
        await Task.Yield();
        try
        {
            await held.DisposeAsync().ConfigureAwait(false);
        }
        catch (AggregateException exception)
        {
            Log.SessionCleanupFailed(_runs.Logger, _id, exception);
        }
    }

    private async Task CleanUpAsync(Activity? activity)
    {
        using Activity? timed = activity;
        await RemoveAsync(_held).ConfigureAwait(false);
        _runs.Host.Ready?.Pool?.TriggerRefill();
    }
}
