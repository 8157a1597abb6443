using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Boxer.Processes;
using Boxer.Runtime.Init;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>An open session of a real PID 1. The test sends frames one by one; each event is checked by the conversation of the host.</summary>
internal sealed class SessionSandbox : IAsyncDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private readonly InitSandbox _sandbox;
    private readonly SessionConversation _conversation = new();
    private readonly List<InitEvent> _events = [];
    private readonly Dictionary<(int Id, SessionStream Stream), MemoryStream> _outputs = [];
    private readonly DescriptorPoller _poller = new();
    private int _lastId;
    private uint _lastTag;

    private SessionSandbox(InitSandbox sandbox) => _sandbox = sandbox;

    internal InitSandbox Sandbox => _sandbox;

    /// <summary>Gets the usual session of the tests, with the given uid as user and group.</summary>
    internal static InitStart Open(uint user) => InitSandbox.Start(user) with
    {
        Environment = [],
        Tmpfs =
        [
            new("/tmp", 0x3FF, 0, 0), new("/dev/shm", 0x3FF, 0, 0), new("/home/user", 0x1ED, user, user, InitTmpfsKind.UnlessUsed),
            new("/work", 0x1ED, user, user, InitTmpfsKind.Workspace),
        ],
        WorkingDirectory = "/work",
        Outputs = null,
    };

    /// <summary>Opens a session in a sandbox that has booted, with these frames of files before GO.</summary>
    internal static async Task<SessionSandbox> OpenAsync(InitSandbox sandbox, InitStart open, byte[]? files = null)
    {
        var session = new SessionSandbox(sandbox);
        await sandbox.Channel.OpenAsync(InitEncoder.EncodeOpen(open), TestContext.Current.CancellationToken);
        await sandbox.Channel.SendFramesAsync(files ?? [], TestContext.Current.CancellationToken);
        await sandbox.Channel.GoAsync(TestContext.Current.CancellationToken);
        Assert.IsType<InitOpened>(await sandbox.Channel.ReadEventAsync(TestContext.Current.CancellationToken));
        return session;
    }

    internal static SessionExec Command(uint user, params string[] arguments) => new()
    {
        Arguments = arguments,
        Environment = ["PATH=/bin", "HOME=/home/user", "PS1=$ "],
        WorkingDirectory = "/work",
        User = new InitIdentity(user, user, []),
        ResourceLimits = InitSandbox.Start(user).ResourceLimits,
    };

    internal int NextId() => ++_lastId;

    /// <summary>Records that the test itself sends an EXEC with descriptors.</summary>
    internal void Expect(int id) => _conversation.AskCommand(id, SessionStreams.Descriptors, mergesOutput: false);

    internal Task SendAsync(byte[] frame, params SafeHandle[] descriptors) =>
        _sandbox.Channel.SendSessionFrameAsync(frame, descriptors, TestContext.Current.CancellationToken);

    /// <summary>Starts a relayed command, without credit.</summary>
    internal async Task<int> StartAsync(SessionExec exec)
    {
        int id = NextId();
        exec = exec.Streams == SessionStreams.Descriptors ? exec with { Streams = SessionStreams.Relayed } : exec;
        _conversation.AskCommand(id, exec.Streams, exec.MergeOutput);
        await SendAsync(SessionEncoder.EncodeExec(id, exec));
        return id;
    }

    /// <summary>Starts a relayed command with as much credit as it may need.</summary>
    internal async Task<int> StartWithCreditAsync(SessionExec exec)
    {
        int id = await StartAsync(exec);
        await CreditAsync(id, SessionStream.Output, 1 << 20);
        if (exec is { MergeOutput: false } and not { Streams: SessionStreams.Terminal })
        {
            await CreditAsync(id, SessionStream.Error, 1 << 20);
        }

        return id;
    }

    internal async Task CreditAsync(int id, SessionStream stream, int bytes)
    {
        if (_conversation.Credit(id, stream, bytes))
        {
            await SendAsync(SessionEncoder.EncodeCredit(id, stream, bytes));
        }
    }

    internal async Task InputAsync(int id, byte[] bytes)
    {
        if (_conversation.Input(id, bytes.Length))
        {
            await SendAsync(SessionEncoder.EncodeInput(id, bytes));
        }
    }

    internal Task InputAsync(int id, string text) => InputAsync(id, Encoding.UTF8.GetBytes(text));

    internal Task EndInputAsync(int id) => SendAsync(SessionEncoder.EncodeId(InitFrameType.InputEnd, id));

    internal Task SignalAsync(int id, int signal, bool wholeSession) => SendAsync(SessionEncoder.EncodeSignal(id, signal, wholeSession));

    internal async Task ReleaseAsync(int id)
    {
        _conversation.Release(id);
        await SendAsync(SessionEncoder.EncodeId(InitFrameType.Release, id));
    }

    /// <summary>Starts a relayed command with credit, and waits for its end.</summary>
    internal async Task<(SessionItemEvent End, string Output, string Error)> RunAsync(SessionExec exec)
    {
        int id = await StartWithCreditAsync(exec);
        await EndInputAsync(id);
        SessionItemEvent end = await EndAsync(id);
        return (end, Output(id), Output(id, SessionStream.Error));
    }

    /// <summary>Runs a command on pipes of this process, and waits for its end.</summary>
    internal async Task<(SessionItemEvent End, string Output, string Error)> ExecAsync(SessionExec exec)
    {
        int id = NextId();
        using Pipe input = Pipe.ForWriting(), output = Pipe.ForReading(), error = Pipe.ForReading();
        input.Ours.Dispose();
        using OutputReader outputReader = new(_poller, output.Ours, 64 << 20), errorReader = new(_poller, error.Ours, 64 << 20);
        _conversation.AskCommand(id, SessionStreams.Descriptors, exec.MergeOutput);
        await SendAsync(SessionEncoder.EncodeExec(id, exec), input.Theirs, output.Theirs, error.Theirs);
        foreach (Pipe pipe in (Pipe[])[input, output, error])
        {
            pipe.Theirs.Dispose();
        }

        outputReader.Start();
        errorReader.Start();
        SessionItemEvent end = await EndAsync(id);
        outputReader.StopWhenDrained();
        errorReader.StopWhenDrained();
        await Task.WhenAll(outputReader.Completion, errorReader.Completion);
        return (end, Encoding.UTF8.GetString(outputReader.Kept.Span), Encoding.UTF8.GetString(errorReader.Kept.Span));
    }

    internal async Task<int> ConnectAsync(int family, int port)
    {
        int id = NextId();
        _conversation.AskConnection(id);
        await SendAsync(SessionEncoder.EncodeConnect(id, family, port));
        return id;
    }

    internal async Task<int> StartFilesAsync(InitIdentity user, SafeHandle socket)
    {
        int id = NextId();
        _conversation.AskFiles(id);
        await SendAsync(SessionEncoder.EncodeFiles(id, user), socket);
        return id;
    }

    internal async Task<int> LimitAsync(int id, params InitResourceLimit[] limits)
    {
        _conversation.AskLimits(id);
        await SendAsync(SessionEncoder.EncodeLimits(id, limits));
        return (await NextAsync<SessionLimitsSet>(set => set.Id == id)).Errno;
    }

    internal async Task<SessionUsageReport> UsageAsync()
    {
        _conversation.AskUsage(++_lastTag);
        await SendAsync(SessionEncoder.EncodeTag(InitFrameType.Usage, _lastTag));
        return await NextAsync<SessionUsageReport>(report => report.Tag == _lastTag);
    }

    /// <summary>Counts the processes in /proc, without PID 1 and the one that counts, whose user has no others: they would use up its processes.</summary>
    internal async Task<int> CountProcessesAsync() =>
        int.Parse((await RunAsync(Command(65533, "sh", "-c", "cd /proc; set -- [0-9]*; echo $(($# - 2))"))).Output, CultureInfo.InvariantCulture);

    internal async Task<SessionProcessUsage> UsageAsync(int id)
    {
        _conversation.AskProcessUsage(++_lastTag, id);
        await SendAsync(SessionEncoder.EncodeProcessUsage(_lastTag, id));
        return await NextAsync<SessionProcessUsage>(report => report.Tag == _lastTag);
    }

    internal async Task<SessionQuiet> QuiesceAsync()
    {
        _conversation.AskQuiet(++_lastTag);
        await SendAsync(SessionEncoder.EncodeTag(InitFrameType.Quiesce, _lastTag));
        return await NextAsync<SessionQuiet>(quiet => quiet.Tag == _lastTag);
    }

    /// <summary>Reads until the last event of a command, connection or worker.</summary>
    internal Task<SessionItemEvent> EndAsync(int id) => NextAsync<SessionItemEvent>(
        end => end.Id == id && (end is SessionProcessEnded or SessionProcessNotStarted or SessionClosed or SessionNotConnected));

    internal Task<SessionProcessStarted> StartedAsync(int id) => NextAsync<SessionProcessStarted>(started => started.Id == id);

    /// <summary>Reads until the output of a stream contains a text.</summary>
    internal async Task<string> OutputAsync(int id, string text, SessionStream stream = SessionStream.Output)
    {
        while (!Output(id, stream).Contains(text, StringComparison.Ordinal))
        {
            await ReadAsync();
        }

        return Output(id, stream);
    }

    internal string Output(int id, SessionStream stream = SessionStream.Output) =>
        _outputs.TryGetValue((id, stream), out MemoryStream? output) ? Encoding.UTF8.GetString(output.GetBuffer(), 0, (int)output.Length) : "";

    internal long OutputLength(int id, SessionStream stream = SessionStream.Output) =>
        _outputs.TryGetValue((id, stream), out MemoryStream? output) ? output.Length : 0;

    /// <summary>Takes the first event of a kind, whether it was read already or not.</summary>
    internal async Task<T> NextAsync<T>(Func<T, bool>? matches = null)
        where T : InitEvent
    {
        while (true)
        {
            T? found = _events.OfType<T>().FirstOrDefault(candidate => matches is null || matches(candidate));
            if (found is not null)
            {
                _events.Remove(found);
                return found;
            }

            await ReadAsync();
        }
    }

    /// <summary>Whether an event was read and not taken.</summary>
    internal bool HasRead<T>(Func<T, bool> matches) => _events.OfType<T>().Any(matches);

    /// <summary>Reads one event. Bytes of output are kept apart.</summary>
    internal async Task ReadAsync()
    {
        using var deadline = CancellationTokenSource.CreateLinkedTokenSource(TestContext.Current.CancellationToken);
        deadline.CancelAfter(Patience);
        InitEvent initEvent = await _sandbox.Channel.ReadEventAsync(deadline.Token);
        if (initEvent is InitClosed or InitFault)
        {
            Assert.Fail($"PID 1 ended: {initEvent}");
        }

        if (initEvent is SessionEvent sessionEvent)
        {
            _conversation.Accept(sessionEvent);
        }

        if (initEvent is not SessionOutput output)
        {
            _events.Add(initEvent);
            return;
        }

        if (!_outputs.TryGetValue((output.Id, output.Stream), out MemoryStream? kept))
        {
            _outputs.Add((output.Id, output.Stream), kept = new MemoryStream());
        }

        kept.Write(output.Data.Span);
    }

    public async ValueTask DisposeAsync()
    {
        await _sandbox.DisposeAsync();
        _poller.Dispose();
    }
}
