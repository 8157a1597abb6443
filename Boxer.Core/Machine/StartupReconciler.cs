using Boxer.Diagnostics;
using Boxer.Images.Store;
using Boxer.Linux;
using Boxer.Networking;
using Boxer.Runtime.Init;
using Microsoft.Extensions.Logging;

namespace Boxer.Machine;

/// <summary>
/// Removes at start-up what dead processes left on this machine: their networks, instances, unfinished copies of PID 1's program, and the
/// leftovers of their image stores. It touches nothing of living processes.
/// </summary>
/// <param name="home">The directory of <see cref="BoxerOptions.Home"/>.</param>
/// <param name="time">The clock.</param>
/// <param name="logger">The log.</param>
internal sealed class StartupReconciler(string home, TimeProvider time, ILogger logger)
{
    /// <summary>Removes the networks that dead instances left, for each mode by its own means.</summary>
    /// <param name="modes">The network modes of the runner.</param>
    /// <param name="cancellationToken">Cancels the removal; the next start tries again.</param>
    internal async Task ReconcileNetworksAsync(IEnumerable<INetworkMode> modes, CancellationToken cancellationToken)
    {
        foreach (INetworkMode mode in modes)
        {
            try
            {
                await mode.ReconcileAsync(cancellationToken).ConfigureAwait(false);
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                // Other modes do not depend on this one, and the next start tries again.
                Log.NetworkReconcileFailed(logger, mode.Name, exception);
            }
        }
    }

    /// <summary>Removes dead instances, and copies of PID 1's program that were not finished.</summary>
    internal async Task ReconcileAsync()
    {
        await ReconcileInstancesAsync(InstanceDirectory.DefaultBase(), time, logger).ConfigureAwait(false);
        InitBinary.Sweep(home, time);
    }

    /// <summary>Removes the unfinished pulls and the roots that dead processes left in an image store, and content that no image needs.</summary>
    /// <param name="store">The store, opened.</param>
    internal static Task ReconcileImagesAsync(ImageStore store) => store.CleanAbandonedAsync();

    /// <summary>Removes dead instances: their processes, cgroups, mounts and directories. A failure is logged; the next start tries again.</summary>
    /// <param name="baseDirectory">The directory of the instances.</param>
    /// <param name="time">The clock.</param>
    /// <param name="logger">The log.</param>
    internal static async Task ReconcileInstancesAsync(string baseDirectory, TimeProvider time, ILogger logger)
    {
        if (!Directory.Exists(baseDirectory))
        {
            return;
        }

        PrivateDirectory.Ensure(baseDirectory);
        foreach (string id in ClaimedDirectory.FindNames(baseDirectory))
        {
            try
            {
                using ClaimedDirectory? dead = ClaimedDirectory.TryClaim(baseDirectory, id);
                if (dead is null)
                {
                    continue;
                }

                await InstanceDirectory.RemoveAsync(dead.Path, time).ConfigureAwait(false);
                dead.Forget();
                Log.InstanceReconciled(logger, id);
            }
            catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
            {
                Log.ReconcileFailed(logger, id, exception);
            }
        }
    }
}
