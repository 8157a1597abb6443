using System.Runtime.CompilerServices;

namespace Boxer.Testing;

/// <summary>
/// A runner for tests. It returns the answers that the test defines and records the requests, but runs nothing: it neither validates requests nor
/// enforces limits. Safe for concurrent use.
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
    /// Copies of the requests so far, in the order in which their runs started, including those that no answer matched. The contents of their files and
    /// workspace are in memory, so that tests can read them after the call; see <see cref="SandboxFileExtensions"/>. A
    /// <see cref="SandboxRequest.StandardInputStream"/> belongs to the caller and is not read.
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

    /// <summary>Defines an answer to every request. If several answers match a request, the last one is used.</summary>
    /// <returns>An object whose methods set the answer. Until then nothing is added.</returns>
    public FakeSandboxAnswer WhenAny() => new(this, _ => true, "any request");

    /// <summary>Defines an answer to requests for an image. If several answers match a request, the last one is used.</summary>
    /// <param name="image">The image reference exactly as in the requests.</param>
    /// <returns>An object whose methods set the answer. Until then nothing is added.</returns>
    public FakeSandboxAnswer WhenImage(string image)
    {
        ArgumentNullException.ThrowIfNull(image);
        return new(this, request => request.Image == image, $"image {image}");
    }

    /// <summary>Defines an answer to requests whose command starts with some words. If several answers match a request, the last one is used.</summary>
    /// <param name="words">The first words of the command, such as <c>"git", "clone"</c>.</param>
    /// <returns>An object whose methods set the answer. Until then nothing is added.</returns>
    public FakeSandboxAnswer WhenCommand(params IEnumerable<string> words)
    {
        ArgumentNullException.ThrowIfNull(words);
        string[] start = [.. words];
        return new(this, request => request.Command.Take(start.Length).SequenceEqual(start, StringComparer.Ordinal), $"command {string.Join(' ', start)}");
    }

    /// <summary>Defines an answer to requests that a predicate accepts. If several answers match a request, the last one is used.</summary>
    /// <param name="predicate">Gets a copy of the request, and returns whether the answer is for it. Several threads may call it at once.</param>
    /// <param name="description">The name of the predicate in the error for a request without an answer. Default: its source text.</param>
    /// <returns>An object whose methods set the answer. Until then nothing is added.</returns>
    public FakeSandboxAnswer When(Func<SandboxRequest, bool> predicate, [CallerArgumentExpression(nameof(predicate))] string description = "")
    {
        ArgumentNullException.ThrowIfNull(predicate);
        return new(this, predicate, description);
    }

    /// <summary>Returns the result of the matching answer.</summary>
    /// <param name="request">The request.</param>
    /// <param name="cancellationToken">Passed to the answer; also ends the enumeration of events.</param>
    /// <exception cref="InvalidOperationException">No answer matches, or the events of the answer have no <see cref="SandboxEnded"/>.</exception>
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
    /// Returns the events of the matching answer: the events that it streams, or <see cref="SandboxStarted"/>, the output of its result and
    /// <see cref="SandboxEnded"/>. The request is recorded when the enumeration starts.
    /// </summary>
    /// <param name="request">The request.</param>
    /// <param name="cancellationToken">Passed to the answer; also ends the enumeration of events.</param>
    /// <exception cref="InvalidOperationException">No answer matches; thrown when the enumeration starts.</exception>
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

        // The predicate and the answer get copies, because they may change them.
        Rule rule = rules.LastOrDefault(rule => rule.Matches(new SandboxRequest(request))) ?? throw new InvalidOperationException(DescribeMismatch(request, rules));
        await foreach (SandboxEvent item in rule.Answer(new SandboxRequest(request), cancellationToken).ConfigureAwait(false))
        {
            cancellationToken.ThrowIfCancellationRequested();
            yield return item;
        }
    }

    private static string DescribeMismatch(SandboxRequest request, Rule[] rules) => rules.Length == 0
        ? $"The fake runner has no answer for '{request}': it has no answers. Add one, such as WhenAny().Returns(\"\")."
        : $"The fake runner has no answer for '{request}'. It has answers for: {string.Join("; ", rules.Select(rule => rule.Description))}.";

    internal sealed record Rule(Func<SandboxRequest, bool> Matches, string Description, Func<SandboxRequest, CancellationToken, IAsyncEnumerable<SandboxEvent>> Answer);
}
