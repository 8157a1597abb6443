using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

namespace Boxer.Tests.Support;

/// <summary>A real registry (Debian's docker-registry) on a loopback port, with its own content directory.</summary>
public sealed class RegistryFixture : IAsyncLifetime
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("boxer-registry-");
    private Process? _process;

    /// <summary>Reason why this machine cannot run a registry; null if it can.</summary>
    public string? Missing { get; private set; }

    /// <summary>Accounts as htpasswd(1) with bcrypt writes them; empty for anonymous access.</summary>
    public string Accounts { get; init; } = "";

    /// <summary>Server certificate with its key; null for http.</summary>
    public X509Certificate2? Certificate { get; init; }

    /// <summary>Authority that signed the certificate.</summary>
    public X509Certificate2? Authority { get; init; }

    /// <summary>Host and port.</summary>
    public string Host { get; private set; } = "";

    /// <summary>Base URL.</summary>
    public string Url => (Certificate is null ? "http://" : "https://") + Host;

    public async ValueTask InitializeAsync()
    {
        string[] missing = [.. ((string[])["docker-registry", "skopeo", "umoci", "busybox"]).Where(program => !HostProgram.Exists(program))];
        if (missing.Length > 0)
        {
            Missing = $"not installed: {string.Join(", ", missing)}";
            return;
        }

        for (int attempt = 0; _process is null && attempt < 3; attempt++)
        {
            await StartAsync();
        }

        Assert.True(_process is not null, "docker-registry does not start");
    }

    /// <summary>Pushes an image from an OCI layout.</summary>
    /// <param name="layout">The directory of the layout.</param>
    /// <param name="tag">The tag in the layout.</param>
    /// <param name="name">Repository and tag to push to.</param>
    /// <param name="options">More options of skopeo copy.</param>
    public Task PushAsync(string layout, string tag, string name, params string[] options) =>
        HostProgram.RunAsync("skopeo", ["copy", "--dest-tls-verify=false", .. options, $"oci:{layout}:{tag}", $"docker://{Host}/{name}"]);

    public async ValueTask DisposeAsync()
    {
        if (_process is not null)
        {
            _process.Kill();
            await _process.WaitForExitAsync();
            _process.Dispose();
        }

        _directory.Delete(recursive: true);
    }

    private async Task StartAsync()
    {
        int port = FreePort();
        Host = $"127.0.0.1:{port}";
        string config = Path.Combine(_directory.FullName, "config.yml");
        await File.WriteAllTextAsync(config, $$"""
            version: 0.1
            log:
              level: error
            storage:
              filesystem:
                rootdirectory: {{_directory.FullName}}/content
            http:
              addr: {{Host}}
            """ + (Certificate is null ? "" : $"\n  tls:\n    certificate: {_directory.FullName}/certificate.pem\n    key: {_directory.FullName}/key.pem\n")
            + (Accounts.Length == 0 ? "" : $"\nauth:\n  htpasswd:\n    realm: test\n    path: {_directory.FullName}/accounts\n"));
        await File.WriteAllTextAsync(Path.Combine(_directory.FullName, "accounts"), Accounts);
        if (Certificate is not null)
        {
            using RSA key = Certificate.GetRSAPrivateKey()!;
            await File.WriteAllTextAsync(Path.Combine(_directory.FullName, "certificate.pem"), Certificate.ExportCertificatePem());
            await File.WriteAllTextAsync(Path.Combine(_directory.FullName, "key.pem"), key.ExportPkcs8PrivateKeyPem());
        }

        Process process = HostProgram.Start("docker-registry", "serve", config);
        process.OutputDataReceived += (_, _) => { };
        process.ErrorDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        using var handler = new SocketsHttpHandler();
        if (Authority is not null)
        {
            handler.SslOptions.CertificateChainPolicy = new() { TrustMode = X509ChainTrustMode.CustomRootTrust, CustomTrustStore = { Authority }, RevocationMode = X509RevocationMode.NoCheck };
        }

        using var client = new HttpClient(handler);
        for (int attempt = 0; attempt < 200 && !process.HasExited; attempt++)
        {
            try
            {
                using HttpResponseMessage response = await client.GetAsync(new Uri(Url + "/v2/"));
                if (response.IsSuccessStatusCode || response.StatusCode == HttpStatusCode.Unauthorized)
                {
                    _process = process;
                    return;
                }
            }
            catch (HttpRequestException)
            {
                // The registry does not listen yet.
            }

            await Task.Delay(50);
        }

        // Another process took the port, or the registry failed. The next attempt uses another port.
        if (!process.HasExited)
        {
            process.Kill();
        }

        process.Dispose();
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }
}
