using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using Boxer.Runtime.Init;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>
/// boxer-init built with the address and undefined-behaviour sanitizers, as PID 1 of namespaces of this machine. Whatever the host sends, it
/// reports a fault or exits, and never crashes.
/// </summary>
public sealed class InitNativeTests(InitFixture fixture) : IClassFixture<InitFixture>
{
    private const int Rounds = 60;

    [Fact]
    public async Task Start_and_go_run_a_command_on_linux_as_in_gvisor()
    {
        // The tests of this class share the root, and their files stay in it. Its parent directory belongs to this machine.
        string above = Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(fixture.Root))!;
        string before = InitFixture.Run("stat", "-c", "%u %g %a", above);
        await using InitSandbox sandbox = await BootAsync();
        InitRun run = await sandbox.RunAsync(
            Start("sh", "-c", "cat /input; mkdir /output/d; echo x > /output/d/f; ln -s f /output/d/l; exit 9"),
            ("/input", false, "input\n"));
        Assert.Equal(9, run.Ended?.ExitCode);
        Assert.Equal("input\n", run.Stdout);
        Assert.Equal("x\n", run.Files()["d/f"]);
        Assert.Equal([new(InitTruncation.NotRegular, 1)], run.Truncations);
        Assert.Equal(0, run.ExitCode);
        Assert.Equal(before, InitFixture.Run("stat", "-c", "%u %g %a", above));
    }

    [Fact]
    public async Task Tree_frames_fill_the_workspace_and_follow_no_link()
    {
        await using InitSandbox sandbox = await BootAsync();
        await sandbox.StartAsync(WorkspaceStart("sh", "-c", "cat copy; stat -c %a:%Y copy d; readlink l; echo x >> d/f; ln -s f d/m"));
        await sandbox.Channel.SendFramesAsync(
            new[]
            {
                Entry(InitFrameType.TreeDirectory, "d"), Entry(InitFrameType.TreeFile, "d/f"), Data("of a file\n"), InitEncoder.EncodeEmpty(InitFrameType.FileEnd),
                Entry(InitFrameType.TreeLink, "l", "d"), Entry(InitFrameType.TreeLink, "l", "d/f"), Entry(InitFrameType.TreeCopy, "copy", "d/f"), Entry(InitFrameType.TreeDirectory, "d"),
            }.SelectMany(frame => frame).ToArray(),
            TestContext.Current.CancellationToken);
        await sandbox.Channel.GoAsync(TestContext.Current.CancellationToken);
        InitRun run = await sandbox.CollectAsync();

        Assert.Equal("of a file\n755:1000\n755:1000\nd/f\n", run.Stdout);
        Assert.Equal("of a file\nx\n", run.Files()["d/f"]);
        Assert.Contains(new InitOutputLink("d/m", "f"), run.Events);
        Assert.Equal(0, run.ExitCode);
    }

    [Theory]
    [InlineData("TreeFile", "l/f", null, 20)]
    [InlineData("TreeDirectory", "l/d", null, 20)]
    [InlineData("TreeDirectory", "l", null, 20)]
    [InlineData("TreeLink", "l/l", "x", 20)]
    [InlineData("TreeCopy", "copy", "l", 40)]
    [InlineData("TreeCopy", "copy", "l/passwd", 20)]
    [InlineData("TreeCopy", "copy", "missing", 2)]
    [InlineData("TreeFile", "missing/f", null, 2)]
    [InlineData("TreeFile", "d", null, 21)]
    public async Task Tree_frames_over_a_link_or_a_directory_fail_with_their_path(string frame, string path, string? other, int errno)
    {
        await using InitSandbox sandbox = await BootAsync();
        await sandbox.StartAsync(WorkspaceStart("true"));
        byte[] frames = [.. Entry(InitFrameType.TreeDirectory, "d"), .. Entry(InitFrameType.TreeLink, "l", "/etc"), .. Entry(Enum.Parse<InitFrameType>(frame), path, other)];
        await sandbox.Channel.SendFramesAsync(frames, TestContext.Current.CancellationToken);

        Assert.Equal(new InitFileFailed(path, errno), await sandbox.Channel.ReadEventAsync(TestContext.Current.CancellationToken));
    }

    private static byte[] Entry(InitFrameType type, string path, string? other = null) => InitEncoder.EncodeTreeEntry(type, 0x1ED, 1_000, 0, path, other);

    private static byte[] Data(string text)
    {
        byte[] frame = new byte[InitProtocol.HeaderSize + text.Length];
        InitProtocol.WriteHeader(frame, InitFrameType.FileData, text.Length);
        Encoding.ASCII.GetBytes(text, frame.AsSpan(InitProtocol.HeaderSize));
        return frame;
    }

    private static InitStart WorkspaceStart(params string[] arguments) => Start(arguments) with
    {
        Tmpfs = [new("/workspace", 0x1ED, 65534, 65534, InitTmpfsKind.Workspace)],
        WorkingDirectory = "/workspace",
        Outputs = null,
        ChangeBytes = 1_000,
        ChangeEntries = 100,
    };

    [Fact]
    [Slow]
    public async Task Frames_in_the_wrong_order_are_faults()
    {
        foreach (byte[] frame in (byte[][])
            [
                InitEncoder.EncodeEmpty(InitFrameType.Go),
                InitEncoder.EncodeEmpty(InitFrameType.FileEnd),
                InitEncoder.EncodeFileBegin("/a", executable: false),
                InitEncoder.EncodeEmpty(InitFrameType.Ready),
                Entry(InitFrameType.TreeFile, "a"),
                [.. InitEncoder.EncodeStart(Start("true")), .. Entry(InitFrameType.TreeFile, "a")],
                [.. InitEncoder.EncodeStart(WorkspaceStart("true")), .. Entry(InitFrameType.TreeFile, "a"), .. Entry(InitFrameType.TreeFile, "b")],
                [.. InitEncoder.EncodeStart(WorkspaceStart("true")), .. Entry(InitFrameType.TreeFile, "a"), .. InitEncoder.EncodeEmpty(InitFrameType.Go)],
                [.. InitEncoder.EncodeStart(WorkspaceStart("true")), .. Entry(InitFrameType.TreeLink, "a")],
                [.. InitEncoder.ToWarmUp(InitEncoder.EncodeStart(WorkspaceStart("true")))],
                [.. InitEncoder.EncodeStart(Start("true")), .. InitEncoder.EncodeStart(Start("true"))],
                [.. InitEncoder.EncodeStart(Start("true")), .. InitEncoder.EncodeFileBegin("/a", executable: false), .. InitEncoder.EncodeEmpty(InitFrameType.Go)],
                [.. InitEncoder.EncodeStart(Start("true")), .. InitEncoder.EncodeEmpty(InitFrameType.Go), .. InitEncoder.EncodeEmpty(InitFrameType.Go)],
            ])
        {
            await using InitSandbox sandbox = await BootAsync();
            sandbox.Send(frame, streams: 3);
            string said = await ReadAllAsync(sandbox.Socket);
            Assert.Contains("malformed", said, StringComparison.Ordinal);
            Assert.Equal(1, await sandbox.WaitAsync());
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public async Task Start_with_too_few_descriptors_is_a_fault(int streams)
    {
        await using InitSandbox sandbox = await BootAsync();
        sandbox.Send(InitEncoder.EncodeStart(Start("true")), streams);
        Assert.Contains("take the standard streams", await ReadAllAsync(sandbox.Socket), StringComparison.Ordinal);
        Assert.Equal(1, await sandbox.WaitAsync());
    }

    [Fact]
    public async Task Start_without_descriptors_is_a_fault()
    {
        await using InitSandbox sandbox = await BootAsync();
        await sandbox.Channel.StartAsync(Start("true"), TestContext.Current.CancellationToken);
        Assert.Contains("take the standard streams", Assert.IsType<InitFault>(await sandbox.Channel.ReadEventAsync(TestContext.Current.CancellationToken)).Stage, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Kill_before_go_exits()
    {
        await using InitSandbox sandbox = await BootAsync();
        await sandbox.StartAsync(Start("true"));
        await sandbox.Channel.KillAsync(TestContext.Current.CancellationToken);
        Assert.IsType<InitClosed>(await sandbox.Channel.ReadEventAsync(TestContext.Current.CancellationToken));
        Assert.Equal(0, await sandbox.WaitAsync());
    }

    [Fact]
    [Slow]
    public async Task Garbage_and_damaged_frames_never_crash_or_hang_pid_1()
    {
        const int Seed = 20_261_123;
        var random = new Random(Seed);
        for (int round = 0; round < Rounds; round++)
        {
            byte[] bytes = Damage(random, round % 4);
            await using InitSandbox sandbox = await BootAsync();
            await sandbox.Socket.SendAsync(bytes, TestContext.Current.CancellationToken);
            sandbox.Socket.Shutdown(SocketShutdown.Send);
            await ReadAllAsync(sandbox.Socket);
            int code = await sandbox.WaitAsync();
            Assert.True(code is 0 or 1, $"Seed {Seed}, round {round}: exit code {code} after {Convert.ToHexString(bytes)}");
        }
    }

    [Fact]
    public async Task Program_exits_if_it_is_not_pid_1()
    {
        Skip();
        using var process = Process.Start(new ProcessStartInfo(InitBinary.Find()) { RedirectStandardError = true, UseShellExecute = false })!;
        string stderr = await process.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        await process.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal((125, "boxer-init: not PID 1\n"), (process.ExitCode, stderr));
    }

    private static InitStart Start(params string[] arguments) => InitSandbox.Start(65534, arguments) with
    {
        Tmpfs = [new("/output", 0x1ED, 65534, 65534)],
        TmpfsBytes = 1 << 20,
    };

    private static byte[] Damage(Random random, int kind)
    {
        if (kind == 0)
        {
            byte[] garbage = new byte[random.Next(1, 400)];
            random.NextBytes(garbage);
            return garbage;
        }

        byte[] start = InitEncoder.EncodeStart(WorkspaceStart("true", "argument"));
        byte[] whole =
        [
            .. start, .. InitEncoder.EncodeFileBegin("/in/file", executable: true), .. InitEncoder.EncodeEmpty(InitFrameType.FileEnd),
            .. Entry(InitFrameType.TreeDirectory, "d"), .. Entry(InitFrameType.TreeLink, "d/l", "../x"), .. Entry(InitFrameType.TreeFile, "d/f"), .. Data("x"),
            .. InitEncoder.EncodeEmpty(InitFrameType.FileEnd), .. Entry(InitFrameType.TreeCopy, "c", "d/f"), .. InitEncoder.EncodeEmpty(InitFrameType.Go),
        ];
        if (kind == 1)
        {
            return whole[..random.Next(1, whole.Length)];
        }

        for (int change = random.Next(1, 5); change > 0; change--)
        {
            // In the payload of START, or anywhere.
            int position = kind == 2 ? random.Next(InitProtocol.HeaderSize, start.Length) : random.Next(whole.Length);
            whole[position] = random.Next(3) switch { 0 => 0, 1 => 0xFF, _ => (byte)random.Next(256) };
        }

        return whole;
    }

    private static async Task<string> ReadAllAsync(Socket socket)
    {
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        using var all = new MemoryStream();
        byte[] buffer = new byte[65_536];
        try
        {
            int read;
            while ((read = await socket.ReceiveAsync(buffer, deadline.Token)) > 0)
            {
                all.Write(buffer, 0, read);
            }
        }
        catch (SocketException exception) when (exception.SocketErrorCode == SocketError.ConnectionReset)
        {
            // PID 1 closed the socket with unread frames of the test.
        }

        return Encoding.Latin1.GetString(all.ToArray());
    }

    private Task<InitSandbox> BootAsync() => InitNative.BootAsync(fixture);

    private void Skip()
    {
        if (fixture.Unable is { } reason)
        {
            Assert.Skip(reason);
        }
    }
}
