using Boxer.Common;
using Boxer.Images;
using Boxer.Networking;
using Boxer.Runtime;

namespace Boxer.Pool;

/// <summary>A booted sandbox with its network and its image lease. It serves one run. Disposing it destroys the sandbox and releases both.</summary>
internal sealed class PooledSandbox : IPooledSandbox
{
    // Assumed memory if the host does not measure it: somewhat more than an idle sandbox takes.
    private const long UsualBytes = 32 * ByteSize.MiB;

    // Additional memory of a hand-over: buffers of the runtime, and of the kernel for it.
    private const long HandOverBytes = 16 * ByteSize.MiB;
    private readonly CleanupStack _held;
    private readonly bool _mayFreeze;

    private PooledSandbox(Sandbox sandbox, INetworkAttachment network, bool mayFreeze, CleanupStack held)
    {
        _mayFreeze = mayFreeze;
        Sandbox = sandbox;
        Network = network;
        _held = held;
    }

    /// <summary>The sandbox.</summary>
    internal Sandbox Sandbox { get; }

    /// <summary>The network of the sandbox. All traffic is blocked until a policy is applied.</summary>
    internal INetworkAttachment Network { get; }

    /// <inheritdoc/>
    public bool IsAlive => Sandbox.IsAlive && Network.IsUsable;

    /// <inheritdoc/>
    public long MemoryBytes => Sandbox.ReadPeakCharge() ?? UsualBytes;

    /// <inheritdoc/>
    public long LeastBytes => (Sandbox.ReadMemory() ?? UsualBytes) + HandOverBytes;

    /// <summary>Boots a sandbox and warms it up, if it can be.</summary>
    /// <param name="held">Takes over what the boot creates; also the sandbox disposes it.</param>
    /// <param name="launcher">Boots sandboxes.</param>
    /// <param name="images">The store that has the image.</param>
    /// <param name="reference">Reference of the image, which must be in the store.</param>
    /// <param name="digest">Expected digest of the image: the reference may name another image by now.</param>
    /// <param name="mode">The network mode.</param>
    /// <param name="warmUps">The warm-up commands.</param>
    /// <param name="cancellationToken">Cancels the boot.</param>
    internal static async Task<PooledSandbox> BootAsync(
        CleanupStack held,
        SandboxLauncher launcher,
        IImageStore images,
        ImageReference reference,
        string digest,
        INetworkMode mode,
        WarmUps warmUps,
        CancellationToken cancellationToken)
    {
        IImageLease image = held.Push(await images.AcquireAsync(reference, new ImageAcquireOptions { Policy = PullPolicy.Never }, cancellationToken).ConfigureAwait(false));
        if (image.Digest != digest)
        {
            throw new ImageNotFoundException($"{reference} is now {image.Digest}, no longer {digest}.");
        }

        INetworkAttachment network = held.Push(await mode.PrepareAsync($"boxer-{Guid.NewGuid()}", cancellationToken).ConfigureAwait(false));
        Sandbox sandbox = await launcher.BootAsync(held, image, network.Runtime, cancellationToken).ConfigureAwait(false);
        if (sandbox.CanWarmUp)
        {
            await sandbox.WarmUpAsync(warmUps.Build(reference, image, mode), cancellationToken).ConfigureAwait(false);
        }

        return new(sandbox, network, mode.SupportsFreeze, held);
    }

    /// <inheritdoc/>
    public void Freeze()
    {
        if (_mayFreeze)
        {
            Sandbox.Freeze();
        }
    }

    /// <inheritdoc/>
    public void Thaw()
    {
        if (_mayFreeze)
        {
            Sandbox.Thaw();
        }
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync() => _held.DisposeAsync();
}
