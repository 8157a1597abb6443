using System.Runtime.CompilerServices;

namespace Boxer.Testing;

/// <summary>
/// A runner for tests: it answers as the test says and records the requests. Safe for concurrent use. It validates no request and holds no limit.
/// </summary>
/// <example>
/// <code>
/// FakeSandboxRunner runner = new();
/// runner.WhenAny().Returns("42\n");
/// runner.WhenCommand("pytest").Returns(new SandboxResult(Termination.Exited(1)) { StandardError = "1 failed" });
/// runner.WhenImage("missing:1").Throws(new ImageNotFoundException("no such image"));
/// await codeUnderTest.GradeAsync(runner);
/// Assert.Equal("python:3.12-slim", runner.Requests.Single().Image);
/// </code>
/// </example>
public sealed class FakeSandboxRunner : ISandboxRunner
{
    private readonly Lock _lock = new();
    private readonly List<Rule> _rules = [];
    private readonly List<SandboxRequest> _requests = [];

    /// <summary>
    /// Copies of the requests so far, in the order in which their runs started, also of those that no answer matched. The contents of their files and
    /// workspace are in memory, so that they can be read after the call: see <see cref="SandboxFileExtensions"/>.
    /// A <see cref="SandboxRequest.StandardInputStream"/> is the caller's own and not read.
    /// </summary>
    public IReadOnlyList<SandboxRequest> Requests
    {
        get
        {
            lock (_lock)
            {
                return [.. _requests];
            }
        }
    }

    /// <summary>Begins an answer to every request. If several answers match a request, the runner gives the one that was added last.</summary>
    /// <returns>An object that takes the answer; without one nothing is added.</returns>
    public FakeSandboxAnswer WhenAny() => new(this, _ => true, "any request");

    /// <summary>Begins an answer to requests for an image. If several answers match a request, the runner gives the one that was added last.</summary>
    /// <param name="image">The image reference, as requests write it.</param>
    /// <returns>An object that takes the answer; without one nothing is added.</returns>
    public FakeSandboxAnswer WhenImage(string image)
    {
        ArgumentNullException.ThrowIfNull(image);
        return new(this, request => request.Image == image, $"image {image}");
    }

    /// <summary>Begins an answer to requests whose command starts with some words. If several answers match a request, the runner gives the one that was added last.</summary>
    /// <param name="words">The first words of the command, such as <c>"git", "clone"</c>.</param>
    /// <returns>An object that takes the answer; without one nothing is added.</returns>
    public FakeSandboxAnswer WhenCommand(params IEnumerable<string> words)
    {
        ArgumentNullException.ThrowIfNull(words);
        string[] start = [.. words];
        return new(this, request => request.Command.Take(start.Length).SequenceEqual(start, StringComparer.Ordinal), $"command {string.Join(' ', start)}");
    }

    /// <summary>Begins an answer to requests that a predicate accepts. If several answers match a request, the runner gives the one that was added last.</summary>
    /// <param name="predicate">Returns whether it accepts a copy of the request. Several threads may call it at once.</param>
    /// <param name="description">The name of the predicate in the error for a request that nothing matches. Default its text in the source.</param>
    /// <returns>An object that takes the answer; without one nothing is added.</returns>
    public FakeSandboxAnswer When(Func<SandboxRequest, bool> predicate, [CallerArgumentExpression(nameof(predicate))] string description = "")
    {
        ArgumentNullException.ThrowIfNull(predicate);
        return new(this, predicate, description);
    }

    /// <summary>Gives the result of the answer that matches.</summary>
    /// <param name="request">The request.</param>
    /// <param name="cancellationToken">Is given to the answer.</param>
    /// <exception cref="InvalidOperationException">No answer matches, or one that streams has no <see cref="SandboxEnded"/>.</exception>
    public async Task<SandboxResult> RunAsync(SandboxRequest request, CancellationToken cancellationToken = default)
    {
        await foreach (SandboxEvent item in StreamAsync(request, cancellationToken).ConfigureAwait(false))
        {
            if (item is SandboxEnded ended)
            {
                return ended.Result;
            }
        }

        throw new InvalidOperationException($"The answer to '{request}' has no {nameof(SandboxEnded)}; add one as its last event.");
    }

    /// <summary>
    /// Gives the events of the answer that matches: those that it streams, or <see cref="SandboxStarted"/>, what its result printed, and
    /// <see cref="SandboxEnded"/>. Nothing is recorded before the first event is asked for.
    /// </summary>
    /// <param name="request">The request.</param>
    /// <param name="cancellationToken">Is given to the answer.</param>
    /// <exception cref="InvalidOperationException">No answer matches; thrown at the first event.</exception>
    public IAsyncEnumerable<SandboxEvent> StreamAsync(SandboxRequest request, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(request);
        return StreamCoreAsync(new SandboxRequest(request), cancellationToken);
    }

    internal void Add(Rule rule)
    {
        lock (_lock)
        {
            _rules.Add(rule);
        }
    }

    private async IAsyncEnumerable<SandboxEvent> StreamCoreAsync(SandboxRequest request, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        await RequestContents.ReadAsync(request, cancellationToken).ConfigureAwait(false);
        Rule[] rules;
        lock (_lock)
        {
            _requests.Add(request);
            rules = [.. _rules];
        }

        // The predicate and the answer may change what they are given.
        Rule rule = rules.LastOrDefault(rule => rule.Matches(new SandboxRequest(request))) ?? throw new InvalidOperationException(DescribeMismatch(request, rules));
        await foreach (SandboxEvent item in rule.Answer(new SandboxRequest(request), cancellationToken).ConfigureAwait(false))
        {
            cancellationToken.ThrowIfCancellationRequested();
            yield return item;
        }
    }

    private static string DescribeMismatch(SandboxRequest request, Rule[] rules) => rules.Length == 0
        ? $"The fake runner has no answer for '{request}': it has none at all. Add one, such as WhenAny().Returns(\"\")."
        : $"The fake runner has no answer for '{request}'. It has answers for: {string.Join("; ", rules.Select(rule => rule.Description))}.";

    internal sealed record Rule(Func<SandboxRequest, bool> Matches, string Description, Func<SandboxRequest, CancellationToken, IAsyncEnumerable<SandboxEvent>> Answer);
}
