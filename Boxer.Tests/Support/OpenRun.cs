using System.Text;

namespace Boxer.Tests.Support;

/// <summary>Runs a command until the test stops it. A run that ends earlier fails the test.</summary>
internal sealed class OpenRun : IAsyncDisposable
{
    /// <summary>Shell script that prints 0, 1, 2, ...</summary>
    internal const string Counting = "i=0; while :; do echo $i; i=$((i + 1)); sleep 0.2; done";

    private readonly CancellationTokenSource _stop = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
    private readonly List<byte> _said = [];
    private readonly Task _first;
    private readonly Task _run;
    private TaskCompletionSource _printed = New();

    private OpenRun(SandboxRunner runner, SandboxRequest request)
    {
        request.Limits.WallClock = TimeSpan.FromMinutes(15);
        _first = _printed.Task;
        _run = ReadAsync(runner, request);
    }

    /// <summary>Output so far.</summary>
    internal string Said
    {
        get
        {
            lock (_said)
            {
                return Encoding.UTF8.GetString([.. _said]);
            }
        }
    }

    /// <summary>Starts a run and waits for its first output.</summary>
    internal static async Task<OpenRun> StartAsync(SandboxRunner runner, SandboxRequest request)
    {
        var run = new OpenRun(runner, request);
        try
        {
            await run.OrEndsAsync(run._first);
            return run;
        }
        catch (Exception)
        {
            await run.DisposeAsync();
            throw;
        }
    }

    /// <summary>Waits for more output.</summary>
    /// <param name="times">Number of outputs to wait for.</param>
    internal async Task PrintsAsync(int times = 1)
    {
        for (int i = 0; i < times; i++)
        {
            await OrEndsAsync(Volatile.Read(ref _printed).Task);
        }
    }

    /// <summary>Stops the run.</summary>
    /// <returns>All output.</returns>
    internal async Task<string> StopAsync()
    {
        await _stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _run);
        return Said;
    }

    /// <summary>Stops a run of <see cref="Counting"/> and asserts that no output was lost or repeated.</summary>
    internal async Task StopCountingAsync()
    {
        string said = await StopAsync();
        var numbers = new StringBuilder();
        for (int i = 0; numbers.Length < said.Length; i++)
        {
            numbers.Append(i).Append('\n');
        }

        Assert.StartsWith(said, numbers.ToString(), StringComparison.Ordinal);
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await _run.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        _stop.Dispose();
    }

    private async Task OrEndsAsync(Task printed) => await await Task.WhenAny(printed, _run).WaitAsync(TimeSpan.FromMinutes(2));

    private async Task ReadAsync(SandboxRunner runner, SandboxRequest request)
    {
        await foreach (SandboxEvent item in runner.StreamAsync(request, _stop.Token))
        {
            Assert.False(item is SandboxEnded, $"{item}");
            if (item is SandboxDataReceived output)
            {
                lock (_said)
                {
                    _said.AddRange(output.Data.Span);
                }

                Interlocked.Exchange(ref _printed, New()).SetResult();
            }
        }
    }

    private static TaskCompletionSource New() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
