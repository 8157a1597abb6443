using System.Runtime.CompilerServices;

namespace Boxer.Tests.Support;

/// <summary>Waits for the effects of other threads or processes.</summary>
internal static class Until
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(10);

    /// <summary>Waits until a condition holds. Counts pauses instead of reading a clock: a busy machine gets more time.</summary>
    /// <param name="isSo">The condition.</param>
    /// <param name="seconds">Sum of the pauses after which the test fails.</param>
    /// <param name="text">Text of the condition for the message; filled in by the compiler.</param>
    internal static async Task IsSoAsync(Func<bool> isSo, int seconds, [CallerArgumentExpression(nameof(isSo))] string text = "")
    {
        for (TimeSpan waited = TimeSpan.Zero; !isSo(); waited += Pause)
        {
            Assert.True(waited < TimeSpan.FromSeconds(seconds), $"After {seconds} s this is still not so: {text}");
            await Task.Delay(Pause, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>Waits until a condition holds that takes time to find out.</summary>
    /// <param name="isSoAsync">The condition.</param>
    /// <param name="seconds">Sum of the pauses after which the test fails.</param>
    /// <param name="text">Text of the condition for the message; filled in by the compiler.</param>
    internal static async Task IsSoAsync(Func<Task<bool>> isSoAsync, int seconds, [CallerArgumentExpression(nameof(isSoAsync))] string text = "")
    {
        for (TimeSpan waited = TimeSpan.Zero; !await isSoAsync(); waited += Pause)
        {
            Assert.True(waited < TimeSpan.FromSeconds(seconds), $"After {seconds} s this is still not so: {text}");
            await Task.Delay(Pause, TestContext.Current.CancellationToken);
        }
    }
}
