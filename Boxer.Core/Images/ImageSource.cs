namespace Boxer.Images;

/// <summary>A file or directory of this host that an image is imported from (the names of containers-transports(5)).</summary>
/// <param name="Kind">What it is.</param>
/// <param name="Path">Its path.</param>
/// <param name="Name">
/// Which of its images: a tag or reference as it names them; <see langword="null"/> where it has one only. Not for <see cref="ImageSourceKind.RootArchive"/>.
/// </param>
public sealed record ImageSource(ImageSourceKind Kind, string Path, string? Name = null)
{
    private static readonly (string Prefix, ImageSourceKind Kind)[] Prefixes =
    [
        ("oci:", ImageSourceKind.OciLayout),
        ("oci-archive:", ImageSourceKind.OciArchive),
        ("docker-archive:", ImageSourceKind.DockerArchive),
        ("rootfs:", ImageSourceKind.RootArchive),
    ];

    /// <summary>Parses <c>oci:PATH[:TAG]</c>, <c>oci-archive:PATH[:TAG]</c>, <c>docker-archive:PATH[:REFERENCE]</c> or <c>rootfs:PATH</c>.</summary>
    /// <param name="text">The text.</param>
    /// <exception cref="FormatException">It is none of these; the message says what to write.</exception>
    public static ImageSource Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        foreach ((string prefix, ImageSourceKind kind) in Prefixes)
        {
            if (!text.StartsWith(prefix, StringComparison.Ordinal))
            {
                continue;
            }

            string rest = text[prefix.Length..];
            int colon = kind == ImageSourceKind.RootArchive ? -1 : rest.IndexOf(':', StringComparison.Ordinal);
            string path = colon < 0 ? rest : rest[..colon];
            string? name = colon < 0 ? null : rest[(colon + 1)..];
            if (path.Length > 0 && name != "")
            {
                return new(kind, path, name);
            }

            break;
        }

        throw new FormatException($"\"{text}\" is not a source of an image; write oci:DIRECTORY[:TAG], oci-archive:FILE[:TAG], docker-archive:FILE[:REFERENCE] or rootfs:FILE.");
    }

    /// <inheritdoc/>
    public override string ToString() => Prefixes.First(prefix => prefix.Kind == Kind).Prefix + Path + (Name is null ? "" : ":" + Name);
}

/// <summary>What an <see cref="ImageSource"/> is.</summary>
public enum ImageSourceKind
{
    /// <summary>The directory of an OCI image layout (OCI image spec, image-layout.md).</summary>
    OciLayout,

    /// <summary>A tar archive of an OCI image layout, plain or compressed with gzip or zstd.</summary>
    OciArchive,

    /// <summary>What <c>docker save</c> writes: a tar archive with a manifest.json, plain or compressed with gzip or zstd.</summary>
    DockerArchive,

    /// <summary>A tar archive of a root file system, plain or compressed with gzip or zstd. It becomes an image of one layer without config.</summary>
    RootArchive,
}
