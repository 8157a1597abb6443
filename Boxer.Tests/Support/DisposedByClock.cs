using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Support;

/// <summary>
/// Disposes something that waits by the clock of a test, and lets the clock run meanwhile: the kernel may keep a cgroup for a moment, and the pauses
/// of a clean-up would never end.
/// </summary>
internal sealed class DisposedByClock(IAsyncDisposable target, FakeTimeProvider time) : IAsyncDisposable
{
    public async ValueTask DisposeAsync()
    {
        Task disposal = target.DisposeAsync().AsTask();
        while (!disposal.IsCompleted)
        {
            time.Advance(TimeSpan.FromSeconds(1));
            await Task.Delay(20, CancellationToken.None);
        }

        await disposal;
    }
}
