using Boxer.Hosting;
using Boxer.Images;
using Boxer.Images.Store;
using Boxer.Networking;
using Boxer.PublicApi.Tests.Support;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Boxer.PublicApi.Tests;

/// <summary>Runners from a service container with the application's options, image stores and network modes, in real sandboxes.</summary>
[Collection(Sandboxes.Name)]
public sealed class HostingTests(PythonSandboxes sandboxes)
{
    private const string Image = "localhost/imported:1";
    private static readonly ImageReference Reference = ImageReference.Parse(Image);

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task IImageStore_of_the_container_has_the_images_of_its_runner_until_it_is_disposed()
    {
        var services = new ServiceCollection();
        string home = Path.Join(sandboxes.MakeDirectory(), "home");
        services.AddBoxer(options => (options.Home, options.Pool.Enabled) = (home, false));
        ServiceProvider provider = services.BuildServiceProvider(new ServiceProviderOptions { ValidateOnBuild = true, ValidateScopes = true });
        var images = provider.GetRequiredService<IImageStore>();
        var runner = provider.GetRequiredService<ISandboxRunner>();

        string digest = await images.ImportAsync(await SmallImage.MakeAsync(sandboxes.MakeDirectory()), Reference, cancellationToken: Cancel);
        Assert.Equal(Reference.ToString(), Assert.Single(await images.ListAsync(Cancel)).Reference);
        SandboxResult result = await runner.RunAsync(new SandboxRequest(Image, "echo", "here") { PullPolicy = PullPolicy.Never }, Cancel);
        Assert.Equal(("here\n", digest), (result.StandardOutput, result.ImageDigest));
        Assert.Same(images, ((SandboxRunner)runner).Images);

        ImageRemoval removal = ImageRemoval.InUse;
        for (int attempt = 0; removal == ImageRemoval.InUse && attempt < 1_200; attempt++)
        {
            await Task.Delay(50, Cancel);
            removal = await images.RemoveAsync(Reference, Cancel);
        }

        Assert.Equal(ImageRemoval.Removed, removal);
        Assert.Empty(await images.ListAsync(Cancel));
        await Assert.ThrowsAsync<ImageNotFoundException>(() => runner.RunAsync(new SandboxRequest(Image, "true") { PullPolicy = PullPolicy.Never }, Cancel));
        await provider.DisposeAsync();
        await Assert.ThrowsAsync<ObjectDisposedException>(() => images.ListAsync(Cancel));
    }

