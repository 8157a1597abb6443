namespace Boxer.Images.Disk;

/// <summary>A reference that the store knows.</summary>
/// <param name="Reference">The reference.</param>
/// <param name="Manifest">Digest of the manifest that the reference was resolved to.</param>
/// <param name="LastUsed">Time of its last use.</param>
internal sealed record StoredReference(ImageReference Reference, ImageDigest Manifest, DateTimeOffset LastUsed);
