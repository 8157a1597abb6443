using Boxer.Network;

namespace Boxer.Runtime;

/// <summary>Boots sandboxes.</summary>
internal interface ISandboxRuntime
{
    /// <summary>Boots a sandbox whose PID 1 waits for its work. What was made is given back when this fails.</summary>
    /// <param name="rootPath">The root, shared and not written to.</param>
    /// <param name="network">How it joins its network.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="SandboxRuntimeException">It did not boot.</exception>
    Task<Sandbox> BootAsync(string rootPath, RuntimeNetwork network, CancellationToken cancellationToken);
}
