using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Machine;
using Boxer.Validation;
using Microsoft.Extensions.Logging;

namespace Boxer.Running;

/// <summary>Parts of a runner that its runs share.</summary>
internal sealed record RunServices
{
    /// <summary>The options of the runner.</summary>
    internal required BoxerOptions Options { get; init; }

    /// <summary>Validates the requests.</summary>
    internal required RequestValidator Validator { get; init; }

    /// <summary>Queue for running slots and processors.</summary>
    internal required AdmissionQueue Admission { get; init; }

    /// <summary>Prepares this host.</summary>
    internal required HostPreparation Host { get; init; }

    /// <summary>The meter and the activity source.</summary>
    internal required BoxerMetrics Metrics { get; init; }

    /// <summary>Tasks that the runner waits for when it is disposed.</summary>
    internal required BackgroundTasks Background { get; init; }

    /// <summary>The log.</summary>
    internal required ILogger Logger { get; init; }

    /// <summary>The clock.</summary>
    internal required TimeProvider Time { get; init; }

    /// <summary>Cancelled when the runner is disposed: kills the sandboxes without their grace.</summary>
    internal required CancellationToken Disposing { get; init; }
}
