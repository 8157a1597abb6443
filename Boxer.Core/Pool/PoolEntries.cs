using Boxer.Common;
using Boxer.Validation;

namespace Boxer.Pool;

/// <summary>
/// The entries of a pool: which keys have sandboxes, how many, and which entry is the next to grow or to shrink. Used under the lock of
/// <see cref="SandboxPool{T}"/>.
/// </summary>
/// <typeparam name="T">Type of the sandboxes.</typeparam>
internal sealed class PoolEntries<T>
    where T : class, IPooledSandbox
{
    private readonly Dictionary<PoolKey, PoolEntry<T>> _entries = [];
    private readonly Dictionary<(string Reference, string Network), int> _minimums = [];
    private readonly int _maxSandboxes;
    private readonly TimeSpan _idleTimeout;

    /// <summary>Creates a list without entries.</summary>
    /// <param name="options">The options of the pool.</param>
    /// <param name="images">The images of the options, parsed.</param>
    internal PoolEntries(PoolOptions options, IEnumerable<PoolImage> images)
    {
        _maxSandboxes = options.MaxSandboxes ?? PoolOptions.DefaultMaxSandboxes;
        _idleTimeout = options.IdleTimeout;
        foreach (PoolImage image in images.Where(image => image.Count > 0))
        {
            _minimums[(image.Image.ToString(), PoolImage.NetworkName)] = image.Count;
        }
    }

    /// <summary>Number of sandboxes that are ready.</summary>
    internal int ReadyCount => All.Sum(entry => entry.Ready.Count);

    /// <summary>All entries.</summary>
    internal IReadOnlyCollection<PoolEntry<T>> All => _entries.Values;

    /// <summary>Returns the entries of a network mode.</summary>
    internal IReadOnlyList<PoolEntry<T>> OfNetwork(string network) => [.. _entries.Where(pair => pair.Key.Network == network).Select(pair => pair.Value)];

    /// <summary>Whether no run has used the entry for the idle timeout.</summary>
    internal bool IsIdle(PoolEntry<T> entry, TimeSpan now) => now - entry.Demand.LastTaken > _idleTimeout;

    /// <summary>Whether the entry still belongs to the pool.</summary>
    internal bool Contains(PoolEntry<T> entry) => _entries.ContainsValue(entry);

    /// <summary>Gets the entry of a key, and adds it if there is none.</summary>
    /// <param name="key">The key.</param>
    /// <param name="reference">Reference of the image.</param>
    /// <param name="boot">Boots a sandbox.</param>
    /// <param name="replaced">Entries that were removed because the reference named another image before.</param>
    internal PoolEntry<T> GetOrAdd(PoolKey key, string reference, Func<CleanupStack, CancellationToken, Task<T>> boot, out IReadOnlyList<PoolEntry<T>> replaced)
    {
        replaced = [];
        if (!_entries.TryGetValue(key, out PoolEntry<T>? entry))
        {
            replaced = RemoveOthersOf(key, reference);
            _entries[key] = entry = new();
        }

        // An image with several references keeps the one that the options list.
        int minimum = _minimums.GetValueOrDefault((reference, key.Network));
        if (minimum > 0 || entry.Minimum == 0)
        {
            entry.Reference = reference;
            entry.Minimum = minimum;
            entry.Boot = boot;
        }

        return entry;
    }

    /// <summary>Removes the entries that are idle, have no minimum, and have no boot under way.</summary>
    internal void RemoveUnused(TimeSpan now)
    {
        foreach (PoolKey key in _entries.Where(pair => IsIdle(pair.Value, now) && pair.Value is { Minimum: 0, Booting: 0 }).Select(pair => pair.Key).ToList())
        {
            _entries.Remove(key);
        }
    }

    /// <summary>Finds the entry that needs a sandbox most: entries below their minimum first, then those with the fewest sandboxes.</summary>
    internal PoolEntry<T>? FindNeediest(TimeSpan now) => _maxSandboxes == 0 ? null : All
        .Where(entry => now >= entry.NotBefore && entry.Ready.Count + entry.Booting < (IsIdle(entry, now) ? entry.Minimum : entry.Target(now)))
        .OrderByDescending(entry => entry.Ready.Count < entry.Minimum).ThenBy(entry => entry.Ready.Count).ThenByDescending(entry => entry.Demand.LastTaken)
        .FirstOrDefault();

    /// <summary>Finds the entry with a ready sandbox whose last run is longest ago.</summary>
    internal static PoolEntry<T>? FindLeastRecentlyUsed(IEnumerable<PoolEntry<T>> entries) =>
        entries.Where(entry => entry.Ready.Count > 0).MinBy(entry => entry.Demand.LastTaken);

    /// <summary>Whether the pool may boot a sandbox for an entry, within its maximum.</summary>
    /// <param name="needy">The entry.</param>
    /// <param name="victim">The entry that must lose a sandbox first; <see langword="null"/> if the pool is not full.</param>
    internal bool MayGrow(PoolEntry<T> needy, out PoolEntry<T>? victim)
    {
        victim = null;
        if (ReadyCount < _maxSandboxes)
        {
            return true;
        }

        victim = FindLeastRecentlyUsed(All.Where(entry => entry != needy && entry.Ready.Count > entry.Minimum));
        bool isBelowMinimum = needy.Ready.Count < needy.Minimum;
        return victim is not null && (isBelowMinimum || (victim.Demand.LastTaken < needy.Demand.LastTaken && victim.Ready.Count > needy.Ready.Count));
    }

    private List<PoolEntry<T>> RemoveOthersOf(PoolKey key, string reference)
    {
        List<PoolKey> others = [.. _entries
            .Where(pair => pair.Key.Network == key.Network && pair.Key.ImageDigest != key.ImageDigest && pair.Value.Reference == reference)
            .Select(pair => pair.Key)];
        var removed = new List<PoolEntry<T>>();
        foreach (PoolKey other in others)
        {
            _entries.Remove(other, out PoolEntry<T>? entry);
            removed.Add(entry!);
        }

        return removed;
    }
}
