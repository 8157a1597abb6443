using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Networking;
using Boxer.Runtime.Kept;
using Boxer.Validation;

namespace Boxer.Sessions;

/// <summary>Creates the session of a sandbox that is open.</summary>
internal sealed record SessionFactory
{
    /// <summary>Parts of the runner.</summary>
    internal required SessionServices Services { get; init; }

    /// <summary>The identifier.</summary>
    internal required string Id { get; init; }

    /// <summary>The image, as the request named it.</summary>
    internal required string Image { get; init; }

    /// <summary>The digest of the image.</summary>
    internal required string ImageDigest { get; init; }

    /// <summary>The validated request.</summary>
    internal required CheckedSession Request { get; init; }

    /// <summary>The state that the commands start from.</summary>
    internal required SessionGuest Guest { get; init; }

    /// <summary>The sandbox.</summary>
    internal required IKeptSandbox Sandbox { get; init; }

    /// <summary>The network of the sandbox.</summary>
    internal required INetworkAttachment Network { get; init; }

    /// <summary>Waits for processors.</summary>
    internal required AdmissionQueue.Ticket Ticket { get; init; }

    /// <summary>The place of the session among the open ones; given back at its end.</summary>
    internal required IDisposable Place { get; init; }

    /// <summary>Limits of the request that this host does not enforce.</summary>
    internal IReadOnlyList<string> UnenforcedLimits { get; init; } = [];

    /// <summary>Everything that the session holds on this host; disposed after its end.</summary>
    internal required CleanupStack Held { get; init; }

    /// <summary>Creates the session, and adds it to the table. From now on it ends by itself.</summary>
    internal Session Create()
    {
        SessionParts parts = CreateParts(out SessionWorkers workers);
        Session? session = null;
        var ends = new SessionEnds(parts, workers, Held, end =>
        {
            Services.Metrics.Sessions.Ended(end);
            Services.Table.End(session!);
            Place.Dispose();
        });
        session = new Session(parts, workers, ends, Services.Background);
        parts.Disk.Start(() => parts.Life.IsAwake);
        Services.Table.Add(session);
        Log.SessionOpened(Services.Logger, Id, ImageDigest);
        _ = Services.Background.RunAsync(() => ends.RunAsync(Services.Disposing));
        return session;
    }

    private SessionParts CreateParts(out SessionWorkers workers)
    {
        SessionProcessors? processors = null;
        SessionWorkers? files = null;
        var clock = new SessionClock(Services.Time, Request.IdleTimeout, Request.Lifetime, Request.FreezeAfter, Request.KeepAliveWhileRunning);
        var freezer = new SessionFreezer(Id, Sandbox, Services.Time, Services.Logger);
        var life = new SessionLife(Id, clock, freezer, Sandbox.CanFreeze && Request.Network.SupportsFreeze, Services.Time, Services.Logger)
        {
            Freezing = () => files!.CloseIdleAsync(),
            BackgroundChanged = () => processors!.Update(),
        };
        processors = new SessionProcessors(Ticket, Request.Limits.CpuCores!.Value, () => life.HasBackground);
        var parts = new SessionParts
        {
            Id = Id,
            Image = Image,
            ImageDigest = ImageDigest,
            Request = Request,
            Options = Services.Options,
            Requests = Services.Requests,
            Commands = Services.Commands,
            UnenforcedLimits = UnenforcedLimits,
            Sandbox = Sandbox,
            Guest = Guest,
            Life = life,
            Processors = processors,
            Network = new SessionNetwork(Network),
            Disk = new SessionDisk(Id, Sandbox, Request.Limits.DiskBytes!.Value, Services.Time, Services.Logger),
            Time = Services.Time,
            Metrics = Services.Metrics,
            Logger = Services.Logger,
        };
        workers = files = new SessionWorkers(parts);
        return parts;
    }
}
