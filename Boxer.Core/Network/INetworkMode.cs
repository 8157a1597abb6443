namespace Boxer.Network;

/// <summary>
/// A way to give a sandbox a network. Applications can register their own; a request names it by <see cref="Name"/>.
/// Implementations are safe for concurrent use.
/// </summary>
public interface INetworkMode
{
    /// <summary>The name that requests use: 1 to 32 lower-case letters, digits and <c>-</c>, the first a letter. It does not change.</summary>
    string Name { get; }

    /// <summary>Whether a sandbox of this mode may be booted before the request for it is known.</summary>
    bool SupportsPooling { get; }

    /// <summary>
    /// Whether the mode holds an <see cref="EgressPolicy"/>. Requests for one that does not may not have any.
    /// <value>Default <see langword="false"/>.</value>
    /// </summary>
    bool SupportsEgressPolicy => false;

    /// <summary>
    /// Whether a sandbox of this mode may be frozen while it waits, in the pool or for processors: none of its processes runs then, and it
    /// answers nothing on its network. Where it may not, one that waits takes 2 to 5 % of a processor.
    /// <value>Default <see langword="true"/>.</value>
    /// </summary>
    bool SupportsFreeze => true;

    /// <summary>Takes away what processes that died left of this mode. Called when a runner prepares this host.</summary>
    /// <param name="cancellationToken">Gives up.</param>
    Task ReconcileAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>
    /// Says whether this process can use the mode, without changing anything.
    /// </summary>
    /// <returns><see langword="null"/> if it can, else what is missing and what to do, as a sentence.</returns>
    string? GetUnavailableReason();

    /// <summary>Makes what a sandbox needs before it boots, with all traffic dropped. Where <see cref="SupportsPooling"/>, a sandbox may wait for long with it.</summary>
    /// <param name="sandboxId">The identifier of the sandbox, for names.</param>
    /// <param name="cancellationToken">Gives up; what was made is given back.</param>
    /// <exception cref="SandboxCapacityException">There is no more of it now. For a run, sandboxes that wait then give theirs up, and it is called again.</exception>
    Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken);
}

/// <summary>The network of one sandbox. Disposing it gives everything back.</summary>
public interface INetworkAttachment : IAsyncDisposable
{
    /// <summary>How the runtime joins it.</summary>
    RuntimeNetwork Runtime { get; }

    /// <summary>
    /// Whether a sandbox that was booted with it can still serve a run. Asked of each that waits, once a second and when it is taken: it starts
    /// no process and waits for nothing.
    /// <value>Default <see langword="true"/>.</value>
    /// </summary>
    bool IsUsable => true;

    /// <summary>Lets the traffic through that the run may have. Called once, before the command starts, while the sandbox boots or after.</summary>
    /// <param name="policy">What the run may reach. A policy that cannot be installed is an exception, and the run does not start.</param>
    /// <param name="cancellationToken">Gives up; the run does not start.</param>
    /// <returns>What the command finds inside.</returns>
    Task<GuestNetwork> ApplyAsync(NetworkPolicy policy, CancellationToken cancellationToken);

    /// <summary>Tells what the run did with its network. Called when its command has ended.</summary>
    /// <param name="cancellationToken">Gives up.</param>
    Task<NetworkReport> ReportAsync(CancellationToken cancellationToken) => Task.FromResult(NetworkReport.None);
}

/// <summary>How the runtime joins a network.</summary>
/// <param name="Stack">Which network stack the sandbox has.</param>
/// <param name="NamespacePath">The network namespace to join, for <see cref="NetworkStack.Sandbox"/>; else <see langword="null"/>.</param>
public sealed record RuntimeNetwork(NetworkStack Stack, string? NamespacePath = null);

/// <summary>A network stack of the runtime (runsc's <c>--network</c>).</summary>
public enum NetworkStack
{
    /// <summary>Loopback only.</summary>
    None,

    /// <summary>gVisor's own stack on the links of a network namespace.</summary>
    Sandbox,

    /// <summary>The host's stack.</summary>
    Host,
}
