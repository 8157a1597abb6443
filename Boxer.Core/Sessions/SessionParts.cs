using Boxer.Diagnostics;
using Boxer.Runtime.Kept;
using Boxer.Validation;
using Microsoft.Extensions.Logging;

namespace Boxer.Sessions;

/// <summary>Everything that the calls of one session need.</summary>
internal sealed record SessionParts
{
    /// <summary>The identifier of the session.</summary>
    internal required string Id { get; init; }

    /// <summary>The image, as the request named it.</summary>
    internal required string Image { get; init; }

    /// <summary>The digest of the image.</summary>
    internal required string ImageDigest { get; init; }

    /// <summary>The validated request.</summary>
    internal required CheckedSession Request { get; init; }

    /// <summary>The options.</summary>
    internal required SessionOptions Options { get; init; }

    /// <summary>Validates new times.</summary>
    internal required SessionRequestValidator Requests { get; init; }

    /// <summary>Validates commands.</summary>
    internal required CommandValidator Commands { get; init; }

    /// <summary>Limits of the request that this host does not enforce.</summary>
    internal required IReadOnlyList<string> UnenforcedLimits { get; init; }

    /// <summary>The sandbox.</summary>
    internal required IKeptSandbox Sandbox { get; init; }

    /// <summary>The state that its commands start from.</summary>
    internal required SessionGuest Guest { get; init; }

    /// <summary>The states.</summary>
    internal required SessionLife Life { get; init; }

    /// <summary>The processors.</summary>
    internal required SessionProcessors Processors { get; init; }

    /// <summary>The network.</summary>
    internal required SessionNetwork Network { get; init; }

    /// <summary>The disk limit.</summary>
    internal required SessionDisk Disk { get; init; }

    /// <summary>The time.</summary>
    internal required TimeProvider Time { get; init; }

    /// <summary>The meter and the activity source.</summary>
    internal required BoxerMetrics Metrics { get; init; }

    /// <summary>The log.</summary>
    internal required ILogger Logger { get; init; }

    /// <summary>Completes when calls in progress are no longer waited for after the end of the session. Never fails.</summary>
    internal TaskCompletionSource Abandoned { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
}
