using Boxer.Sessions;

namespace Boxer.Tests.Core.Sessions;

/// <summary><see cref="SessionBounds"/>: the memory that open sessions may have together, and those of one key.</summary>
public sealed class SessionBoundsTests
{
    private const long All = 100;
    private const long OfKey = 50;
    private TimeSpan _nextEnd = TimeSpan.FromMinutes(2);

    [Fact]
    public void Enter_refuses_what_all_sessions_together_may_not_have_until_one_ends()
    {
        SessionBounds bounds = Make();
        IDisposable first = bounds.Enter(null, 60);
        using IDisposable second = bounds.Enter("", 40);

        SandboxCapacityException fault = Assert.Throws<SandboxCapacityException>(() => bounds.Enter(null, 1));
        Assert.StartsWith("The open sessions use", fault.Message, StringComparison.Ordinal);
        Assert.Throws<SandboxCapacityException>(() => bounds.Enter("a", 1));

        // A session that ends twice leaves once.
        first.Dispose();
        first.Dispose();
        using IDisposable third = bounds.Enter(null, 60);
        Assert.Throws<SandboxCapacityException>(() => bounds.Enter(null, 1));
    }

    [Fact]
    public void Enter_refuses_what_the_sessions_of_one_key_may_not_have_and_admits_others()
    {
        SessionBounds bounds = Make();
        IDisposable first = bounds.Enter("a", 30);
        using IDisposable second = bounds.Enter("a", 20);

        SandboxCapacityException fault = Assert.Throws<SandboxCapacityException>(() => bounds.Enter("a", 1));
        Assert.StartsWith("The open sessions of this key use", fault.Message, StringComparison.Ordinal);
        using IDisposable other = bounds.Enter("b", 20);
        using IDisposable keyless = bounds.Enter(null, 30);
        Assert.Throws<SandboxCapacityException>(() => bounds.Enter("b", 1));

        first.Dispose();
        using IDisposable third = bounds.Enter("a", 30);
        Assert.Throws<SandboxCapacityException>(() => bounds.Enter("a", 1));
    }

    [Theory]
    [InlineData(-5, 1)]
    [InlineData(0, 1)]
    [InlineData(90, 90)]
    [InlineData(3_600, 600)]
    public void Enter_says_when_to_retry_by_the_next_end_from_1_s_to_10_min(int nextEnd, int retryAfter)
    {
        _nextEnd = TimeSpan.FromSeconds(nextEnd);

        SandboxCapacityException fault = Assert.Throws<SandboxCapacityException>(() => Make().Enter(null, All + 1));

        Assert.Equal(TimeSpan.FromSeconds(retryAfter), fault.RetryAfter);
    }

    [Fact]
    public void Concurrent_openings_never_have_more_and_leave_nothing()
    {
        SessionBounds bounds = Make();
        long now = 0;
        Parallel.For(0, 10_000, number =>
        {
            try
            {
                using IDisposable place = bounds.Enter(number % 3 == 0 ? null : $"{number % 3}", 20);
                Assert.InRange(Interlocked.Add(ref now, 20), 20, All);
                Interlocked.Add(ref now, -20);
            }
            catch (SandboxCapacityException)
            {
                // Others had the memory at this moment.
            }
        });

        using IDisposable one = bounds.Enter("1", OfKey);
        using IDisposable two = bounds.Enter("2", OfKey);
    }

    private SessionBounds Make() => new(All, OfKey, () => _nextEnd);
}
