using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Images;
using Boxer.Networking;
using Boxer.Runtime;
using Boxer.Validation;
using Microsoft.Extensions.Logging;

namespace Boxer.Pool;

/// <summary>The pool of one runner: boots sandboxes of images and network modes ahead, and gives them to runs.</summary>
internal sealed class RunnerPool : IAsyncDisposable
{
    private readonly CheckedOptions _options;
    private readonly SandboxLauncher _launcher;
    private readonly IImageStore _images;
    private readonly AdmissionQueue _admission;
    private readonly ILogger _logger;
    private readonly CancellationToken _stopping;
    private readonly WarmUps _warmUps;
    private readonly SandboxPool<PooledSandbox> _pool;
    private readonly BackgroundTasks _filling = new();

    /// <summary>Starts an empty pool.</summary>
    /// <param name="options">The options of the runner.</param>
    /// <param name="launcher">Boots the sandboxes.</param>
    /// <param name="images">The image store.</param>
    /// <param name="admission">Promises memory to the sandboxes of the pool, and knows the demand for processors.</param>
    /// <param name="metrics">The metrics of the pool.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">The log.</param>
    /// <param name="stopping">Cancelled when the runner is disposed: ends the wait for images.</param>
    internal RunnerPool(
        CheckedOptions options,
        SandboxLauncher launcher,
        IImageStore images,
        AdmissionQueue admission,
        PoolMetrics metrics,
        TimeProvider time,
        ILogger logger,
        CancellationToken stopping)
    {
        _options = options;
        _launcher = launcher;
        _images = images;
        _admission = admission;
        _logger = logger;
        _stopping = stopping;
        _warmUps = new WarmUps(options.PoolImages, options.DefaultLimits, options.Values.Platform);
        _pool = new SandboxPool<PooledSandbox>(
            options.Values.Pool, options.PoolImages, IsBusy, admission.Ledger, options.DefaultLimits.MemoryBytes!.Value, metrics, time, logger);
    }

    /// <summary>Takes a sandbox for a run and triggers the boot of another one.</summary>
    /// <param name="reference">The image as the request names it.</param>
    /// <param name="digest">The digest of the image.</param>
    /// <param name="mode">The network mode.</param>
    /// <param name="memoryBytes">The memory limit of the run, in bytes.</param>
    /// <returns>A thawed sandbox that the caller must dispose; <see langword="null"/> if none is ready.</returns>
    internal PooledSandbox? Take(ImageReference reference, string digest, INetworkMode mode, long memoryBytes) =>
        mode.SupportsPooling ? _pool.Take(new PoolKey(digest, mode.Name), reference.ToString(), BootOf(reference, digest, mode), memoryBytes) : null;

    /// <summary>Starts to boot the minimum number of sandboxes of the images that the options list.</summary>
    internal void FillListedImages()
    {
        if (_options.Networks.TryGetValue(PoolImage.NetworkName, out INetworkMode? mode))
        {
            foreach (PoolImage image in _options.PoolImages.Where(image => image.Count > 0))
            {
                _ = _filling.RunAsync(() => FillAsync(image.Image, mode));
            }
        }
    }

    /// <inheritdoc cref="SandboxPool{T}.EvictOneAsync"/>
    internal Task<bool> EvictOneAsync(string network, TimeSpan pause) => _pool.EvictOneAsync(network, pause);

    /// <inheritdoc cref="SandboxPool{T}.TriggerRefill"/>
    internal void TriggerRefill() => _pool.TriggerRefill();

    /// <summary>Destroys the sandboxes of the pool.</summary>
    public async ValueTask DisposeAsync()
    {
        await _filling.WhenAllAsync().ConfigureAwait(false);
        await _pool.DisposeAsync().ConfigureAwait(false);
    }

    // Runs get the processors first. The pool boots with the rest: half of them, or all if no sandbox of an image is ready.
    private bool IsBusy(bool isUrgent) =>
        _admission.IsAnyWaiting || _admission.Count.Running >= Math.Max(1, isUrgent ? Environment.ProcessorCount : Environment.ProcessorCount / 2);

    private async Task FillAsync(ImageReference reference, INetworkMode mode)
    {
        await Task.Yield();
        try
        {
            IImageLease image = await _images.AcquireAsync(reference, new ImageAcquireOptions { Policy = _options.Values.PullPolicy }, _stopping).ConfigureAwait(false);
            string digest = image.Digest;
            await image.DisposeAsync().ConfigureAwait(false);
            _pool.Fill(new PoolKey(digest, mode.Name), reference.ToString(), BootOf(reference, digest, mode));
        }
        catch (Exception exception)
        {
            // The first run of the image reports the fault, and adds the image to the pool.
            Log.PoolImageFailed(_logger, reference.ToString(), exception);
        }
    }

    private Func<CleanupStack, CancellationToken, Task<PooledSandbox>> BootOf(ImageReference reference, string digest, INetworkMode mode) =>
        (held, cancellationToken) => PooledSandbox.BootAsync(held, _launcher, _images, reference, digest, mode, _warmUps, cancellationToken);
}
