using Boxer.Network;
using Boxer.Networking;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Network;

/// <summary>Tests that sandboxes are frozen while they wait, according to <see cref="INetworkMode.SupportsFreeze"/>.</summary>
[Collection(Sandboxes.Name)]
public sealed class FreezeTests(PythonImage image)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task SupportsFreeze_decides_whether_a_pooled_sandbox_is_frozen(bool supportsFreeze)
    {
        image.Require();
        BoxerOptions options = image.Options();
        options.Pool.Enabled = true;
        await using var mode = new SandboxNetworkMode(options);
        await using var runner = new SandboxRunner(options, [new Told(mode, supportsFreeze)]);
        var request = new SandboxRequest(PythonImage.Name, "true") { Network = "sandbox" };
        Assert.Equal(0, (await runner.WarmAsync(request)).ExitCode);

        await WarmRuns.WaitForReadyAsync();
        await AssertFrozenAsync(supportsFreeze);
        Assert.True((await runner.RunAsync(request, Cancel)).IsWarm());
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task SupportsFreeze_decides_whether_a_run_that_waits_for_processors_is_frozen(bool supportsFreeze)
    {
        image.Require();
        BoxerOptions options = image.Options();
        options.CpuOvercommit = 1;
        await using var mode = new SandboxNetworkMode(options);
        await using var runner = new SandboxRunner(options, [new NoneNetworkMode(), new Told(mode, supportsFreeze)]);
        SandboxRequest Command(string network, params string[] command) =>
            new(PythonImage.Name, command) { Network = network, Limits = new ResourceLimits { CpuCores = Environment.ProcessorCount } };
        using var end = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        Task<SandboxResult>? second = null;
        await foreach (SandboxEvent item in runner.StreamAsync(Command("none", "sleep", "1000"), end.Token))
        {
            if (item is SandboxStarted)
            {
                second = runner.RunAsync(Command("sandbox", "true"), Cancel);
                await AssertFrozenAsync(supportsFreeze);
                break;
            }
        }

        Assert.Equal(0, (await second!).ExitCode);
    }

    // A sandbox that must not be frozen is observed for a while, because it could be frozen later.
    private static async Task AssertFrozenAsync(bool expected)
    {
        if (expected)
        {
            Assert.NotEmpty(await WarmRuns.WaitForFrozenAsync());
            return;
        }

        for (int attempt = 0; attempt < 1_200 && await HostState.RunningNamespacesAsync() is []; attempt++)
        {
            await Task.Delay(50, Cancel);
        }

        for (int i = 0; i < 10; i++)
        {
            Assert.NotEmpty(await HostState.RunningNamespacesAsync());
            Assert.Empty(await HostState.FrozenNamespacesAsync());
            await Task.Delay(200, Cancel);
        }
    }

    private sealed class Told(INetworkMode inner, bool supportsFreeze) : INetworkMode
    {
        public string Name => inner.Name;

        public bool SupportsPooling => inner.SupportsPooling;

        public bool SupportsFreeze => supportsFreeze;

        public string? GetUnavailableReason() => inner.GetUnavailableReason();

        public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken) => inner.PrepareAsync(sandboxId, cancellationToken);
    }
}
