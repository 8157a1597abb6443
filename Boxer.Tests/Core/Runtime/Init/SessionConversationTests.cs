using Boxer.Runtime.Init;
using CsCheck;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Lies of PID 1 in an open session.</summary>
public sealed class SessionConversationTests
{
    private const int Direct = 1;
    private const int Relayed = 2;
    private const int Terminal = 3;
    private const int Connection = 4;
    private const int Worker = 5;

    private static readonly SessionEvent[] All =
    [
        .. from id in Enumerable.Range(1, 6)
           from each in (SessionEvent[])
           [
               new SessionProcessStarted(id, 2), new SessionProcessNotStarted(id, InitStage.Execute, 2), new SessionProcessEnded(id),
               Output(id, SessionStream.Output, 3), Output(id, SessionStream.Error, 3), new SessionOutputEnd(id, SessionStream.Output),
               new SessionOutputEnd(id, SessionStream.Error), new SessionConnected(id), new SessionNotConnected(id, 1), new SessionInputTaken(id, 4),
               new SessionClosed(id, 0), new SessionClosed(id, 1), new SessionLimitsSet(id, 0), new SessionProcessUsage(1, id, default, 0),
           ]
           select each,
        new SessionUsageReport(1, 0), new SessionQuiet(1, []),
    ];

    [Fact]
    public void Accept_takes_the_whole_life_of_each_kind()
    {
        SessionConversation conversation = Asked();
        Feed(conversation, new SessionProcessStarted(Direct, 2), new SessionProcessEnded(Direct));
        Feed(conversation, new SessionProcessStarted(Worker, 3), new SessionProcessEnded(Worker));
        conversation.Credit(Relayed, SessionStream.Output, 3);
        conversation.Credit(Relayed, SessionStream.Error, 3);
        conversation.Input(Relayed, 4);
        Feed(
            conversation,
            new SessionProcessStarted(Relayed, 4), Output(Relayed, SessionStream.Output, 2), Output(Relayed, SessionStream.Error, 3), new SessionInputTaken(Relayed, 4),
            new SessionOutputEnd(Relayed, SessionStream.Error), Output(Relayed, SessionStream.Output, 1), new SessionOutputEnd(Relayed, SessionStream.Output), new SessionProcessEnded(Relayed));
        Feed(conversation, new SessionProcessStarted(Terminal, 5), new SessionOutputEnd(Terminal, SessionStream.Output), new SessionProcessEnded(Terminal));
        Feed(conversation, new SessionConnected(Connection), new SessionOutputEnd(Connection, SessionStream.Output), new SessionClosed(Connection, 0));

        Assert.DoesNotContain((int[])[Direct, Worker, Relayed, Terminal, Connection], conversation.IsOpen);
        Assert.False(conversation.Credit(Relayed, SessionStream.Output, 1));
        Assert.False(conversation.Input(Relayed, 1));
        Assert.False(conversation.Release(Relayed));
    }

    [Fact]
    public void Accept_takes_failures_as_the_last_event()
    {
        SessionConversation conversation = Asked();
        Feed(
            conversation,
            new SessionProcessNotStarted(Direct, InitStage.Execute, 2), new SessionProcessNotStarted(Relayed, InitStage.Streams, 24), new SessionProcessNotStarted(Worker, InitStage.UserId, 1),
            new SessionNotConnected(Connection, 111), new SessionProcessNotStarted(Terminal, InitStage.Session, 1));
        Assert.DoesNotContain((int[])[Direct, Worker, Relayed, Terminal, Connection], conversation.IsOpen);
    }

    [Fact]
    public void Accept_takes_the_end_of_a_released_item_in_every_state()
    {
        SessionConversation conversation = Asked();
        Feed(conversation, new SessionProcessStarted(Relayed, 2));
        Assert.True(conversation.Release(Relayed));
        Feed(conversation, new SessionProcessEnded(Relayed));
        Assert.True(conversation.Release(Connection));
        Feed(conversation, new SessionClosed(Connection, 0));

        conversation.AskConnection(7);
        Assert.True(conversation.Release(7));
        Feed(conversation, new SessionConnected(7), new SessionClosed(7, 0));
    }

