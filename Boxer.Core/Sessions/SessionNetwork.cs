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
    /// <param name="before">The earlier report.</param>
    /// <param name="after">The later report.</param>
    internal static NetworkReport Subtract(NetworkReport before, NetworkReport after)
    {
        Dictionary<NetworkDenial, long> counts = [];
        foreach (NetworkDenial denial in before.Denied)
        {
            counts[denial with { Count = 0 }] = denial.Count;
        }

        return new NetworkReport
        {
            BytesIn = Difference(before.BytesIn, after.BytesIn),
            BytesOut = Difference(before.BytesOut, after.BytesOut),
            Denied =
            [
                .. after.Denied
                    .Select(denial => denial with { Count = denial.Count - counts.GetValueOrDefault(denial with { Count = 0 }) })
                    .Where(denial => denial.Count > 0)
                    .OrderByDescending(denial => denial.Count),
            ],
        }.Bound();
    }

    // Counters of a mode of the application may run backwards.
    private static long? Difference(long? before, long? after) => after is null ? null : Math.Max(0, after.Value - (before ?? 0));
}
