namespace Boxer.Admission;

/// <summary>Bounds of an <see cref="AdmissionQueue"/> and of its <see cref="ResourceLedger"/>.</summary>
internal sealed record AdmissionBounds
{
    /// <summary>Maximum number of concurrent runs.</summary>
    public required int Running { get; init; }

    /// <summary>Memory in bytes that runs and pooled sandboxes may be promised together.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>Number of processors of this machine.</summary>
    public required int Processors { get; init; }

    /// <summary>Processors that may be promised for each of <see cref="Processors"/>, at least 1.</summary>
    public double CpuOvercommit { get; init; } = 1;

    /// <summary>Maximum number of queued runs beyond <see cref="Running"/>. As many runs as both together may additionally wait for their images.</summary>
    public required int Waiting { get; init; }

    /// <summary>Maximum number of concurrent runs of one key; <see langword="null"/> for no bound.</summary>
    public int? RunningPerKey { get; init; }

    /// <summary>Maximum number of queued runs of one key; <see langword="null"/> for no bound.</summary>
    public int? WaitingPerKey { get; init; }

    /// <summary>Maximum time that a run waits for a running slot, and again for its processors.</summary>
    public required TimeSpan Timeout { get; init; }
}
