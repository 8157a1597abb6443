using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Boxer.PublicApi.Tests;

/// <summary>Options as an application reads and sets them.</summary>
public sealed class OptionsTests
{
    [Fact]
    public void Defaults_can_be_read()
    {
        var options = new BoxerOptions();

        Assert.Equal(["8.8.8.8", "8.8.4.4"], options.DnsServers);
        Assert.Equal(["10.231.0.0/16", "172.30.0.0/16", "192.168.208.0/20"], options.NetworkBlocks);
        Assert.Equal(
            new ResourceLimits
            {
                CpuCores = 1,
                MemoryBytes = 256 * ByteSize.MiB,
                Pids = 64,
                WallClock = TimeSpan.FromSeconds(30),
                OpenFiles = 256,
                DiskBytes = 128 * ByteSize.MiB,
                StandardOutputBytes = 10 * ByteSize.MiB,
                OutputFilesBytes = 64 * ByteSize.MiB,
                OutputFilesCount = 1_000,
            },
            options.DefaultLimits);
        Assert.Equal(1, new PoolImageOptions().Count);
        Assert.NotSame(options.DefaultLimits, new BoxerOptions().DefaultLimits);
    }

    [Fact]
    public void A_runner_reports_all_invalid_options_with_units_ranges_and_choices()
    {
        var options = new BoxerOptions
        {
            Platform = "docker",
            DefaultLimits = { MemoryBytes = 8 * ByteSize.MiB, WallClock = TimeSpan.FromDays(30) },
            QueueTimeout = TimeSpan.FromDays(1),
            Registries = [new() { Name = "docker.io", Mirrors = ["mirror"] }],
            Pool = { Images = [new() { Image = "python:3.12-slim", Count = 5_000 }] },
        };

        ArgumentException fault = Assert.Throws<ArgumentException>(() => new SandboxRunner(options, []));

        Assert.All(
            (string[])
            [
                "Platform: 'docker' must be one of: systrap, kvm, ptrace.",
                "DefaultLimits.MemoryBytes: is 8 MiB, but must be from 32 MiB to 1 TiB.",
                "DefaultLimits.WallClock: is 720 h, but must be from 1 ms to 24 h.",
                "QueueTimeout: is 24 h, but must be from 0 s to 1 h.",
                "Registries[0].Mirrors[0]: 'mirror' must be an http or https URL",
                "Pool.Images[0].Count: is 5000, but must be from 0 to 1000 sandboxes.",
            ],
            message => Assert.Contains(message, fault.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void Configuration_replaces_default_lists_and_keeps_the_other_defaults()
    {
        var services = new ServiceCollection();
        services.AddBoxer(new ConfigurationBuilder().AddInMemoryCollection(
        [
            new("DnsServers:0", "9.9.9.9"),
            new("DefaultLimits:Pids", "7"),
            new("Pool:Images:0:Image", "registry.example:5000/team/tools:2"),
        ]).Build());
        using ServiceProvider provider = services.BuildServiceProvider();

        BoxerOptions options = provider.GetRequiredService<IOptions<BoxerOptions>>().Value;

        Assert.Equal(["9.9.9.9"], options.DnsServers);
        Assert.Equal((7, 256 * ByteSize.MiB), (options.DefaultLimits.Pids, options.DefaultLimits.MemoryBytes));
        Assert.Equal(("registry.example:5000/team/tools:2", 1), (options.Pool.Images[0].Image, options.Pool.Images[0].Count));
    }
}
