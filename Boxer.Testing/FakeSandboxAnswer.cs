using System.Runtime.CompilerServices;

namespace Boxer.Testing;

/// <summary>
/// Defines the answer to some requests of a <see cref="FakeSandboxRunner"/>. Each method adds an answer and returns the runner. Several threads may
/// call the passed functions at once.
/// </summary>
public sealed class FakeSandboxAnswer
{
    private readonly FakeSandboxRunner _runner;
    private readonly Func<SandboxRequest, bool> _matches;
    private readonly string _description;

    internal FakeSandboxAnswer(FakeSandboxRunner runner, Func<SandboxRequest, bool> matches, string description)
    {
        _runner = runner;
        _matches = matches;
        _description = description;
    }

    /// <summary>Answers with exit code 0.</summary>
    /// <param name="standardOutput">Standard output of the command.</param>
    /// <returns>The runner.</returns>
    public FakeSandboxRunner Returns(string standardOutput)
    {
        ArgumentNullException.ThrowIfNull(standardOutput);
        return Returns(_ => new SandboxResult(Termination.Exited(0)) { StandardOutput = standardOutput });
    }

    /// <summary>Answers with a result.</summary>
    /// <param name="result">
    /// The result. If <see cref="SandboxRequest.KeepStandardOutput"/> is <see langword="false"/>, the caller gets a copy without the output.
    /// </param>
    /// <returns>The runner.</returns>
    public FakeSandboxRunner Returns(SandboxResult result)
    {
        ArgumentNullException.ThrowIfNull(result);
        return Returns(_ => result);
    }

    /// <summary>Answers with a result that depends on the request.</summary>
    /// <param name="result">Creates the result. The run throws its exceptions.</param>
    /// <returns>The runner.</returns>
    public FakeSandboxRunner Returns(Func<SandboxRequest, SandboxResult> result)
    {
        ArgumentNullException.ThrowIfNull(result);
        return Returns((request, _) => Task.FromResult(result(request)));
    }

    /// <summary>Answers with a result that depends on the request, asynchronously, for example to simulate a slow run or to wait for cancellation.</summary>
    /// <param name="result">Creates the result. The run throws its exceptions.</param>
    /// <returns>The runner.</returns>
    public FakeSandboxRunner Returns(Func<SandboxRequest, CancellationToken, Task<SandboxResult>> result)
    {
        ArgumentNullException.ThrowIfNull(result);
        return Streams((request, cancellationToken) => EventsOf(request, result, cancellationToken));
    }

    /// <summary>Answers with an exception.</summary>
    /// <param name="exception">
    /// The exception. A <see cref="SandboxException"/> gets the request's <see cref="SandboxException.Image"/> and a <see cref="SandboxException.RunId"/>
    /// if it has none.
    /// </param>
    /// <returns>The runner.</returns>
    public FakeSandboxRunner Throws(Exception exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        return Throws(_ => exception);
    }

    /// <summary>Answers with an exception that depends on the request.</summary>
    /// <param name="exception">
    /// Creates the exception. A <see cref="SandboxException"/> gets the request's <see cref="SandboxException.Image"/> and a
    /// <see cref="SandboxException.RunId"/> if it has none.
    /// </param>
    /// <returns>The runner.</returns>
    public FakeSandboxRunner Throws(Func<SandboxRequest, Exception> exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        return Returns((request, _) => Task.FromException<SandboxResult>(OfRun(exception(request), request)));
    }

    /// <summary>Answers with events.</summary>
    /// <param name="events">
    /// The events; the last one is a <see cref="SandboxEnded"/>. <see cref="ISandboxRunner.RunAsync"/> returns its result unchanged, so the result should
    /// contain the output of the events.
    /// </param>
    /// <returns>The runner.</returns>
    public FakeSandboxRunner Streams(params IEnumerable<SandboxEvent> events)
    {
        ArgumentNullException.ThrowIfNull(events);
        SandboxEvent[] all = [.. events];
        return Streams((_, _) => EventsOf(all));
    }

    /// <summary>Answers with events that depend on the request, at the pace of the test.</summary>
    /// <param name="events">Creates the events; the last one is a <see cref="SandboxEnded"/>. The run throws its exceptions.</param>
    /// <returns>The runner.</returns>
    public FakeSandboxRunner Streams(Func<SandboxRequest, CancellationToken, IAsyncEnumerable<SandboxEvent>> events)
    {
        ArgumentNullException.ThrowIfNull(events);
        _runner.Add(new FakeSandboxRunner.Rule(_matches, _description, events));
        return _runner;
    }

    private static async IAsyncEnumerable<SandboxEvent> EventsOf(
        SandboxRequest request, Func<SandboxRequest, CancellationToken, Task<SandboxResult>> make, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        SandboxResult result = await make(request, cancellationToken).ConfigureAwait(false);
        yield return new SandboxStarted(result.Id);
        if (!result.StandardOutputBytes.IsEmpty)
        {
            yield return new SandboxDataReceived(SandboxStream.StandardOutput, result.StandardOutputBytes);
        }

        if (!result.StandardErrorBytes.IsEmpty)
        {
            yield return new SandboxDataReceived(SandboxStream.StandardError, result.StandardErrorBytes);
        }

        yield return new SandboxEnded(request.KeepStandardOutput ? result : new SandboxResult(result) { StandardOutput = "", StandardError = "" });
    }

    private static async IAsyncEnumerable<SandboxEvent> EventsOf(SandboxEvent[] events)
    {
        await Task.CompletedTask.ConfigureAwait(false);
        foreach (SandboxEvent item in events)
        {
            yield return item;
        }
    }

    private static Exception OfRun(Exception exception, SandboxRequest request)
    {
        if (exception is SandboxException failure)
        {
            failure.Image ??= request.Image;
            failure.RunId ??= $"boxer-{Guid.NewGuid()}";
        }

        return exception;
    }
}
