using System.Diagnostics.CodeAnalysis;

namespace Boxer.Common;

/// <summary>
/// A map with a maximum number of entries. To add one more, it forgets the entry that was added or updated longest ago. Safe for concurrent use.
/// </summary>
/// <param name="capacity">Maximum number of entries.</param>
internal sealed class RecentMap<TKey, TValue>(int capacity)
    where TKey : notnull
{
    private readonly Lock _gate = new();
    private readonly Dictionary<TKey, LinkedListNode<KeyValuePair<TKey, TValue>>> _nodes = [];

    // The entry that was updated longest ago is the first.
    private readonly LinkedList<KeyValuePair<TKey, TValue>> _order = [];

    /// <summary>Adds an entry, or updates the one with this key.</summary>
    /// <param name="key">The key.</param>
    /// <param name="added">The value of a new entry.</param>
    /// <param name="update">Gets the new value of an entry from its value.</param>
    internal void AddOrUpdate(TKey key, TValue added, Func<TValue, TValue> update)
    {
        lock (_gate)
        {
            if (_nodes.Remove(key, out LinkedListNode<KeyValuePair<TKey, TValue>>? known))
            {
                _order.Remove(known);
                added = update(known.Value.Value);
            }
            else if (_order.First is { } oldest && _nodes.Count == capacity)
            {
                _nodes.Remove(oldest.Value.Key);
                _order.RemoveFirst();
            }

            _nodes[key] = _order.AddLast(KeyValuePair.Create(key, added));
        }
    }

    /// <summary>Finds the value of a key.</summary>
    internal bool TryGetValue(TKey key, [MaybeNullWhen(false)] out TValue value)
    {
        lock (_gate)
        {
            bool isKnown = _nodes.TryGetValue(key, out LinkedListNode<KeyValuePair<TKey, TValue>>? node);
            value = isKnown ? node!.Value.Value : default;
            return isKnown;
        }
    }

    /// <summary>Copies the entries, the one that was updated longest ago first.</summary>
    internal KeyValuePair<TKey, TValue>[] ToArray()
    {
        lock (_gate)
        {
            return [.. _order];
        }
    }
}
