using Boxer.Network.Firewalls;
using Boxer.Networking;

namespace Boxer.Tests.Network.Firewalls;

/// <summary>Tests of <see cref="DenialTotals"/>.</summary>
public sealed class DenialTotalsTests
{
    private readonly DenialTotals _totals = new();

    [Fact]
    public void Add_counts_the_growth_of_each_counter_also_after_its_destination_was_removed()
    {
        _totals.Add([Of(1, 3), Of(2, 1)]);
        _totals.Add([Of(1, 5), Of(2, 1)]);
        Assert.Equal([Of(1, 5), Of(2, 1)], _totals.All.OrderBy(denial => denial.Port));
        _totals.OnRemoved([Of(1, 5)]);
        _totals.Add([Of(1, 5), Of(2, 2)]);
        Assert.Equal([Of(1, 10), Of(2, 2)], _totals.All.OrderBy(denial => denial.Port));

        // A removal that is unknown here shows in counters that are smaller or missing.
        _totals.Add([Of(1, 2)]);
        _totals.Add([Of(1, 2), Of(2, 2)]);
        Assert.Equal([Of(1, 12), Of(2, 4)], _totals.All.OrderBy(denial => denial.Port));
    }

    [Fact]
    public void Add_forgets_the_destination_that_was_denied_longest_ago_if_there_are_too_many()
    {
        for (int port = 1; port <= DenialTotals.MaxDestinations; port++)
        {
            _totals.Add([Of(port, 1)]);
        }

        _totals.Add([Of(1, 2)]);
        _totals.Add([Of(1, 2), Of(60_000, 1)]);

        int[] ports = [.. _totals.All.Select(denial => denial.Port)];
        Assert.Equal(DenialTotals.MaxDestinations, ports.Length);
        Assert.Contains(1, ports);
        Assert.Contains(60_000, ports);
        Assert.DoesNotContain(2, ports);
    }

    private static NetworkDenial Of(int port, long count) => new("198.51.100.10", null, port, "tcp", count);
}
