using System.Net;

namespace Boxer.Images.Registry;

/// <summary>A proxy that, as in other tools, is not used for loopback addresses.</summary>
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
