using System.Diagnostics;
using System.Net.Sockets;
using System.Text.Json;
using Boxer.Runtime.Kept;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>A file worker of <see cref="FileWorkerFixture"/> on this machine, or in a sandbox.</summary>
internal sealed class WorkerProcess : IAsyncDisposable
{
    private const string Launcher =
        "import os,socket,sys\n"
        + "s=socket.socket(socket.AF_UNIX)\n"
        + "s.connect(sys.argv[1])\n"
        + "os.dup2(s.fileno(),0)\n"
        + "os.setpgrp()\n"
        + "os.execvp(sys.argv[2],sys.argv[2:])\n";

    private readonly string _directory;
    private readonly string? _containerId;
    private readonly Process _process;

    private WorkerProcess(string directory, string? containerId, Process process, Socket socket, string files)
    {
        _directory = directory;
        _containerId = containerId;
        _process = process;
        Files = files;
        Worker = new FileWorker(socket, process.WaitForExitAsync(CancellationToken.None), new CommandClock(TimeProvider.System), TimeProvider.System);
    }

    internal FileWorker Worker { get; }

    /// <summary>An empty directory of the worker's user.</summary>
    internal string Files { get; }

    /// <summary>Starts a worker.</summary>
    /// <param name="fixture">The program.</param>
    /// <param name="inSandbox">Whether it runs in gVisor, where <see cref="Files"/> is on the overlay and <c>/small</c> is a tmpfs of 1 MiB.</param>
    /// <param name="script">Run by a shell as the user in <see cref="Files"/>, before the worker serves. Processes of it can go on.</param>
    /// <param name="user">The user.</param>
    internal static async Task<WorkerProcess> StartAsync(FileWorkerFixture fixture, bool inSandbox, string script = "", uint user = 1000)
    {
        Assert.SkipWhen(fixture.Unable is not null, fixture.Unable ?? "");
        string directory = Directory.CreateTempSubdirectory("boxer-files-").FullName;
        string files = inSandbox ? "/work" : Path.Join(directory, "files");
        script = script.Length == 0 ? "" : $"cd {files} && exec </dev/null >/dev/null && {{ {script.TrimEnd()}\n}}";
        string[] worker = [inSandbox ? "/bin/worker" : fixture.Program, user.ToString(System.Globalization.CultureInfo.InvariantCulture), script];
        if (!inSandbox)
        {
            foreach (string made in (string[])[directory, files])
            {
                Directory.CreateDirectory(made);
                File.SetUnixFileMode(made, (UnixFileMode)0x1FF);
            }

            return await LaunchAsync(directory, null, files, worker);
        }

        string id = "boxer-test-" + Guid.NewGuid().ToString("N");
        await File.WriteAllTextAsync(Path.Join(directory, "config.json"), Specification(fixture.Root, worker), TestContext.Current.CancellationToken);
        return await LaunchAsync(
            directory, id, files, ["runsc", "--root", Path.Join(directory, "state"), "--network=none", "--ignore-cgroups", "--overlay2=root:memory", "run", "--bundle", directory, id]);
    }

    public async ValueTask DisposeAsync()
    {
        // Processes of the script are in its process group, and can be all that is left of it.
        Init.InitFixture.Run("sh", "-c", $"/bin/kill -KILL -- -{_process.Id} 2>/dev/null || true");

        await Worker.DisposeAsync();
        if (_containerId is not null)
        {
            using var delete = Process.Start(new ProcessStartInfo("runsc", ["--root", Path.Join(_directory, "state"), "delete", "--force", _containerId])
            {
                RedirectStandardError = true,
                UseShellExecute = false,
            })!;
            await delete.WaitForExitAsync(CancellationToken.None);
        }

        await _process.WaitForExitAsync(CancellationToken.None);
        _process.Dispose();
        Init.InitFixture.Run("rm", "-rf", "--", _directory);
    }

    private static async Task<WorkerProcess> LaunchAsync(string directory, string? id, string files, string[] command)
    {
        string path = Path.Join(directory, "control");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen(1);
        var process = Process.Start(new ProcessStartInfo("/usr/bin/python3", ["-I", "-S", "-c", Launcher, path, .. command]) { UseShellExecute = false })!;
        Socket socket = await listener.AcceptAsync(TestContext.Current.CancellationToken);
        return new WorkerProcess(directory, id, process, socket, files);
    }

    private static string Specification(string root, string[] command)
    {
        string[] capabilities = ["CAP_SETUID", "CAP_SETGID"];
        return JsonSerializer.Serialize(new
        {
            ociVersion = "1.0.2",
            process = new
            {
                user = new { uid = 0, gid = 0 },
                args = command,
                env = new[] { "PATH=/bin" },
                cwd = "/",
                capabilities = new { bounding = capabilities, effective = capabilities, permitted = capabilities },
            },
            root = new { path = root },
            mounts = new object[]
            {
                new { destination = "/proc", type = "proc", source = "proc" },
                new { destination = "/sys", type = "sysfs", source = "sysfs" },
                new { destination = "/dev", type = "tmpfs", source = "tmpfs" },
                new { destination = "/small", type = "tmpfs", source = "tmpfs", options = new[] { "size=1048576", "mode=1777" } },
            },
            linux = new { namespaces = new[] { "pid", "network", "ipc", "uts", "mount" }.Select(type => new { type }) },
        });
    }
}
