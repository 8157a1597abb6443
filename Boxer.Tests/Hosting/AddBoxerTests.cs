using Boxer.Hosting;
using Boxer.Images;
using Boxer.Networking;
using Boxer.Tests.Support;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Diagnostics.HealthChecks;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Boxer.Tests.Hosting;

[Collection(Sandboxes.Name)]
public sealed class AddBoxerTests(SharedRunner shared)
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_plain_container_runs_a_command_and_leaves_nothing()
    {
        BoxerOptions found = shared.Options;
        string[] before = Instances();
        var services = new ServiceCollection();
        services.AddBoxer(options => Take(options, found));
        await using (ServiceProvider provider = services.BuildServiceProvider(new ServiceProviderOptions { ValidateOnBuild = true, ValidateScopes = true }))
        {
            SandboxResult result = await provider.GetRequiredService<ISandboxRunner>().RunAsync(SharedRunner.Python("print(42)"), Cancel);

            Assert.Equal("42\n", result.StandardOutput);
            Assert.Same(provider.GetRequiredService<ISandboxRunner>(), provider.GetRequiredService<ISandboxSessions>());
            Assert.NotEqual(before, Instances());
        }

        Assert.Equal(before, Instances());
        Assert.DoesNotContain(File.ReadLines("/proc/self/mountinfo"), line => line.Contains("/run/boxer/", StringComparison.Ordinal) && !before.Any(id => line.Contains(id, StringComparison.Ordinal)));
    }

    [Fact]
    public async Task A_generic_host_prepares_the_machine_when_it_starts_and_cleans_up_when_it_ends()
    {
        BoxerOptions found = shared.Options;
        string[] before = Instances();
        HostApplicationBuilder builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        builder.Services.AddBoxer(options => Take(options, found));
        using (IHost host = builder.Build())
        {
            await host.StartAsync(Cancel);
            Assert.NotEqual(before, Instances());
            HealthReport health = await host.Services.GetRequiredService<HealthCheckService>().CheckHealthAsync(Cancel);
            Assert.Equal(HealthStatus.Healthy, health.Status);
            Assert.Equal("boxer", Assert.Single(health.Entries).Key);
            await host.StopAsync(Cancel);
        }

        Assert.Equal(before, Instances());
    }

    [Fact]
    public async Task AddBoxer_twice_adds_options_and_registers_once()
    {
        var services = new ServiceCollection();
        services.AddBoxer(options => options.MaxQueuedRuns = 7);
        services.AddBoxer(Configuration(("MaxConcurrentRuns", "3")));
        services.AddBoxer();
        await using ServiceProvider provider = services.BuildServiceProvider();

        BoxerOptions options = provider.GetRequiredService<IOptions<BoxerOptions>>().Value;
        Assert.Equal((7, 3), (options.MaxQueuedRuns, options.MaxConcurrentRuns));
        Assert.Single(provider.GetServices<ISandboxRunner>());
        Assert.Single(provider.GetServices<IHostedService>(), service => service is BoxerStartupService);
        Assert.Single(provider.GetServices<INetworkMode>(), mode => mode.Name == "none");
        Assert.Single(provider.GetRequiredService<IOptions<HealthCheckServiceOptions>>().Value.Registrations);
    }

    [Fact]
    public async Task AddBoxer_keeps_services_of_the_application()
    {
        var runner = new OwnRunner();
        var services = new ServiceCollection();
        services.AddSingleton<ISandboxRunner>(runner);
        services.AddBoxer();
        await using ServiceProvider provider = services.BuildServiceProvider();

        Assert.Same(runner, provider.GetRequiredService<ISandboxRunner>());
        await provider.GetServices<IHostedService>().OfType<BoxerStartupService>().Single().StartAsync(Cancel);
        HealthReport health = await provider.GetRequiredService<HealthCheckService>().CheckHealthAsync(Cancel);
        Assert.Equal(HealthStatus.Healthy, Assert.Single(health.Entries).Value.Status);
    }

    [Fact]
    public void Options_are_bound_to_configuration()
    {
        var services = new ServiceCollection();
        services.AddBoxer(Configuration(
            ("Home", "/var/lib/boxer"),
            ("DefaultLimits:MemoryBytes", "536870912"),
            ("DefaultLimits:WallClock", "00:01:30"),
            ("Registries:0:Name", "docker.io"),
            ("Registries:0:Mirrors:0", "http://127.0.0.1:5000"),
            ("AllowedNetworks:0", "none"),
            ("DnsServers:0", "9.9.9.9")));
        using ServiceProvider provider = services.BuildServiceProvider();

        BoxerOptions options = provider.GetRequiredService<IOptions<BoxerOptions>>().Value;

        Assert.Equal("/var/lib/boxer", options.Home);
        Assert.Equal((512 * ByteSize.MiB, TimeSpan.FromSeconds(90)), (options.DefaultLimits.MemoryBytes, options.DefaultLimits.WallClock));
        Assert.Equal("http://127.0.0.1:5000", Assert.Single(Assert.Single(options.Registries).Mirrors));
        Assert.Equal(("none", "9.9.9.9"), (Assert.Single(options.AllowedNetworks), Assert.Single(options.DnsServers)));
    }

    [Fact]
    public void Unknown_keys_and_values_of_the_wrong_type_are_faults()
    {
        var services = new ServiceCollection();
        services.AddBoxer(Configuration(("DefaultLimits:MemoryByte", "512"), ("Hoem", "/x"), ("MaxQueuedRuns", "many")));
        services.AddBoxer(options => options.Platform = "y");
        using ServiceProvider provider = services.BuildServiceProvider();

        OptionsValidationException fault = Assert.Throws<OptionsValidationException>(() => provider.GetRequiredService<ISandboxRunner>());

        Assert.Equal(
            [
                "DefaultLimits:MemoryByte: is not an option; did you mean MemoryBytes?",
                "Hoem: is not an option; did you mean Home?",
                "MaxQueuedRuns: 'many' must be a whole number of at most 2147483647.",
                "Platform: 'y' must be one of: systrap, kvm, ptrace.",
            ],
            fault.Failures.Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task A_host_with_invalid_options_does_not_start_and_reports_all_faults()
    {
        HostApplicationBuilder builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
        string home = Path.Join(Path.GetTempPath(), "boxer-never-" + Guid.NewGuid().ToString("N"));
        builder.Services.AddBoxer(options =>
        {
            options.Home = home;
            options.Platform = "y";
            options.MaxQueuedRuns = -1;
            options.AllowedNetworks = ["bridge"];
        });
        using IHost host = builder.Build();

        OptionsValidationException fault = await Assert.ThrowsAsync<OptionsValidationException>(() => host.StartAsync(Cancel));

        Assert.Equal(["AllowedNetworks[0]", "MaxQueuedRuns", "Platform"], fault.Failures.Select(failure => failure.Split(": ")[0]).Order(StringComparer.Ordinal));
        Assert.False(Directory.Exists(home));
    }

    [Fact]
    public async Task A_machine_that_cannot_run_sandboxes_is_unhealthy_and_only_the_exception_has_its_paths()
    {
        string home = Directory.CreateTempSubdirectory("boxer-home-").FullName;
        try
        {
            var services = new ServiceCollection();
            services.AddBoxer(options => (options.Home, options.RunscPath) = (home, "/nowhere/runsc"));
            await using ServiceProvider provider = services.BuildServiceProvider();

            HealthReportEntry health = (await provider.GetRequiredService<HealthCheckService>().CheckHealthAsync(Cancel)).Entries["boxer"];

            Assert.Equal(HealthStatus.Unhealthy, health.Status);
            Assert.NotEmpty(health.Description!);
            Assert.DoesNotContain("/", health.Description!, StringComparison.Ordinal);
            Assert.Contains("/nowhere/runsc", health.Exception!.Message, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(home, recursive: true);
        }
    }

    [Fact]
    public async Task A_network_mode_of_the_application_is_used_and_always_released()
    {
        BoxerOptions found = shared.Options;
        var mode = new OwnMode();
        var services = new ServiceCollection();
        services.AddSingleton<INetworkMode>(mode);
        services.AddBoxer(options => Take(options, found));
        await using (ServiceProvider provider = services.BuildServiceProvider())
        {
            var runner = provider.GetRequiredService<ISandboxRunner>();
            SandboxRequest request = SharedRunner.Command("cat", "/etc/hosts", "/etc/resolv.conf");
            request.Network = "own";

            SandboxResult result = await runner.RunAsync(request, Cancel);

            Assert.Equal("127.0.0.1\tlocalhost own\nnameserver 192.0.2.53\n", result.StandardOutput);

            mode.Namespace = "/proc/self/no-namespace";
            await Assert.ThrowsAsync<SandboxRuntimeException>(() => runner.RunAsync(request, Cancel));
            mode.Obstacle = "the moon is full.";
            SandboxPrivilegeException refused = await Assert.ThrowsAsync<SandboxPrivilegeException>(() => runner.RunAsync(request, Cancel));
            Assert.Contains("'own' cannot be used: the moon is full.", refused.Message, StringComparison.Ordinal);
        }

        Assert.Equal((2, 2, 2), (mode.Prepared, mode.Applied, mode.Disposed));
    }

    [Fact]
    public async Task An_image_store_of_the_application_is_used_and_its_root_is_not_written_to()
    {
        BoxerOptions found = shared.Options;
        string root = Directory.CreateTempSubdirectory("boxer-root-").FullName;
        try
        {
            Directory.CreateDirectory(Path.Join(root, "bin"));
            File.Copy("/bin/busybox", Path.Join(root, "bin/busybox"));
            File.SetUnixFileMode(root, (UnixFileMode)0x1ED);
            var services = new ServiceCollection();
            services.AddSingleton<IImageStore>(new OwnStore(root));
            services.AddBoxer(options => Take(options, found));
            await using ServiceProvider provider = services.BuildServiceProvider();

            SandboxResult result = await provider.GetRequiredService<ISandboxRunner>().RunAsync(
                new SandboxRequest("own", "/bin/busybox", "sh", "-c", "echo $OWN; id -u; echo x > /tmp/x && busybox cat /tmp/x; echo y > /y") { User = "0" }, Cancel);

            Assert.Equal("hello\n0\nx\n", result.StandardOutput);
            Assert.Equal(("", "own"), (result.StandardError, result.ImageDigest));
            Assert.Equal([Path.Join(root, "bin/busybox")], Directory.EnumerateFiles(root, "*", SearchOption.AllDirectories));
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }

    [Fact]
    public async Task A_home_with_files_of_other_users_is_not_shadowed()
    {
        BoxerOptions found = shared.Options;
        string root = Directory.CreateTempSubdirectory("boxer-root-").FullName;
        try
        {
            foreach (string directory in (string[])["bin", "etc", "app", "mine"])
            {
                Directory.CreateDirectory(Path.Join(root, directory));
            }

            File.Copy("/bin/busybox", Path.Join(root, "bin/busybox"));
            await File.WriteAllTextAsync(Path.Join(root, "etc/passwd"), "app:x:1000:1000::/app:/bin/sh\nowner:x:1001:1001::/mine:/bin/sh\n", Cancel);
            await File.WriteAllTextAsync(Path.Join(root, "app/main.txt"), "program", Cancel);
            await File.WriteAllTextAsync(Path.Join(root, "mine/main.txt"), "program", Cancel);
            await HostProgram.RunAsync("chown", "-R", "1001:1001", Path.Join(root, "mine"));
            File.SetUnixFileMode(root, (UnixFileMode)0x1ED);
            var services = new ServiceCollection();
            services.AddSingleton<IImageStore>(new OwnStore(root));
            services.AddBoxer(options => Take(options, found));
            await using ServiceProvider provider = services.BuildServiceProvider();
            var runner = provider.GetRequiredService<ISandboxRunner>();

            Assert.Equal("/home/boxer\nprogram", await RunAsync("app", "busybox cat /app/main.txt"));
            Assert.Equal("/mine\nprogram", await RunAsync("owner", "busybox cat /mine/main.txt"));

            async Task<string> RunAsync(string user, string script)
            {
                SandboxResult result = await runner.RunAsync(new SandboxRequest("own", "/bin/busybox", "sh", "-c", $"echo $HOME; echo x >$HOME/x && {script}") { User = user }, Cancel);
                Assert.Equal("", result.StandardError);
                return result.StandardOutput;
            }
        }
        finally
        {
            Directory.Delete(root, recursive: true);
        }
    }

    [Fact]
    public async Task A_container_that_is_disposed_synchronously_cleans_up_too()
    {
        BoxerOptions found = shared.Options;
        string[] before = Instances();
        var services = new ServiceCollection();
        services.AddBoxer(options => Take(options, found));
        await using ServiceProvider provider = services.BuildServiceProvider();
        var runner = provider.GetRequiredService<ISandboxRunner>();
        await ((SandboxRunner)runner).StartAsync(Cancel);

        await Task.Run(provider.Dispose, Cancel);

        Assert.Equal(before, Instances());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => ((SandboxRunner)runner).StartAsync(Cancel));
    }

    [Fact]
    public async Task A_container_that_is_disposed_synchronously_closes_its_image_stores_after_its_runners()
    {
        BoxerOptions found = shared.Options;
        string[] before = Instances();
        var services = new ServiceCollection();
        services.AddBoxer(options => Take(options, found));
        services.AddBoxer("judges", options => Take(options, found));
        await using ServiceProvider provider = services.BuildServiceProvider();
        IImageStore[] stores = [provider.GetRequiredService<IImageStore>(), provider.GetRequiredKeyedService<IImageStore>("judges")];
        await Task.WhenAll(stores.Select(store => store.ListAsync(Cancel)));
        Assert.Equal("42\n", (await provider.GetRequiredKeyedService<ISandboxRunner>("judges").RunAsync(SharedRunner.Python("print(42)"), Cancel)).StandardOutput);
        Assert.Equal(before.Length + 2, Instances().Length);

        await Task.Run(provider.Dispose, Cancel);

        Assert.Equal(before, Instances());
        await Assert.ThrowsAsync<ObjectDisposedException>(() => stores[0].ListAsync(Cancel));
        await Assert.ThrowsAsync<ObjectDisposedException>(() => stores[1].ListAsync(Cancel));
    }

    [Fact]
    public async Task A_file_that_changes_while_the_host_runs_is_reported_with_the_options_that_need_a_restart()
    {
        BoxerOptions found = shared.Options;
        string directory = Directory.CreateTempSubdirectory("boxer-settings-").FullName;
        try
        {
            string file = Path.Join(directory, "appsettings.json");
            await File.WriteAllTextAsync(file, """{ "Boxer": { "MaxQueuedRuns": 4 } }""", Cancel);
            var log = new LogLines();
            HostApplicationBuilder builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
            builder.Logging.AddProvider(log);
            builder.Configuration.AddJsonFile(file, optional: false, reloadOnChange: true);
            builder.Services.AddBoxer(builder.Configuration.GetSection("Boxer")).Configure(options => Take(options, found));
            using IHost host = builder.Build();
            await host.StartAsync(Cancel);

            await File.WriteAllTextAsync(file, """{ "Boxer": { "MaxQueuedRuns": 5, "Pool": { "Enabled": false } } }""", Cancel);
            await Until.IsSoAsync(() => log.All.Any(line => line.StartsWith("Options of", StringComparison.Ordinal)), seconds: 30);

            Assert.Equal(
                "Options of the runner '' changed: MaxQueuedRuns, Pool.Enabled. They are read once; restart the application to apply them.",
                Assert.Single(log.All, line => line.StartsWith("Options of", StringComparison.Ordinal)));
            Assert.Equal(4, host.Services.GetRequiredService<IOptions<BoxerOptions>>().Value.MaxQueuedRuns);
            await host.StopAsync(Cancel);
        }
        finally
        {
            Directory.Delete(directory, recursive: true);
        }
    }

    [Fact]
    public async Task Runners_that_may_use_more_memory_than_the_machine_has_are_reported_once()
    {
        string home = Directory.CreateTempSubdirectory("boxer-home-").FullName;
        try
        {
            var log = new LogLines();
            HostApplicationBuilder builder = Host.CreateApplicationBuilder(new HostApplicationBuilderSettings { DisableDefaults = true });
            builder.Logging.AddProvider(log);
            builder.Services.AddBoxer(options => (options.Home, options.RunscPath) = (home, "/nowhere/runsc"));
            builder.Services.AddBoxer("judges", options => (options.Home, options.RunscPath) = (home, "/nowhere/runsc"));
            using IHost host = builder.Build();

            await Assert.ThrowsAsync<SandboxRuntimeException>(() => host.StartAsync(Cancel));

            string line = Assert.Single(log.All, line => line.Contains("runners", StringComparison.Ordinal));
            Assert.StartsWith("The 2 runners of this application may use ", line, StringComparison.Ordinal);
            Assert.EndsWith(" MiB for sandboxes. Lower MaxMemoryBytes of each.", line, StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(home, recursive: true);
        }
    }

    private static void Take(BoxerOptions options, BoxerOptions found)
    {
        options.Home = found.Home;
        options.Registries = found.Registries;
    }

    private static IConfiguration Configuration(params (string Key, string Value)[] values) =>
        new ConfigurationBuilder().AddInMemoryCollection(values.Select(value => new KeyValuePair<string, string?>(value.Key, value.Value))).Build();

    private static string[] Instances() =>
        Directory.Exists("/run/boxer") ? [.. Directory.GetDirectories("/run/boxer").Select(path => Path.GetFileName(path)).Order(StringComparer.Ordinal)] : [];

    private sealed class OwnRunner : ISandboxRunner
    {
        public Task<SandboxResult> RunAsync(SandboxRequest request, CancellationToken cancellationToken = default) => throw new NotSupportedException();

        public IAsyncEnumerable<SandboxEvent> StreamAsync(SandboxRequest request, CancellationToken cancellationToken = default) => throw new NotSupportedException();
    }

    private sealed class OwnMode : INetworkMode
    {
        private int _prepared;
        private int _applied;
        private int _disposed;

        public string Name => "own";

        public bool SupportsPooling => false;

        public string? Obstacle { get; set; }

        public string? Namespace { get; set; }

        public int Prepared => _prepared;

        public int Applied => _applied;

        public int Disposed => _disposed;

        public string? GetUnavailableReason() => Obstacle;

        public Task<INetworkAttachment> PrepareAsync(string sandboxId, CancellationToken cancellationToken)
        {
            Interlocked.Increment(ref _prepared);
            return Task.FromResult<INetworkAttachment>(new Attachment(this));
        }

        private sealed class Attachment(OwnMode mode) : INetworkAttachment
        {
            public NetworkConfiguration Runtime { get; } = new(mode.Namespace is null ? NetworkStack.None : NetworkStack.Sandbox, mode.Namespace);

            public Task<GuestNetwork> ApplyAsync(NetworkPolicy policy, CancellationToken cancellationToken)
            {
                Interlocked.Increment(ref mode._applied);
                return Task.FromResult(new GuestNetwork("127.0.0.1\tlocalhost own\n", "nameserver 192.0.2.53\n"));
            }

            public ValueTask DisposeAsync()
            {
                Interlocked.Increment(ref mode._disposed);
                return ValueTask.CompletedTask;
            }
        }
    }

    private sealed class OwnStore(string root) : IImageStore
    {
        public Task<IImageLease> AcquireAsync(ImageReference reference, ImageAcquireOptions options, CancellationToken cancellationToken = default) =>
            Task.FromResult<IImageLease>(new Lease(root));

        private sealed class Lease(string root) : IImageLease
        {
            public string Digest => "own";

            public ImageConfig Config { get; } = new() { Env = ["OWN=hello"] };

            public string RootPath => root;

            public ValueTask DisposeAsync() => ValueTask.CompletedTask;
        }
    }
}
