using Microsoft.Extensions.Hosting;

namespace Boxer.Hosting;

/// <summary>
/// Prepares the machine when a generic host starts, so that what is missing is said then and not by the first run. The container disposes
/// the runner when the host ends.
/// </summary>
internal sealed class BoxerStartupService(ISandboxRunner runner) : IHostedService
{
    public Task StartAsync(CancellationToken cancellationToken) =>
        runner is SandboxRunner local ? local.StartAsync(cancellationToken) : Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