    [Fact]
    public async Task Named_runners_have_their_own_networks_and_may_share_the_home_of_the_unnamed_one()
    {
        BoxerOptions template = sandboxes.Options();
        HostApplicationBuilder builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Configuration.AddInMemoryCollection(
        [
            new("Judges:Home", template.Home),
            new("Judges:MaxMemoryBytes", "1073741824"),
            new("Judges:DefaultLimits:WallClock", "00:00:20"),
            new("Judges:Pool:Enabled", "false"),
            new("Judges:AllowedNetworks:0", "own"),
        ]);
        builder.Services.AddSingleton(new Resolver("192.0.2.53"));
        builder.Services.AddBoxer(options => (options.Home, options.MaxMemoryBytes, options.Pool.Enabled) = (template.Home, 1L << 30, false));
        builder.Services.AddBoxer("judges", builder.Configuration.GetSection("Judges")).AddNetworkMode<OwnMode>();
        using (IHost host = builder.Build())
        {
            await host.StartAsync(Cancel);
            var unnamed = host.Services.GetRequiredService<ISandboxRunner>();
            var judges = host.Services.GetRequiredKeyedService<ISandboxRunner>("judges");
            var images = host.Services.GetRequiredKeyedService<IImageStore>("judges");
            Assert.NotSame(images, host.Services.GetRequiredService<IImageStore>());
            Assert.NotEmpty(await images.ListAsync(Cancel));

            SandboxRequest request = new(PythonSandboxes.Image, "cat", "/etc/resolv.conf") { Network = "own", PullPolicy = PullPolicy.Never };
            SandboxResult[] results = await Task.WhenAll(
                judges.RunAsync(request, Cancel),
                unnamed.RunAsync(PythonSandboxes.Python("print(42)"), Cancel));

            Assert.Equal(["nameserver 192.0.2.53\n", "42\n"], results.Select(result => result.EnsureSuccess().StandardOutput));
            await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => unnamed.RunAsync(request, Cancel));
            await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => judges.RunAsync(new SandboxRequest(PythonSandboxes.Image, "true") { Network = "none" }, Cancel));
            await host.StopAsync(Cancel);
        }
    }

    [Fact]
    public async Task UseImageStore_makes_runs_use_the_store_of_the_application()
    {
        BoxerOptions template = sandboxes.Options();
        var services = new ServiceCollection();
        services.AddSingleton(_ => sandboxes.OpenStore());
        services.AddBoxer(options => (options.Home, options.Pool.Enabled) = (Path.Join(sandboxes.MakeDirectory(), "home"), false)).UseImageStore<CountingStore>();
        CountingStore store;
        await using (ServiceProvider provider = services.BuildServiceProvider())
        {
            store = Assert.IsType<CountingStore>(provider.GetRequiredService<IImageStore>());
            SandboxResult result = await provider.GetRequiredService<ISandboxRunner>().RunAsync(PythonSandboxes.Python("print(42)"), Cancel);
            Assert.Equal("42\n", result.EnsureSuccess().StandardOutput);
        }

        Assert.True(store.Acquired > 0);
        Assert.True(store.IsDisposed);
    }

    [Fact]
    public async Task SandboxRunnerFactory_takes_a_network_mode_and_an_image_store()
    {
        BoxerOptions options = sandboxes.Options();
        await using ImageStore inner = sandboxes.OpenStore();
        var store = new CountingStore(inner);
        await using (SandboxRunner runner = SandboxRunnerFactory.Create(options, configure: boxer => boxer
            .AddNetworkMode(_ => new OwnMode(new Resolver("192.0.2.7")))
            .UseImageStore(store)))
        {
            SandboxResult result = await runner.RunAsync(new SandboxRequest(PythonSandboxes.Image, "cat", "/etc/resolv.conf") { Network = "own" }, Cancel);
            Assert.Equal("nameserver 192.0.2.7\n", result.EnsureSuccess().StandardOutput);
        }

        Assert.True(store.Acquired > 0);
        Assert.False(store.IsDisposed);
    }

    [Fact]
    public async Task Images_and_registries_are_named_in_configuration_with_colons()
    {
        var services = new ServiceCollection();
        services.AddBoxer(new ConfigurationBuilder().AddInMemoryCollection(
        [
            new("Pool:Images:0:Image", "python:3.12-slim"),
            new("Pool:Images:0:Count", "2"),
            new("Pool:Images:0:WarmUp:0", "python3"),
            new("Registries:0:Name", "127.0.0.1:5000"),
            new("Registries:0:Mirrors:0", "http://127.0.0.1:5000"),
            new("Registries:0:Insecure", "true"),
        ]).Build());
        await using ServiceProvider provider = services.BuildServiceProvider();

        BoxerOptions options = provider.GetRequiredService<IOptions<BoxerOptions>>().Value;

        PoolImageOptions image = Assert.Single(options.Pool.Images);
        Assert.Equal(("python:3.12-slim", 2, "python3"), (image.Image, image.Count, Assert.Single(image.WarmUp)));
        RegistryOptions registry = Assert.Single(options.Registries);
        Assert.Equal(("127.0.0.1:5000", "http://127.0.0.1:5000", true), (registry.Name, Assert.Single(registry.Mirrors), registry.Insecure));
    }

    private sealed record Resolver(string Address);

    /// <summary>Provides loopback and a resolver that a service of the container names.</summary>
    private sealed class OwnMode(Resolver resolver) : INetworkMode
    {
        public string Name => "own";

        public bool SupportsPooling => false;

        public string? GetUnavailableReason() => null;

        public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken) =>
            Task.FromResult<INetworkAttachment>(new Attachment(resolver));

        private sealed class Attachment(Resolver resolver) : INetworkAttachment
        {
            public NetworkConfiguration Runtime { get; } = new(NetworkStack.None);

            public Task<GuestNetwork> ApplyAsync(NetworkPolicy policy, CancellationToken cancellationToken) =>
                Task.FromResult(new GuestNetwork("127.0.0.1\tlocalhost\n", $"nameserver {resolver.Address}\n"));

            public ValueTask DisposeAsync() => ValueTask.CompletedTask;
        }
    }

    /// <summary>Counts the calls of another store.</summary>
    private sealed class CountingStore(ImageStore inner) : IImageStore, IDisposable
    {
        private int _acquired;

        public int Acquired => _acquired;

        public bool IsDisposed { get; private set; }

        public Task<IImageLease> AcquireAsync(ImageReference reference, ImageAcquireOptions options, CancellationToken cancellationToken = default)
        {
            Assert.False(IsDisposed);
            Interlocked.Increment(ref _acquired);
            return inner.AcquireAsync(reference, options, cancellationToken);
        }

        public void Dispose() => IsDisposed = true;
    }
}
