using Boxer.Images;

namespace Boxer.Validation;

/// <summary>A parsed entry of <see cref="PoolOptions.Images"/>.</summary>
/// <param name="Image">The image.</param>
/// <param name="Count">Minimum number of pooled sandboxes.</param>
/// <param name="WarmUp">The command that each sandbox runs before it enters the pool; empty for none.</param>
internal sealed record PoolImage(ImageReference Image, int Count, IReadOnlyList<string> WarmUp)
{
    /// <summary>The network mode of the sandboxes.</summary>
    internal const string NetworkName = "none";

    /// <summary>Parses the images of a pool. They must be valid.</summary>
    /// <param name="options">The options of the pool.</param>
    internal static IReadOnlyList<PoolImage> Parse(PoolOptions options) =>
        [.. options.Images.Select(image => new PoolImage(ImageReference.Parse(image.Image), image.Count, [.. image.WarmUp]))];
}
