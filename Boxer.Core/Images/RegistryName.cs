using System.Diagnostics.CodeAnalysis;

namespace Boxer.Images;

/// <summary>
/// The rules of registry names, as images, options and credentials write them: a host or host:port. Docker Hub has several names and is one
/// registry; it answers under another one than its images have.
/// </summary>
internal static class RegistryName
{
    /// <summary>The host where Docker Hub's registry answers.</summary>
    internal const string DockerHubHost = "registry-1.docker.io";
    private const string DockerHubIndex = "index.docker.io";

    /// <summary>Names that Docker Hub's credential is kept under, in the order in which they are looked up; the first is what Docker itself writes.</summary>
    private static readonly string[] DockerHubCredentials = [$"https://{DockerHubIndex}/v1/", DockerHubIndex, DockerHubHost, ImageReference.DefaultRegistry];

    /// <summary>Whether a text is a host or host:port.</summary>
    /// <param name="text">The text.</param>
    internal static bool IsValid([NotNullWhen(true)] string? text) =>
        !string.IsNullOrEmpty(text) && !text.AsSpan().ContainsAny('/', '@') && !text.Any(char.IsWhiteSpace)
        && Uri.TryCreate($"https://{text}/", UriKind.Absolute, out Uri? address) && address is { Host.Length: > 0, UserInfo: "", PathAndQuery: "/", Fragment: "" };

    /// <summary>The name that references have for a registry.</summary>
    /// <param name="registry">Any of its names.</param>
    internal static string Canonical(string registry) => registry == DockerHubIndex ? ImageReference.DefaultRegistry : registry;

    /// <summary>The host, or host:port, where a registry answers.</summary>
    /// <param name="registry">Any of its names.</param>
    internal static string HostOf(string registry) => Canonical(registry) == ImageReference.DefaultRegistry ? DockerHubHost : registry;

    /// <summary>Names that the credential of a registry may be kept under.</summary>
    /// <param name="registry">Its canonical name.</param>
    internal static IReadOnlyList<string> CredentialNames(string registry) => registry == ImageReference.DefaultRegistry ? DockerHubCredentials : [registry];

    /// <summary>Parses the URL of a mirror: http or https, without user, query and fragment.</summary>
    /// <param name="text">The URL.</param>
    /// <param name="address">The address before <c>v2/</c>; it ends with a slash.</param>
    internal static bool TryParseMirror(string? text, [NotNullWhen(true)] out Uri? address)
    {
        if (!Uri.TryCreate(text, UriKind.Absolute, out address) || address.Scheme is not ("http" or "https") || address is not { UserInfo: "", Query: "", Fragment: "" })
        {
            address = null;
            return false;
        }

        if (address is { Scheme: "https", IsDefaultPort: true } && HostOf(address.Host) == DockerHubHost)
        {
            address = new Uri($"https://{DockerHubHost}");
        }

        address = new Uri(address.AbsoluteUri.TrimEnd('/') + "/");
        return true;
    }
}