    [Fact]
    public void Accept_takes_answers_after_the_end_of_their_item()
    {
        SessionConversation conversation = Asked();
        conversation.AskProcessUsage(1, Direct);
        conversation.AskLimits(Direct);
        conversation.AskLimits(Direct);
        Feed(
            conversation,
            new SessionProcessStarted(Direct, 2), new SessionProcessEnded(Direct), new SessionProcessUsage(1, Direct, default, 0), new SessionLimitsSet(Direct, 0), new SessionLimitsSet(Direct, 3));

        // Processes that a command left behind have its descriptors.
        conversation.AskQuiet(2);
        Feed(conversation, new SessionQuiet(2, [Direct]));
    }

    public static TheoryData<string, Action> Lies() => new()
    {
        { "a command that nobody started", () => Feed(Asked(), new SessionProcessStarted(9, 2)) },
        { "started twice", () => Feed(Asked(), new SessionProcessStarted(Direct, 2), new SessionProcessStarted(Direct, 2)) },
        { "started after a failure", () => Feed(Asked(), new SessionProcessNotStarted(Direct, InitStage.Execute, 2), new SessionProcessStarted(Direct, 2)) },
        { "not started after started", () => Feed(Asked(), new SessionProcessStarted(Direct, 2), new SessionProcessNotStarted(Direct, InitStage.Execute, 2)) },
        { "ended before it started", () => Feed(Asked(), new SessionProcessEnded(Direct)) },
        { "ended twice", () => Feed(Asked(), new SessionProcessStarted(Direct, 2), new SessionProcessEnded(Direct), new SessionProcessEnded(Direct)) },
        { "ended before its output", () => Feed(Asked(), new SessionProcessStarted(Relayed, 2), new SessionOutputEnd(Relayed, SessionStream.Output), new SessionProcessEnded(Relayed)) },
        { "output of a command with descriptors", () => Feed(Credited(Direct), new SessionProcessStarted(Direct, 2), Output(Direct, SessionStream.Output, 1)) },
        { "output before the start", () => Feed(Credited(Relayed), Output(Relayed, SessionStream.Output, 1)) },
        { "output without credit", () => Feed(Asked(), new SessionProcessStarted(Relayed, 2), Output(Relayed, SessionStream.Output, 1)) },
        { "more output than credit", () => Feed(Credited(Relayed), new SessionProcessStarted(Relayed, 2), Output(Relayed, SessionStream.Output, 3), Output(Relayed, SessionStream.Output, 3)) },
        { "credit of the other stream", () => Feed(Credited(Relayed), new SessionProcessStarted(Relayed, 2), Output(Relayed, SessionStream.Error, 1)) },
        { "standard error of a terminal", () => Feed(Asked(), new SessionProcessStarted(Terminal, 2), new SessionOutputEnd(Terminal, SessionStream.Error)) },
        { "output after its end", () => Feed(Credited(Relayed), new SessionProcessStarted(Relayed, 2), new SessionOutputEnd(Relayed, SessionStream.Output), Output(Relayed, SessionStream.Output, 1)) },
        { "the end of output twice", () => Feed(Asked(), new SessionProcessStarted(Relayed, 2), new SessionOutputEnd(Relayed, SessionStream.Output), new SessionOutputEnd(Relayed, SessionStream.Output)) },
        { "input taken that was not sent", () => Feed(Asked(), new SessionProcessStarted(Relayed, 2), new SessionInputTaken(Relayed, 1)) },
        { "input of a command with descriptors taken", () => Feed(Asked(), new SessionProcessStarted(Direct, 2), new SessionInputTaken(Direct, 1)) },
        { "a command that connects", () => Feed(Asked(), new SessionConnected(Direct)) },
        { "a connection that starts", () => Feed(Asked(), new SessionProcessStarted(Connection, 2)) },
        { "a connection that ends like a command", () => Feed(Asked(), new SessionConnected(Connection), new SessionOutputEnd(Connection, SessionStream.Output), new SessionProcessEnded(Connection)) },
        { "a command that is closed", () => Feed(Asked(), new SessionProcessStarted(Relayed, 2), new SessionClosed(Relayed, 1)) },
        { "connected twice", () => Feed(Asked(), new SessionConnected(Connection), new SessionConnected(Connection)) },
        { "closed before it is connected", () => Feed(Asked(), new SessionClosed(Connection, 1)) },
        { "closed in order before the end of its output", () => Feed(Asked(), new SessionConnected(Connection), new SessionClosed(Connection, 0)) },
        { "output after closed", () => Feed(Credited(Connection), new SessionConnected(Connection), new SessionClosed(Connection, 104), Output(Connection, SessionStream.Output, 1)) },
        { "output of a worker", () => Feed(Credited(Worker), new SessionProcessStarted(Worker, 2), Output(Worker, SessionStream.Output, 1)) },
        { "limits that nobody set", () => Feed(Asked(), new SessionLimitsSet(Direct, 0)) },
        { "usage that nobody asked for", () => Feed(Asked(), new SessionUsageReport(1, 0)) },
        { "usage twice", () => Feed(WithTags(), new SessionUsageReport(1, 0), new SessionUsageReport(1, 0)) },
        { "usage with another tag", () => Feed(WithTags(), new SessionUsageReport(2, 0)) },
        { "usage of another command", () => Feed(WithTags(), new SessionProcessUsage(1, Relayed, default, 0)) },
        { "quiet that nobody asked for", () => Feed(Asked(), new SessionQuiet(1, [])) },
        { "quiet of a command that never was", () => Feed(WithTags(), new SessionQuiet(1, [9])) },
    };

