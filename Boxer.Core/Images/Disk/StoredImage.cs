using Boxer.Images.Manifests;

namespace Boxer.Images.Disk;

/// <summary>An image whose manifest, config and layers are in the store.</summary>
/// <param name="Digest">Digest of the manifest.</param>
/// <param name="Config">Settings of the image's processes.</param>
/// <param name="Layers">The layers, from the bottom up.</param>
internal sealed record StoredImage(ImageDigest Digest, ImageConfig Config, IReadOnlyList<ImageLayer> Layers);
