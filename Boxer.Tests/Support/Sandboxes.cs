using Boxer.Hosting;
using Boxer.Images;

namespace Boxer.Tests.Support;

/// <summary>
/// Tests that run real sandboxes, as root. They share one runner and run one after the other, because many compare the traces on the host
/// before and after. The trait keeps them out of test.sh --quick.
/// </summary>
[CollectionDefinition(Name)]
[Trait("Needs", "sandboxes")]
public sealed class Sandboxes : ICollectionFixture<SharedRunner>
{
    internal const string Name = "sandboxes";
}

/// <summary>One runner for many tests.</summary>
public sealed class SharedRunner(PythonImage image) : IAsyncLifetime
{
    private SandboxRunner? _runner;

    /// <summary>The shared runner. The test is skipped on machines that cannot run sandboxes.</summary>
    public SandboxRunner Runner
    {
        get
        {
            image.Require();
            return _runner ??= SandboxRunnerFactory.Create(image.Options());
        }
    }

    /// <summary>Creates options for a test's own runner, which has the image.</summary>
    internal BoxerOptions Options
    {
        get
        {
            image.Require();
            return image.Options();
        }
    }

    /// <summary>Pulls the image, so that runs do not wait for a pull.</summary>
    internal Task PullAsync() => Runner.Images.PullAsync(ImageReference.Parse(PythonImage.Name), cancellationToken: TestContext.Current.CancellationToken);

    /// <summary>Runs a request in a sandbox booted for it, or in a pooled one.</summary>
    internal async Task<SandboxResult> RunAsync(SandboxRequest request, bool pooled)
    {
        if (!pooled)
        {
            return await Runner.RunAsync(request, TestContext.Current.CancellationToken);
        }

        BoxerOptions options = Options;
        options.Pool.Enabled = true;
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        return await runner.WarmAsync(request);
    }

    /// <summary>Creates a request for a command in the Python image.</summary>
    public static SandboxRequest Command(params IEnumerable<string> command) => new(PythonImage.Name, command);

    /// <summary>Creates a request for a Python program.</summary>
    public static SandboxRequest Python(string program) => new(PythonImage.Name, "python3", "-c", program);

    /// <summary>Creates a request for a shell script.</summary>
    public static SandboxRequest Shell(string script) => new(PythonImage.Name, "sh", "-c", script);

    public ValueTask InitializeAsync() => ValueTask.CompletedTask;

    public ValueTask DisposeAsync() => _runner?.DisposeAsync() ?? ValueTask.CompletedTask;
}
