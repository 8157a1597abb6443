using Boxer.Images;
using Boxer.Networking;
using Boxer.Runtime;
using Boxer.Validation;

namespace Boxer.Pool;

/// <summary>
/// Plans the warm-up of pooled sandboxes, with the default limits of runs: the command of the image in <see cref="PoolImageOptions.WarmUp"/>, or
/// otherwise all steps of a run except the command.
/// </summary>
/// <param name="images">The images that have commands.</param>
/// <param name="limits">The default limits, filled in.</param>
/// <param name="platform">The gVisor platform.</param>
internal sealed class WarmUps(IEnumerable<PoolImage> images, ResourceLimits limits, string platform)
{
    // No image has this program: the directory is Boxer's.
    private const string Missing = "/.boxer/none";
    private readonly Dictionary<string, IReadOnlyList<string>> _commands =
        images.Where(image => image.WarmUp.Count > 0)
            .ToDictionary(image => image.Image.ToString(), image => image.WarmUp, StringComparer.Ordinal);

    /// <summary>Plans the warm-up of a sandbox.</summary>
    /// <param name="reference">Reference of the image.</param>
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
