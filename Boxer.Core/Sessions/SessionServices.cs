using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Validation;
using Microsoft.Extensions.Logging;

namespace Boxer.Sessions;

/// <summary>Parts of a runner that its sessions share.</summary>
internal sealed record SessionServices
{
    /// <summary>The options.</summary>
    internal required SessionOptions Options { get; init; }

    /// <summary>Validates the requests.</summary>
    internal required SessionRequestValidator Requests { get; init; }

    /// <summary>Validates the commands.</summary>
    internal required CommandValidator Commands { get; init; }

    /// <summary>The open and the remembered sessions.</summary>
    internal required SessionTable Table { get; init; }

    /// <summary>The meter and the activity source.</summary>
    internal required BoxerMetrics Metrics { get; init; }

    /// <summary>Tasks that the runner waits for when it is disposed.</summary>
    internal required BackgroundTasks Background { get; init; }

    /// <summary>The log.</summary>
    internal required ILogger Logger { get; init; }

    /// <summary>The time.</summary>
    internal required TimeProvider Time { get; init; }

    /// <summary>Cancelled when the runner is disposed.</summary>
    internal required CancellationToken Disposing { get; init; }
}
