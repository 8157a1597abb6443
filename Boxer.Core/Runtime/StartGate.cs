namespace Boxer.Runtime;

/// <summary>Holds back the output of a command until its start was reported: the two come by different ways.</summary>
internal sealed class StartGate
{
    private readonly TaskCompletionSource _opened = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private volatile bool _hasStarted;

    /// <summary>Whether the command has started.</summary>
    internal bool HasStarted => _hasStarted;

    /// <summary>Completes when the start was reported, or when no start is to be expected any more.</summary>
    internal Task Opened => _opened.Task;

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
