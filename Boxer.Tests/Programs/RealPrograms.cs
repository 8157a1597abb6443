using System.IO.Compression;
using Boxer.Hosting;
using Boxer.Images;
using Boxer.Images.Store;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Programs;

/// <summary>Tests of real programs. They share one image and its runners, and run one after the other.</summary>
[CollectionDefinition(Name)]
[Trait("Needs", "sandboxes")]
public sealed class RealPrograms : ICollectionFixture<ProgramsImage>
{
    internal const string Name = "real programs";
}

/// <summary>
/// The image of scripts/programs-image.sh in its own store, imported once. The environment variable BOXER_TEST_PROGRAMS_LAYOUT names its
/// OCI layout; test-programs.sh builds it.
/// </summary>
public sealed class ProgramsImage : IAsyncLifetime
{
    internal const string LayoutVariable = "BOXER_TEST_PROGRAMS_LAYOUT";
    internal const string Name = "localhost/programs:1";
    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-programs-").FullName;
    private readonly string? _layout = Environment.GetEnvironmentVariable(LayoutVariable);
    private SandboxRunner? _cold;
    private SandboxRunner? _pooled;
    private string? _obstacle;

    /// <summary>Home directory of runners and hosts that have the image.</summary>
    internal string Home => Path.Join(_directory, "home");

    /// <summary>A runner without a pool.</summary>
    internal SandboxRunner Cold => _cold ??= SandboxRunnerFactory.Create(Options());

    /// <summary>A runner with a pool.</summary>
    internal SandboxRunner Pooled => _pooled ??= SandboxRunnerFactory.Create(Options(options => options.Pool.Enabled = true));

    /// <summary>Skips the test where sandboxes cannot run.</summary>
    internal void Require() => Assert.SkipWhen(_obstacle is not null, _obstacle ?? "");

    /// <summary>Creates options of a runner with the image and without a pool. Compilers, runtimes and a browser fit the default limits.</summary>
    internal BoxerOptions Options(Action<BoxerOptions>? change = null)
    {
        Require();
        var options = new BoxerOptions
        {
            Home = Home,
            PullPolicy = PullPolicy.Never,
            Pool = { Enabled = false },
            DefaultLimits = { MemoryBytes = 2_048 * ByteSize.MiB, Pids = 512, OpenFiles = 4_096, DiskBytes = 1_024 * ByteSize.MiB, WallClock = TimeSpan.FromMinutes(3) },
        };
        change?.Invoke(options);
        return options;
    }

    /// <summary>Creates a request for a shell script in the image.</summary>
    internal static SandboxRequest Shell(string script) => new(Name, "sh", "-ec", script);

    /// <summary>Runs a request in a sandbox booted for it and in a pooled one, and asserts that both exit with 0.</summary>
    /// <returns>Standard output of each.</returns>
    internal async Task<(string Cold, string Pooled)> RunColdAndPooledAsync(SandboxRequest request)
    {
        Require();
        SandboxResult cold = await Cold.RunAsync(request, TestContext.Current.CancellationToken);
        SandboxResult pooled = await Pooled.WarmAsync(request);
        Assert.All([cold, pooled], result => Assert.True(result.ExitCode == 0, $"{result.Termination}, exit code {result.ExitCode}: {result.StandardOutput}{result.StandardError}"));
        return (cold.StandardOutput, pooled.StandardOutput);
    }

    /// <summary>Imports an image into the store of the runners.</summary>
    internal async Task ImportAsync(ImageSource source, string name)
    {
        await using var store = new ImageStore(new ImageStoreOptions { Home = Home });
        await using IImageLease lease = await store.AcquireImportedAsync(source, ImageReference.Parse(name), cancellationToken: TestContext.Current.CancellationToken);
    }

    /// <summary>Lists the paths of the image's layer, as <c>find</c> prints them from the root.</summary>
    internal async Task<string[]> ReadPathsAsync()
    {
        Require();
        FileInfo layer = new DirectoryInfo(Path.Join(_layout, "blobs/sha256")).EnumerateFiles().MaxBy(file => file.Length)!;
        await using var stream = new GZipStream(layer.OpenRead(), CompressionMode.Decompress);
        await using var tar = new System.Formats.Tar.TarReader(stream);
        var paths = new List<string>();
        while (await tar.GetNextEntryAsync(cancellationToken: TestContext.Current.CancellationToken) is { } entry)
        {
            paths.Add(entry.Name[1..].TrimEnd('/'));
        }

        return [.. paths];
    }

    public async ValueTask InitializeAsync()
    {
        _obstacle = Unistd.geteuid() != 0 ? "Needs root: cgroups and overlay mounts."
            : !HostProgram.Exists("runsc") ? "Needs runsc in PATH."
            : string.IsNullOrEmpty(_layout) || !File.Exists(Path.Join(_layout, "index.json")) ? $"Needs {LayoutVariable} to name the image of scripts/programs-image.sh: run ./test-programs.sh."
            : null;
        if (_obstacle is null)
        {
            await ImportAsync(ImageSource.Parse($"oci:{_layout}"), Name);
        }
    }

    public async ValueTask DisposeAsync()
    {
        foreach (SandboxRunner? runner in (SandboxRunner?[])[_cold, _pooled])
        {
            await (runner?.DisposeAsync() ?? ValueTask.CompletedTask);
        }

        Directory.Delete(_directory, recursive: true);
    }
}
