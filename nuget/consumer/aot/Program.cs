// Reads options from the section Boxer of a JSON file, prints them, and runs a command in two runners.
using Boxer;
using Boxer.Images;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

if (args is not [var file, var image, .. var command] || command.Length == 0)
{
    Console.Error.WriteLine("usage: AotConsumer FILE IMAGE COMMAND...");
    return 2;
}

IConfiguration configuration = new ConfigurationBuilder().AddJsonFile(Path.GetFullPath(file)).Build();
ServiceCollection services = new();
services.AddBoxer(configuration.GetSection("Boxer"));
services.AddBoxer("second", configuration.GetSection("Boxer")).Configure(options => options.MaxMemoryBytes = 1L << 30);
await using ServiceProvider provider = services.BuildServiceProvider();

BoxerOptions options = provider.GetRequiredService<IOptions<BoxerOptions>>().Value;
foreach (PoolImageOptions pooled in options.Pool.Images)
{
    Console.WriteLine($"{pooled.Image} {pooled.Count} {string.Join(' ', pooled.WarmUp)}");
}

foreach (RegistryOptions registry in options.Registries)
{
    Console.WriteLine($"{registry.Name} {registry.Mirrors.Count} {registry.Insecure}");
}

Console.WriteLine($"{options.DefaultLimits.WallClock} {options.PullPolicy}");
ISandboxRunner[] runners = [provider.GetRequiredService<ISandboxRunner>(), provider.GetRequiredKeyedService<ISandboxRunner>("second")];
foreach (ISandboxRunner runner in runners)
{
    SandboxResult result = await runner.RunAsync(new SandboxRequest(image, command));
    Console.Out.Write(result.StandardOutput);
    Console.Error.Write(result.StandardError);
    if (result.ExitCode != 0)
    {
        return result.ExitCode;
    }
}

foreach (ImageInfo stored in await provider.GetRequiredService<IImageStore>().ListAsync())
{
    Console.WriteLine(stored.Reference);
}

return 0;
