using System.Text.Json.Nodes;
using Microsoft.Extensions.DependencyInjection;

namespace Boxer.Tests.HttpHost;

/// <summary>An application that serves the HTTP contract.</summary>
public enum ContractHost
{
    /// <summary>The reference host.</summary>
    HttpHost,

    /// <summary>The smallest application over the package.</summary>
    MinimalApi,
}

/// <summary>Tests of the HTTP contract, which each application that serves it passes.</summary>
public abstract class ContractTests(ContractHost contract)
{
    private protected Task<HostFixture> StartAsync(JsonObject? config = null, bool realSandboxes = false, Action<IServiceCollection>? configureServices = null) =>
        HostFixture.StartAsync(contract, config, realSandboxes, configureServices);
}
