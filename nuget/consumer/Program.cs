using Boxer;
using Boxer.Testing;
using Microsoft.Extensions.DependencyInjection;

if (args is ["--fake"])
{
    // A fake runner replaces the real one, as in an application's tests.
    FakeSandboxRunner fake = new();
    fake.WhenAny().Returns("faked");
    Console.Out.Write((await fake.RunAsync(new SandboxRequest("python:3", "true"))).EnsureSuccess().StandardOutput);
    return 0;
}

if (args is not [var home, var mirror, var image, .. var command] || command.Length == 0)
{
    Console.Error.WriteLine("usage: Consumer HOME MIRROR_OF_LOCALHOST IMAGE COMMAND...");
    return 2;
}

ServiceCollection services = new();
services.AddBoxer(options =>
{
    options.Home = home;
    options.Registries.Add(new() { Name = "localhost", Mirrors = [mirror] });
});
await using ServiceProvider provider = services.BuildServiceProvider();

SandboxResult result = await provider.GetRequiredService<ISandboxRunner>().RunAsync(new SandboxRequest(image, command));
Console.Out.Write(result.StandardOutput);
Console.Error.Write(result.StandardError);
return result.ExitCode;
