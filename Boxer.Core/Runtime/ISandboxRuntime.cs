using Boxer.Images;
using Boxer.Network;

namespace Boxer.Runtime;

/// <summary>Boots sandboxes.</summary>
internal interface ISandboxRuntime
{
    /// <summary>Boots a sandbox whose PID 1 waits for its work. What was made is given back when this fails.</summary>
    /// <param name="image">The image, held by the caller until the sandbox is gone.</param>
    /// <param name="network">How it joins its network.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <exception cref="SandboxRuntimeException">It did not boot.</exception>
    Task<Sandbox> BootAsync(IImageLease image, RuntimeNetwork network, CancellationToken cancellationToken);
}
