using Boxer.Network;

namespace Boxer.Runtime;

/// <summary>Boots sandboxes.</summary>
internal interface ISandboxRuntime
{
    /// <summary>Boots a sandbox whose PID 1 waits for its work.</summary>
    /// <param name="held">Gets what it has on this host, before it is made: also one that did not boot may take its time to go.</param>
    /// <param name="rootPath">The root, shared and not written to.</param>
    /// <param name="network">How it joins its network.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="SandboxRuntimeException">It did not boot.</exception>
    Task<Sandbox> BootAsync(CleanupStack held, string rootPath, RuntimeNetwork network, CancellationToken cancellationToken);
}
