using Boxer.Sessions;
using Boxer.Tests.Support;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Sessions;

/// <summary><see cref="SessionLog"/>: how sessions ended, over restarts of the host.</summary>
public sealed class SessionLogTests : IDisposable
{
    private readonly ScratchDirectory _home = new();
    private readonly FakeTimeProvider _time = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));

    private string Files => Path.Join(_home.Path, "sessions");

    public void Dispose() => _home.Dispose();

    [Fact]
    public void Open_remembers_ends_and_ends_open_sessions_of_a_dead_runner_as_HostStopped()
    {
        RememberedSession open = Make("key \n\"\u00e9");
        RememberedSession closed = Make(null);
        using (SessionLog first = MakeLog())
        {
            Assert.Empty(first.Open());
            first.AddOpened(open);
            first.AddOpened(closed);
            first.AddEnded(Ended(closed, SandboxSessionEnd.Lifetime));
        }

        _time.Advance(TimeSpan.FromMinutes(10));
        RememberedSession[] expected = [Ended(open, SandboxSessionEnd.HostStopped), Ended(closed, SandboxSessionEnd.Lifetime) with { EndedAt = closed.CreatedAt }];
        using (SessionLog second = MakeLog())
        {
            Assert.Equal(expected.OrderBy(session => session.Id), second.Open().OrderBy(session => session.Id));
        }

        _time.Advance(TimeSpan.FromMinutes(40));
        using (SessionLog third = MakeLog())
        {
            Assert.Equal(expected.OrderBy(session => session.Id), third.Open().OrderBy(session => session.Id));
        }

        _time.Advance(TimeSpan.FromMinutes(15));
        using (SessionLog fourth = MakeLog())
        {
            Assert.Equal(expected[0], Assert.Single(fourth.Open()));
        }

        _time.Advance(TimeSpan.FromMinutes(15));
        using SessionLog last = MakeLog();
        Assert.Empty(last.Open());
        Assert.Single(Directory.GetDirectories(Files));
    }

    [Fact]
    public void Two_runners_of_one_home_leave_each_other_alone_and_share_ends()
    {
        RememberedSession open = Make("a");
        RememberedSession closed = Make("a");
        using SessionLog first = MakeLog();
        first.Open();
        first.AddOpened(open);
        first.AddOpened(closed);
        first.AddEnded(Ended(closed, SandboxSessionEnd.Closed));

        using (SessionLog second = MakeLog())
        {
            Assert.Equal(closed.Id, Assert.Single(second.Open()).Id);
        }

        first.AddEnded(Ended(open, SandboxSessionEnd.IdleTimeout));
        first.Dispose();
        using SessionLog third = MakeLog();
        Assert.Equal(SandboxSessionEnd.IdleTimeout, third.Open().Single(session => session.Id == open.Id).End);
    }

    [Fact]
    public void Open_survives_torn_lines_and_garbage()
    {
        RememberedSession before = Make("b");
        RememberedSession after = Make("b");
        string file;
        using (SessionLog log = MakeLog())
        {
            log.Open();
            log.AddOpened(before);
            file = Directory.GetFiles(Directory.GetDirectories(Files).Single()).Single();
        }

        Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(file));
        using (FileStream stream = File.Open(file, FileMode.Append))
        {
            stream.Write("{\"opened\":\"torn"u8);
            stream.Write(SessionRecord.EncodeOpened(after));
            stream.Write("\n{}\n[]\n{\"at\":1e99}\n{\"ended\":7,\"at\":1}\n\0\xff\n{\"ended\":\""u8);
            stream.Write(System.Text.Encoding.UTF8.GetBytes(after.Id + "\",\"how\":\"Sabotage\",\"at\":1}\n{\"opened\":\"../../etc/passwd\",\"image\":\"\",\"at\":1}\n"));
            stream.Write(new byte[100_000]);
        }

        using SessionLog next = MakeLog();
        Assert.Equal(new[] { before.Id, after.Id }.Order(), next.Open().Select(session => session.Id).Order());
    }

    [Fact]
    public void The_file_is_rewritten_without_what_is_forgotten()
    {
        RememberedSession kept = Make("c");
        using (SessionLog log = new(_home.Path, _time, NullLogger.Instance, () => [kept], rotateBytes: 10_000))
        {
            log.Open();
            log.AddOpened(kept);
            for (int i = 0; i < 1_000; i++)
            {
                RememberedSession other = Make("c");
                log.AddOpened(other);
                log.AddEnded(Ended(other, SandboxSessionEnd.Closed));
            }

            string file = Directory.GetFiles(Directory.GetDirectories(Files).Single()).Single();
            Assert.InRange(new FileInfo(file).Length, 1, 20_000);
        }

        using SessionLog next = MakeLog();
        Assert.Contains(next.Open(), session => session.Id == kept.Id && session.End == SandboxSessionEnd.HostStopped);
    }

    [Fact]
    public void A_home_that_cannot_be_written_costs_only_the_memory()
    {
        File.WriteAllText(Files, "no directory");
        using SessionLog log = MakeLog();
        Assert.Empty(log.Open());
        log.AddOpened(Make("d"));
    }

    [Fact]
    public void Ids_have_128_random_bits_and_match_the_contract()
    {
        string[] ids = [.. Enumerable.Range(0, 1_000).Select(_ => SessionIds.Create())];
        Assert.All(ids, id => Assert.Matches("^[a-z0-9]{20,57}$", id));
        Assert.All(ids, id => Assert.Equal(26, id.Length));
        Assert.Equal(1_000, ids.Distinct().Count());
        Assert.All(new[] { null, "", "short", new string('a', 58), new string('A', 26), new string('a', 25) + "\n" }, id => Assert.False(SessionIds.IsValid(id)));
    }

    private SessionLog MakeLog() => new(_home.Path, _time, NullLogger.Instance, () => []);

    private RememberedSession Make(string? key) => new(SessionIds.Create(), key, "sha256:1", _time.GetUtcNow());

    private RememberedSession Ended(RememberedSession session, SandboxSessionEnd end) => session with { End = end, EndedAt = _time.GetUtcNow() };
}
