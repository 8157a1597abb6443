using Boxer.Admission;
using Boxer.Common;
using Boxer.Images;
using Boxer.Machine;
using Boxer.Networking;
using Boxer.Runtime;
using Boxer.Validation;

namespace Boxer.Running;

/// <summary>
/// The first steps of a run, and of the opening of a session: from the validated request to a sandbox. The caller disposes what they take, also after a
/// failure.
/// </summary>
/// <param name="services">The parts of the runner.</param>
/// <param name="request">The validated request.</param>
/// <param name="trace">Times the stages.</param>
/// <param name="events">Receives the progress of a pull.</param>
/// <param name="held">Takes over everything that the steps take.</param>
/// <param name="id">The identifier of the run or session.</param>
/// <param name="cancellationToken">Cancels the steps.</param>
internal sealed class Preparation(
    RunServices services, CheckedSandbox request, StageTrace trace, RunEvents events, CleanupStack held, string id, CancellationToken cancellationToken)
{
    /// <summary>The place in the queue.</summary>
    internal AdmissionQueue.Ticket Place { get; private set; } = null!;

    /// <summary>The running slot, with the memory of the sandbox.</summary>
    internal AdmissionQueue.Slot Slot { get; private set; } = null!;

    /// <summary>The host.</summary>
    internal PreparedHost Host { get; private set; } = null!;

    /// <summary>The image.</summary>
    internal IImageLease Image { get; private set; } = null!;

    /// <summary>The accounts of the image.</summary>
    internal ImageAccounts Accounts { get; private set; } = null!;

    /// <summary>The user.</summary>
    internal ImageUser User { get; private set; } = null!;

    /// <summary>Rejects a request whose network mode this host cannot use.</summary>
    /// <param name="mode">The network mode.</param>
    /// <exception cref="SandboxPrivilegeException">The mode cannot be used.</exception>
    internal static void CheckUsable(INetworkMode mode)
    {
        if (mode.GetUnavailableReason() is { } obstacle)
        {
            throw new SandboxPrivilegeException($"The network mode '{mode.Name}' cannot be used: {obstacle}")
            {
                PublicMessage = $"The network mode '{mode.Name}' cannot be used on this host; use another one, such as 'none'.",
            };
        }
    }

    /// <summary>Takes a place in the queue, prepares the host, gets the image and waits for a running slot.</summary>
    /// <exception cref="SandboxException">The host, the image or a slot cannot be had, or the image does not know the user.</exception>
    internal async Task PrepareAsync()
    {
        Place = held.Push(services.Admission.Enter(request.FairnessKey));
        Host = await services.Host.GetAsync(services.Options.QueueTimeout + services.Options.BootTimeout, cancellationToken).ConfigureAwait(false);
        Image = await trace.StageAsync("image", AcquireImageAsync).ConfigureAwait(false);
        Accounts = new ImageAccounts(Image.RootPath);
        User = CommandPlanner.ResolveUser(request.User, Image.Config, Accounts);
        Slot = held.Push(await trace.StageAsync("queue", () => Place.AcquireSlotAsync(request.Limits.MemoryBytes!.Value, cancellationToken)).ConfigureAwait(false));
    }

    /// <summary>Gets a sandbox, from the pool or by a boot. Each call gets another one.</summary>
    /// <param name="sandboxHeld">Takes over the sandbox and its network; <see langword="null"/>: they are held as long as everything else.</param>
    /// <exception cref="SandboxCapacityException">The network mode has no network left.</exception>
    /// <exception cref="SandboxRuntimeException">The sandbox did not boot.</exception>
    internal Task<RunSandbox> GetSandboxAsync(CleanupStack? sandboxHeld = null)
    {
        var source = new SandboxSource(Host, request, Image, id, trace, sandboxHeld ?? held);
        return source.GetAsync(cancellationToken);
    }

    private async Task<IImageLease> AcquireImageAsync()
    {
        if (request.PullPolicy != PullPolicy.Always || request.Image.Digest is not null)
        {
            try
            {
                var options = new ImageAcquireOptions { Policy = PullPolicy.Never };
                return held.Push(await Host.Images.AcquireAsync(request.Image, options, cancellationToken).ConfigureAwait(false));
            }
            catch (ImageNotFoundException) when (request.PullPolicy != PullPolicy.Never)
            {
                // It is pulled.
            }
        }

        // A run that waits for a registry leaves its place in the queue to runs whose images are here.
        Place.Dispose();
        using (services.Admission.EnterPull(request.FairnessKey))
        {
            IImageLease image = held.Push(await trace.StageAsync("pull", PullImageAsync).ConfigureAwait(false));
            Place = held.Push(services.Admission.Enter(request.FairnessKey));
            return image;
        }
    }

    private async Task<IImageLease> PullImageAsync()
    {
        using var progress = new PullEvents(request.Image.ToString(), events, services.Time);
        if (request.PullPolicy == PullPolicy.Missing)
        {
            progress.Begin();
        }

        var options = new ImageAcquireOptions { Policy = request.PullPolicy, Progress = progress };
        return await Host.Images.AcquireAsync(request.Image, options, cancellationToken).ConfigureAwait(false);
    }
}
