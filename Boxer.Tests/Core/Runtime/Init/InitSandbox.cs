using System.Buffers.Binary;
using System.Diagnostics;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using Boxer.Native;
using Boxer.Processes;
using Boxer.Runtime.Init;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>
/// Real boxer-init as PID 1, under runsc or in Linux namespaces, with only the environment that these tests need. A Python launcher connects to
/// a socket of the test and passes it on as descriptor 0. The command's streams are pipes that come with START.
/// </summary>
internal sealed class InitSandbox : IAsyncDisposable
{
    private const string Launcher =
        "import os,socket,sys\n"
        + "s=socket.socket(socket.AF_UNIX)\n"
        + "s.connect(sys.argv[1])\n"
        + "os.dup2(s.fileno(),0)\n"
        + "os.execvp(sys.argv[2],sys.argv[2:])\n";

    private const int MaxOutput = 64 << 20;
    private readonly string _directory;
    private readonly string? _containerId;
    private readonly Process _process;
    private readonly Task<string> _messages;
    private readonly DescriptorPoller _poller = new();
    private readonly Pipe _stdinPipe = Pipe.ForWriting();
    private readonly Pipe _stdoutPipe = Pipe.ForReading();
    private readonly Pipe _stderrPipe = Pipe.ForReading();
    private readonly OutputReader _stdout;
    private readonly OutputReader _stderr;

    private InitSandbox(string directory, string? containerId, Process process, Socket socket)
    {
        _directory = directory;
        _containerId = containerId;
        _process = process;
        Socket = socket;
        Channel = new InitChannel(socket);
        _messages = process.StandardError.ReadToEndAsync();
        _stdinPipe.Ours.Dispose();
        _stdout = new OutputReader(_poller, _stdoutPipe.Ours, MaxOutput);
        _stderr = new OutputReader(_poller, _stderrPipe.Ours, MaxOutput);
        _stdout.Start();
        _stderr.Start();
    }

    internal Socket Socket { get; }

    internal InitChannel Channel { get; }

    /// <summary>Gets the usual run of the tests, with the given uid as user and group.</summary>
    internal static InitStart Start(uint user, params string[] arguments) => new()
    {
        Arguments = arguments,
        Environment = ["PATH=/bin", "HOME=/home/user"],
        UserId = user,
        GroupId = user,
        ResourceLimits = [new(InitResource.Processes, 64, 64), new(InitResource.OpenFiles, 256, 256), new(InitResource.Core, 0, 0)],
        Hostname = "boxer",
        Tmpfs =
        [
            new("/tmp", 0x3FF, 0, 0), new("/home/user", 0x1ED, user, user, InitTmpfsKind.UnlessUsed), new("/output", 0x1ED, user, user), new("/dev/shm", 0x3FF, 0, 0),
        ],
        TmpfsBytes = 8 << 20,
        TextFiles = [new("/etc/hosts", "127.0.0.1 localhost\n"u8.ToArray())],
        Outputs = new("/output", 4 << 20, 100),
        MemoryBytes = 1 << 28,
        CpuQuota = 100_000,
    };

    /// <summary>Boots a sandbox under runsc and waits for READY.</summary>
    internal static async Task<InitSandbox> BootAsync(string root)
    {
        string directory = Directory.CreateTempSubdirectory("boxer-init-").FullName;
        string id = "boxer-test-" + Guid.NewGuid().ToString("N");
        string program = await InitBinary.InstallAsync(InitBinary.Find(), directory, TestContext.Current.CancellationToken);
        var spec = new
        {
            ociVersion = "1.0.2",
            process = new
            {
                user = new { uid = 0, gid = 0 },
                args = new[] { "/.boxer/init" },
                cwd = "/",
                capabilities = new
                {
                    bounding = InitProtocol.RequiredCapabilities,
                    effective = InitProtocol.RequiredCapabilities,
                    permitted = InitProtocol.RequiredCapabilities,
                },
            },
            root = new { path = root },
            mounts = new object[]
            {
                new { destination = "/proc", type = "proc", source = "proc" },
                new { destination = "/dev", type = "tmpfs", source = "tmpfs" },
                new { destination = "/.boxer/init", type = "bind", source = program, options = new[] { "ro", "bind" } },
            },
            linux = new { namespaces = new[] { "pid", "network", "ipc", "uts", "mount" }.Select(type => new { type }) },
        };
        await File.WriteAllTextAsync(Path.Combine(directory, "config.json"), JsonSerializer.Serialize(spec), TestContext.Current.CancellationToken);
        InitSandbox sandbox = await LaunchAsync(
            directory, id, "runsc", "--root", Path.Combine(directory, "state"), "--network=none", "--ignore-cgroups",
            "--overlay2=root:memory", "run", "--bundle", directory, id);
        await sandbox.ReadyAsync();
        return sandbox;
    }

    /// <summary>Starts PID 1 in namespaces of this machine, in <paramref name="root"/>, and waits for READY.</summary>
    internal static async Task<InitSandbox> StartNativeAsync(string root)
    {
        InitSandbox sandbox = await LaunchAsync(
            Directory.CreateTempSubdirectory("boxer-init-").FullName, null, "unshare", "--pid", "--fork", "--mount", "--uts", "--ipc",
            "--net", "--root", root, "--mount-proc", "/.boxer/boxer-init");
        await sandbox.ReadyAsync();
        return sandbox;
    }

    /// <summary>Sends START with the streams of the command.</summary>
    internal async Task StartAsync(InitStart start)
    {
        await Channel.StartAsync(
            start,
            InitEncoder.EncodeStart(start),
            [_stdinPipe.Theirs, _stdoutPipe.Theirs, _stderrPipe.Theirs],
            TestContext.Current.CancellationToken);
        _stdinPipe.Theirs.Dispose();
        _stdoutPipe.Theirs.Dispose();
        _stderrPipe.Theirs.Dispose();
    }

