using System.Net.Sockets;
using System.Security.Cryptography;
using Boxer.Common;
using Boxer.Images;
using Boxer.Linux;
using Boxer.Native;
using Boxer.Networking;
using Boxer.Processes;
using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;
using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Runtime;

/// <summary>Boots sandboxes with <c>runsc run</c>, each in a cgroup and a directory of its own.</summary>
internal sealed class SandboxLauncher
{
    private const int DiagnosticBytes = 4096;

    // Who has died is reaped at once, and what it said is in the pipe; a machine may be busy.
    private static readonly TimeSpan DiagnosticPatience = TimeSpan.FromSeconds(1);
    private readonly RunscCommandLine _runsc;
    private readonly string _initPath;
    private readonly bool _bindInit;
    private readonly string _directory;
    private readonly RuntimePrograms _programs;
    private readonly CgroupHierarchy? _cgroups;
    private readonly DescriptorPoller _poller;
    private readonly TimeSpan _bootTimeout;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly CancellationToken _stopping;

    /// <param name="runsc">The program.</param>
    /// <param name="initPath">The executable boxer-init of this host.</param>
    /// <param name="bindInit">Whether roots lack it, so that it is mounted into each sandbox.</param>
    /// <param name="directory">Where the sandboxes' directories go.</param>
    /// <param name="programs">The executables that their processes run.</param>
    /// <param name="cgroups">Where their cgroups go, or <see langword="null"/> for none.</param>
    /// <param name="poller">Waits for descriptors.</param>
    /// <param name="bootTimeout">How long a boot may take.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">Is told of sandboxes that cannot be ended.</param>
    /// <param name="stopping">Says that they are not to be waited for any more.</param>
    internal SandboxLauncher(
        RunscCommandLine runsc,
        string initPath,
        bool bindInit,
        string directory,
        RuntimePrograms programs,
        CgroupHierarchy? cgroups,
        DescriptorPoller poller,
        TimeSpan bootTimeout,
        TimeProvider time,
        ILogger logger,
        CancellationToken stopping)
    {
        _runsc = runsc;
        _initPath = initPath;
        _bindInit = bindInit;
        _directory = directory;
        _programs = programs;
        _cgroups = cgroups;
        _poller = poller;
        _bootTimeout = bootTimeout;
        _time = time;
        _logger = logger;
        _stopping = stopping;
    }

    /// <summary>Boots a sandbox whose PID 1 waits for a command.</summary>
    /// <param name="held">Gets the sandbox's resources before they are made: also those of a sandbox that did not boot take time to end.</param>
    /// <param name="image">The image; the caller holds it until the sandbox is gone.</param>
    /// <param name="network">The network that the sandbox joins.</param>
    /// <param name="cancellationToken">Cancels the boot.</param>
    /// <exception cref="SandboxRuntimeException">The sandbox did not boot.</exception>
    internal async Task<Sandbox> BootAsync(CleanupStack held, IImageLease image, NetworkConfiguration network, CancellationToken cancellationToken)
    {
        string rootPath = image.RootPath;
        if (_bindInit && !File.Exists(rootPath + OciSpec.InitPath))
        {
            throw new SandboxRuntimeException($"The root {rootPath} has no file {OciSpec.InitPath} to mount PID 1 on: put an empty one there, or run as root.");
        }

        // Short, because the runtime makes a socket below it, whose path has room for 107 bytes (unix(7)).
        string id = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(6));
        SandboxResources parts = held.Push(new SandboxResources(Path.Join(_directory, id), _programs, _time, _logger, _stopping));
        try
        {
            Directory.CreateDirectory(parts.Directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            File.WriteAllBytes(Path.Join(parts.Directory, "config.json"), OciSpec.Write(rootPath, _bindInit ? _initPath : null, network));
            parts.Cgroup = _cgroups?.CreateCgroup(id);
            Start(parts, id, network);
            await WaitForInitAsync(parts, cancellationToken).ConfigureAwait(false);

            // Without a cgroup they are looked for by their programs when the sandbox ends, and a script in place of runsc has others below it.
            foreach (int process in parts.Cgroup is null ? ProcessTable.ReadTree(parts.Process!.Id) : [parts.Process!.Id])
            {
                _programs.AddOf(process);
            }

            return new Sandbox(parts, _poller, _time);
        }
        catch (Exception exception) when (HostFault.Is(exception))
        {
            throw new SandboxRuntimeException($"The sandbox could not be made: {exception.Message}", exception);
        }
    }

