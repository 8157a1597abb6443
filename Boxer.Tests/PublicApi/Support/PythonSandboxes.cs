using Boxer.Hosting;
using Boxer.Images;
using Boxer.Images.Store;

namespace Boxer.PublicApi.Tests.Support;

/// <summary>The tests that run real sandboxes, one after the other, with one image and one runner.</summary>
[CollectionDefinition(Name)]
[Trait("Needs", "sandboxes")]
public sealed class Sandboxes : ICollectionFixture<PythonSandboxes>
{
    internal const string Name = "sandboxes";
}

/// <summary>
/// A home directory into which a Debian image with Python was imported as <see cref="Image"/>. The image is the OCI layout that the
/// environment variable BOXER_TEST_IMAGE_LAYOUT names; test.sh builds it. Tests are skipped where sandboxes cannot run.
/// </summary>
public sealed class PythonSandboxes : IAsyncLifetime
{
    internal const string Image = "localhost/python:3";
    private const string LayoutVariable = "BOXER_TEST_IMAGE_LAYOUT";
    private readonly string _home = Directory.CreateTempSubdirectory("boxer-public-").FullName;
    private string? _obstacle;
    private SandboxRunner? _runner;

    /// <summary>The image's files.</summary>
    internal static ImageSource Source => new(ImageSourceKind.OciLayout, Environment.GetEnvironmentVariable(LayoutVariable)!);

    /// <summary>A runner that all tests share.</summary>
    internal ISandboxRunner Runner => _runner ??= SandboxRunnerFactory.Create(Options());

    /// <summary>A directory of this host for a test's own files, removed after all tests.</summary>
    internal string MakeDirectory()
    {
        Require();
        return Directory.CreateDirectory(Path.Join(_home, Guid.NewGuid().ToString())).FullName;
    }

    /// <summary>Options of a runner of a test's own that has the image. Its pool is disabled.</summary>
    internal BoxerOptions Options()
    {
        Require();
        return new BoxerOptions { Home = _home, Pool = { Enabled = false } };
    }

    /// <summary>A store of a test's own that has the image.</summary>
    internal ImageStore OpenStore()
    {
        Require();
        return new ImageStore(new ImageStoreOptions { Home = _home });
    }

    /// <summary>A request for a Python program.</summary>
    internal static SandboxRequest Python(string program) => new(Image, "python3", "-c", program);

    /// <summary>A request for a shell script.</summary>
    internal static SandboxRequest Shell(string script) => new(Image, "sh", "-c", script);

    public async ValueTask InitializeAsync()
    {
        string? layout = Environment.GetEnvironmentVariable(LayoutVariable);
        _obstacle = !Environment.IsPrivilegedProcess ? "Needs root: cgroups and overlay mounts."
            : !(Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(directory => File.Exists(Path.Join(directory, "runsc"))) ? "Needs runsc in PATH."
            : string.IsNullOrEmpty(layout) || !File.Exists(Path.Join(layout, "index.json")) ? $"Needs {LayoutVariable} to name an OCI layout with Python: run ./test.sh."
            : null;
        if (_obstacle is null)
        {
            await using ImageStore store = OpenStore();
            await store.ImportAsync(Source, ImageReference.Parse(Image));
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_runner is not null)
        {
            await _runner.DisposeAsync();
        }

        Directory.Delete(_home, recursive: true);
    }

    private void Require() => Assert.SkipWhen(_obstacle is not null, _obstacle ?? "");
}
