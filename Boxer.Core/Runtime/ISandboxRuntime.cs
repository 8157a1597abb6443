using Boxer.Images;
using Boxer.Network;

namespace Boxer.Runtime;

/// <summary>Boots sandboxes.</summary>
internal interface ISandboxRuntime
{
    /// <summary>Boots a sandbox whose PID 1 waits for its work.</summary>
    /// <param name="held">Gets what it has on this host, before it is made: also one that did not boot may take its time to go.</param>
    /// <param name="image">The image, held by the caller until the sandbox is gone.</param>
    /// <param name="network">How it joins its network.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="SandboxRuntimeException">It did not boot.</exception>
    Task<Sandbox> BootAsync(CleanupStack held, IImageLease image, RuntimeNetwork network, CancellationToken cancellationToken);
}
