using Boxer.Common;

namespace Boxer.Tests.Core.Common;

/// <summary>Tests of <see cref="RecentMap{TKey, TValue}"/>.</summary>
public sealed class RecentMapTests
{
    private readonly RecentMap<string, int> _map = new(2);

    [Fact]
    public void AddOrUpdate_forgets_the_entry_that_was_updated_longest_ago()
    {
        _map.AddOrUpdate("a", 1, value => value + 1);
        _map.AddOrUpdate("b", 1, value => value + 1);
        _map.AddOrUpdate("a", 1, value => value + 1);
        _map.AddOrUpdate("c", 1, value => value + 1);

        Assert.Equal([new("a", 2), new("c", 1)], _map.ToArray());
        Assert.False(_map.TryGetValue("b", out _));
        Assert.True(_map.TryGetValue("a", out int count));
        Assert.Equal(2, count);
    }
}
