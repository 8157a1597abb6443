using Boxer.Network.Dns;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Network.Dns;

/// <summary>Tests of <see cref="AnswerCache"/> with a fake clock.</summary>
public sealed class AnswerCacheTests
{
    private readonly FakeTimeProvider _time = new();
    private int _asked;

    [Fact]
    public void TryFind_refuses_the_1001st_name_for_good_without_retention()
    {
        var cache = new AnswerCache(null, _time);
        Fill(cache);

        _time.Advance(TimeSpan.FromDays(7));
        Assert.False(Find(cache, "one-more"));
        Assert.True(Find(cache, "name0"));
        Assert.Equal(AnswerCache.MaxNames + 1, _asked);
    }

    [Fact]
    public void TryFind_forgets_names_whose_last_query_is_older_than_the_retention()
    {
        var cache = new AnswerCache(TimeSpan.FromHours(1), _time);
        Fill(cache);
        _time.Advance(TimeSpan.FromMinutes(59));
        Assert.True(Find(cache, "name0"));
        Assert.False(Find(cache, "one-more"));
        _time.Advance(TimeSpan.FromMinutes(1));

        // The name that was asked for again still counts.
        for (int number = 1; number < AnswerCache.MaxNames; number++)
        {
            Assert.True(Find(cache, $"other{number}"));
        }

        Assert.False(Find(cache, "one-more"));
        int before = _asked;
        Assert.True(Find(cache, "name0"));
        Assert.Equal(before + 1, _asked);
    }

    [Fact]
    public void TryFind_asks_once_until_the_answer_expires_and_once_for_each_type()
    {
        var cache = new AnswerCache(null, _time);
        Assert.True(Find(cache, "name"));
        Assert.True(Find(cache, "name"));
        Assert.Equal(1, _asked);
        Assert.True(Find(cache, "name", DnsType.Aaaa));
        Assert.Equal(2, _asked);
        _time.Advance(TimeSpan.FromSeconds(31));
        Assert.True(Find(cache, "name"));
        Assert.Equal(3, _asked);
    }

    private void Fill(AnswerCache cache)
    {
        for (int number = 0; number < AnswerCache.MaxNames; number++)
        {
            Assert.True(Find(cache, $"name{number}"));
        }

        Assert.False(Find(cache, "one-more"));
    }

    // The answers are valid for 30 s.
    private bool Find(AnswerCache cache, string name, DnsType type = DnsType.A) => cache.TryFind(
        name,
        type,
        () =>
        {
            _asked++;
            return Task.FromResult(new CachedAnswer(DnsCode.NameError, [], cache.Now + TimeSpan.FromSeconds(30)));
        },
        out _);
}
