using Boxer.Common;

namespace Boxer.Sessions;

/// <summary>Bounds the memory that the open sessions of one runner are promised, together and by key, so that runs always find the rest. Thread-safe.</summary>
/// <param name="maxBytes">Maximum memory of all sessions, in bytes.</param>
/// <param name="maxBytesPerKey">Maximum memory of the sessions of one key, in bytes.</param>
/// <param name="retryAfter">Estimates when a session ends.</param>
internal sealed class SessionBounds(long maxBytes, long maxBytesPerKey, Func<TimeSpan> retryAfter)
{
    private static readonly TimeSpan LeastRetry = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan LongestRetry = TimeSpan.FromMinutes(10);
    private readonly Lock _lock = new();
    private readonly Dictionary<string, long> _byKey = new(StringComparer.Ordinal);
    private long _bytes;

    /// <summary>Counts a session until the disposal of the result.</summary>
    /// <param name="key">The fairness key; <see langword="null"/> and empty: none, which has no bound of its own.</param>
    /// <param name="bytes">The memory of the session, in bytes.</param>
    /// <exception cref="SandboxCapacityException">The open sessions have too much memory.</exception>
    internal IDisposable Enter(string? key, long bytes)
    {
        bool isOfKey;
        lock (_lock)
        {
            long ofKey = string.IsNullOrEmpty(key) ? 0 : _byKey.GetValueOrDefault(key);
            isOfKey = !string.IsNullOrEmpty(key) && ofKey + bytes > maxBytesPerKey;
            if (!isOfKey && _bytes + bytes <= maxBytes)
            {
                _bytes += bytes;
                if (!string.IsNullOrEmpty(key))
                {
                    _byKey[key] = ofKey + bytes;
                }

                return new OnDispose(() => Leave(key, bytes));
            }
        }

        TimeSpan retry = retryAfter();
        throw new SandboxCapacityException(
            $"The open sessions{(isOfKey ? " of this key" : "")} use {ByteSize.Format(isOfKey ? maxBytesPerKey : maxBytes)} of memory or nearly so, which is all that they get: close one, or try again later.",
            retry < LeastRetry ? LeastRetry : retry > LongestRetry ? LongestRetry : retry);
    }

    private void Leave(string? key, long bytes)
    {
        lock (_lock)
        {
            _bytes -= bytes;
            if (!string.IsNullOrEmpty(key) && (_byKey[key] -= bytes) == 0)
            {
                _byKey.Remove(key);
            }
        }
    }
}
