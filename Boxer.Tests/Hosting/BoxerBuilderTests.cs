using System.Collections.Concurrent;
using System.Diagnostics.Metrics;
using Boxer.Hosting;
using Boxer.Images;
using Boxer.Networking;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Options;

namespace Boxer.Tests.Hosting;

public sealed class BoxerBuilderTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task AddBoxer_with_a_name_registers_a_keyed_runner_with_options_of_its_own()
    {
        var services = new ServiceCollection();
        services.AddBoxer(options => options.MaxQueuedRuns = 1);
        services.AddBoxer("judges", options => options.MaxQueuedRuns = 2);
        services.AddBoxer("notebooks").Configure(options => options.MaxQueuedRuns = 3);
        services.AddBoxer("judges").Configure(options => options.MaxConcurrentRuns = 4);
        await using ServiceProvider provider = services.BuildServiceProvider(new ServiceProviderOptions { ValidateOnBuild = true, ValidateScopes = true });

        ISandboxRunner[] runners =
        [
            provider.GetRequiredService<ISandboxRunner>(),
            provider.GetRequiredKeyedService<ISandboxRunner>("judges"),
            provider.GetRequiredKeyedService<ISandboxRunner>("notebooks"),
        ];
        IOptionsMonitor<BoxerOptions> options = provider.GetRequiredService<IOptionsMonitor<BoxerOptions>>();

        Assert.Equal(3, runners.Distinct().Count());
        Assert.Single(provider.GetServices<ISandboxRunner>());
        Assert.Equal((1, null), (options.CurrentValue.MaxQueuedRuns, options.CurrentValue.MaxConcurrentRuns));
        Assert.Equal((2, 4), (options.Get("judges").MaxQueuedRuns, options.Get("judges").MaxConcurrentRuns));
        Assert.Equal((3, null), (options.Get("notebooks").MaxQueuedRuns, options.Get("notebooks").MaxConcurrentRuns));
        Assert.Equal(
            ["boxer", "boxer:judges", "boxer:notebooks"],
            provider.GetRequiredService<IOptions<HealthCheckServiceOptions>>().Value.Registrations.Select(check => check.Name).Order(StringComparer.Ordinal));
        Assert.Equal(3, provider.GetServices<IHostedService>().Count(service => service is BoxerStartupService));
    }

    [Fact]
    public async Task Only_a_named_runner_may_be_registered()
    {
        var services = new ServiceCollection();
        services.AddBoxer("judges");
        await using ServiceProvider provider = services.BuildServiceProvider();

        Assert.NotNull(provider.GetRequiredKeyedService<ISandboxRunner>("judges"));
        Assert.Null(provider.GetService<ISandboxRunner>());
        Assert.Throws<ArgumentException>(() => services.AddBoxer(""));
    }

    [Theory]
    [InlineData("")]
    [InlineData("judges")]
    public async Task A_decorated_runner_is_checked_at_the_start_and_disposed_with_the_container(string name)
    {
        DirectoryInfo home = Directory.CreateTempSubdirectory("boxer-home-");
        try
        {
            object? key = name.Length == 0 ? null : name;
            HostApplicationBuilder builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
            IBoxerBuilder boxer = key is null ? builder.Services.AddBoxer() : builder.Services.AddBoxer(name);
            boxer.Configure(options => (options.Home, options.RunscPath) = (home.FullName, "/nowhere/runsc"));
            builder.Services.AddKeyedSingleton<ISandboxRunner>(key, (provider, _) => new Decorator(provider.GetRequiredKeyedService<SandboxRunner>(key)));
            Decorator decorator;
            using (IHost host = builder.Build())
            {
                await Assert.ThrowsAsync<SandboxRuntimeException>(() => host.StartAsync(Cancel));

                decorator = Assert.IsType<Decorator>(host.Services.GetRequiredKeyedService<ISandboxRunner>(key));
                HealthReport health = await host.Services.GetRequiredService<HealthCheckService>().CheckHealthAsync(Cancel);
                Assert.Equal(HealthStatus.Unhealthy, health.Status);
            }

            await Assert.ThrowsAsync<ObjectDisposedException>(() => decorator.RunAsync(new SandboxRequest("image", "true"), Cancel));
        }
        finally
        {
            home.Delete(recursive: true);
        }
    }

    [Fact]
    public async Task A_runner_of_the_application_is_kept_and_no_other_is_created()
    {
        var services = new ServiceCollection();
        services.AddSingleton<ISandboxRunner>(new Other());
        services.AddBoxer(options => options.RunscPath = "/nowhere/runsc");
        await using ServiceProvider provider = services.BuildServiceProvider();

        foreach (IHostedService service in provider.GetServices<IHostedService>())
        {
            await service.StartAsync(Cancel);
        }

        Assert.IsType<Other>(provider.GetRequiredService<ISandboxRunner>());
        HealthReport health = await provider.GetRequiredService<HealthCheckService>().CheckHealthAsync(Cancel);
        Assert.Equal(HealthStatus.Healthy, health.Status);
    }

    [Theory]
    [InlineData("")]
    [InlineData("judges")]
    public async Task ISandboxSessions_is_the_runner_of_the_container_also_behind_a_decorator(string name)
    {
        object? key = name.Length == 0 ? null : name;
        foreach (bool isDecorated in new[] { false, true })
        {
            var services = new ServiceCollection();
            if (isDecorated)
            {
                services.AddKeyedSingleton<ISandboxRunner>(key, (provider, _) => new Decorator(provider.GetRequiredKeyedService<SandboxRunner>(key)));
            }

            _ = key is null ? services.AddBoxer() : services.AddBoxer(name);
            await using ServiceProvider provider = services.BuildServiceProvider(new ServiceProviderOptions { ValidateOnBuild = true, ValidateScopes = true });

            Assert.Same(provider.GetRequiredKeyedService<SandboxRunner>(key), provider.GetRequiredKeyedService<ISandboxSessions>(key));
            Assert.Equal(isDecorated, provider.GetRequiredKeyedService<ISandboxRunner>(key) is Decorator);
        }
    }

    [Fact]
    public async Task ISandboxSessions_of_the_application_is_kept_and_its_runner_is_not_disposed()
    {
        await using SandboxRunner own = SandboxRunnerFactory.Create();
        var services = new ServiceCollection();
        services.AddSingleton<ISandboxRunner>(own);
        services.AddBoxer();
        await using (ServiceProvider provider = services.BuildServiceProvider())
        {
            Assert.Empty(await provider.GetRequiredService<ISandboxSessions>().ListAsync(cancellationToken: Cancel));
        }

        Assert.Empty(await own.ListAsync(cancellationToken: Cancel));

        var fake = new OtherSessions();
        await using ServiceProvider withFake = new ServiceCollection().AddSingleton<ISandboxSessions>(fake).AddBoxer().Services.BuildServiceProvider();
        Assert.Same(fake, withFake.GetRequiredService<ISandboxSessions>());
    }

    [Fact]
    public async Task ISandboxSessions_of_a_host_with_another_runner_are_Boxers_own()
    {
        await using ServiceProvider provider = new ServiceCollection().AddSingleton<ISandboxRunner>(new Other()).AddBoxer().Services.BuildServiceProvider();

        Assert.Same(provider.GetRequiredService<SandboxRunner>(), provider.GetRequiredService<ISandboxSessions>());
    }

    [Fact]
    public async Task Faults_of_a_named_runner_keep_the_host_from_starting()
    {
        HostApplicationBuilder builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Services.AddBoxer("judges", options => (options.Platform, options.AllowedNetworks) = ("y", ["only-here"]));
        builder.Services.AddBoxer().AddNetworkMode(new Mode("only-here"));
        using IHost host = builder.Build();

        OptionsValidationException fault = await Assert.ThrowsAsync<OptionsValidationException>(() => host.StartAsync(Cancel));

        Assert.Equal("judges", fault.OptionsName);
        Assert.Equal(["AllowedNetworks[0]", "Platform"], fault.Failures.Select(failure => failure.Split(": ")[0]).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task AddNetworkMode_adds_a_type_once_and_each_factory_and_instance()
    {
        var instance = new Mode("instance");
        var services = new ServiceCollection();
        services.AddBoxer("judges").AddNetworkMode<ModeWithServices>().AddNetworkMode<ModeWithServices>()
            .AddNetworkMode(_ => new Mode("first")).AddNetworkMode(_ => new Mode("second")).AddNetworkMode(instance);
        services.AddBoxer().AddNetworkMode<ModeWithServices>().AddNetworkMode<ModeWithServices>();
        Mode[] made;
        await using (ServiceProvider provider = services.BuildServiceProvider())
        {
            Assert.NotNull(provider.GetRequiredKeyedService<ISandboxRunner>("judges"));
            made = [.. provider.GetKeyedServices<INetworkMode>("judges").OfType<Mode>()];
            Assert.Equal(["with-services", "first", "second", "instance"], made.Select(mode => mode.Name));
            Assert.Equal(["none", "host", "sandbox", "with-services"], provider.GetServices<INetworkMode>().Select(mode => mode.Name));
        }

        Assert.Equal([true, true, true, false], made.Select(mode => mode.IsDisposed));
    }

    [Fact]
    public async Task UseImageStore_replaces_the_store_of_one_runner_and_the_last_call_takes_effect()
    {
        var first = new Store();
        var last = new Store();
        var services = new ServiceCollection();
        services.AddBoxer().UseImageStore<Store>();
        services.AddBoxer("judges").UseImageStore(first).UseImageStore(_ => last);
        services.AddBoxer("judges");
        Store unnamed;
        await using (ServiceProvider provider = services.BuildServiceProvider())
        {
            Assert.NotNull(provider.GetRequiredService<ISandboxRunner>());
            unnamed = Assert.IsType<Store>(Assert.Single(provider.GetServices<IImageStore>()));
            Assert.Same(last, Assert.Single(provider.GetKeyedServices<IImageStore>("judges")));
        }

        Assert.Equal((true, true, false), (unnamed.IsDisposed, last.IsDisposed, first.IsDisposed));
    }

    [Fact]
    public async Task SandboxRunnerFactory_configures_as_a_container_does_and_the_runner_disposes_its_parts()
    {
        var mode = new Mode("made");
        var store = new Store();
        var given = new BoxerOptions { MaxQueuedRuns = 1 };
        SandboxRunner runner = SandboxRunnerFactory.Create(given, configure: boxer => boxer
            .AddNetworkMode(_ => mode)
            .UseImageStore(_ => store)
            .Configure(options =>
            {
                Assert.Equal(1, options.MaxQueuedRuns);
                options.AllowedNetworks = ["made"];
            }));

        SandboxRequest request = new("image", "true") { Network = "none" };
        InvalidSandboxRequestException refused = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => runner.RunAsync(request, Cancel));
        await runner.DisposeAsync();

        Assert.Contains("made", refused.Message, StringComparison.Ordinal);
        Assert.Empty(given.AllowedNetworks);
        Assert.Equal((true, true), (mode.IsDisposed, store.IsDisposed));
    }

    [Fact]
    public void SandboxRunnerFactory_lists_every_fault()
    {
        ArgumentException fault = Assert.Throws<ArgumentException>(() =>
            SandboxRunnerFactory.Create(new BoxerOptions { Platform = "y" }, configure: boxer => boxer.Configure(options => options.MaxQueuedRuns = -1)));

        Assert.Contains("Platform: ", fault.Message, StringComparison.Ordinal);
        Assert.Contains("MaxQueuedRuns: ", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Measurements_of_a_named_runner_have_its_name()
    {
        var heard = new ConcurrentQueue<string>();
        using var listener = new MeterListener();
        listener.InstrumentPublished = (instrument, self) =>
        {
            if (instrument is { Meter.Name: "Boxer", Name: "boxer.runs" or "boxer.runs.active" })
            {
                self.EnableMeasurementEvents(instrument);
            }
        };
        listener.SetMeasurementEventCallback<long>((instrument, _, tags, _) => Hear(instrument, tags));
        listener.SetMeasurementEventCallback<int>((instrument, _, tags, _) => Hear(instrument, tags));
        listener.Start();
        string name = $"judges-{Guid.NewGuid():N}";
        var services = new ServiceCollection();
        services.AddBoxer(name);
        await using ServiceProvider provider = services.BuildServiceProvider();

        await Assert.ThrowsAsync<InvalidSandboxRequestException>(
            () => provider.GetRequiredKeyedService<ISandboxRunner>(name).RunAsync(new SandboxRequest("image", "true") { Network = "nowhere" }, Cancel));
        listener.RecordObservableInstruments();

        Assert.Contains($"boxer.runs {name}", heard);
        Assert.Contains($"boxer.runs.active {name}", heard);

        void Hear(Instrument instrument, ReadOnlySpan<KeyValuePair<string, object?>> tags) =>
            heard.Enqueue($"{instrument.Name} {tags.ToArray().FirstOrDefault(tag => tag.Key == "runner").Value}");
    }

    private class Mode(string name) : INetworkMode, IAsyncDisposable
    {
        public string Name => name;

        public bool SupportsPooling => false;

        public bool IsDisposed { get; private set; }

        public string? GetUnavailableReason() => null;

        public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken) => throw new NotSupportedException();

        public ValueTask DisposeAsync()
        {
            IsDisposed = true;
            return ValueTask.CompletedTask;
        }
    }

    private sealed class ModeWithServices : Mode
    {
        public ModeWithServices(IOptions<BoxerOptions> options)
            : base("with-services") => Assert.NotNull(options);
    }

    private sealed class Decorator(ISandboxRunner inner) : ISandboxRunner
    {
        public Task<SandboxResult> RunAsync(SandboxRequest request, CancellationToken cancellationToken = default) => inner.RunAsync(request, cancellationToken);

        public IAsyncEnumerable<SandboxEvent> StreamAsync(SandboxRequest request, CancellationToken cancellationToken = default) => inner.StreamAsync(request, cancellationToken);
    }

    private sealed class Other : ISandboxRunner
    {
        public Task<SandboxResult> RunAsync(SandboxRequest request, CancellationToken cancellationToken = default) => throw new NotSupportedException();

        public IAsyncEnumerable<SandboxEvent> StreamAsync(SandboxRequest request, CancellationToken cancellationToken = default) => throw new NotSupportedException();
    }

    private sealed class OtherSessions : ISandboxSessions
    {
        public Task<IOwnedSandboxSession> OpenAsync(SandboxSessionRequest request, CancellationToken cancellationToken = default) => throw new NotSupportedException();

        public ValueTask<ISandboxSession?> FindAsync(string id, CancellationToken cancellationToken = default) => throw new NotSupportedException();

        public ValueTask<IReadOnlyList<ISandboxSession>> ListAsync(string? fairnessKey = null, CancellationToken cancellationToken = default) => throw new NotSupportedException();
    }

    private sealed class Store : IImageStore, IDisposable
    {
        public bool IsDisposed { get; private set; }

        public Task<IImageLease> AcquireAsync(ImageReference reference, ImageAcquireOptions options, CancellationToken cancellationToken = default) => throw new NotSupportedException();

        public void Dispose() => IsDisposed = true;
    }
}
