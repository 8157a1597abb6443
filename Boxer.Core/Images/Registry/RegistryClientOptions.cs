using System.Net;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Boxer.Images;

/// <summary>Which registries are asked, and how. They are read once, when the client or the store is made.</summary>
public record RegistryClientOptions
{
    /// <summary>
    /// All places that images of a registry come from, in order, by registry name: base URLs such as <c>http://127.0.0.1:5000</c>.
    /// The registry itself is tried only if it is listed.
    /// </summary>
    public IReadOnlyDictionary<string, IReadOnlyList<string>> RegistryMirrors { get; init; } = new Dictionary<string, IReadOnlyList<string>>();

    /// <summary>Registries that images may come from; see <see cref="BoxerOptions.AllowedRegistries"/>.</summary>
    public IReadOnlyList<string> AllowedRegistries { get; init; } = [];

    /// <summary>Files with the authorities (PEM) of registries; see <see cref="RegistryOptions.Certificate"/>.</summary>
    public IReadOnlyDictionary<string, string> RegistryCertificates { get; init; } = new Dictionary<string, string>();

    /// <summary>Registries whose certificates are not looked at; see <see cref="RegistryOptions.Insecure"/>.</summary>
    public IReadOnlyList<string> InsecureRegistries { get; init; } = [];

    /// <summary>
    /// Knows credentials of registries, such as <see cref="DockerConfigCredentials"/>.
    /// <value>Default <see langword="null"/>: all are asked as anybody.</value>
    /// </summary>
    public IRegistryCredentials? Credentials { get; init; }

    /// <summary>
    /// The proxy that registries are asked through; never used for loopback addresses.
    /// <value>Default <see langword="null"/>: what HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say (<see cref="HttpClient.DefaultProxy"/>).</value>
    /// </summary>
    public IWebProxy? Proxy { get; init; }

    /// <summary>
    /// The platform whose images are taken, as <c>linux/architecture</c> or <c>linux/architecture/variant</c>.
    /// <value>Default <see langword="null"/>: this machine's.</value>
    /// </summary>
    public string? Platform { get; init; }

    /// <summary>The clock of time-outs and retries.</summary>
    public TimeProvider TimeProvider { get; init; } = TimeProvider.System;

    /// <summary>Where is logged to.</summary>
    public ILoggerFactory LoggerFactory { get; init; } = NullLoggerFactory.Instance;
}
