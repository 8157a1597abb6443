namespace Boxer.Runtime.Kept;

/// <summary>The reasons for which a command is stopped, for as long as the command runs.</summary>
internal sealed class StopReasons : IDisposable
{
    private readonly List<(Task Task, TerminationKind Kind)> _reasons = [];
    private readonly List<CancellationTokenRegistration> _registrations = [];

    /// <summary>Adds a task; the reason is its completion.</summary>
    internal void Add(Task task, TerminationKind kind) => _reasons.Add((task, kind));

    /// <summary>Adds a token; the reason is its cancellation.</summary>
    internal void Add(TerminationKind kind, CancellationToken token)
    {
        if (token.CanBeCanceled)
        {
            var cancelled = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
            _registrations.Add(token.UnsafeRegister(static state => ((TaskCompletionSource)state!).TrySetResult(), cancelled));
            Add(cancelled.Task, kind);
        }
    }

    /// <summary>Adds a task; the reason is its failure.</summary>
    internal void AddFailure(Task task, TerminationKind kind)
    {
        var failed = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _ = task.ContinueWith(
            done =>
            {
                _ = done.Exception;
                failed.TrySetResult();
            },
            CancellationToken.None,
            TaskContinuationOptions.OnlyOnFaulted,
            TaskScheduler.Default);
        Add(failed.Task, kind);
    }

    /// <summary>Waits for the end of the command, or for a reason to stop it.</summary>
    /// <param name="ended">Completes when the command has ended.</param>
    /// <param name="except">Reasons that do not count any more.</param>
    /// <returns>The first reason; <see langword="null"/> if the command ended first.</returns>
    internal async Task<TerminationKind?> WaitAsync(Task ended, TerminationKind? except = null)
    {
        Task[] counted = [.. _reasons.Where(reason => reason.Kind != except).Select(reason => reason.Task)];
        Task first = await Task.WhenAny([ended, .. counted]).ConfigureAwait(false);
        return first == ended ? null : _reasons.First(reason => reason.Task == first).Kind;
    }

    /// <summary>Forgets the tokens.</summary>
    public void Dispose() => _registrations.ForEach(registration => registration.Dispose());
}
