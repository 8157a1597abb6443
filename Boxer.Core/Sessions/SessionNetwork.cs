using Boxer.Networking;

namespace Boxer.Sessions;

/// <summary>Reads the network reports of one session. The report of a command is the difference between two of them.</summary>
/// <param name="attachment">The network of the sandbox.</param>
internal sealed class SessionNetwork(INetworkAttachment attachment)
{
    /// <summary>Reads what the session did with its network so far.</summary>
    /// <param name="cancellationToken">Cancels the operation.</param>
    internal Task<NetworkReport> ReadAsync(CancellationToken cancellationToken) => attachment.ReportAsync(cancellationToken);

    /// <summary>Creates the report of the time between two reports of one session.</summary>
    /// <param name="before">The earlier report, with all its denials.</param>
    /// <param name="after">The later report, with all its denials.</param>
    internal static NetworkReport Subtract(NetworkReport before, NetworkReport after)
    {
        ILookup<object, NetworkDenial> earlier = before.Denied.ToLookup(DestinationOf);
        return new NetworkReport
        {
            BytesIn = Difference(before.BytesIn, after.BytesIn),
            BytesOut = Difference(before.BytesOut, after.BytesOut),
            Denied =
            [
                .. after.Denied
                    .GroupBy(DestinationOf)
                    .SelectMany(destination => Subtract([.. earlier[destination.Key]], [.. destination]))
                    .OrderByDescending(denial => denial.Count),
            ],
        }.Bound();
    }

    // The name of an address is no part of its destination: another name may resolve to the address between two reports.
    private static object DestinationOf(NetworkDenial denial) => denial with { Domain = denial.Address is null ? denial.Domain : null, Count = 0 };

    // A mode may report one address under several names. Earlier counts whose name is gone are subtracted from the others.
    private static IEnumerable<NetworkDenial> Subtract(IReadOnlyList<NetworkDenial> before, IReadOnlyList<NetworkDenial> after)
    {
        Dictionary<string, long> counts = before.GroupBy(NameOf).ToDictionary(name => name.Key, name => name.Sum(denial => denial.Count));
        long gone = counts.Where(name => after.All(denial => NameOf(denial) != name.Key)).Sum(name => name.Value);
        foreach (NetworkDenial denial in after)
        {
            counts.Remove(NameOf(denial), out long known);

            // A mode that forgot a destination counts it from 0 again.
            long count = denial.Count < known ? denial.Count : denial.Count - known;
            long subtracted = known == 0 && gone <= denial.Count ? gone : 0;
            gone -= subtracted;
            if (count > subtracted)
            {
                yield return denial with { Count = count - subtracted };
            }
        }

        static string NameOf(NetworkDenial denial) => denial.Domain ?? "";
    }

    // Counters of a mode of the application may run backwards.
    private static long? Difference(long? before, long? after) => after is null ? null : Math.Max(0, after.Value - (before ?? 0));
}
