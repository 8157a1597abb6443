namespace Boxer.Runtime;

/// <summary>Knows whether a command has started, and holds back its output until the start was reported: the two come by different ways.</summary>
internal sealed class StartGate
{
    private readonly TaskCompletionSource _opened = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _mayHaveStarted;
    private volatile bool _hasStarted;

    /// <summary>Whether PID 1 was told to start the command, which may then have run before PID 1 reported it.</summary>
    internal bool MayHaveStarted => _mayHaveStarted;

    /// <summary>Whether the command has started.</summary>
    internal bool HasStarted => _hasStarted;

    /// <summary>Completes when the start was reported, or when no start is to be expected any more.</summary>
    internal Task Opened => _opened.Task;

    /// <summary>Records that PID 1 is about to be told to start the command.</summary>
    internal void Announce() => _mayHaveStarted = true;

    /// <summary>Opens the gate: the command has started.</summary>
    /// <param name="report">Reports the start.</param>
    internal void Start(Action report)
    {
        _hasStarted = true;
        report();
        _opened.TrySetResult();
    }

    /// <summary>Opens the gate at the end, also if the command did not start.</summary>
    internal void Release() => _opened.TrySetResult();
}
