using System.Net;

namespace Boxer.Images.Registry;

/// <summary>A proxy that is not used for this host's loopback, as other tools have it.</summary>
/// <param name="inner">The proxy.</param>
internal sealed class RegistryProxy(IWebProxy inner) : IWebProxy
{
    /// <inheritdoc/>
    public ICredentials? Credentials { get => inner.Credentials; set => inner.Credentials = value; }

    /// <inheritdoc/>
    public Uri? GetProxy(Uri destination) => IsBypassed(destination) ? null : inner.GetProxy(destination);

    /// <inheritdoc/>
    public bool IsBypassed(Uri host) => host.IsLoopback || inner.IsBypassed(host) || inner.GetProxy(host) is null;
}
