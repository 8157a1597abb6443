namespace Boxer;

/// <summary>How one registry is reached.</summary>
public sealed class RegistryOptions
{
    /// <summary>
    /// The registry, as <c>host</c> or <c>host:port</c>. <see cref="Certificate"/> of a <c>host</c> is for all its ports that have none of their own.
    /// <value>Required: there is no default.</value>
    /// </summary>
    public string Name { get; set; } = "";

    /// <summary>
    /// All places that images of the registry come from, in order: base URLs such as <c>http://127.0.0.1:5000</c>. The registry itself is tried
    /// only if it is listed.
    /// <value>Default empty: the registry itself.</value>
    /// </summary>
    public IList<string> Mirrors { get; set; } = [];

    /// <summary>
    /// The file with the certificate authorities (PEM) of the registry. They replace this machine's.
    /// <value>Default <see langword="null"/>: this machine's.</value>
    /// </summary>
    public string? Certificate { get; set; }

    /// <summary>
    /// Whether the registry's certificate is not verified, http is used where https gives no connection, and the registry may be at any address.
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