    /// <summary>Sends frames as they are. This many of the command's streams come with the first frame, which is a message of its own.</summary>
    internal void Send(byte[] frames, int streams)
    {
        SafeHandle[] descriptors = [_stdinPipe.Theirs, _stdoutPipe.Theirs, _stderrPipe.Theirs];
        int first = InitProtocol.HeaderSize + BinaryPrimitives.ReadInt32LittleEndian(frames);
        Assert.Equal(first, SysSocket.SendDescriptors(Socket.SafeHandle, frames.AsSpan(0, first), descriptors.AsSpan(0, streams)));
        if (first < frames.Length)
        {
            Socket.Send(frames.AsSpan(first));
        }
    }

    /// <summary>Sends START, files and GO, and reads to the end.</summary>
    internal async Task<InitRun> RunAsync(InitStart start, params (string Path, bool Executable, string Content)[] files)
    {
        CancellationToken cancellationToken = TestContext.Current.CancellationToken;
        await StartAsync(start);
        foreach ((string path, bool executable, string content) in files)
        {
            using var stream = new MemoryStream(Encoding.UTF8.GetBytes(content));
            await Channel.SendFileAsync(path, executable, stream, cancellationToken);
        }

        await Channel.GoAsync(cancellationToken);
        return await CollectAsync(start.Outputs is not null);
    }

    /// <summary>Reads events to the end, closes the socket, and waits for the end of the sandbox.</summary>
    internal async Task<InitRun> CollectAsync(bool withOutputs = true)
    {
        // No run takes seconds. A PID 1 that does not answer must fail its test without delaying the others.
        using var deadline = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        var run = new InitRun();
        while (!run.IsOver && !(run.Ended is not null && !withOutputs))
        {
            InitEvent initEvent = await Channel.ReadEventAsync(deadline.Token);
            run.Add(initEvent is InitOutputData data ? new InitOutputData(data.Data.ToArray()) : initEvent);
        }

        await Channel.DisposeAsync();
        run.ExitCode = await WaitAsync();
        _stdout.StopWhenDrained();
        _stderr.StopWhenDrained();
        await Task.WhenAll(_stdout.Completion, _stderr.Completion);
        run.Stdout = Encoding.UTF8.GetString(_stdout.Kept.Span);
        run.Stderr = Encoding.UTF8.GetString(_stderr.Kept.Span);
        return run;
    }

    /// <summary>Waits for the end of the process, for at most 60 s.</summary>
    internal async Task<int> WaitAsync()
    {
        await _process.WaitForExitAsync(TestContext.Current.CancellationToken).WaitAsync(TimeSpan.FromSeconds(60), TestContext.Current.CancellationToken);
        return _process.ExitCode;
    }

    private async Task ReadyAsync()
    {
        try
        {
            await Channel.ReadReadyAsync(TestContext.Current.CancellationToken);
        }
        catch (EndOfStreamException exception)
        {
            throw new InvalidOperationException(await _messages, exception);
        }
    }

    public async ValueTask DisposeAsync()
    {
        await Channel.DisposeAsync();
        if (!_process.HasExited)
        {
            _process.Kill(entireProcessTree: true);
        }

        await _process.WaitForExitAsync(CancellationToken.None);
        _process.Dispose();
        _stdout.Dispose();
        _stderr.Dispose();
        _poller.Dispose();
        if (_containerId is not null)
        {
            using var delete = Process.Start(new ProcessStartInfo("runsc", ["--root", Path.Combine(_directory, "state"), "delete", "--force", _containerId])
            {
                RedirectStandardError = true,
                UseShellExecute = false,
            })!;
            await delete.WaitForExitAsync(CancellationToken.None);
        }

        Directory.Delete(_directory, recursive: true);
    }

    private static async Task<InitSandbox> LaunchAsync(string directory, string? id, params string[] command)
    {
        string path = Path.Combine(directory, "control");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen(1);
        var process = Process.Start(new ProcessStartInfo("/usr/bin/python3", ["-I", "-S", "-c", Launcher, path, .. command])
        {
            RedirectStandardError = true,
            UseShellExecute = false,
        })!;
        Socket socket = await listener.AcceptAsync(TestContext.Current.CancellationToken);
        return new InitSandbox(directory, id, process, socket);
    }
}

/// <summary>Events and output of one run.</summary>
internal sealed class InitRun
{
    private readonly List<InitEvent> _events = [];

    internal IReadOnlyList<InitEvent> Events => _events;

    internal string Stdout { get; set; } = "";

    internal string Stderr { get; set; } = "";

    internal int ExitCode { get; set; }

    internal bool IsOver => _events.LastOrDefault() is InitClosed or InitOutputDone or InitNotStarted or InitFileFailed;

    internal InitEnded? Ended => _events.OfType<InitEnded>().SingleOrDefault();

    internal IEnumerable<InitOutputTruncated> Truncations => _events.OfType<InitOutputTruncated>();

    internal void Add(InitEvent initEvent) => _events.Add(initEvent);

    internal Dictionary<string, string> Files()
    {
        var files = new Dictionary<string, string>(StringComparer.Ordinal);
        string? path = null;
        foreach (InitEvent initEvent in _events)
        {
            if (initEvent is InitOutputFile file)
            {
                files.Add(path = file.Path, "");
            }
            else if (initEvent is InitOutputData data)
            {
                files[path!] += Encoding.UTF8.GetString(data.Data.Span);
            }
        }

        return files;
    }
}
