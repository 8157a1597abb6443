using Microsoft.Extensions.Logging;

namespace Boxer.Diagnostics;

/// <summary>
/// Cancels tokens that network modes, image stores and streams of an application may receive. A callback of theirs that fails is logged: it must not
/// prevent the clean-up.
/// </summary>
internal static class LoggedCancellation
{
    /// <summary>Cancels, and returns when the callbacks have run.</summary>
    /// <param name="source">The source of the token.</param>
    /// <param name="logger">The log.</param>
    internal static void Cancel(CancellationTokenSource source, ILogger logger)
    {
        try
        {
            source.Cancel();
        }
        catch (AggregateException exception)
        {
            Log.CancellationCallbackFailed(logger, exception);
        }
    }

    /// <summary>Cancels, and runs the callbacks on another thread.</summary>
    /// <param name="source">The source of the token.</param>
    /// <param name="logger">The log.</param>
    internal static async Task CancelAsync(CancellationTokenSource source, ILogger logger)
    {
        try
        {
            await source.CancelAsync().ConfigureAwait(false);
        }
        catch (AggregateException exception)
        {
            Log.CancellationCallbackFailed(logger, exception);
        }
    }
}
