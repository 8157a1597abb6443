// Measures Boxer against its peers on this machine, all cases of one table interleaved in one run:
//
//   Boxer.Benchmarks IMAGE REGISTRY=URL [ROUNDS]
//
// IMAGE is pulled from the mirror URL of REGISTRY, and so are the tags TAG-more (a small layer more) and TAG-flat (the same in one layer);
// ./bench.sh makes all. Run as root.
using Boxer;
using Boxer.Benchmarks;

if (args.Length is < 2 or > 3 || args[1].Split('=', 2) is not [var registry, var url] || !int.TryParse(args.ElementAtOrDefault(2) ?? "40", out int rounds) || rounds < 1)
{
    await Console.Error.WriteLineAsync("usage: Boxer.Benchmarks IMAGE REGISTRY=URL [ROUNDS]");
    return 2;
}

// Each takes several hundred MB of disk until the end.
const int MostPulls = 8;
string home = Directory.CreateTempSubdirectory("boxer-bench-").FullName;
try
{
    await PoolBenchmark.RunAsync(MakeOptions, args[0], rounds);
    await NetworkBenchmark.RunAsync(MakeOptions, args[0], rounds);
    await ImageBenchmark.RunAsync(args[0], registry, url, Math.Min(rounds, MostPulls));
}
finally
{
    Directory.Delete(home, recursive: true);
}

return 0;

BoxerOptions MakeOptions()
{
    // Only what is about the pool has one.
    var options = new BoxerOptions { Home = home, MaxConcurrentRuns = 50, MaxQueuedRuns = 1_000, Pool = { Enabled = false } };
    options.RegistryMirrors[registry] = [url];
    return options;
}
