using Boxer.Hosting;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Faults;

/// <summary>A runner with a scripted runsc, and a neighbouring run that must not notice.</summary>
internal sealed class FaultyRuntime : IAsyncDisposable
{
    private readonly string[] _instances;
    private readonly OpenRun _neighbour;

    private FaultyRuntime(SandboxRunner runner, StandInRunsc runsc, string[] instances, OpenRun neighbour, string[] sandboxes)
    {
        Runner = runner;
        Runsc = runsc;
        _instances = instances;
        _neighbour = neighbour;
        Neighbours = sandboxes;
    }

    public SandboxRunner Runner { get; }

    public StandInRunsc Runsc { get; }

    /// <summary>Sandboxes that do not belong to the test.</summary>
    public string[] Neighbours { get; }

    public static async Task<FaultyRuntime> StartAsync(BoxerOptions options, CancellationToken cancellationToken)
    {
        string[] before = OwnTraces.Instances();
        string[] sandboxes = OwnTraces.Sandboxes();
        var runsc = new StandInRunsc();
        options.RunscPath = runsc.Path;
        SandboxRunner runner = SandboxRunnerFactory.Create(options);
        await runner.StartAsync(cancellationToken);
        string[] instances = [.. OwnTraces.Instances().Except(before, StringComparer.Ordinal)];
        OpenRun neighbour = await OpenRun.StartAsync(runner, SharedRunner.Shell(OpenRun.Counting));
        return new FaultyRuntime(runner, runsc, instances, neighbour, [.. OwnTraces.Sandboxes().Except(sandboxes, StringComparer.Ordinal)]);
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            Runsc.PutBack();
            Runsc.Do("");
            Assert.Equal("next\n", (await Runner.RunAsync(SharedRunner.Shell("echo next"))).StandardOutput);
            await _neighbour.PrintsAsync();
            await _neighbour.StopCountingAsync();
        }
        finally
        {
            await _neighbour.DisposeAsync();
            await Runner.DisposeAsync();
            Runsc.Dispose();
        }

        Assert.Empty(await OwnTraces.FindAsync(_instances));
        Assert.Empty(OwnTraces.Instances().Intersect(_instances, StringComparer.Ordinal));
    }
}
