using System.Net;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;

namespace Boxer.Images.Registry;

/// <summary>Options of a <see cref="RegistryClient"/>. They are read once, when the client is created.</summary>
public sealed class RegistryClientOptions
{
    /// <summary>
    /// Mirrors, certificate authorities and security of registries, one entry for each registry.
    /// <value>Default empty: each registry is reached itself, over https at a public address.</value>
    /// </summary>
    public IList<RegistryOptions> Registries { get; set; } = [];

    /// <summary>
    /// Registries that may be asked, as <c>host</c> or <c>host:port</c>; see <see cref="BoxerOptions.AllowedRegistries"/>.
    /// <value>Default empty: every registry at a public address, and those with a mirror.</value>
    /// </summary>
    public IList<string> AllowedRegistries { get; set; } = [];

    /// <summary>
    /// Source of registry credentials, such as <see cref="DockerConfigCredentials"/>.
    /// <value>Default <see langword="null"/>: anonymous access.</value>
    /// </summary>
    public IRegistryCredentials? Credentials { get; set; }

    /// <summary>
    /// Proxy for requests to registries; not used for loopback addresses.
    /// <value>Default <see langword="null"/>: the proxy of HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY (<see cref="HttpClient.DefaultProxy"/>).</value>
    /// </summary>
    public IWebProxy? Proxy { get; set; }

    /// <summary>
    /// Platform of images, as <c>linux/architecture</c> or <c>linux/architecture/variant</c>.
    /// <value>Default <see langword="null"/>: the platform of this machine.</value>
    /// </summary>
    public string? Platform { get; set; }

    /// <summary>
    /// Clock of timeouts and retries.
    /// <value>Default <see cref="System.TimeProvider.System"/>.</value>
    /// </summary>
    public TimeProvider TimeProvider { get; set; } = TimeProvider.System;

    /// <summary>
    /// Creates loggers.
    /// <value>Default: nothing is logged.</value>
    /// </summary>
    public ILoggerFactory LoggerFactory { get; set; } = NullLoggerFactory.Instance;
}
