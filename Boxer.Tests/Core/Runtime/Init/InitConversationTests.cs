using Boxer.AspNetCore.Files;
using Boxer.Runtime.Init;
using CsCheck;

namespace Boxer.Tests.Core.Runtime.Init;

public sealed class InitConversationTests
{
    private static readonly InitOutputs Outputs = new("/output", 10, 3);

    private static readonly InitEvent[] All =
    [
        new InitReady(InitProtocol.Version), new InitReady(1), new InitStarted(), new InitNotStarted(InitStage.Execute, 2), new InitFileFailed("/a", 28),
        new InitEnded { ExitCode = 0 }, new InitOutputDirectory("d", 0), new InitOutputFile("f", 0, 3, default), new InitOutputFile("d/f", 0, 8, default),
        new InitOutputFile("e", 0, 0, default), new InitOutputData(new byte[3]), new InitOutputData(new byte[4]),
        new InitOutputTruncated(InitTruncation.Bytes, 1), new InitOutputTruncated(InitTruncation.Unreadable, 1), new InitOutputDone(),
        new InitFault("x", 1), new InitWarmedUp(InitWarmUpEnd.Exited, 0), new InitOutputLink("l", "f"),
    ];

    [Fact]
    public void Accept_takes_a_whole_run_with_outputs()
    {
        InitConversation conversation = Ended();
        conversation.Accept(new InitOutputDirectory("d", 0));
        conversation.Accept(new InitOutputFile("d/f", 0, 5, default));
        conversation.Accept(new InitOutputData(new byte[3]));
        conversation.Accept(new InitOutputData(new byte[2]));
        conversation.Accept(new InitOutputFile("g", 0, 5, default));
        conversation.Accept(new InitOutputTruncated(InitTruncation.Unreadable, 1));
        conversation.Accept(new InitOutputTruncated(InitTruncation.Entries, 1));
        Assert.False(conversation.IsOver);
        conversation.Accept(new InitOutputDone());
        Assert.True(conversation.IsOver);
    }

    [Fact]
    public void Accept_takes_changes_of_a_workspace_after_the_outputs_with_limits_of_their_own()
    {
        InitConversation conversation = Changed();
        conversation.Accept(new InitOutputFile("d/f", 0, 4, default));
        conversation.Accept(new InitOutputData(new byte[4]));
        conversation.Accept(new InitOutputLink("d/l", "/anywhere"));
        Assert.False(conversation.IsOver);
        conversation.Accept(new InitOutputDone());
        Assert.True(conversation.IsOver);
    }

    [Fact]
    public void Accept_limits_the_depth_of_outputs_to_that_of_a_file_space()
    {
        InitConversation conversation = Running(new InitOutputs("/output", 10, 100));
        conversation.Accept(new InitEnded { ExitCode = 0 });
        string path = "d";
        for (int depth = 1; depth <= InitProtocol.MaxOutputDepth; depth++, path += "/d")
        {
            conversation.Accept(new InitOutputDirectory(path, 0));
        }

        Assert.Null(StoredPath.FindFault($"output/boxer-1/{path}"));
        conversation.Accept(new InitOutputDirectory(path, 0));
        Assert.Throws<InitProtocolException>(() => conversation.Accept(new InitOutputFile(path + "/f", 0, 0, default)));
    }

    [Fact]
    public void IsOver_at_the_end_of_a_run_without_outputs()
    {
        InitConversation conversation = Running(outputs: null);
        conversation.Accept(new InitEnded { ExitCode = 0 });
        Assert.True(conversation.IsOver);
    }

