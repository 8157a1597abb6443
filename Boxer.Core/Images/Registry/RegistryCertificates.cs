using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Boxer.Images.Registry;

/// <summary>
/// Decides which server certificates are trusted: those of this machine's authorities, those of a registry's own authorities instead, or any
/// certificate of an insecure registry.
/// </summary>
internal sealed class RegistryCertificates : IDisposable
{
    private readonly Dictionary<string, X509Certificate2Collection> _authorities = new(StringComparer.OrdinalIgnoreCase);
    private readonly HashSet<string> _insecure = new(StringComparer.OrdinalIgnoreCase);

    /// <summary>Reads the certificates of the authorities.</summary>
    /// <param name="registries">
    /// The registries. Authorities of a <c>host</c> apply to all its ports without authorities of their own. An insecure <c>host</c> is insecure at port
    /// 443 only.
    /// </param>
    /// <exception cref="ArgumentException">A file cannot be read; all faults are in the message.</exception>
    public RegistryCertificates(IReadOnlyList<RegistryOptions> registries)
    {
        var faults = new List<string>();
        foreach (RegistryOptions options in registries)
        {
            if (options.Certificate is not { } file)
            {
                continue;
            }

            string registry = options.Name;
            var authorities = new X509Certificate2Collection();
            try
            {
                authorities.ImportFromPemFile(file);
            }
            catch (Exception fault) when (fault is IOException or UnauthorizedAccessException or CryptographicException or ArgumentException)
            {
                faults.Add($"Registries[\"{registry}\"].Certificate: {file} cannot be read: {fault.Message}");
                continue;
            }

            if (authorities.Count == 0)
            {
                faults.Add($"Registries[\"{registry}\"].Certificate: {file} has no certificate in PEM form.");
            }

            _authorities[RegistryName.HostOf(registry)] = authorities;
        }

        _insecure.UnionWith(registries.Where(options => options.Insecure).Select(options => RegistryName.HostOf(options.Name)).Select(registry => registry.Contains(':', StringComparison.Ordinal) && !registry.EndsWith(']') ? registry : registry + ":443"));
        if (faults.Count > 0)
        {
            Dispose();
            throw new ArgumentException(string.Join(" ", faults));
        }
    }

    /// <summary>Gets the validation of a server's certificate.</summary>
    /// <param name="target">The server.</param>
    /// <returns>The validation; <see langword="null"/>: that of this machine.</returns>
    public RemoteCertificateValidationCallback? ValidationFor(Uri target)
    {
        string host = target.IdnHost.Contains(':', StringComparison.Ordinal) ? $"[{target.IdnHost.Trim('[', ']')}]" : target.IdnHost;
        string authority = $"{host}:{target.Port}";
        bool isInsecure = _insecure.Contains(authority);
        X509Certificate2Collection? authorities = _authorities.GetValueOrDefault(authority) ?? _authorities.GetValueOrDefault(host);
        return isInsecure || authorities is not null
            ? (_, certificate, chain, errors) => isInsecure || IsIssuedBy(authorities!, certificate, chain, errors)
            : null;
    }

    private static bool IsIssuedBy(X509Certificate2Collection authorities, X509Certificate? certificate, X509Chain? chain, SslPolicyErrors errors)
    {
        if (certificate is not X509Certificate2 server || (errors & ~SslPolicyErrors.RemoteCertificateChainErrors) != SslPolicyErrors.None)
        {
            return false;
        }

        using var own = new X509Chain();
        own.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
        own.ChainPolicy.CustomTrustStore.AddRange(authorities);
        own.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
        own.ChainPolicy.ApplicationPolicy.Add(new Oid("1.3.6.1.5.5.7.3.1")); // server authentication (RFC 5280, 4.2.1.12)
        own.ChainPolicy.ExtraStore.AddRange(chain?.ChainPolicy.ExtraStore ?? []);
        return own.Build(server);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (X509Certificate2 authority in _authorities.Values.SelectMany(authorities => authorities))
        {
            authority.Dispose();
        }
    }
}
