using System.Runtime.CompilerServices;
using Boxer.Processes;
using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;

namespace Boxer.Runtime;

/// <summary>
/// A booted sandbox whose PID 1 waits for a command. It serves one run; then its <see cref="SandboxResources"/> are disposed. It is the same whether it
/// was booted for the run or comes from the pool.
/// </summary>
internal sealed class Sandbox
{
    // A longer command is a mistake of the operator, or the image is not made for it.
    private static readonly TimeSpan WarmUpTimeout = TimeSpan.FromSeconds(10);
    private readonly SandboxResources _resources;
    private readonly DescriptorPoller _poller;
    private readonly TimeProvider _time;
    private readonly StartGate _gate = new();

    /// <param name="resources">The sandbox on this host; the caller disposes it.</param>
    /// <param name="poller">Waits for descriptors.</param>
    /// <param name="time">The clock.</param>
    internal Sandbox(SandboxResources resources, DescriptorPoller poller, TimeProvider time)
    {
        _resources = resources;
        _poller = poller;
        _time = time;
    }

    /// <summary>The sandbox on this host.</summary>
    internal SandboxResources Resources => _resources;

    /// <summary>Waits for its descriptors.</summary>
    internal DescriptorPoller Poller => _poller;

    private InitChannel Init => _resources.Init!;

    /// <summary>
    /// Whether the command has started or may have: PID 1 may execute it before it reports so. Until then, and if the sandbox ended before PID 1 read
    /// GO, another sandbox can replace this one.
    /// </summary>
    internal bool MayHaveStarted => _gate.HasStarted || (_gate.MayHaveStarted && !Init.IsGoUnread);

    /// <summary>
    /// Whether the sandbox still waits: PID 1 has said nothing and not hung up, as it does when the runtime ends, and the kernel has neither killed
    /// anything in it for lack of memory nor refused it a process or thread. A frozen sandbox shows none of these by its behaviour.
    /// </summary>
    internal bool IsAlive => Init.IsSilent && (_resources.Cgroup?.ReadOutOfMemory() ?? OutOfMemory.None) == OutOfMemory.None
        && _resources.Cgroup?.ReadRefusedForks() is null or 0;

    /// <summary>Whether a command can warm it up: not with the streams of the run, which a command of user 0 could write to.</summary>
    internal bool CanWarmUp => _resources.Passed.Count == 0;

    /// <summary>Reads the most memory that the sandbox was charged with so far, in bytes, with page cache; <see langword="null"/> if this host does not report it.</summary>
    internal long? ReadPeakCharge() => _resources.Cgroup?.ReadPeakCharge();

    /// <summary>Reads the memory of the sandbox, in bytes, without page cache; <see langword="null"/> if this host does not report it.</summary>
    internal long? ReadMemory() => _resources.Cgroup?.ReadMemory();

    /// <summary>Stops its use of processor time until <see cref="Thaw"/>. Does nothing on a host without a freezer.</summary>
    internal void Freeze() => _resources.Cgroup?.Freeze();

    /// <summary>Ends <see cref="Freeze"/>.</summary>
    internal void Thaw() => _resources.Cgroup?.Thaw();

    /// <summary>Kills everything in it, without waiting.</summary>
    internal void Kill() => _resources.Kill();

    /// <summary>
    /// Runs a command before the sandbox waits, within the limits of the plan, so that the sandbox's kernel has its files and pages ready. Its
    /// termination does not matter.
    /// </summary>
    /// <param name="plan">The command; its files, input and outputs are left out.</param>
    /// <param name="cancellationToken">Cancels the operation; the sandbox is of no use afterwards.</param>
    /// <exception cref="SandboxRuntimeException">The sandbox broke, or the command did not end in time.</exception>
    internal async Task WarmUpAsync(CommandPlan plan, CancellationToken cancellationToken)
    {
        _resources.Cgroup?.Apply(plan.Cgroup);
        using var deadline = new CancellationTokenSource(WarmUpTimeout, _time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(deadline.Token, cancellationToken);
        try
        {
            await Init.WarmUpAsync(InitEncoder.ToWarmUp(plan.Frame), either.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
        {
            throw new SandboxRuntimeException($"The warm-up did not end within {WarmUpTimeout.TotalSeconds:0} s.", exception);
        }
        catch (Exception exception) when (exception is InitProtocolException or EndOfStreamException)
        {
            throw new SandboxRuntimeException($"The warm-up failed: {exception.Message}", exception);
        }
    }

    /// <summary>Hands a command over and waits for its outcome. Call it once.</summary>
    /// <param name="plan">The command.</param>
    /// <param name="processors">The processors that the command is promised; disposed when the command has ended.</param>
    /// <param name="onStarted">Called when the command has started.</param>
    /// <param name="onOutput">Receives what the command prints.</param>
    /// <param name="killing">Destroys the sandbox at once.</param>
    /// <param name="cancellationToken">Destroys the sandbox; a command that runs has its grace first.</param>
    /// <exception cref="SandboxRuntimeException">The sandbox broke before the command ran.</exception>
    /// <exception cref="InvalidSandboxRequestException">An input is rejected, or cannot be read.</exception>
    internal async Task<CommandOutcome> RunAsync(
        CommandPlan plan,
        IDisposable processors,
        Action onStarted,
        Action<SandboxStream, ReadOnlyMemory<byte>> onOutput,
        CancellationToken killing,
        CancellationToken cancellationToken)
    {
        var execution = new CommandExecution(_resources, plan, _gate, _poller, _time, onStarted, onOutput);
        await using ConfiguredAsyncDisposable disposed = execution.ConfigureAwait(false);
        return await execution.RunAsync(processors, killing, cancellationToken).ConfigureAwait(false);
    }
}
