namespace Boxer.Images;

/// <summary>A file or directory of this host to import an image from, named as in containers-transports(5).</summary>
/// <param name="Kind">Kind of the source.</param>
/// <param name="Path">Path of the file or directory.</param>
/// <param name="Name">
/// Tag or reference of the image in the source; <see langword="null"/> if the source has only one image. Not used with
/// <see cref="ImageSourceKind.RootArchive"/>.
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
    /// <exception cref="FormatException">The text has none of these forms; the message lists them.</exception>
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

/// <summary>Kinds of <see cref="ImageSource"/>.</summary>
public enum ImageSourceKind
{
    /// <summary>The directory of an OCI image layout (OCI image spec, image-layout.md).</summary>
    OciLayout,

    /// <summary>A tar archive of an OCI image layout, plain or compressed with gzip or zstd.</summary>
    OciArchive,

    /// <summary>The output of <c>docker save</c>: a tar archive with a manifest.json, plain or compressed with gzip or zstd.</summary>
    DockerArchive,

    /// <summary>A tar archive of a root file system, plain or compressed with gzip or zstd. The image has one layer and no config.</summary>
    RootArchive,
}
