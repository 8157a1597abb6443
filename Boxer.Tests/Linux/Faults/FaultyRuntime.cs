using Boxer.Hosting;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Faults;

/// <summary>A runner over a runsc that does what a test wants, with a run beside that must not notice.</summary>
internal sealed class FaultyRuntime : IAsyncDisposable
{
    private readonly string[] _instances;
    private readonly Neighbour _neighbour;

    private FaultyRuntime(SandboxRunner runner, StandInRunsc runsc, string[] instances, Neighbour neighbour, string[] sandboxes)
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
        var neighbour = new Neighbour(runner);
        await neighbour.PrintsAsync();
        return new FaultyRuntime(runner, runsc, instances, neighbour, [.. OwnTraces.Sandboxes().Except(sandboxes, StringComparer.Ordinal)]);
    }

    public async ValueTask DisposeAsync()
    {
        try
        {
            Runsc.PutBack();
            Runsc.Do("");
            Assert.Equal("next\n", (await Runner.RunAsync(SharedRunner.Shell("echo next"))).Stdout);
            await _neighbour.PrintsAsync();
            await _neighbour.DisposeAsync();
        }
        finally
        {
            await Runner.DisposeAsync();
            Runsc.Dispose();
        }

        Assert.Empty(await OwnTraces.FindAsync(_instances));
        Assert.Empty(OwnTraces.Instances().Intersect(_instances, StringComparer.Ordinal));
    }

    /// <summary>A run that counts aloud until it is stopped.</summary>
    private sealed class Neighbour : IAsyncDisposable
    {
        private readonly CancellationTokenSource _stop = new();
        private readonly Task _run;
        private TaskCompletionSource _printed = New();

        public Neighbour(SandboxRunner runner) => _run = CountAsync(runner);

        /// <summary>Waits until it prints again.</summary>
        public async Task PrintsAsync() => await await Task.WhenAny(Volatile.Read(ref _printed).Task, _run).WaitAsync(TimeSpan.FromMinutes(2));

        public async ValueTask DisposeAsync()
        {
            await _stop.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _run);
            _stop.Dispose();
        }

        private async Task CountAsync(SandboxRunner runner)
        {
            SandboxRequest request = SharedRunner.Shell("i=0; while :; do echo $i; i=$((i + 1)); sleep 0.2; done");
            request.Limits.WallClock = TimeSpan.FromSeconds(600);
            var printed = new List<byte>();
            await foreach (SandboxEvent item in runner.StreamAsync(request, _stop.Token))
            {
                Assert.False(item is SandboxEnded, $"{item}");
                if (item is SandboxOutput output)
                {
                    // Nothing is lost or comes twice.
                    printed.AddRange(output.Data.Span);
                    Assert.StartsWith(System.Text.Encoding.UTF8.GetString([.. printed]), Numbers(printed.Count), StringComparison.Ordinal);
                    Interlocked.Exchange(ref _printed, New()).SetResult();
                }
            }
        }

        private static string Numbers(int bytes)
        {
            var text = new System.Text.StringBuilder();
            for (int i = 0; text.Length < bytes; i++)
            {
                text.Append(i).Append('\n');
            }

            return text.ToString();
        }

        private static TaskCompletionSource New() => new(TaskCreationOptions.RunContinuationsAsynchronously);
    }
}
