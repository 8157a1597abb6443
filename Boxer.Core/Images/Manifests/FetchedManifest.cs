namespace Boxer.Images.Manifests;

/// <summary>A manifest as a place gave it, with the digest that it was verified against or that it has.</summary>
/// <param name="Content">Its bytes.</param>
/// <param name="MediaType">What the place calls it.</param>
/// <param name="Digest">Its digest.</param>
internal sealed record FetchedManifest(byte[] Content, string? MediaType, ImageDigest Digest);
