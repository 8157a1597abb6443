using System.Globalization;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Images;
using Boxer.Linux;
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

    // A dead process is reaped at once, and its output is in the pipe. The machine may be busy.
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

    private volatile bool _takesDescriptors = true;
    private volatile bool _isProbed;

    /// <param name="runsc">The runsc program.</param>
    /// <param name="initPath">The path of boxer-init on this host.</param>
    /// <param name="bindInit">Whether boxer-init is mounted into each sandbox, because the roots lack it.</param>
    /// <param name="directory">The parent of the sandboxes' directories.</param>
    /// <param name="programs">The executables that the sandboxes' processes run.</param>
    /// <param name="cgroups">The parent of the sandboxes' cgroups; <see langword="null"/>: none.</param>
    /// <param name="poller">Waits for descriptors.</param>
    /// <param name="bootTimeout">Maximum time of a boot.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">The log.</param>
    /// <param name="stopping">Cancelled when the runner is disposed: sandboxes that do not end are then no longer waited for.</param>
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

    /// <summary>
    /// Whether the runtime delivers descriptors to a booted sandbox, as far as known. Otherwise those of the command's streams are passed at boot, and
    /// sandboxes have no warm-up and serve no session.
    /// </summary>
    internal bool TakesDescriptors => _takesDescriptors;

    /// <summary>Boots a sandbox whose PID 1 waits for a command.</summary>
    /// <param name="held">Takes over the sandbox's resources before they are created: those of a sandbox that did not boot take time to end, too.</param>
    /// <param name="image">The image; the caller keeps the lease until the sandbox is gone.</param>
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

        SandboxResources resources = await BootAsync(held, rootPath, network, cancellationToken).ConfigureAwait(false);
        if (!_takesDescriptors && resources.Passed.Count == 0)
        {
            // The first sandbox showed it, and is of no use.
            Log.DescriptorsNotTaken(_logger, _runsc.Path, _runsc.Version);
            resources.Kill();
            resources = await BootAsync(held, rootPath, network, cancellationToken).ConfigureAwait(false);
        }

        return new Sandbox(resources, _poller, _time);
    }

    private async Task<SandboxResources> BootAsync(CleanupStack held, string rootPath, NetworkConfiguration network, CancellationToken cancellationToken)
    {
        // Short, because the runtime creates a socket below it, whose path has at most 107 bytes (unix(7)).
        string id = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(6));
        SandboxResources resources = held.Push(new SandboxResources(Path.Join(_directory, id), _programs, _time, _logger, _stopping));
        try
        {
            Directory.CreateDirectory(resources.Directory, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
            File.WriteAllBytes(Path.Join(resources.Directory, "config.json"), OciSpec.Write(rootPath, _bindInit ? _initPath : null, network));
            resources.Cgroup = _cgroups?.CreateCgroup(id);
            using Pipe messages = Start(resources, id, network);
            await WaitForInitAsync(resources, messages, cancellationToken).ConfigureAwait(false);

            // Without a cgroup the processes are found by their executables when the sandbox ends. A script as RunscPath has further processes below it.
            foreach (int process in resources.Cgroup is null ? ProcessTable.ReadTree(resources.Process!.Id) : [resources.Process!.Id])
            {
                _programs.AddOf(process);
            }

            return resources;
        }
        catch (Exception exception) when (HostFault.Is(exception))
        {
            throw new SandboxRuntimeException($"The sandbox could not be made: {exception.Message}", exception);
        }
    }

    /// <returns>The pipe of the runtime's messages.</returns>
    private Pipe Start(SandboxResources resources, string id, NetworkConfiguration network)
    {
        resources.Passed = _takesDescriptors ? [] : [Pipe.ForWriting(), Pipe.ForReading(), Pipe.ForReading()];
        (Socket ours, SafeFileHandle theirs) = SocketPair.Create();
        resources.Init = new InitChannel(ours);
        Pipe messages = Pipe.ForReading();
        try
        {
            using (theirs)
            using (SafeFileHandle nothing = OpenNull())
            {
                SafeHandle[] descriptors = [theirs, nothing, messages.Theirs, .. resources.Passed.Select(pipe => pipe.Theirs)];
                resources.Process = ChildProcess.Start(_poller, _initPath, Arguments(resources, id, network), HostCommand.ChildEnvironment, descriptors);
            }
        }
        catch
        {
            messages.Dispose();
            throw;
        }

        foreach (Pipe pipe in resources.Passed.Append(messages))
        {
            pipe.Theirs.Dispose();
        }

        return messages;
    }

    // .NET would lock the file for a process that does not share it.
    private static SafeFileHandle OpenNull() => File.OpenHandle("/dev/null", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);

    /// <summary>Creates the arguments of boxer-init's launch step, which joins cgroup and network namespace and then executes runsc.</summary>
    private List<string> Arguments(SandboxResources resources, string id, NetworkConfiguration network)
    {
        int passed = resources.Passed.Count;
        List<string> arguments = ["launch", "--fds", (3 + passed).ToString(CultureInfo.InvariantCulture)];
        foreach (string file in resources.Cgroup?.ProcsFiles ?? [])
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

        arguments.AddRange(["--", _runsc.Path, .. _runsc.RunArguments(resources.Directory, id, network, passed)]);
        return arguments;
    }

    private async Task WaitForInitAsync(SandboxResources resources, Pipe pipe, CancellationToken cancellationToken)
    {
        using var deadline = new CancellationTokenSource(_bootTimeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);

        // Only the runtime can write there: PID 1 closes its end before it is ready. Without a reader, a runtime with long messages would block and not end.
        using var messages = new OutputReader(_poller, pipe.Ours, DiagnosticBytes);
        messages.Start();
        try
        {
            await resources.Init!.ReadReadyAsync(either.Token).ConfigureAwait(false);
            await ProbeAsync(resources.Init, either.Token).ConfigureAwait(false);
            await FinishAsync(messages).ConfigureAwait(false);
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            resources.Kill();
            throw new SandboxRuntimeException(await ExplainAsync($"did not boot within {_bootTimeout.TotalSeconds:0.###} s", messages).ConfigureAwait(false), exception);
        }
        catch (EndOfStreamException exception)
        {
            await Task.WhenAny(resources.Process!.Exited, Task.Delay(DiagnosticPatience, _time, cancellationToken)).ConfigureAwait(false);
            string exit = resources.Process.Exited.IsCompletedSuccessfully ? $" (exit code {resources.Process.Exited.Result})" : "";
            throw new SandboxRuntimeException(await ExplainAsync("ended while it booted" + exit, messages).ConfigureAwait(false), exception);
        }
        catch (InitProtocolException exception)
        {
            resources.Kill();
            throw new SandboxRuntimeException(await ExplainAsync($"booted with something else than boxer-init ({exception.Message})", messages).ConfigureAwait(false), exception);
        }
    }

    // A sandbox that waits or is restored gets its streams by such descriptors. The first one shows whether the runtime delivers them.
    private async Task ProbeAsync(InitChannel init, CancellationToken cancellationToken)
    {
        if (_isProbed)
        {
            return;
        }

        using Pipe pipe = Pipe.ForReading();
        _takesDescriptors &= await init.ProbeAsync(pipe.Theirs, cancellationToken).ConfigureAwait(false);
        _isProbed = true;
    }

    private async Task<string> ExplainAsync(string what, OutputReader messages)
    {
        await FinishAsync(messages).ConfigureAwait(false);
        string text = UntrustedText.Decode(messages.Kept.Span).Trim();
        return $"The sandbox {what}. {_runsc.Path} said: {(text.Length == 0 ? "nothing" : text)}";
    }

    // Reads what is in the pipe now. A process that goes on writing is not waited for.
    private async Task FinishAsync(OutputReader messages)
    {
        messages.StopWhenDrained();
        await Task.WhenAny(messages.Completion, Task.Delay(DiagnosticPatience, _time)).ConfigureAwait(false);
        messages.Dispose();
        await messages.Completion.ConfigureAwait(false);
    }
}
