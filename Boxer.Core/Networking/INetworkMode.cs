namespace Boxer.Networking;

/// <summary>
/// A network mode: gives each sandbox its network. Applications register their own modes; a request names one by <see cref="Name"/>.
/// Implementations are safe for concurrent use. Everything that they need is public; docs/network.md has an example.
/// </summary>
public interface INetworkMode
{
    /// <summary>The name that requests use: 1 to 32 lower-case letters, digits and <c>-</c>, the first a letter. It does not change.</summary>
    string Name { get; }

    /// <summary>
    /// Whether sandboxes of this mode are booted ahead and wait for a run. If <see langword="false"/>, each run boots its own.
    /// </summary>
    bool SupportsPooling { get; }

    /// <summary>
    /// Whether the mode enforces an <see cref="EgressPolicy"/>. If <see langword="false"/>, a request of this mode with a policy is rejected.
    /// <value>Default <see langword="false"/>.</value>
    /// </summary>
    bool SupportsEgressPolicy => false;

    /// <summary>
    /// Whether a sandbox of this mode is frozen while it waits in the pool or for processors. A frozen sandbox takes no processor time, and answers
    /// nothing on its network. One that is not frozen takes 2 to 5 % of a processor.
    /// <value>Default <see langword="true"/>.</value>
    /// </summary>
    bool SupportsFreeze => true;

    /// <summary>
    /// Removes leftovers of dead processes of this mode, and nothing of living ones. Called when a runner starts. An exception is logged, and the
    /// start goes on.
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
    /// Creates the network of one sandbox, with all traffic dropped. Called before the sandbox boots; with <see cref="SupportsPooling"/>, the sandbox
    /// may then wait for hours.
    /// </summary>
    /// <param name="sandboxId">The identifier of the sandbox, unique on this host: <c>boxer-</c> and a UUID.</param>
    /// <param name="cancellationToken">Cancels the creation; everything that was created is removed.</param>
    /// <exception cref="SandboxCapacityException">
    /// There is no room for another network now. Waiting sandboxes of the mode are then destroyed for the run, and this is called again; without
    /// any, the run fails with the exception.
    /// </exception>
    Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken);
}

/// <summary>The network of one sandbox. Disposing it removes everything; it is disposed once the sandbox is gone.</summary>
public interface INetworkAttachment : IAsyncDisposable
{
    /// <summary>How the runtime joins it.</summary>
    NetworkConfiguration Runtime { get; }

    /// <summary>
    /// Whether a waiting sandbox with this network can still serve a run; otherwise it is destroyed. Read once a second for each waiting sandbox and
    /// when a run takes one: an implementation starts no process and waits for nothing.
    /// <value>Default <see langword="true"/>.</value>
    /// </summary>
    bool IsUsable => true;

    /// <summary>Opens the network for a run. Called once, while the sandbox boots or after it, and before the command starts.</summary>
    /// <param name="policy">
    /// The policy of the run, for modes with <see cref="INetworkMode.SupportsEgressPolicy"/>. Throw an exception if it cannot be installed: the run then
    /// does not start.
    /// </param>
    /// <param name="cancellationToken">Cancels the run; its command does not start.</param>
    /// <returns>The files that tell the command about its network: <see cref="GuestNetwork.Create"/>.</returns>
    Task<GuestNetwork> ApplyAsync(NetworkPolicy policy, CancellationToken cancellationToken);

    /// <summary>
    /// Reports the traffic of the run since <see cref="ApplyAsync"/>. Called once, after the command has ended. An exception is logged, and the result
    /// says so in <see cref="SandboxResult.NetworkIncomplete"/>.
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
