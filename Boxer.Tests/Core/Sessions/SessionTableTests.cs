using Boxer.Sessions;
using Boxer.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;

namespace Boxer.Tests.Core.Sessions;

/// <summary><see cref="SessionTable"/>: for how long, and how many, ended sessions are remembered.</summary>
public sealed class SessionTableTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Find_remembers_an_ended_session_for_one_hour()
    {
        await using OpenSession open = new();
        await open.Session.CloseAsync(Cancel);

        open.Time.Advance(TimeSpan.FromHours(1) - TimeSpan.FromTicks(1));
        Assert.Equal(SandboxSessionEnd.Closed, open.Table.Find(open.Session.Id)?.End);

        open.Time.Advance(TimeSpan.FromTicks(1));
        Assert.Null(open.Table.Find(open.Session.Id));
    }

    [Fact]
    [Slow]
    public async Task Find_remembers_the_last_10_000_ended_sessions()
    {
        using ScratchDirectory home = new();
        await using OpenSession open = new();
        RememberedSession[] earlier = [.. Enumerable.Range(0, 10_000).Select(number => new RememberedSession(SessionIds.Create(), "key", "sha256:1", open.Time.GetUtcNow())
        {
            End = SandboxSessionEnd.Lifetime,
            EndedAt = open.Time.GetUtcNow().AddMilliseconds(number),
        })];
        open.Time.Advance(TimeSpan.FromMinutes(1));
        using (SessionLog log = new(home.Path, open.Time, NullLogger.Instance, () => earlier))
        {
            log.Open();
            Array.ForEach(earlier, session =>
            {
                log.AddOpened(session);
                log.AddEnded(session);
            });
        }

        using var table = new SessionTable(home.Path, open.Time, NullLogger.Instance);
        Assert.All(earlier, session => Assert.NotNull(table.Find(session.Id)));
        table.Add(open.Session);
        await open.Session.CloseAsync(Cancel);
        table.End(open.Session);

        Assert.Null(table.Find(earlier[0].Id));
        Assert.All(earlier[1..], session => Assert.Equal(SandboxSessionEnd.Lifetime, table.Find(session.Id)?.End));
        Assert.Equal(SandboxSessionEnd.Closed, table.Find(open.Session.Id)?.End);
    }
}
