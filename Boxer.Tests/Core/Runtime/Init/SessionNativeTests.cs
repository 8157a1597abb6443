using System.Globalization;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Boxer.Runtime.Init;
using Boxer.Tests.Support;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Sessions of boxer-init built with the address and undefined-behaviour sanitizers, on Linux.</summary>
[Slow]
public sealed class SessionNativeTests(InitFixture fixture) : SessionTests, IClassFixture<InitFixture>
{
    private const int Rounds = 60;

    private protected override async Task<SessionSandbox> OpenAsync() =>
        await SessionSandbox.OpenAsync(await InitNative.BootAsync(fixture), SessionSandbox.Open(User));

    [Fact]
    public async Task Damaged_frames_of_a_session_never_crash_or_hang_PID_1()
    {
        const int Seed = 20_261_130;
        var random = new Random(Seed);
        for (int round = 0; round < Rounds; round++)
        {
            await using SessionSandbox session = await OpenAsync();
            byte[] bytes = Damage(random);
            try
            {
                await session.Sandbox.Socket.SendAsync(bytes, TestContext.Current.CancellationToken);
                session.Sandbox.Socket.Shutdown(SocketShutdown.Send);
            }
            catch (SocketException)
            {
                // PID 1 has found the damage and is gone.
            }

            await DrainAsync(session.Sandbox.Socket);
            int code = await session.Sandbox.WaitAsync();
            Assert.True(code is 0 or 1, $"Seed {Seed}, round {round}: exit code {code} after {Convert.ToHexString(bytes)}");
        }
    }

    [Fact]
    public async Task A_file_worker_has_nothing_of_other_commands_in_its_memory()
    {
        await using SessionSandbox session = await OpenAsync();
        string[] secrets = [.. Enumerable.Range(0, 5).Select(_ => RandomNumberGenerator.GetHexString(32))];
        int typed = await session.StartWithCreditAsync(Shell("read line; echo ready; sleep 1000"));
        await session.InputAsync(typed, $"{secrets[0]}\n");
        await session.OutputAsync(typed, "ready\n");
        Assert.Equal(secrets[1] + "\n", (await session.RunAsync(Shell("echo $SECRET") with { Environment = ["PATH=/bin", "SECRET=" + secrets[1]] })).Output);

        // More than the pipe holds: the rest waits in PID 1.
        int waiting = await session.StartWithCreditAsync(SessionSandbox.Command(User, "sleep", "1000"));
        for (int taken = 0; taken < InitProtocol.InputWindow;)
        {
            await session.InputAsync(waiting, new byte[InitProtocol.InputWindow / 2]);
            taken += (await session.NextAsync<SessionInputTaken>(of => of.Id == waiting)).Bytes;
        }

        // One of them is not cut by the end of the ring.
        await session.InputAsync(waiting, secrets[2] + secrets[2]);
        (Socket ours, Socket theirs) = SocketPair();
        using (ours)
        {
            // PID 1 may receive all of them together.
            SessionExec exec = Shell("echo " + secrets[3]) with { Environment = ["PATH=/bin", "SECRET=" + secrets[4]] };
            await session.StartAsync(exec);
            int worker = await session.StartFilesAsync(new InitIdentity(User, User, []), theirs.SafeHandle);
            await session.StartAsync(exec);
            theirs.Dispose();
            int pid = (await session.StartedAsync(worker)).Pid;

            Assert.True(IsInMemory(FindProcess(1), secrets[2]));
            Assert.DoesNotContain(secrets, secret => IsInMemory(FindProcess(pid), secret));
        }
    }

    // Finds a process by its number in the sandbox. Its program is that of PID 1.
    private int FindProcess(int pid) => Directory.EnumerateDirectories("/proc").Select(Path.GetFileName).Where(name => int.TryParse(name, out _)).Select(int.Parse!).First(process =>
    {
        try
        {
            return File.ResolveLinkTarget($"/proc/{process}/root", returnFinalTarget: false)?.FullName == fixture.Root
                && File.ReadLines($"/proc/{process}/status").First(line => line.StartsWith("NSpid:", StringComparison.Ordinal)).EndsWith($"\t{pid}", StringComparison.Ordinal);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // It has ended, or it is not one of this test.
            return false;
        }
    });

