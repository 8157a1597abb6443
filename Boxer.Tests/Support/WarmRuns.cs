namespace Boxer.Tests.Support;

/// <summary>Runs commands in pooled sandboxes.</summary>
internal static class WarmRuns
{
    private const int Attempts = 40;
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(500);

    /// <summary>Whether a run used a pooled sandbox.</summary>
    internal static bool IsWarm(this SandboxResult result) => result.Timings.Sandbox == TimeSpan.Zero;

    /// <summary>Repeats a run until it uses a pooled sandbox: the pool boots one after the first run of an image.</summary>
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

        throw new InvalidOperationException($"None of {Attempts} runs used a pooled sandbox.");
    }

    /// <summary>Waits until a pooled sandbox of the mode <c>sandbox</c> is frozen.</summary>
    /// <returns>The namespaces of all frozen sandboxes.</returns>
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

        throw new InvalidOperationException("No pooled sandbox was frozen within 30 s.");
    }
}
