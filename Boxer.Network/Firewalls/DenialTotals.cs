using Boxer.Common;
using Boxer.Networking;

namespace Boxer.Network.Firewalls;

/// <summary>
/// Counts the packets that one sandbox was denied during its whole life. The firewall's sets have room for fewer destinations: each reading of them
/// is added here, and destinations that were read can be removed from them.
/// </summary>
internal sealed class DenialTotals
{
    /// <summary>Maximum number of destinations. Beyond it, the destination that was denied longest ago is forgotten.</summary>
    internal const int MaxDestinations = 4_096;
    private readonly RecentMap<NetworkDenial, long> _totals = new(MaxDestinations);

    // Counters of the sets at the last reading.
    private Dictionary<NetworkDenial, long> _counters = [];

    /// <summary>The destinations with their counts.</summary>
    internal IEnumerable<NetworkDenial> All => _totals.ToArray().Select(pair => pair.Key with { Count = pair.Value });

    /// <summary>Adds a reading. Calls must not overlap.</summary>
    /// <param name="reading">Each destination that the sets have, once, with its counter.</param>
    internal void Add(IReadOnlyCollection<NetworkDenial> reading)
    {
        Dictionary<NetworkDenial, long> counters = [];
        foreach (NetworkDenial denial in reading)
        {
            NetworkDenial destination = denial with { Count = 0 };
            long before = _counters.GetValueOrDefault(destination);

            // The counter of a destination that was removed meanwhile starts again.
            long more = denial.Count < before ? denial.Count : denial.Count - before;
            if (more > 0)
            {
                _totals.AddOrUpdate(destination, more, total => total + more);
            }

            counters[destination] = denial.Count;
        }

        _counters = counters;
    }

    /// <summary>Notes that destinations of the last reading were removed from the sets.</summary>
    /// <param name="removed">The destinations.</param>
    internal void OnRemoved(IEnumerable<NetworkDenial> removed)
    {
        foreach (NetworkDenial denial in removed)
        {
            _counters.Remove(denial with { Count = 0 });
        }
    }
}
