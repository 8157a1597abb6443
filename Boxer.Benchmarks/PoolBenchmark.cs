using System.Diagnostics.Metrics;
using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>Memory and processor time of pooled sandboxes.</summary>
internal static class PoolBenchmark
{
    private const int Sandboxes = 50;
    private static readonly TimeSpan Settle = TimeSpan.FromSeconds(2);

    internal static async Task RunAsync(Bench bench)
    {
        int pooled = 0;
        using var meters = new MeterListener();
        meters.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Name == "boxer.pool.sandboxes")
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        meters.SetMeasurementEventCallback<int>((_, value, _, _) => pooled = Math.Max(pooled, value));
        meters.Start();
        double busyBefore = await Processors.MeasureBusyAsync().ConfigureAwait(false);
        double before = Memory.Available();
        await using SandboxRunner runner = bench.CreateRunner(options =>
        {
            options.Pool.Enabled = true;
            options.Pool.MaxSandboxes = Sandboxes;
            options.Pool.Images = [new() { Image = bench.Image, Count = Sandboxes }];
        });
        await runner.StartAsync().ConfigureAwait(false);
        for (int i = 0; i < 600 && pooled < Sandboxes; i++)
        {
            Interruption.ThrowIfRequested();
            await Task.Delay(100).ConfigureAwait(false);
            meters.RecordObservableInstruments();
        }

        await Task.Delay(Settle).ConfigureAwait(false);
        double used = before - Memory.Available();
        double busy = await Processors.MeasureBusyAsync().ConfigureAwait(false);
        Table table = Tables.Create("pooled sandboxes", "MB each", "processors busy %", "before %");
        table.AddRow($"{pooled}", $"{used / pooled:0.0}", $"{busy:0.0}", $"{busyBefore:0.0}");
        AnsiConsole.Write(table);
    }
}
