using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Boxer.Images;

/// <summary>Whose certificates are believed, host by host: this machine's authorities, a registry's own ones in their place, or anybody.</summary>
internal sealed class RegistryCertificates : IDisposable
{
    private readonly Dictionary<string, X509Certificate2Collection> _authorities = new(StringComparer.OrdinalIgnoreCase);
    private readonly HashSet<string> _insecure = new(StringComparer.OrdinalIgnoreCase);

    /// <summary>Reads the authorities.</summary>
    /// <param name="files">PEM files by registry.</param>
    /// <param name="insecure">Registries whose certificates are not looked at.</param>
    /// <exception cref="ArgumentException">A file cannot be read; all faults are in the message.</exception>
    public RegistryCertificates(IReadOnlyDictionary<string, string> files, IReadOnlyList<string> insecure)
    {
        var faults = new List<string>();
        foreach ((string registry, string file) in files)
        {
            var authorities = new X509Certificate2Collection();
            try
            {
                authorities.ImportFromPemFile(file);
            }
            catch (Exception fault) when (fault is IOException or UnauthorizedAccessException or CryptographicException or ArgumentException)
            {
                faults.Add($"RegistryCertificates[\"{registry}\"]: {file} cannot be read: {fault.Message}");
                continue;
            }

            if (authorities.Count == 0)
            {
                faults.Add($"RegistryCertificates[\"{registry}\"]: {file} has no certificate in PEM form.");
            }

            _authorities[HostOf(registry)] = authorities;
        }

        _insecure.UnionWith(insecure.Select(HostOf));
        if (faults.Count > 0)
        {
            Dispose();
            throw new ArgumentException(string.Join(" ", faults));
        }
    }

    /// <summary>Whether a server is who it says, as <see cref="RemoteCertificateValidationCallback"/>.</summary>
    public bool IsBelieved(object sender, X509Certificate? certificate, X509Chain? chain, SslPolicyErrors errors)
    {
        string host = ((SslStream)sender).TargetHostName.Trim('[', ']');
        if (_insecure.Contains(host))
        {
            return true;
        }

        if (!_authorities.TryGetValue(host, out X509Certificate2Collection? authorities))
        {
            return errors == SslPolicyErrors.None;
        }

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

    private static string HostOf(string registry) =>
        Uri.TryCreate($"https://{registry}/", UriKind.Absolute, out Uri? address) ? address.IdnHost.Trim('[', ']') : registry;
}
