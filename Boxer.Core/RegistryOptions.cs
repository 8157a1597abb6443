namespace Boxer;

/// <summary>Access to one registry.</summary>
public sealed class RegistryOptions
{
    /// <summary>
    /// Name of the registry, as <c>host</c> or <c>host:port</c>. <see cref="Certificate"/> of a <c>host</c> applies to all its ports without an
    /// entry of their own.
    /// <value>Required: there is no default.</value>
    /// </summary>
    public string Name { get; set; } = "";

    /// <summary>
    /// Base URLs that images of the registry are pulled from, in order, such as <c>http://127.0.0.1:5000</c>. The registry itself is tried only if
    /// it is listed.
    /// <value>Default empty: the registry itself.</value>
    /// </summary>
    public IList<string> Mirrors { get; set; } = [];

    /// <summary>
    /// Path of the file with the registry's certificate authorities (PEM). They replace those of this machine.
    /// <value>Default <see langword="null"/>: the certificate authorities of this machine.</value>
    /// </summary>
    public string? Certificate { get; set; }

    /// <summary>
    /// Whether to accept any certificate, to fall back to http if an https connection fails, and to allow any address for the registry.
    /// <value>Default <see langword="false"/>.</value>
    /// </summary>
    public bool Insecure { get; set; }

    internal RegistryOptions Copy()
    {
        var copy = (RegistryOptions)MemberwiseClone();
        copy.Mirrors = [.. Mirrors];
        return copy;
    }
}
