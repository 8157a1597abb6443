using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using Boxer.Native;
using Boxer.Tests.Support;

[assembly: AssemblyFixture(typeof(PythonImage))]

namespace Boxer.Tests.Support;

/// <summary>
/// Serves a Debian image with Python as <c>python:3.12-slim</c> from a real registry on loopback. The environment variable
/// BOXER_TEST_IMAGE_LAYOUT names the image's OCI layout; test.sh builds it.
/// </summary>
public sealed class PythonImage : IAsyncLifetime
{
    internal const string LayoutVariable = "BOXER_TEST_IMAGE_LAYOUT";
    internal const string Name = "python:3.12-slim";
    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-registry-").FullName;
    private Process? _registry;
    private string? _obstacle;

    /// <summary>Address of the registry.</summary>
    internal string Url { get; private set; } = "";

    /// <summary>Home of the tests' runners. They share it, so that the image is pulled once.</summary>
    internal string Home => Path.Join(UserHome, ".boxer");

    /// <summary>The home directory of a user whose runners have this home by default.</summary>
    internal string UserHome => _directory;

    /// <summary>Skips the test where sandboxes cannot run.</summary>
    internal void Require()
    {
        Assert.SkipWhen(_obstacle is not null, _obstacle ?? "");
    }

    /// <summary>Creates options that find the image.</summary>
    internal BoxerOptions Options()
    {
        // Only tests of the pool enable it, because other tests count sandboxes. Overcommit lets tests keep more runs open than there are processors.
        var options = new BoxerOptions { Home = Home, Pool = { Enabled = false }, CpuOvercommit = 4 };
        options.Registries.Add(new() { Name = "docker.io", Mirrors = [Url] });
        return options;
    }

    public async ValueTask InitializeAsync()
    {
        string? layout = Environment.GetEnvironmentVariable(LayoutVariable);
        _obstacle = Unistd.geteuid() != 0 ? "Needs root: cgroups and overlay mounts."
            : !HostProgram.Exists("runsc") ? "Needs runsc in PATH."
            : !HostProgram.Exists("docker-registry") || !HostProgram.Exists("skopeo") ? "Needs docker-registry and skopeo in PATH."
            : string.IsNullOrEmpty(layout) || !File.Exists(Path.Join(layout, "index.json")) ? $"Needs {LayoutVariable} to name an OCI layout with Python: run ./test.sh."
            : null;
        if (_obstacle is not null)
        {
            return;
        }

        int port = FreePort();
        Url = $"http://127.0.0.1:{port}";
        string config = Path.Join(_directory, "config.yml");
        await File.WriteAllTextAsync(config, $$"""
            version: 0.1
            log: { level: error }
            storage: { filesystem: { rootdirectory: "{{_directory}}/data" } }
            http: { addr: "127.0.0.1:{{port}}", secret: "loopback only" }
            """);
        _registry = HostProgram.Start("docker-registry", "serve", config);
        _ = _registry.StandardError.ReadToEndAsync();
        _ = _registry.StandardOutput.ReadToEndAsync();
        await WaitForAsync(port);
        await HostProgram.RunAsync("skopeo", "copy", "--quiet", "--dest-tls-verify=false", $"oci:{layout}:latest", $"docker://127.0.0.1:{port}/library/{Name}");
    }

    public ValueTask DisposeAsync()
    {
        if (_registry is not null)
        {
            _registry.Kill();
            _registry.WaitForExit();
            _registry.Dispose();
        }

        Directory.Delete(_directory, recursive: true);
        return ValueTask.CompletedTask;
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private static async Task WaitForAsync(int port)
    {
        for (int attempt = 0; ; attempt++)
        {
            try
            {
                using var client = new TcpClient();
                await client.ConnectAsync(IPAddress.Loopback, port);
                return;
            }
            catch (SocketException) when (attempt < 200)
            {
                await Task.Delay(50);
            }
        }
    }
}
