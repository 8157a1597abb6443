using System.Text;

namespace Boxer.Tests.Support;

/// <summary>A run that goes on until it is stopped; one that ends by itself fails the test.</summary>
internal sealed class OpenRun : IAsyncDisposable
{
    /// <summary>A shell script that counts aloud.</summary>
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

    /// <summary>What it has printed so far.</summary>
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

    /// <summary>Starts it and waits until it has printed something.</summary>
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

    /// <summary>Waits until it prints again.</summary>
    /// <param name="times">So many times.</param>
    internal async Task PrintsAsync(int times = 1)
    {
        for (int i = 0; i < times; i++)
        {
            await OrEndsAsync(Volatile.Read(ref _printed).Task);
        }
    }

    /// <summary>Stops it.</summary>
    /// <returns>What it has printed.</returns>
    internal async Task<string> StopAsync()
    {
        await _stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => _run);
        return Said;
    }

    /// <summary>Stops one that counts aloud: nothing was lost or came twice.</summary>
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
