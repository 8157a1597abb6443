using System.Diagnostics;
using System.Runtime.CompilerServices;

namespace Boxer.Benchmarks;

/// <summary>
/// Commands in a session, compared with <c>runsc exec</c> in the same sandbox and with runs; and the opening of a session, compared with a bare
/// <c>runsc run</c>.
/// </summary>
internal static class SessionBenchmark
{
    private const int OutputBytes = 100_000_000;

    // Gives the pool time to boot a sandbox, and a sandbox time to clean up after the command before.
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(250);

    internal static async Task RunAsync(Bench bench)
    {
        await using SandboxRunner cold = bench.CreateRunner();
        await using SandboxRunner pool = bench.CreateRunner(options => options.Pool.Enabled = true);
        await CompareCommandsAsync(bench, cold).ConfigureAwait(false);
        await CompareOutputAsync(bench, pool).ConfigureAwait(false);
        await CompareOpeningAsync(bench, cold, pool).ConfigureAwait(false);
    }

    private static async Task CompareCommandsAsync(Bench bench, SandboxRunner runner)
    {
        IOwnedSandboxSession session = await OpenAsync(bench, runner, freezeAfter: null).ConfigureAwait(false);
        await using ConfiguredAsyncDisposable closing = session.ConfigureAwait(false);

        // Nothing else has a sandbox yet.
        string directory = Directory.EnumerateDirectories("/run/boxer", "state", new EnumerationOptions { RecurseSubdirectories = true, MaxRecursionDepth = 3 })
            .Select(state => Path.GetDirectoryName(state)!).Single();
        foreach (Workload workload in (Workload[])[Workload.True, Workload.Python])
        {
            Tables.Print($"{workload.Name} in one sandbox, {bench.Rounds} rounds", await Interleaved.RunAsync(
                bench.Rounds,
                Rest,
                [
                    Case.Peer("runsc exec in the sandbox of the session", () => BareRunsc.ExecAsync(directory, workload)),
                    new Case("exec in the session", async _ => workload.Check((await session.ExecAsync(workload.Command[0], workload.Command.Skip(1)).ConfigureAwait(false)).StandardOutput)),
                ]).ConfigureAwait(false));
        }
    }

    // The limit of kept output is above the bytes, and none of them are kept.
    private static async Task CompareOutputAsync(Bench bench, SandboxRunner runner)
    {
        string[] command = ["head", "-c", $"{OutputBytes}", "/dev/zero"];
        var limits = new ResourceLimits { StandardOutputBytes = 2 * OutputBytes };
        IOwnedSandboxSession session = await OpenAsync(bench, runner, freezeAfter: null).ConfigureAwait(false);
        await using ConfiguredAsyncDisposable closing = session.ConfigureAwait(false);
        Tables.Print($"{OutputBytes / 1_000_000} MB of output, {bench.Rounds} rounds", await Interleaved.RunAsync(
            bench.Rounds,
            Rest,
            [
                new Case("boxer, from the pool", _ => CountAsync(runner.StreamAsync(new SandboxRequest(bench.Image, command) { Limits = limits, KeepStandardOutput = false })), IsCompiled: true),
                new Case("exec in a session", _ => CountAsync(session.StreamAsync(new SandboxCommand(command[0], command[1..]) { Limits = limits, KeepStandardOutput = false })), IsCompiled: true),
            ]).ConfigureAwait(false));
    }

    private static async Task CompareOpeningAsync(Bench bench, SandboxRunner cold, SandboxRunner pool)
    {
        Series bare = new("bare runsc run of true"), run = new("boxer, run of true from the pool"), booted = new("opening a session, cold"), pooled = new("opening a session, from the pool"), first = new("its first exec of true");
        for (int round = -5; round < bench.Rounds; round++)
        {
            Interruption.ThrowIfRequested();
            await MeasureAsync(bare, round, () => bench.Runsc.RunAsync(Workload.True)).ConfigureAwait(false);
            await MeasureAsync(run, round, () => Workload.True.RunAsync(pool, bench.Image)).ConfigureAwait(false);
            await OpenAndCloseAsync(cold, booted, first: null, round).ConfigureAwait(false);
            await OpenAndCloseAsync(pool, pooled, first, round).ConfigureAwait(false);
        }

        Tables.Print($"opening a session, {bench.Rounds} rounds", [bare, run, booted, pooled, first]);

        async Task OpenAndCloseAsync(SandboxRunner runner, Series series, Series? first, int round)
        {
            IOwnedSandboxSession? session = null;
            await MeasureAsync(series, round, async () => session = await OpenAsync(bench, runner, TimeSpan.FromSeconds(1)).ConfigureAwait(false)).ConfigureAwait(false);
            if (first is not null)
            {
                await MeasureAsync(first, round, () => session!.ExecAsync("true"), TimeSpan.Zero).ConfigureAwait(false);
            }

            await session!.DisposeAsync().ConfigureAwait(false);
        }
    }

    private static async Task MeasureAsync(Series series, int round, Func<Task> work, TimeSpan? rest = null)
    {
        await Task.Delay(rest ?? Rest).ConfigureAwait(false);
        long start = Stopwatch.GetTimestamp();
        await work().ConfigureAwait(false);
        if (round >= 0)
        {
            series.Add(Stopwatch.GetElapsedTime(start));
        }
    }

    private static Task<IOwnedSandboxSession> OpenAsync(Bench bench, SandboxRunner runner, TimeSpan? freezeAfter) =>
        runner.OpenAsync(new SandboxSessionRequest(bench.Image) { FreezeAfter = freezeAfter });

    private static async Task CountAsync(IAsyncEnumerable<SandboxEvent> events)
    {
        long bytes = 0;
        await foreach (SandboxEvent item in events.ConfigureAwait(false))
        {
            bytes += item is SandboxDataReceived output ? output.Data.Length : 0;
        }

        if (bytes != OutputBytes)
        {
            throw new InvalidOperationException($"A command printed {bytes} bytes.");
        }
    }
}
