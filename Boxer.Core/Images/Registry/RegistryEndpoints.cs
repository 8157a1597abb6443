using System.Net;

namespace Boxer.Images.Registry;

/// <summary>An endpoint that images of a registry can be pulled from: the registry itself, or a mirror.</summary>
/// <param name="BaseAddress">Scheme, host, port and path before <c>v2/</c>, with a slash at its end.</param>
/// <param name="IsConfigured">
/// Whether the operator configured it. Redirects of an endpoint that only a user named must lead to public addresses, also those to hosts that the
/// operator configured for other images.
/// </param>
/// <param name="IsFallback">Whether it is the endpoint before it in the list, over http. It is asked only if that one could not be reached.</param>
internal sealed record RegistryEndpoint(Uri BaseAddress, bool IsConfigured, bool IsFallback = false)
{
    /// <summary>Name of the endpoint in the lookup of credentials.</summary>
    public string Registry => BaseAddress.Host == RegistryName.DockerHubHost ? ImageReference.DefaultRegistry : BaseAddress.Authority;

    /// <summary>Gets whether an address has the scheme, host and port of this endpoint.</summary>
    /// <param name="address">The address.</param>
    public bool Has(Uri address) =>
        Uri.Compare(address, BaseAddress, UriComponents.SchemeAndServer, UriFormat.SafeUnescaped, StringComparison.OrdinalIgnoreCase) == 0;

    /// <inheritdoc/>
    public override string ToString() => BaseAddress.GetLeftPart(UriPartial.Path).TrimEnd('/');
}

/// <summary>
/// The endpoints that images may be pulled from: the mirrors of a registry in order, or the registry itself, as far as the operator allows it.
/// </summary>
/// <remarks>
/// A mirror may have any address, and is asked with the scheme of its URL. A registry itself is asked over https. It must have a public address,
/// unless it is listed as allowed. A listed registry with a loopback name (<c>localhost</c> or an address) is also asked over http if https gives no
/// connection, and so is an insecure registry.
/// </remarks>
internal sealed class RegistryEndpoints
{
    private readonly Dictionary<string, List<RegistryEndpoint>> _mirrors = new(StringComparer.OrdinalIgnoreCase);
    private readonly HashSet<string> _allowed = new(StringComparer.OrdinalIgnoreCase);
    private readonly HashSet<string> _trusted = new(StringComparer.OrdinalIgnoreCase);
    private readonly HashSet<string> _insecure = new(StringComparer.OrdinalIgnoreCase);
    private readonly HashSet<string> _plain = new(StringComparer.OrdinalIgnoreCase);

    /// <summary>Reads the configuration.</summary>
    /// <param name="registries">How registries are reached.</param>
    /// <param name="allowed">Registries as <c>host</c> or <c>host:port</c>.</param>
    /// <exception cref="ArgumentException">An entry is malformed; all faults are in the message.</exception>
    public RegistryEndpoints(IReadOnlyList<RegistryOptions> registries, IEnumerable<string> allowed)
    {
        var faults = new List<string>();
        var seen = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
        foreach (RegistryOptions options in registries)
        {
            string registry = RegistryName.Canonical(options.Name);
            if (!RegistryName.IsValid(registry))
            {
                faults.Add($"Registries: \"{registry}\" is not a registry; write a host or host:port such as \"docker.io\".");
            }

            if (!seen.Add(registry))
            {
                faults.Add($"Registries[\"{registry}\"] is listed twice; merge the entries.");
            }

            if (options.Mirrors.Count > 0)
            {
                _mirrors[registry] = ReadMirrors(registry, options.Mirrors, faults);
            }
        }

        AddNames("AllowedRegistries", allowed, _allowed, isInsecure: false, faults);
        AddNames("Registries", registries.Where(registry => registry.Insecure && RegistryName.IsValid(registry.Name)).Select(registry => registry.Name), _insecure, isInsecure: true, faults);
        if (faults.Count > 0)
        {
            throw new ArgumentException(string.Join(" ", faults));
        }
    }

