using Boxer.Runtime.Cgroups;
using Boxer.Validation;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;

namespace Boxer.Hosting;

/// <summary>
/// Prepares the machine for one runner when a generic host starts, so that missing requirements are reported at start-up instead of by the first run. The
/// container disposes the runner when the host ends.
/// </summary>
internal sealed class BoxerStartupService : IHostedService, IDisposable
{
    private readonly RunnerParts _parts;
    private readonly IServiceProvider _provider;
    private readonly SandboxRunner? _runner;
    private readonly ILogger _logger;
    private OptionsWatcher? _watcher;

    public BoxerStartupService(RunnerParts parts, IServiceProvider provider)
    {
        _parts = parts;
        _provider = provider;
        _runner = parts.FindRunner(provider);
        _logger = provider.GetRequiredService<ILoggerFactory>().CreateLogger("Boxer");
    }

    public async Task StartAsync(CancellationToken cancellationToken)
    {
        if (_runner is null)
        {
            return;
        }

        WarnOfMemory();
        _watcher = new OptionsWatcher(_parts, _provider, _logger);
        await _runner.StartAsync(cancellationToken).ConfigureAwait(false);
    }

    public Task StopAsync(CancellationToken cancellationToken)
    {
        Dispose();
        return Task.CompletedTask;
    }

    public void Dispose() => _watcher?.Dispose();

    // Runners are independent, so the first one checks the memory of all.
    private void WarnOfMemory()
    {
        RunnerParts[] all = [.. _provider.GetServices<RunnerParts>()];
        if (all.Length < 2 || all[0] != _parts)
        {
            return;
        }

        long machine = MachineMemory.ReadBytes();
        long sum = all.Sum(parts => MemoryBudget.Total(parts.GetOptions(_provider), machine));
        if (sum > MemoryBudget.Most(machine))
        {
            HostingLog.MemoryOvercommitted(_logger, all.Length, sum >> 20, MemoryBudget.Most(machine) >> 20);
        }
    }
}
