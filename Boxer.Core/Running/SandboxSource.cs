using Boxer.Common;
using Boxer.Images;
using Boxer.Machine;
using Boxer.Networking;
using Boxer.Pool;
using Boxer.Runtime;
using Boxer.Validation;

namespace Boxer.Running;

/// <summary>A sandbox that waits for the command of a run, with the run's network policy applied.</summary>
/// <param name="Sandbox">The sandbox.</param>
/// <param name="Network">Its network.</param>
/// <param name="Guest">The files that tell the command about the network.</param>
/// <param name="IsPooled">Whether it comes from the pool; otherwise it was booted for the run.</param>
internal sealed record RunSandbox(Sandbox Sandbox, INetworkAttachment Network, GuestNetwork Guest, bool IsPooled);

/// <summary>Gets sandboxes for one run: from the pool if one waits there, otherwise by a boot.</summary>
/// <param name="host">The host.</param>
/// <param name="request">The request.</param>
/// <param name="image">The image of the run.</param>
/// <param name="runId">The identifier of the run.</param>
/// <param name="trace">Times the stages.</param>
/// <param name="held">Takes over the sandboxes and their networks, also of those that failed.</param>
internal sealed class SandboxSource(PreparedHost host, CheckedSandbox request, IImageLease image, string runId, StageTrace trace, CleanupStack held)
{
    /// <summary>Gets a sandbox.</summary>
    /// <param name="cancellationToken">Cancels the run.</param>
    /// <exception cref="SandboxCapacityException">The network mode has no network left.</exception>
    /// <exception cref="SandboxRuntimeException">The sandbox did not boot.</exception>
    internal async Task<RunSandbox> GetAsync(CancellationToken cancellationToken) =>
        await TakeAsync(cancellationToken).ConfigureAwait(false) ?? await BootAsync(cancellationToken).ConfigureAwait(false);

    private async Task<RunSandbox?> TakeAsync(CancellationToken cancellationToken)
    {
        while (host.Pool?.Take(request.Image, image.Digest, request.Network, request.Limits.MemoryBytes!.Value) is { } pooled)
        {
            held.Push(pooled);
            try
            {
                return new RunSandbox(pooled.Sandbox, pooled.Network, await ApplyAsync(pooled).ConfigureAwait(false), IsPooled: true);
            }
            catch (Exception) when (!pooled.Network.IsUsable && !cancellationToken.IsCancellationRequested)
            {
                // Its network was removed while it waited: another one replaces it.
            }
        }

        return null;

        Task<GuestNetwork> ApplyAsync(PooledSandbox pooled) => trace.StageAsync("network", () => pooled.Network.ApplyAsync(request.Egress, cancellationToken));
    }

    private async Task<RunSandbox> BootAsync(CancellationToken cancellationToken)
    {
        INetworkAttachment network = held.Push(await trace.StageAsync("network", () => PrepareNetworkAsync(cancellationToken)).ConfigureAwait(false));

        // No code of the guest runs while the sandbox boots, so its policy is applied meanwhile.
        Task<GuestNetwork> applying = Task.Run(() => network.ApplyAsync(request.Egress, cancellationToken), CancellationToken.None);
        Sandbox sandbox;
        try
        {
            sandbox = await trace.StageAsync("sandbox", () => host.Launcher.BootAsync(held, image, network.Runtime, cancellationToken)).ConfigureAwait(false);
        }
        finally
        {
            await ((Task)applying).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }

        return new RunSandbox(sandbox, network, await applying.ConfigureAwait(false), IsPooled: false);
    }

    // Runs come before sandboxes that may serve a run later: if the mode has no network left, the pool evicts a sandbox.
    private async Task<INetworkAttachment> PrepareNetworkAsync(CancellationToken cancellationToken)
    {
        INetworkMode mode = request.Network;
        while (true)
        {
            try
            {
                return await mode.PrepareAsync(runId, cancellationToken).ConfigureAwait(false);
            }
            catch (SandboxCapacityException exception)
            {
                if (host.Pool is null || !await host.Pool.EvictOneAsync(mode.Name, exception.RetryAfter).WaitAsync(cancellationToken).ConfigureAwait(false))
                {
                    throw;
                }
            }
        }
    }
}
