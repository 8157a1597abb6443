namespace Boxer.Images.Manifests;

/// <summary>A manifest as it was received.</summary>
/// <param name="Content">The manifest's bytes.</param>
/// <param name="MediaType">The media type that it was sent with; <see langword="null"/> if none.</param>
/// <param name="Digest">The manifest's digest, verified if it was requested by digest.</param>
internal sealed record FetchedManifest(byte[] Content, string? MediaType, ImageDigest Digest);