    /// <summary>Gets the endpoints to ask for an image, in order.</summary>
    /// <param name="reference">The image.</param>
    /// <exception cref="InvalidSandboxRequestException">The operator does not allow the registry.</exception>
    public IReadOnlyList<RegistryEndpoint> For(ImageReference reference)
    {
        if (_mirrors.TryGetValue(reference.Registry, out List<RegistryEndpoint>? mirrors))
        {
            return mirrors;
        }

        bool listed = _allowed.Contains(reference.Registry);
        if (_allowed.Count > 0 && !listed)
        {
            throw new InvalidSandboxRequestException(
                "Image",
                $"images of the registry {reference.Registry} are not allowed here; use another registry, or ask the operator of this host.",
                $"allowed: {string.Join(", ", _allowed.Concat(_mirrors.Keys).Distinct().Order(StringComparer.Ordinal))}");
        }

        string host = RegistryName.HostOf(reference.Registry);
        if (!Uri.TryCreate($"https://{host}/", UriKind.Absolute, out Uri? secure))
        {
            throw new InvalidSandboxRequestException("Image", $"{reference.Registry} is not a host or host:port; check its port.");
        }

        bool isInsecure = _insecure.Contains(reference.Registry);
        return isInsecure || (listed && IsLoopbackName(secure))
            ? [new(secure, IsConfigured: true), new(new Uri($"http://{host}/"), IsConfigured: true, IsFallback: true)]
            : [new(secure, IsConfigured: listed)];
    }

    /// <summary>Gets whether a host may have an address that is not public.</summary>
    /// <param name="host">The host.</param>
    /// <param name="port">The port.</param>
    public bool MayBePrivate(string host, int port) => _trusted.Contains($"{host.Trim('[', ']')}:{port}") || _trusted.Contains($"{host}:{port}");

    /// <summary>Gets whether an address may be asked without TLS.</summary>
    /// <param name="address">The address.</param>
    public bool MayBePlain(Uri address) => _plain.Contains(Authority(address));

    private List<RegistryEndpoint> ReadMirrors(string registry, IList<string> urls, List<string> faults)
    {
        var endpoints = new List<RegistryEndpoint>();
        foreach (string url in urls)
        {
            if (!RegistryName.TryParseMirror(url, out Uri? address))
            {
                faults.Add($"Registries[\"{registry}\"].Mirrors: \"{url}\" is not a base URL; write for example \"http://127.0.0.1:5000\".");
                continue;
            }

            endpoints.Add(new(address, IsConfigured: true));
            _trusted.Add(Authority(address));
            if (address.Scheme == Uri.UriSchemeHttp)
            {
                _plain.Add(Authority(address));
            }
        }

        return endpoints;
    }

    private void AddNames(string option, IEnumerable<string> listed, HashSet<string> names, bool isInsecure, List<string> faults)
    {
        foreach (string registry in listed)
        {
            if (!RegistryName.IsValid(registry))
            {
                faults.Add($"{option}: \"{registry}\" is not a registry; write a host or host:port such as \"docker.io\".");
                continue;
            }

            names.Add(RegistryName.Canonical(registry));
            var address = new Uri($"https://{registry}");
            _trusted.Add(Authority(address));
            if (isInsecure || IsLoopbackName(address))
            {
                string plain = Authority(new Uri($"http://{registry}"));
                _trusted.Add(plain);
                _plain.Add(plain);
            }
        }
    }

    private static string Authority(Uri address) => address.IdnHost + ":" + address.Port;

    private static bool IsLoopbackName(Uri address) =>
        string.Equals(address.IdnHost, "localhost", StringComparison.OrdinalIgnoreCase)
        || (IPAddress.TryParse(address.IdnHost, out IPAddress? literal) && IPAddress.IsLoopback(literal));
}
