using Boxer.Networking;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Boxer.Tests.HttpHost;

/// <summary>A validator of options that always finds faults.</summary>
internal sealed class FakeOptionsFault : IValidateOptions<BoxerOptions>
{
    public void AddTo(IServiceCollection services)
    {
        services.AddSingleton<IValidateOptions<BoxerOptions>>(this);
        services.AddSingleton<ISandboxRunner>(new ScriptedRunner());
        services.AddSingleton<INetworkMode>(new NamedMode("none"));
    }

    public ValidateOptionsResult Validate(string? name, BoxerOptions options) =>
        ValidateOptionsResult.Fail(["DefaultLimits.MemoryBytes: is 5.", "AllowedNetworks[1]: is no mode."]);
}
