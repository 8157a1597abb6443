using System.Diagnostics.Metrics;
using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>What sandboxes cost that wait.</summary>
internal static class WaitingBenchmark
{
    private const int Waiting = 50;
    private static readonly TimeSpan Settle = TimeSpan.FromSeconds(2);

    internal static async Task RunAsync(Bench bench)
    {
        int waiting = 0;
        using var meters = new MeterListener();
        meters.InstrumentPublished = (instrument, listener) =>
        {
            if (instrument.Name == "boxer.pool.sandboxes")
            {
                listener.EnableMeasurementEvents(instrument);
            }
        };
        meters.SetMeasurementEventCallback<int>((_, value, _, _) => waiting = Math.Max(waiting, value));
        meters.Start();
        double usual = await Processors.BusyAsync().ConfigureAwait(false);
        double before = Memory.Available();
        await using SandboxRunner runner = bench.MakeRunner(options =>
        {
            options.Pool.Enabled = true;
            options.Pool.MaxSandboxes = Waiting;
            options.Pool.Images = [new() { Image = bench.Image, Count = Waiting }];
        });
        await runner.StartAsync().ConfigureAwait(false);
        for (int i = 0; i < 600 && waiting < Waiting; i++)
        {
            Interruption.ThrowIfAsked();
            await Task.Delay(100).ConfigureAwait(false);
            meters.RecordObservableInstruments();
        }

        await Task.Delay(Settle).ConfigureAwait(false);
        double taken = before - Memory.Available();
        double busy = await Processors.BusyAsync().ConfigureAwait(false);
        Table table = Tables.Make("sandboxes that wait", "MB each", "processors busy %", "before they waited %");
        table.AddRow($"{waiting}", $"{taken / waiting:0.0}", $"{busy:0.0}", $"{usual:0.0}");
        AnsiConsole.Write(table);
    }
}
