// Runs one command in a sandbox from a generic host, and exits with its exit code:
//
//   EmbeddedConsole [--mirror REGISTRY=URL]... IMAGE COMMAND [ARG...]
//
// Options are read from the section Boxer of appsettings.json or of the environment, for example Boxer__DefaultLimits__MemoryBytes=536870912.
using Boxer;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

const int UsageExitCode = 2;
const int FailureExitCode = 125;

var mirrors = new List<(string Registry, string Url)>();
var rest = new Queue<string>(args);
while (rest.TryPeek(out string? option) && option == "--mirror" && rest.Count > 1)
{
    rest.Dequeue();
    string[] mirror = rest.Dequeue().Split('=', 2);
    mirrors.Add((mirror[0], mirror[^1]));
}

if (rest.Count < 2)
{
    await Console.Error.WriteLineAsync("usage: EmbeddedConsole [--mirror REGISTRY=URL]... IMAGE COMMAND [ARG...]");
    return UsageExitCode;
}

HostApplicationBuilder builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { ContentRootPath = AppContext.BaseDirectory });
builder.Logging.SetMinimumLevel(LogLevel.Warning).AddFilter("Microsoft.Extensions.Hosting", LogLevel.None);
builder.Services.AddBoxer(builder.Configuration.GetSection("Boxer")).Configure(options =>
{
    foreach (IGrouping<string, string> group in mirrors.GroupBy(mirror => mirror.Registry, mirror => mirror.Url))
    {
        options.Registries.Add(new() { Name = group.Key, Mirrors = [.. group] });
    }
});
using IHost host = builder.Build();
try
{
    await host.StartAsync();
    var runner = host.Services.GetRequiredService<ISandboxRunner>();
    CancellationToken stopping = host.Services.GetRequiredService<IHostApplicationLifetime>().ApplicationStopping;
    await using Stream stdout = Console.OpenStandardOutput();
    await using Stream stderr = Console.OpenStandardError();
    var request = new SandboxRequest(rest.Dequeue(), rest) { KeepStandardOutput = false };
    SandboxResult result = await runner.StreamAsync(request, stopping).CopyToAsync(stdout, stderr, stopping);
    if (result.Termination.Kind != TerminationKind.Exited)
    {
        await Console.Error.WriteLineAsync(result.Termination.Message);
    }

    return result.ExitCode;
}
catch (Exception exception) when (exception is SandboxException or OptionsValidationException or OperationCanceledException)
{
    await Console.Error.WriteLineAsync(exception.Message);
    return FailureExitCode;
}
finally
{
    await host.StopAsync();
    await ((IAsyncDisposable)host.Services).DisposeAsync();
}
