using System.Diagnostics.Metrics;
using Boxer.Diagnostics;

namespace Boxer.Tests.Support;

/// <summary>Runs commands in pooled sandboxes.</summary>
internal static class WarmRuns
{
    private const int Attempts = 40;
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(500);

    /// <summary>Whether a run used a pooled sandbox.</summary>
    internal static bool IsWarm(this SandboxResult result) => result.Timings.Sandbox == TimeSpan.Zero;

    /// <summary>
    /// Repeats a run until it uses a pooled sandbox: the pool boots one after the first run of an image. It waits for a sandbox before it repeats the
    /// run; a busy machine takes long to boot one.
    /// </summary>
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
            await WaitForReadyAsync();
        }

        throw new InvalidOperationException($"None of {Attempts} runs used a pooled sandbox.");
    }

    /// <summary>
    /// Does the same for a run that takes long: the pool boots its sandbox after a short run of the same image and network, and no sandbox is booted
    /// for the long one.
    /// </summary>
    internal static async Task<SandboxResult> WarmLongAsync(this SandboxRunner runner, SandboxRequest request)
    {
        await runner.RunAsync(new SandboxRequest(request.Image, "true") { Network = request.Network }, TestContext.Current.CancellationToken);
        await WaitForReadyAsync();
        return await runner.WarmAsync(request);
    }

    /// <summary>
    /// Waits until a pool of this process has a sandbox for the next run. A frozen sandbox is not proof of that: it is frozen before it is pooled.
    /// </summary>
    internal static async Task WaitForReadyAsync()
    {
        int ready = 0;
        using var listener = new MeterListener
        {
            InstrumentPublished = (instrument, own) =>
            {
                if (instrument.Meter.Name == BoxerMetrics.Name && instrument.Name == "boxer.pool.sandboxes")
                {
                    own.EnableMeasurementEvents(instrument);
                }
            },
        };
        listener.SetMeasurementEventCallback<int>((_, value, _, _) => ready += value);
        listener.Start();
        await Until.IsSoAsync(HasReady, seconds: 60);

        bool HasReady()
        {
            ready = 0;
            listener.RecordObservableInstruments();
            return ready > 0;
        }
    }

    /// <summary>Waits until a pooled sandbox of the mode <c>sandbox</c> is frozen.</summary>
    /// <returns>The namespaces of all frozen sandboxes.</returns>
    internal static async Task<string[]> WaitForFrozenAsync()
    {
        for (int attempt = 0; attempt < 1_200; attempt++)
        {
            if (await HostState.FrozenNamespacesAsync() is { Length: > 0 } waiting)
            {
                return waiting;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(50), TestContext.Current.CancellationToken);
        }

        throw new InvalidOperationException("No pooled sandbox was frozen within 60 s.");
    }
}
