using Boxer.Runtime.Init;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Frames that the host must not send.</summary>
public abstract partial class SessionTests
{
    [Theory]
    [MemberData(nameof(Lies))]
    public async Task Frames_that_the_host_must_not_send_are_faults(string what, byte[] frames)
    {
        await using SessionSandbox session = await OpenAsync();

        // A program that does not read: what it took would be no fault.
        int id = await session.StartWithCreditAsync(SessionSandbox.Command(User, "sleep", "1000"));
        Assert.Equal(1, id);
        await session.StartedAsync(id);
        await session.SendAsync(frames);
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        InitEvent last;
        do
        {
            last = await session.Sandbox.Channel.ReadEventAsync(deadline.Token);
        }
        while (last is not InitFault and not InitClosed);

        Assert.True(last is InitFault fault && fault.Stage.StartsWith("malformed", StringComparison.Ordinal), $"{what}: {last}");
        Assert.Equal(1, await session.Sandbox.WaitAsync());
    }

    public static TheoryData<string, byte[]> Lies()
    {
        const int Sleep = 1;
        const int Unknown = 77;
        SessionExec command = SessionSandbox.Command(User, "true") with { Streams = SessionStreams.Relayed };
        byte[] full = [.. Enumerable.Range(0, 2).SelectMany(_ => SessionEncoder.EncodeInput(Sleep, new byte[60_000]))];
        return new()
        {
            { "an id in use", SessionEncoder.EncodeExec(Sleep, command) },
            { "a connection with an id in use", SessionEncoder.EncodeConnect(Sleep, 4, 80) },
            { "a signal to an unknown id", SessionEncoder.EncodeSignal(Unknown, 9, wholeSession: false) },
            { "a signal to id 0", Raw((int)InitFrameType.ProcessSignal, [0, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0]) },
            { "input of an unknown id", SessionEncoder.EncodeInput(Unknown, "x"u8) },
            { "an end of an unknown id", SessionEncoder.EncodeId(InitFrameType.InputEnd, Unknown) },
            { "credit of an unknown id", SessionEncoder.EncodeCredit(Unknown, SessionStream.Output, 1) },
            { "release of an unknown id", SessionEncoder.EncodeId(InitFrameType.Release, Unknown) },
            { "limits of an unknown id", SessionEncoder.EncodeLimits(Unknown, []) },
            { "usage of an unknown id", SessionEncoder.EncodeProcessUsage(1, Unknown) },
            { "too much input", [.. full, .. full, .. full] },
            { "input after its end", [.. SessionEncoder.EncodeId(InitFrameType.InputEnd, Sleep), .. SessionEncoder.EncodeInput(Sleep, "x"u8)] },
            { "two ends of input", [.. SessionEncoder.EncodeId(InitFrameType.InputEnd, Sleep), .. SessionEncoder.EncodeId(InitFrameType.InputEnd, Sleep)] },
            { "too much credit", [.. SessionEncoder.EncodeCredit(Sleep, SessionStream.Output, InitProtocol.MaxCredit), .. SessionEncoder.EncodeCredit(Sleep, SessionStream.Output, 1)] },
            { "size of something that is no terminal", SessionEncoder.EncodeResize(Sleep, 1, 1) },
            { "OPEN again", InitEncoder.EncodeOpen(SessionSandbox.Open(User)) },
            { "START", InitEncoder.EncodeStart(InitSandbox.Start(User, "true")) },
            { "GO again", InitEncoder.EncodeEmpty(InitFrameType.Go) },
            { "SIGNAL", InitEncoder.EncodeSignal(9) },
            { "a file", InitEncoder.EncodeFileBegin("/a", executable: false) },
            { "an unknown type", Raw(0x0040, []) },
            { "input without bytes", Raw((int)InitFrameType.Input, [Sleep, 0, 0, 0]) },
            { "a short frame", Raw((int)InitFrameType.Credit, [Sleep, 0]) },
            { "a long frame", Raw((int)InitFrameType.Usage, new byte[8]) },
            { "id 0", Raw((int)InitFrameType.InputEnd, new byte[4]) },
        };

        static byte[] Raw(int type, byte[] payload)
        {
            byte[] frame = new byte[InitProtocol.HeaderSize + payload.Length];
            InitProtocol.WriteHeader(frame, (InitFrameType)type, payload.Length);
            payload.CopyTo(frame, InitProtocol.HeaderSize);
            return frame;
        }
    }
}
