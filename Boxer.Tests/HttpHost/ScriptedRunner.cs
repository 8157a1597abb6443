using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Text;

namespace Boxer.Tests.HttpHost;

/// <summary>A runner that the test controls, behind the real host.</summary>
internal sealed class ScriptedRunner : ISandboxRunner
{
    private readonly ConcurrentQueue<SandboxRequest> _requests = new();

    /// <summary>The behaviour of every run.</summary>
    public Func<SandboxRequest, CancellationToken, IAsyncEnumerable<SandboxEvent>> Script { get; set; } = (_, _) => Events(Result());

    public IReadOnlyCollection<SandboxRequest> Requests => _requests;

    public static SandboxResult Result(
        Termination? termination = null,
        string stdout = "",
        string stderr = "",
        string? id = null,
        byte[]? stdoutBytes = null,
        string? outputsIncomplete = null,
        string? networkIncomplete = null) =>
        new(termination ?? Termination.Exited(0))
        {
            Id = id ?? $"boxer-{Guid.NewGuid()}",
            StandardOutputBytes = stdoutBytes ?? Encoding.UTF8.GetBytes(stdout),
            StandardErrorBytes = Encoding.UTF8.GetBytes(stderr),
            OutputFiles = [],
            OutputFilesIncomplete = outputsIncomplete,
            NetworkIncomplete = networkIncomplete,
            ImageDigest = "sha256:0123",
            Usage = new SandboxUsage { CommandCpu = TimeSpan.FromMilliseconds(2), SandboxCpu = TimeSpan.FromMilliseconds(3), PeakMemoryBytes = 1_000, MaxResidentBytes = 900 },
            Timings = new SandboxTimings { Run = TimeSpan.FromMilliseconds(12.5), Total = TimeSpan.FromMilliseconds(20) },
            UnenforcedLimits = [],
        };

    public static async IAsyncEnumerable<SandboxEvent> Events(SandboxResult result, params SandboxEvent[] between)
    {
        await Task.Yield();
        yield return new SandboxStarted(result.Id);
        foreach (SandboxEvent happened in between)
        {
            yield return happened;
        }

        yield return new SandboxEnded(result);
    }

    public void Throws(Exception exception) => Script = (_, token) => Throw(exception, token);

    public void Returns(SandboxResult result) => Script = (_, _) => Events(result);

    public async Task<SandboxResult> RunAsync(SandboxRequest request, CancellationToken cancellationToken = default)
    {
        await foreach (SandboxEvent happened in StreamAsync(request, cancellationToken))
        {
            if (happened is SandboxEnded { Result: var result })
            {
                return result;
            }
        }

        throw new InvalidOperationException("The script has no end.");
    }

    public IAsyncEnumerable<SandboxEvent> StreamAsync(SandboxRequest request, CancellationToken cancellationToken = default)
    {
        _requests.Enqueue(request);
        return Script(request, cancellationToken);
    }

    private static async IAsyncEnumerable<SandboxEvent> Throw(Exception exception, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await Task.Yield();
        cancellationToken.ThrowIfCancellationRequested();
        if (exception is not null)
        {
            throw exception;
        }

        yield break;
    }
}
