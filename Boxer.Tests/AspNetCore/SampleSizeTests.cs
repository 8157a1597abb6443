using Boxer.Tests.Support;

namespace Boxer.Tests.AspNetCore;

/// <summary>Tests that hosts stay small and define no routes: the facade is in the package.</summary>
public sealed class SampleSizeTests
{
    private static readonly string[] RouteCalls =
        ["MapGet(", "MapPost(", "MapPut(", "MapPatch(", "MapDelete(", "MapMethods(", "MapFallback", "MapGroup(", "Map(", "MapWhen(", "MapControllers", "Run(async"];

    [Theory]
    [InlineData("Boxer.HttpHost", 600)]
    [InlineData("MinimalApi", 60)]
    public void A_host_is_small_and_maps_no_route_of_its_own(string sample, int mostLines)
    {
        string folder = Path.Combine(Checkout.Root, "Boxer.Samples", sample);
        Assert.SkipUnless(Directory.Exists(folder), "The sources are not beside the tests.");
        string[] sources = [.. Directory.EnumerateFiles(folder, "*.cs", SearchOption.AllDirectories)
            .Where(file => !file.Contains("/obj/", StringComparison.Ordinal) && !file.Contains("/bin/", StringComparison.Ordinal))
            .Select(File.ReadAllText)];

        Assert.NotEmpty(sources);
        Assert.InRange(sources.Sum(source => source.Count(c => c == '\n')), 1, mostLines);
        Assert.All(sources, source => Assert.All(RouteCalls, call => Assert.DoesNotContain("." + call, source, StringComparison.Ordinal)));
        Assert.Single(sources, source => source.Contains(".MapBoxer(", StringComparison.Ordinal));
    }
}
