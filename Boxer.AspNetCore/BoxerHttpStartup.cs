using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore;

/// <summary>Checks options and opens the file store before anything is started, so that faults keep the host from starting.</summary>
internal sealed class BoxerHttpStartup(IOptions<BoxerHttpOptions> options, IServiceProvider services) : IHostedLifecycleService
{
    public Task StartingAsync(CancellationToken cancellationToken)
    {
        _ = options.Value;
        _ = services.GetRequiredService<ApiKeys>();
        try
        {
            _ = services.GetRequiredService<FileStore>();
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException or SandboxPrivilegeException)
        {
            throw new OptionsValidationException(
                Options.DefaultName,
                typeof(BoxerHttpOptions),
                [$"{nameof(BoxerHttpOptions.FilesDirectory)}: cannot be used; give each host a directory of its own that is its user's. ({exception.Message})"]);
        }

        return Task.CompletedTask;
    }

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;
}