    public static TheoryData<string, Action> Violations() => new()
    {
        { "started before ready", () => new InitConversation().Accept(new InitStarted()) },
        { "another version", () => new InitConversation().Accept(new InitReady(1)) },
        { "ready twice", () => Feed(Ready(), new InitReady(InitProtocol.Version)) },
        { "started without START", () => Feed(Ready(), new InitStarted()) },
        { "warmed up without WARM_UP", () => Feed(Ready(), new InitWarmedUp(InitWarmUpEnd.Exited, 0)) },
        { "warmed up twice", () => Feed(WarmedUp(), new InitWarmedUp(InitWarmUpEnd.Exited, 0)) },
        { "warmed up after START", () => Feed(Begun(), new InitWarmedUp(InitWarmUpEnd.Exited, 0)) },
        { "started by a warm-up", () => Feed(Warming(), new InitStarted()) },
        { "ended by a warm-up", () => Feed(Warming(), new InitEnded()) },
        { "ended before started", () => Feed(Begun(), new InitEnded()) },
        { "started twice", () => Feed(Running(Outputs), new InitStarted()) },
        { "not started after started", () => Feed(Running(Outputs), new InitNotStarted(InitStage.Execute, 2)) },
        { "file failed after started", () => Feed(Running(Outputs), new InitFileFailed("/a", 1)) },
        { "started after not started", () => Feed(Begun(), new InitNotStarted(InitStage.Execute, 2), new InitStarted()) },
        { "output before the end", () => Feed(Running(Outputs), new InitOutputFile("a", 0, 1, default)) },
        { "output that nobody asked for", () => Feed(Running(null), new InitEnded(), new InitOutputDone()) },
        { "ended twice", () => Feed(Ended(), new InitEnded()) },
        { "data without a file", () => Feed(Ended(), new InitOutputData(new byte[1])) },
        { "more data than declared", () => Feed(Ended(), new InitOutputFile("a", 0, 1, default), new InitOutputData(new byte[2])) },
        { "next file before the data", () => Feed(Ended(), new InitOutputFile("a", 0, 1, default), new InitOutputFile("b", 0, 1, default)) },
        { "done before the data", () => Feed(Ended(), new InitOutputFile("a", 0, 1, default), new InitOutputDone()) },
        { "more bytes than asked for", () => Feed(Ended(), new InitOutputFile("a", 0, 11, default)) },
        { "more bytes in two files", () => Feed(Ended(), new InitOutputFile("a", 0, 0, default), new InitOutputFile("b", 0, long.MaxValue, default)) },
        { "more entries than asked for", () => Feed(Ended(), new InitOutputDirectory("a", 0), new InitOutputDirectory("b", 0), new InitOutputDirectory("c", 0), new InitOutputDirectory("d", 0)) },
        { "the same path twice", () => Feed(Ended(), new InitOutputFile("a", 0, 0, default), new InitOutputDirectory("a", 0)) },
        { "a file as a directory", () => Feed(Ended(), new InitOutputFile("a", 0, 0, default), new InitOutputFile("a/b", 0, 0, default)) },
        { "no such directory", () => Feed(Ended(), new InitOutputFile("a/b", 0, 0, default)) },
        { "cut short for another reason", () => Feed(Ended(), new InitOutputFile("a", 0, 1, default), new InitOutputTruncated(InitTruncation.Bytes, 1)) },
        { "endless reasons", () => Feed(Ended(), [.. Enumerable.Repeat(new InitOutputTruncated(InitTruncation.Bytes, 1), 7)]) },
        { "a link among the outputs", () => Feed(Ended(), new InitOutputLink("a", "b")) },
        { "a link as a file of the changes", () => Feed(Changed(), new InitOutputLink("a", "b"), new InitOutputFile("a", 0, 0, default)) },
        { "a file below a link of the changes", () => Feed(Changed(), new InitOutputLink("a", "b"), new InitOutputFile("a/b/c", 0, 0, default)) },
        { "more bytes of changes than asked for", () => Feed(Changed(), new InitOutputFile("a", 0, 5, default)) },
        { "more changes than asked for", () => Feed(Changed(), new InitOutputLink("a", "b"), new InitOutputLink("b", "b"), new InitOutputLink("c", "b")) },
        { "changes that nobody asked for", () => Feed(Ended(), new InitOutputDone(), new InitOutputFile("a", 0, 0, default)) },
        { "opened without OPEN", () => Feed(Begun(), new InitOpened()) },
        { "opened before OPEN", () => Feed(Ready(), new InitOpened()) },
        { "opened twice", () => Feed(Opened(), new InitOpened()) },
        { "started instead of opened", () => Feed(Opening(), new InitStarted()) },
        { "not started instead of opened", () => Feed(Opening(), new InitNotStarted(InitStage.Execute, 2)) },
        { "an event of a session before it is open", () => Feed(Opening(), new SessionConnected(1)) },
        { "an event of a session in a run", () => Feed(Running(null), new SessionConnected(1)) },
        { "ended in a session", () => Feed(Opened(), new InitEnded()) },
        { "an output in a session", () => Feed(Opened(), new InitOutputFile("a", 0, 1, default)) },
        { "a file that failed in a session", () => Feed(Opened(), new InitFileFailed("/a", 28)) },
        { "anything after done", () => Feed(Ended(), new InitOutputDone(), new InitOutputDone()) },
        { "anything after a fault", () => Feed(Begun(), new InitFault("x", 0), new InitStarted()) },
    };

    [Theory]
    [MemberData(nameof(Violations), DisableDiscoveryEnumeration = true)]
    public void Accept_rejects_events_out_of_order(string violation, Action act)
    {
        Assert.NotEmpty(violation);
        Assert.Throws<InitProtocolException>(act);
    }

