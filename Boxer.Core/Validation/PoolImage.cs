using Boxer.Images;

namespace Boxer.Validation;

/// <summary>An image of <see cref="PoolOptions.Images"/>, parsed.</summary>
/// <param name="Image">The image.</param>
/// <param name="Count">Sandboxes of it that always wait.</param>
/// <param name="WarmUp">The command that each runs before it waits; empty: none of its own.</param>
internal sealed record PoolImage(ImageReference Image, int Count, IReadOnlyList<string> WarmUp)
{
    /// <summary>Parses the images of a pool, which were validated before.</summary>
    /// <param name="options">The pool's options.</param>
    internal static IReadOnlyList<PoolImage> Parse(PoolOptions options) =>
        [.. options.Images.Select(image => new PoolImage(ImageReference.Parse(image.Image), image.Count, [.. image.WarmUp]))];
}
