namespace Boxer.Images.Store;

/// <summary>A reference that the store knows.</summary>
/// <param name="Reference">The reference.</param>
/// <param name="Manifest">The digest of the manifest that it was resolved to.</param>
/// <param name="LastUsed">When it was last used.</param>
internal sealed record StoredReference(ImageReference Reference, ImageDigest Manifest, DateTimeOffset LastUsed);
