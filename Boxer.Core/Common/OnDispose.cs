namespace Boxer.Common;

/// <summary>Runs an action at its first disposal.</summary>
/// <param name="action">The action.</param>
internal sealed class OnDispose(Action action) : IDisposable
{
    private Action? _action = action;

    /// <inheritdoc/>
    public void Dispose() => Interlocked.Exchange(ref _action, null)?.Invoke();
}
