using Boxer.Hosting;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Faults;

/// <summary>A runner over a runsc that does what a test wants, with a run beside that must not notice.</summary>
internal sealed class FaultyRuntime : IAsyncDisposable
{
    private readonly string[] _instances;
    private readonly Task<SandboxResult> _neighbour;

    private FaultyRuntime(SandboxRunner runner, StandInRunsc runsc, string[] instances, Task<SandboxResult> neighbour, string[] sandboxes)
    {
        Runner = runner;
        Runsc = runsc;
        _instances = instances;
        _neighbour = neighbour;
        Neighbours = sandboxes;
    }

    public SandboxRunner Runner { get; }

    public StandInRunsc Runsc { get; }

    /// <summary>The sandboxes that are there without the test.</summary>
    public string[] Neighbours { get; }

    public static async Task<FaultyRuntime> StartAsync(BoxerOptions options, CancellationToken cancellationToken)
    {
        string[] before = OwnTraces.Instances();
        string[] sandboxes = OwnTraces.Sandboxes();
        var runsc = new StandInRunsc();
        options.RunscPath = runsc.Path;
        SandboxRunner runner = BoxerRunner.Create(options);
        await runner.StartAsync(cancellationToken);
        string[] instances = [.. OwnTraces.Instances().Except(before, StringComparer.Ordinal)];

        SandboxRequest request = SharedRunner.Shell("echo up; sleep 15; echo alive");
        request.Limits.WallClock = TimeSpan.FromSeconds(300);
        var release = new TaskCompletionSource<SandboxResult>(TaskCreationOptions.RunContinuationsAsynchronously);
        var up = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        _ = ReadAsync();
        await await Task.WhenAny(up.Task, release.Task);
        return new FaultyRuntime(runner, runsc, instances, release.Task, [.. OwnTraces.Sandboxes().Except(sandboxes, StringComparer.Ordinal)]);

        async Task ReadAsync()
        {
            try
            {
                await foreach (SandboxEvent item in runner.StreamAsync(request, CancellationToken.None))
                {
                    if (item is SandboxOutput)
                    {
                        up.TrySetResult();
                    }
                    else if (item is SandboxEnded ended)
                    {
                        release.TrySetResult(ended.Result);
                    }
                }
            }
            catch (Exception exception)
            {
                release.TrySetException(exception);
            }
        }
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            Runsc.PutBack();
            Runsc.Do("");
            Assert.Equal("next\n", (await Runner.RunAsync(SharedRunner.Shell("echo next"))).Stdout);
            Assert.Equal("up\nalive\n", (await _neighbour).Stdout);
        }
        finally
        {
            await Runner.DisposeAsync();
            Runsc.Dispose();
        }

        Assert.Empty(await OwnTraces.FindAsync(_instances));
        Assert.Empty(OwnTraces.Instances().Intersect(_instances, StringComparer.Ordinal));
    }
}