    private static bool IsInMemory(int pid, string secret)
    {
        // Larger ones are the sanitizer's own.
        const long MaxRegion = 256 << 20;
        byte[] wanted = Encoding.ASCII.GetBytes(secret);
        using SafeFileHandle memory = File.OpenHandle($"/proc/{pid}/mem");
        foreach (string[] region in File.ReadLines($"/proc/{pid}/maps").Select(line => line.Split('-', ' ')))
        {
            long start = (long)ulong.Parse(region[0], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            long size = (long)ulong.Parse(region[1], NumberStyles.HexNumber, CultureInfo.InvariantCulture) - start;
            if (!region[2].StartsWith("rw", StringComparison.Ordinal) || size > MaxRegion)
            {
                continue;
            }

            byte[] content = new byte[size];
            int length = 0;
            for (int read; length < size && (read = RandomAccess.Read(memory, content.AsSpan(length), start + length)) > 0;)
            {
                length += read;
            }

            if (content.AsSpan(0, length).IndexOf(wanted) >= 0)
            {
                return true;
            }
        }

        return false;
    }

    // Frames of a session of which some bytes are changed, moved or missing.
    private static byte[] Damage(Random random)
    {
        SessionExec command = SessionSandbox.Command(User, "sh", "-c", "cat; echo x") with { Streams = SessionStreams.Relayed };
        byte[][] frames =
        [
            SessionEncoder.EncodeExec(1, command), SessionEncoder.EncodeExec(2, command with { MergeOutput = true }),
            SessionEncoder.EncodeExec(3, command with { Streams = SessionStreams.Terminal, Columns = 80, Rows = 24 }),
            SessionEncoder.EncodeExec(4, command with { Streams = SessionStreams.Descriptors }), SessionEncoder.EncodeFiles(5, command.User),
            SessionEncoder.EncodeConnect(6, 4, 80), SessionEncoder.EncodeConnect(7, 6, 80), SessionEncoder.EncodeCredit(1, SessionStream.Output, 100),
            SessionEncoder.EncodeCredit(2, SessionStream.Error, 100), SessionEncoder.EncodeInput(1, "input"u8), SessionEncoder.EncodeInput(2, new byte[40_000]),
            SessionEncoder.EncodeId(InitFrameType.InputEnd, 1), SessionEncoder.EncodeSignal(2, 15, wholeSession: true), SessionEncoder.EncodeResize(3, 1, 2),
            SessionEncoder.EncodeLimits(1, command.ResourceLimits), SessionEncoder.EncodeId(InitFrameType.Release, 2), SessionEncoder.EncodeTag(InitFrameType.Usage, 1),
            SessionEncoder.EncodeTag(InitFrameType.Quiesce, 2), SessionEncoder.EncodeProcessUsage(3, 1), SessionEncoder.EncodeId(InitFrameType.Release, 6),
        ];
        List<byte> all = [];
        for (int count = random.Next(3, 40); count > 0; count--)
        {
            byte[] frame = [.. frames[count % 3 == 0 ? 0 : random.Next(frames.Length)]];
            if (random.Next(6) == 0)
            {
                frame[random.Next(frame.Length)] = random.Next(3) switch { 0 => 0, 1 => 0xFF, _ => (byte)random.Next(256) };
            }

            all.AddRange(random.Next(20) == 0 ? frame[..random.Next(frame.Length)] : frame);
        }

        return [.. all];
    }

    private static async Task DrainAsync(Socket socket)
    {
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        byte[] buffer = new byte[65_536];
        try
        {
            while (await socket.ReceiveAsync(buffer, deadline.Token) > 0)
            {
                // PID 1 answers until it is gone.
            }
        }
        catch (SocketException exception) when (exception.SocketErrorCode == SocketError.ConnectionReset)
        {
            // PID 1 closed the socket with unread frames of the test.
        }
    }
}
