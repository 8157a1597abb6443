namespace Boxer.Networking;

/// <summary>
/// A network mode: gives each sandbox its network. Applications can register their own modes; a request names one by <see cref="Name"/>.
/// Implementations must be safe for concurrent use. See docs/network.md for an example.
/// </summary>
public interface INetworkMode
{
    /// <summary>The name that requests use: 1 to 32 lower-case letters, digits and <c>-</c>, starting with a letter. It must not change.</summary>
    string Name { get; }

    /// <summary>
    /// Whether the pool may keep booted sandboxes of this mode. If <see langword="false"/>, each run boots a sandbox of its own.
    /// </summary>
    bool SupportsPooling { get; }

    /// <summary>
    /// Whether the mode enforces an <see cref="EgressPolicy"/>. If <see langword="false"/>, a request of this mode with a policy is rejected.
    /// <value>Default <see langword="false"/>.</value>
    /// </summary>
    bool SupportsEgressPolicy => false;

    /// <summary>
    /// Whether a sandbox of this mode is frozen while it is in the pool or waits for processors. A frozen sandbox uses no processor time and does not
    /// respond on its network. A sandbox that is not frozen uses 2 to 5 % of a processor.
    /// <value>Default <see langword="true"/>.</value>
    /// </summary>
    bool SupportsFreeze => true;

    /// <summary>
    /// Removes leftovers of dead processes that used this mode, and nothing of living ones. Called when a runner starts. An exception is logged and
    /// does not stop the start.
    /// </summary>
    /// <param name="cancellationToken">Cancels the removal; the next start tries again.</param>
    Task ReconcileAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>
    /// Checks whether this process can use the mode, without changing anything. Called before each run of the mode; the run is rejected with
    /// <see cref="SandboxPrivilegeException"/> if it cannot.
    /// </summary>
    /// <returns><see langword="null"/> if it can. Otherwise the reason and the remedy, as a sentence for the log.</returns>
    string? GetUnavailableReason();

    /// <summary>
    /// Creates the network of one sandbox, with all traffic dropped. Called before the sandbox boots. With <see cref="SupportsPooling"/>, the sandbox
    /// may stay in the pool for hours.
    /// </summary>
    /// <param name="sandboxId">The identifier of the sandbox, unique on this host: <c>boxer-</c> and a UUID.</param>
    /// <param name="cancellationToken">Cancels the creation; everything that was created is removed.</param>
    /// <exception cref="SandboxCapacityException">
    /// No further network can be created now. The runner then evicts pooled sandboxes of the mode and calls this method again. If there are none, the
    /// run fails with the exception.
    /// </exception>
    Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken);
}

/// <summary>The network of one sandbox. Disposing it removes the network. It is disposed after the sandbox has ended.</summary>
public interface INetworkAttachment : IAsyncDisposable
{
    /// <summary>How the runtime joins it.</summary>
    NetworkConfiguration Runtime { get; }

    /// <summary>
    /// Whether a pooled sandbox with this network can still serve a run; otherwise it is evicted. Read once a second for each pooled sandbox and when
    /// a run takes one, so it must return at once and start no process.
    /// <value>Default <see langword="true"/>.</value>
    /// </summary>
    bool IsUsable => true;

    /// <summary>Opens the network for a run. Called once, while the sandbox boots or after it, and before the command starts.</summary>
    /// <param name="policy">
    /// The policy of the run, for modes with <see cref="INetworkMode.SupportsEgressPolicy"/>. Throw an exception if it cannot be installed: the run then
    /// does not start.
    /// </param>
    /// <param name="cancellationToken">Cancels the run; its command does not start.</param>
    /// <returns>The files that configure host names and DNS for the command: see <see cref="GuestNetwork.Create"/>.</returns>
    Task<GuestNetwork> ApplyAsync(NetworkPolicy policy, CancellationToken cancellationToken);

    /// <summary>
    /// Reports the traffic since <see cref="ApplyAsync"/>. Called once for a run, after its command has ended. For a session it is called before and after
    /// each command and by <see cref="ISandboxSession.ReadNetworkAsync"/>, also at the same time, and the result of a command has the difference. List
    /// all denials, also more than <see cref="NetworkReport.MaxDenied"/>: the runner keeps the most frequent ones afterwards. An exception is logged,
    /// and the result says so in <see cref="SandboxResult.NetworkIncomplete"/>.
    /// </summary>
    /// <param name="cancellationToken">Cancels the run.</param>
    Task<NetworkReport> ReportAsync(CancellationToken cancellationToken) => Task.FromResult(NetworkReport.None);
}

/// <summary>How the runtime joins a network.</summary>
/// <param name="Stack">The network stack of the sandbox.</param>
/// <param name="NamespacePath">
/// The absolute path of the network namespace to join, such as <c>/run/netns/NAME</c>, for <see cref="NetworkStack.Sandbox"/>; otherwise
/// <see langword="null"/>. gVisor takes over the addresses and routes of its links, so that each sandbox needs a namespace of its own.
/// </param>
public sealed record NetworkConfiguration(NetworkStack Stack, string? NamespacePath = null);

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
