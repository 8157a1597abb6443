namespace Boxer.Admission;

/// <summary>What an <see cref="AdmissionQueue"/> holds to.</summary>
internal sealed record AdmissionBounds
{
    /// <summary>Runs at once.</summary>
    public required int Running { get; init; }

    /// <summary>Memory in bytes that those who run and what waits in the pool may be promised together.</summary>
    public required long MemoryBytes { get; init; }

    /// <summary>Processors of this machine.</summary>
    public required int Processors { get; init; }

    /// <summary>How many processors may be promised for each of <see cref="Processors"/>, at least 1.</summary>
    public double CpuOvercommit { get; init; } = 1;

    /// <summary>Runs that may wait beyond <see cref="Running"/>. As many as both together may wait for their images besides.</summary>
    public required int Waiting { get; init; }

    /// <summary>Of these, how many of one key may run.</summary>
    public int? RunningPerKey { get; init; }

    /// <summary>Of these, how many of one key may wait.</summary>
    public int? WaitingPerKey { get; init; }

    /// <summary>How long a run may wait for a running slot, and again for its processors.</summary>
    public required TimeSpan Timeout { get; init; }
}
