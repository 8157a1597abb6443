using System.Diagnostics.CodeAnalysis;
using System.Net;

namespace Boxer.Network.Dns;

/// <summary>
/// Answers for one sandbox. Concurrent and later queries share one upstream query until its answer expires. The number of names is bounded, because
/// each name that is sent upstream can carry data out.
/// </summary>
/// <param name="retention">
/// Time after its last upstream query for which a name counts; <see langword="null"/>: for the life of the sandbox.
/// </param>
/// <param name="time">The clock.</param>
internal sealed class AnswerCache(TimeSpan? retention, TimeProvider time)
{
    /// <summary>Maximum number of names that count at a time.</summary>
    internal const int MaxNames = 1_000;
    private readonly Lock _gate = new();
    private readonly Dictionary<string, KnownName> _names = new(StringComparer.Ordinal);
    private readonly long _start = time.GetTimestamp();

    /// <summary>The time on the clock of <see cref="CachedAnswer.ExpiresAt"/>.</summary>
    internal TimeSpan Now => time.GetElapsedTime(_start);

    /// <summary>Finds the answer for a name, or has it resolved.</summary>
    /// <param name="name">The name, in lower case.</param>
    /// <param name="type">The record type.</param>
    /// <param name="resolve">Begins an upstream query. It must not run on the calling thread beyond its first wait.</param>
    /// <param name="answer">The answer, which may be on its way.</param>
    /// <returns><see langword="false"/> if the name would be one too many.</returns>
    internal bool TryFind(string name, DnsType type, Func<Task<CachedAnswer>> resolve, [NotNullWhen(true)] out Task<CachedAnswer>? answer)
    {
        lock (_gate)
        {
            if (_names.TryGetValue(name, out KnownName? known))
            {
                if (known.Answers.TryGetValue(type, out answer) && (!answer.IsCompleted || (answer.IsCompletedSuccessfully && answer.Result.ExpiresAt > Now)))
                {
                    return true;
                }
            }
            else if (_names.Count == MaxNames && !TryForget())
            {
                answer = null;
                return false;
            }
            else
            {
                _names[name] = known = new KnownName();
            }

            known.AskedAt = Now;
            answer = known.Answers[type] = resolve();
            return true;
        }
    }

    // Forgets the names that no longer count, with their answers.
    private bool TryForget()
    {
        if (retention is null)
        {
            return false;
        }

        string[] old = [.. _names.Where(pair => pair.Value.AskedAt + retention <= Now).Select(pair => pair.Key)];
        Array.ForEach(old, name => _names.Remove(name));
        return old.Length > 0;
    }

    /// <summary>A name that was sent upstream.</summary>
    private sealed class KnownName
    {
        internal TimeSpan AskedAt { get; set; }

        internal Dictionary<DnsType, Task<CachedAnswer>> Answers { get; } = [];
    }
}

/// <summary>The allowed addresses that a name resolved to, until the answer expires.</summary>
/// <param name="Code">The response code.</param>
/// <param name="Addresses">The addresses.</param>
/// <param name="ExpiresAt">The time on the clock of the cache.</param>
internal sealed record CachedAnswer(DnsCode Code, IReadOnlyList<IPAddress> Addresses, TimeSpan ExpiresAt);
