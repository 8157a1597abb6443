using Boxer.Common;
using Boxer.Images;
using Boxer.Networking;
using Boxer.Runtime;

namespace Boxer.Pool;

/// <summary>A booted sandbox with its network and its image. It serves one run and is destroyed: disposing gives all of it back.</summary>
internal sealed class PooledSandbox : IPooledSandbox
{
    // Where this host does not say what a sandbox had: somewhat more than one that did nothing takes.
    private const long UsualBytes = 32 * ByteSize.MiB;

    // What a hand-over takes beside it: buffers of the runtime, and of the kernel for it.
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

    /// <summary>Its network, of which nothing is open yet.</summary>
    internal INetworkAttachment Network { get; }

    /// <inheritdoc/>
    public bool IsAlive => Sandbox.IsAlive && Network.IsUsable;

    /// <inheritdoc/>
    public long MemoryBytes => Sandbox.ReadPeakCharge() ?? UsualBytes;

    /// <inheritdoc/>
    public long LeastBytes => (Sandbox.ReadMemory() ?? UsualBytes) + HandOverBytes;

    /// <summary>Boots one.</summary>
    /// <param name="launcher">Boots sandboxes.</param>
    /// <param name="images">The store that has the image.</param>
    /// <param name="reference">The image, which is here.</param>
    /// <param name="digest">What it must be: a tag may mean another image by now.</param>
    /// <param name="mode">The network mode.</param>
    /// <param name="warmUps">What it does before it waits.</param>
    /// <param name="cancellationToken">Gives up; what was made is given back.</param>
    internal static async Task<PooledSandbox> BootAsync(
        SandboxLauncher launcher, IImageStore images, ImageReference reference, string digest, INetworkMode mode, WarmUps warmUps, CancellationToken cancellationToken)
    {
        var held = new CleanupStack();
        try
        {
            IImageLease image = held.Push(await images.AcquireAsync(reference, new ImageAcquireOptions { Policy = PullPolicy.Never }, cancellationToken).ConfigureAwait(false));
            if (image.Digest != digest)
            {
                throw new ImageNotFoundException($"{reference} is {image.Digest} now, and not {digest} any more.");
            }

            INetworkAttachment network = held.Push(await mode.PrepareAsync($"boxer-{Guid.NewGuid()}", cancellationToken).ConfigureAwait(false));
            Sandbox sandbox = await launcher.BootAsync(held, image, network.Runtime, cancellationToken).ConfigureAwait(false);
            await sandbox.WarmUpAsync(warmUps.Build(reference, image, mode), cancellationToken).ConfigureAwait(false);
            return new(sandbox, network, mode.SupportsFreeze, held);
        }
        catch
        {
            await held.AbandonAsync().ConfigureAwait(false);
            throw;
        }
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
