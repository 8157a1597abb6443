using Boxer.Images;
using Boxer.Networking;
using Boxer.Runtime;
using Boxer.Validation;

namespace Boxer.Pool;

/// <summary>
/// What a sandbox does before it waits, with the limits that a run has by default: the command of its image in
/// <see cref="PoolImageOptions.WarmUp"/>, or else everything that a run does but for the command.
/// </summary>
/// <param name="images">The images that have commands.</param>
/// <param name="limits">The limits, filled in.</param>
/// <param name="platform">The gVisor platform.</param>
internal sealed class WarmUps(IEnumerable<PoolImage> images, ResourceLimits limits, string platform)
{
    // No image has it: the directory is ours.
    private const string Missing = "/.boxer/none";
    private readonly Dictionary<string, IReadOnlyList<string>> _commands =
        images.Where(image => image.WarmUp.Count > 0)
            .ToDictionary(image => image.Image.ToString(), image => image.WarmUp, StringComparer.Ordinal);

    /// <summary>Puts together what the sandboxes of an image do.</summary>
    /// <param name="reference">What the image is called.</param>
    /// <param name="image">The image.</param>
    /// <param name="mode">The network mode, which a warm-up does not use.</param>
    internal CommandPlan Build(ImageReference reference, IImageLease image, INetworkMode mode)
    {
        string[] command = [.. _commands.GetValueOrDefault(reference.ToString(), [Missing])];
        var accounts = new ImageAccounts(image.RootPath);
        ImageUser user = CommandPlanner.ResolveUser(null, image.Config, accounts);
        var request = new CheckedRequest
        {
            Image = reference,
            PullPolicy = PullPolicy.Never,
            Network = mode,
            Egress = NetworkPolicy.Combine(CheckedEgress.Public, null, replaces: false),
            Command = command,
            Limits = limits,
        };
        return CommandPlanner.Build(request, image.Config, accounts, user, new GuestNetwork("", ""), platform, countsCpu: true);
    }
}
