namespace Boxer.Tests.Support;

/// <summary>Runs in sandboxes that waited.</summary>
internal static class WarmRuns
{
    private const int Attempts = 40;
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(500);

    /// <summary>Whether a run found a sandbox that waited.</summary>
    internal static bool IsWarm(this SandboxResult result) => result.Timings.Sandbox == TimeSpan.Zero;

    /// <summary>Runs it until it finds one: the second run of an image does as soon as one was booted.</summary>
    internal static async Task<SandboxResult> WarmAsync(this SandboxRunner runner, SandboxRequest request)
    {
        for (int attempt = 0; attempt < Attempts; attempt++)
        {
            SandboxResult result = await runner.RunAsync(request, TestContext.Current.CancellationToken);
            if (result.IsWarm())
            {
                return result;
            }

            await Task.Delay(Pause, TestContext.Current.CancellationToken);
        }

        throw new InvalidOperationException("No sandbox ever waited.");
    }

    /// <summary>Waits until a sandbox of the mode <c>sandbox</c> waits.</summary>
    /// <returns>The namespaces of all that do.</returns>
    internal static async Task<string[]> WaitForFrozenAsync()
    {
        for (int attempt = 0; attempt < 600; attempt++)
        {
            if (await HostState.FrozenNamespacesAsync() is { Length: > 0 } waiting)
            {
                return waiting;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(50), TestContext.Current.CancellationToken);
        }

        throw new InvalidOperationException("No sandbox ever waited.");
    }
}