    [Fact]
    public void Begin_is_called_once_and_after_ready()
    {
        Assert.Throws<InvalidOperationException>(() => new InitConversation().Begin(InitFrames.Start("a")));
        InitConversation conversation = Begun();
        Assert.Throws<InvalidOperationException>(() => conversation.Begin(InitFrames.Start("a")));
    }

    [Fact]
    public void Accept_enforces_the_limits_for_every_sequence() =>
        Gen.Int[0, All.Length - 1].Array[0, 30].Sample(indexes =>
        {
            InitConversation conversation = Begun();
            long bytes = 0;
            int ended = 0;
            int entries = 0;
            try
            {
                foreach (InitEvent initEvent in indexes.Select(index => All[index]))
                {
                    conversation.Accept(initEvent);
                    bytes += (initEvent as InitOutputData)?.Data.Length ?? 0;
                    ended += initEvent is InitEnded ? 1 : 0;
                    entries += initEvent is InitOutputFile or InitOutputDirectory ? 1 : 0;
                }
            }
            catch (InitProtocolException)
            {
            }

            return bytes <= Outputs.MaxBytes && ended <= 1 && entries <= Outputs.MaxEntries && (bytes == 0 || ended == 1);
        });

    private static void Feed(InitConversation conversation, params InitEvent[] events)
    {
        foreach (InitEvent initEvent in events)
        {
            conversation.Accept(initEvent);
        }
    }

    private static InitConversation Ready()
    {
        var conversation = new InitConversation();
        conversation.Accept(new InitReady(InitProtocol.Version));
        return conversation;
    }

    [Fact]
    public void Begin_and_BeginWarmUp_throw_during_a_warm_up_and_before_ready()
    {
        Assert.Throws<InvalidOperationException>(() => Warming().Begin(InitFrames.Start("a")));
        Assert.Throws<InvalidOperationException>(() => Warming().BeginWarmUp());
        Assert.Throws<InvalidOperationException>(() => Begun().BeginWarmUp());
        Assert.Throws<InvalidOperationException>(() => new InitConversation().BeginWarmUp());
        WarmedUp().BeginWarmUp();
        WarmedUp().Begin(InitFrames.Start("a"));
    }

    private static InitConversation Warming()
    {
        InitConversation conversation = Ready();
        conversation.BeginWarmUp();
        return conversation;
    }

    private static InitConversation WarmedUp()
    {
        InitConversation conversation = Warming();
        conversation.Accept(new InitWarmedUp(InitWarmUpEnd.NotStarted, 2));
        return conversation;
    }

    [Fact]
    public void BeginSession_leaves_the_events_of_an_open_session_to_their_own_check()
    {
        Feed(Opening(), new InitFileFailed("/a", 28));
        Feed(Opened(), new SessionConnected(1), new SessionConnected(1), new InitFault("x", 0));
        Assert.Throws<InvalidOperationException>(() => Opened().BeginSession());
        Assert.Throws<InvalidOperationException>(() => Warming().BeginSession());
        Assert.Throws<InvalidOperationException>(() => Begun().BeginSession());
        Assert.Throws<InvalidOperationException>(() => Opening().Begin(InitFrames.Start("a")));
    }

    private static InitConversation Opening()
    {
        InitConversation conversation = Ready();
        conversation.BeginSession();
        return conversation;
    }

    private static InitConversation Opened()
    {
        InitConversation conversation = Opening();
        conversation.Accept(new InitOpened());
        return conversation;
    }

    private static InitConversation Begun(InitOutputs? outputs = null)
    {
        InitConversation conversation = Ready();
        conversation.Begin(InitFrames.Start("a") with { Outputs = outputs ?? Outputs });
        return conversation;
    }

    private static InitConversation Running(InitOutputs? outputs)
    {
        InitConversation conversation = Ready();
        conversation.Begin(InitFrames.Start("a") with { Outputs = outputs });
        conversation.Accept(new InitStarted());
        return conversation;
    }

    // In the middle of the changes: two entries and four bytes may come.
    private static InitConversation Changed()
    {
        InitConversation conversation = Ready();
        conversation.Begin(InitFrames.Start("a") with { Outputs = Outputs, ChangeBytes = 4, ChangeEntries = 2 });
        Feed(conversation, new InitStarted(), new InitEnded { ExitCode = 0 }, new InitOutputDirectory("d", 0), new InitOutputFile("d/f", 0, 0, default), new InitOutputDone());
        return conversation;
    }

    private static InitConversation Ended()
    {
        InitConversation conversation = Running(Outputs);
        conversation.Accept(new InitEnded { ExitCode = 0 });
        return conversation;
    }
}
