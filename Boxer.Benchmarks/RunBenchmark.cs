namespace Boxer.Benchmarks;

/// <summary>One run at a time, cold and from the pool, compared with a bare <c>runsc run</c> and with other ways to run the same command.</summary>
internal static class RunBenchmark
{
    // Gives the pool time to boot a sandbox. All cases rest, also those without a pool.
    private static readonly TimeSpan Rest = TimeSpan.FromMilliseconds(250);

    internal static async Task RunAsync(Bench bench)
    {
        string work = Directory.CreateTempSubdirectory("boxer-bench-engines-").FullName;
        IReadOnlyList<ContainerEngine> engines = [];
        await using SandboxRunner cold = bench.CreateRunner();
        await using SandboxRunner pool = bench.CreateRunner(options => options.Pool.Enabled = true);
        await using SandboxRunner warm = bench.CreateRunner(options =>
        {
            options.Pool.Enabled = true;
            options.Pool.Images = [new() { Image = bench.Image, Count = 0, WarmUp = ["python3", "-c", "pass"] }];
        });
        try
        {
            string archive = Path.Combine(work, "image.tar");
            await HostProgram.RunAsync(
                "skopeo", "copy", "--quiet", "--src-tls-verify=false", bench.SkopeoSource, $"docker-archive:{archive}:{ContainerEngine.Image}").ConfigureAwait(false);
            engines = await ContainerEngine.FindAsync(archive, work).ConfigureAwait(false);
            await using BootedContainer booted = await bench.Runsc.BootAsync().ConfigureAwait(false);
            foreach (Workload workload in (Workload[])[Workload.True, Workload.Python])
            {
                await MeasureAsync(bench, workload, new Runners(cold, pool, warm), engines, booted).ConfigureAwait(false);
            }

            StageTimes.Explain();
        }
        finally
        {
            foreach (ContainerEngine engine in engines)
            {
                await engine.DisposeAsync().ConfigureAwait(false);
            }

            Directory.Delete(work, recursive: true);
        }
    }

    private static async Task MeasureAsync(Bench bench, Workload workload, Runners runners, IReadOnlyList<ContainerEngine> engines, BootedContainer booted)
    {
        var hits = new StageTimes("pool");
        var warmHits = new StageTimes("warmed up");
        bool isCompiled = workload != Workload.True;
        Tables.Print($"{workload.Name}, {bench.Rounds} rounds", await Interleaved.RunAsync(
            bench.Rounds,
            Rest,
            [
                Case.Peer("bare runsc run", () => bench.Runsc.RunAsync(workload)),
                Case.Peer("bare process in a chroot", async () => workload.Check(
                    await HostProgram.RunAsync("chroot", ["--userspec=65534:65534", bench.Root, .. workload.Command]).ConfigureAwait(false))),
                Case.Peer("runsc exec into a booted container", () => booted.ExecAsync(workload)),
                .. engines.Select(engine => Case.Peer(engine.Name, () => engine.RunAsync(workload))),
                new Case("boxer, cold", _ => workload.RunAsync(runners.Cold, bench.Image), isCompiled),
                new Case("boxer, from the pool", measured => RunFromPoolAsync(runners.Pool, hits, measured), isCompiled),
                new Case("boxer, from the pool, warmed up with python3 -c pass", measured => RunFromPoolAsync(runners.Warm, warmHits, measured), isCompiled),
            ]).ConfigureAwait(false));
        StageTimes.Print(workload.Name, hits, warmHits);

        async Task RunFromPoolAsync(SandboxRunner runner, StageTimes stages, bool measured)
        {
            SandboxResult result = await workload.RunAsync(runner, bench.Image).ConfigureAwait(false);
            if (measured)
            {
                stages.Add(result.Timings);
            }
        }
    }

    private sealed record Runners(SandboxRunner Cold, SandboxRunner Pool, SandboxRunner Warm);
}