    [Theory]
    [MemberData(nameof(Lies), DisableDiscoveryEnumeration = true)]
    public void Accept_rejects_a_lie(string lie, Action act)
    {
        Assert.NotEmpty(lie);
        Assert.Throws<InitProtocolException>(act);
    }

    [Fact]
    public void Accept_enforces_windows_and_ends_for_every_sequence() =>
        Gen.Int[0, All.Length - 1].Array[0, 60].Sample(indexes =>
        {
            SessionConversation conversation = WithTags();
            conversation.Credit(Relayed, SessionStream.Output, 5);
            conversation.Credit(Connection, SessionStream.Output, 3);
            conversation.Input(Relayed, 7);
            var output = new Dictionary<int, int>();
            var last = new HashSet<int>();
            bool isWhole = true;
            int taken = 0;
            foreach (SessionEvent each in indexes.Select(index => All[index]))
            {
                try
                {
                    conversation.Accept(each);
                }
                catch (InitProtocolException)
                {
                    continue;
                }

                isWhole &= each is not SessionItemEvent { Id: var id } || each is SessionLimitsSet || !last.Contains(id);
                if (each is SessionProcessEnded or SessionProcessNotStarted or SessionClosed or SessionNotConnected)
                {
                    last.Add(((SessionItemEvent)each).Id);
                }

                if (each is SessionOutput some)
                {
                    output[some.Id] = output.GetValueOrDefault(some.Id) + some.Data.Length;
                }

                taken += each is SessionInputTaken input ? input.Bytes : 0;
            }

            return isWhole && taken <= 7 && output.All(of => of.Value <= (of.Key == Relayed ? 5 : of.Key == Connection ? 3 : 0));
        });

    private static SessionOutput Output(int id, SessionStream stream, int bytes) => new(id, stream, new byte[bytes]);

    private static void Feed(SessionConversation conversation, params SessionEvent[] events)
    {
        foreach (SessionEvent each in events)
        {
            conversation.Accept(each);
        }
    }

    private static SessionConversation Asked()
    {
        var conversation = new SessionConversation();
        conversation.AskCommand(Direct, SessionStreams.Descriptors, mergesOutput: false);
        conversation.AskCommand(Relayed, SessionStreams.Relayed, mergesOutput: false);
        conversation.AskCommand(Terminal, SessionStreams.Terminal, mergesOutput: false);
        conversation.AskConnection(Connection);
        conversation.AskFiles(Worker);
        return conversation;
    }

    private static SessionConversation Credited(int id)
    {
        SessionConversation conversation = Asked();
        conversation.Credit(id, SessionStream.Output, 5);
        return conversation;
    }

    private static SessionConversation WithTags()
    {
        SessionConversation conversation = Asked();
        conversation.AskUsage(1);
        conversation.AskProcessUsage(1, Direct);
        conversation.AskQuiet(1);
        return conversation;
    }
}
