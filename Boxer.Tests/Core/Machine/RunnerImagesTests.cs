using Boxer.Machine;
using Boxer.Tests.Hosting;
using Boxer.Tests.Support;
using Microsoft.Extensions.Logging;

namespace Boxer.Tests.Core.Machine;

public sealed class RunnerImagesTests : IDisposable
{
    private readonly ScratchDirectory _scratch = new();

    public void Dispose() => _scratch.Dispose();

    [Fact]
    public async Task DisposeAsync_logs_a_failure_to_remove()
    {
        CancellationToken cancel = TestContext.Current.CancellationToken;
        using var log = new LogLines();
        using ILoggerFactory loggers = LoggerFactory.Create(builder => builder.AddProvider(log));
        var images = new RunnerImages(new BoxerOptions { Home = Path.Join(_scratch.Path, "home") }, loggers, TimeProvider.System);
        Assert.Empty(await images.ListAsync(cancel));
        RunnerImages.Use use = await images.EnterAsync(cancel);
        string directory = use.Instance!.Directory;
        await use.DisposeAsync();

        // The file cannot be read, so that the processes of the instance cannot be found.
        string programs = Path.Join(directory, "programs");
        File.CreateSymbolicLink(programs, "/proc/self/mem");
        try
        {
            await images.DisposeAsync();
            Assert.Contains(log.All, line => line.Contains("could not remove everything", StringComparison.Ordinal));
        }
        finally
        {
            File.Delete(programs);
            await StartupReconciler.ReconcileInstancesAsync(InstanceDirectory.DefaultBase(), TimeProvider.System, loggers.CreateLogger("test"));
        }

        Assert.False(Directory.Exists(directory));
    }
}
