using Boxer.Images.Manifests;

namespace Boxer.Images.Store;

/// <summary>An image whose manifest, config and layers are in the store.</summary>
/// <param name="Digest">The digest of the manifest.</param>
/// <param name="Config">What it says about processes.</param>
/// <param name="Layers">Its layers, from the lowest up.</param>
internal sealed record StoredImage(ImageDigest Digest, ImageConfig Config, IReadOnlyList<ImageLayer> Layers);
