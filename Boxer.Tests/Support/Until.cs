namespace Boxer.Tests.Support;

/// <summary>Waits for what comes about by itself.</summary>
internal static class Until
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(10);

    /// <summary>Waits until something is so. The test fails where it never is, by counting: a busy machine gets more time.</summary>
    internal static async Task IsSoAsync(Func<bool> isSo, int seconds)
    {
        for (TimeSpan waited = TimeSpan.Zero; !isSo(); waited += Pause)
        {
            Assert.True(waited < TimeSpan.FromSeconds(seconds), "It never was so.");
            await Task.Delay(Pause, TestContext.Current.CancellationToken);
        }
    }
}
