using System.Text.Json.Nodes;
using Microsoft.Extensions.DependencyInjection;

namespace Boxer.Tests.HttpHost;

/// <summary>An application that serves the HTTP contract.</summary>
public enum ContractHost
{
    /// <summary>The reference host.</summary>
    HttpHost,

    /// <summary>The smallest application that uses the package.</summary>
    MinimalApi,
}

/// <summary>Base class of tests of the HTTP contract. Each application that serves the contract runs them.</summary>
public abstract class ContractTests(ContractHost contract)
{
    private protected Task<HostFixture> StartAsync(JsonObject? config = null, bool realSandboxes = false, Action<IServiceCollection>? configureServices = null) =>
        HostFixture.StartAsync(contract, config, realSandboxes, configureServices);
}