    private void Start(SandboxResources parts, string id, NetworkConfiguration network)
    {
        Pipe stdin = parts.Own(Pipe.ForWriting());
        Pipe stdout = parts.Own(Pipe.ForReading());
        Pipe stderr = parts.Own(Pipe.ForReading());
        (Socket ours, SafeFileHandle theirs) = SocketPair();
        parts.Init = new InitChannel(ours);
        using (theirs)
        {
            List<string> arguments = ["launch", "--fds", "4"];
            foreach (string file in parts.Cgroup?.ProcsFiles ?? [])
            {
                arguments.AddRange(["--cgroup", file]);
            }

            if (network.NamespacePath is { } namespacePath)
            {
                arguments.AddRange(["--netns", namespacePath]);
                if (_runsc.HidesCoreSysctls)
                {
                    arguments.Add("--hide-net-core-sysctls");
                }
            }

            if (_runsc.HidesAttributes)
            {
                arguments.Add("--hide-attributes");
            }

            arguments.AddRange(["--", _runsc.Path, .. _runsc.RunArguments(parts.Directory, id, network)]);
            parts.Process = ChildProcess.Start(
                _poller, _initPath, arguments, HostCommand.ChildEnvironment, [stdin.Theirs, stdout.Theirs, stderr.Theirs, theirs]);
        }

        stdin.Theirs.Dispose();
        stdout.Theirs.Dispose();
        stderr.Theirs.Dispose();
        parts.Stdin = stdin.Ours;
        parts.Stdout = stdout.Ours;
        parts.Stderr = stderr.Ours;
    }

    private async Task WaitForInitAsync(SandboxResources parts, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(_bootTimeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);

        // Until the hand-over only the runtime itself can write there. One that has much to say would wait for a reader, and not end.
        using var said = new OutputReader(_poller, parts.Stderr!, DiagnosticBytes, leavesOpen: true);
        said.Start();
        try
        {
            await parts.Init!.ReadReadyAsync(either.Token).ConfigureAwait(false);
            await FinishAsync(said).ConfigureAwait(false);
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            parts.Kill();
            throw new SandboxRuntimeException(await ExplainAsync($"did not boot within {_bootTimeout.TotalSeconds:0.###} s", said).ConfigureAwait(false), exception);
        }
        catch (EndOfStreamException exception)
        {
            await Task.WhenAny(parts.Process!.Exited, Task.Delay(DiagnosticPatience, _time, cancellationToken)).ConfigureAwait(false);
            string exit = parts.Process.Exited.IsCompletedSuccessfully ? $" (exit code {parts.Process.Exited.Result})" : "";
            throw new SandboxRuntimeException(await ExplainAsync("ended while it booted" + exit, said).ConfigureAwait(false), exception);
        }
        catch (InitProtocolException exception)
        {
            parts.Kill();
            throw new SandboxRuntimeException(await ExplainAsync($"booted with something else than boxer-init ({exception.Message})", said).ConfigureAwait(false), exception);
        }
    }

    private async Task<string> ExplainAsync(string what, OutputReader said)
    {
        await FinishAsync(said).ConfigureAwait(false);
        string text = UntrustedText.Decode(said.Kept.Span).Trim();
        return $"The sandbox {what}. {_runsc.Path} said: {(text.Length == 0 ? "nothing" : text)}";
    }

    // What is there, and of one that writes on no more.
    private async Task FinishAsync(OutputReader said)
    {
        said.StopWhenDrained();
        await Task.WhenAny(said.Completion, Task.Delay(DiagnosticPatience, _time)).ConfigureAwait(false);
        said.Dispose();
        await said.Completion.ConfigureAwait(false);
    }

    private static unsafe (Socket Ours, SafeFileHandle Theirs) SocketPair()
    {
        int* ends = stackalloc int[2];
        Check.Result(SysSocket.socketpair(SysSocket.AF_UNIX, SysSocket.SOCK_STREAM | SysSocket.SOCK_CLOEXEC, 0, ends), "socketpair");
        return (new Socket(new SafeSocketHandle(ends[0], ownsHandle: true)), new SafeFileHandle(ends[1], ownsHandle: true));
    }
}
