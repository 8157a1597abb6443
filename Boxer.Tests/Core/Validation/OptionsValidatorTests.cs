using Boxer.Validation;

namespace Boxer.Tests.Core.Validation;

public sealed class OptionsValidatorTests
{
    private const long MachineBytes = 16_384 * ByteSize.MiB;
    private const int MachineProcessors = 4;

    public static TheoryData<string, Action<BoxerOptions>, string> Faults => new()
    {
        { "Home", options => options.Home = "relative", "'relative' must be an absolute path, such as /var/lib/boxer." },
        { "Home", options => options.Home = "", "'' must be an absolute path, such as /var/lib/boxer." },
        { "Home", options => options.Home = null!, "'' must be an absolute path, such as /var/lib/boxer." },
        { "RunscPath", options => options.RunscPath = " ", "must be a path or a program name, such as runsc." },
        { "Platform", options => options.Platform = "KVM", "'KVM' must be one of: systrap, kvm, ptrace." },
        { "DefaultLimits", options => options.DefaultLimits = null!, "must not be null." },
        { "DefaultLimits.Pids", options => options.DefaultLimits.Pids = 0, "is 0, but must be from 1 to 32768 processes." },
        { "DefaultLimits.WallClock", options => options.DefaultLimits.WallClock = TimeSpan.FromDays(2), "is 48 h, but must be from 1 ms to 24 h." },
        { "CgroupParent", options => options.CgroupParent = "", "'' must be a path below the cgroup mount without '..'." },
        { "CgroupParent", options => options.CgroupParent = "a/../..", "'a/../..' must be a path below the cgroup mount without '..'." },
        { "DnsServers", options => options.DnsServers = null!, "must not be null." },
        { "DnsServers[0]", options => options.DnsServers = ["dns.example"], "'dns.example' must be an IP address, such as 9.9.9.9." },
        { "DnsServers[1]", options => options.DnsServers = ["9.9.9.9", "127.0.0.53"], "'127.0.0.53' is this host's loopback address, which sandboxes cannot reach; use another address of the resolver." },
        { "DnsServers", options => options.DnsServers = ["9.9.9.1", "9.9.9.2", "9.9.9.3", "9.9.9.4"], "must have at most 3 entries (resolv.conf(5))." },
        { "Registries", options => options.Registries = null!, "must not be null." },
        { "Registries[0]", options => options.Registries = [null!], "must not be null." },
        { "Registries[1].Name", options => options.Registries = [new() { Name = "docker.io" }, new()], "is missing; write a host or host:port, such as ghcr.io." },
        { "Registries[1].Name", options => options.Registries = [new() { Name = "docker.io" }, new() { Name = "Docker.io" }], "'Docker.io' is listed twice; merge the entries." },
        { "Registries[1].Name", options => options.Registries = [new() { Name = "docker.io" }, new() { Name = "index.docker.io" }], "'index.docker.io' is listed twice; merge the entries." },
        { "Registries[0].Mirrors", options => options.Registries = [new() { Name = "docker.io", Mirrors = null! }], "must not be null." },
        { "Registries[0].Mirrors[1]", options => options.Registries = [new() { Name = "docker.io", Mirrors = ["https://a.example", "a.example"] }], "'a.example' must be an http or https URL without user, query and fragment, such as http://127.0.0.1:5000." },
        { "AllowedRegistries", options => options.AllowedRegistries = null!, "must not be null." },
        { "AllowedRegistries[0]", options => options.AllowedRegistries = ["https://a.example"], "'https://a.example' must be a host or host:port, such as ghcr.io." },
        { "Registries[0].Mirrors[0]", options => options.Registries = [new() { Name = "docker.io", Mirrors = ["https://user@a.example"] }], "'https://user@a.example' must be an http or https URL without user, query and fragment, such as http://127.0.0.1:5000." },
        { "Registries[0].Name", options => options.Registries = [new() { Name = "a/b", Insecure = true }], "'a/b' must be a host or host:port, such as ghcr.io." },
        { "Registries[0].Certificate", options => options.Registries = [new() { Name = "a.example", Certificate = "/nowhere.pem" }], "'/nowhere.pem' is not a file; name one with certificates in PEM form." },
        { "DockerConfigPath", options => options.DockerConfigPath = "config.json", "'config.json' must be an absolute path, such as /root/.docker/config.json." },
        { "PullPolicy", options => options.PullPolicy = (Boxer.Images.PullPolicy)7, "'7' must be one of: Missing, Always, Never." },
        { "MaxImageStoreBytes", options => options.MaxImageStoreBytes = 0, "is 0 bytes, but must be at least 1 byte." },
        { "MinFreeDiskBytes", options => options.MinFreeDiskBytes = -1, "is -1 byte, but must be from 0 bytes to 1 PiB." },
        { "AllowedNetworks", options => options.AllowedNetworks = null!, "must not be null." },
        { "AllowedNetworks[1]", options => options.AllowedNetworks = ["none", "bridge"], "'bridge' is not a network mode; use one of: none, other." },
        { "MaxConcurrentRuns", options => options.MaxConcurrentRuns = 0, "is 0, but must be from 1 to 10000 runs." },
        { "MaxMemoryBytes", options => options.MaxMemoryBytes = 31 * ByteSize.MiB, "is 31 MiB, but must be from 32 MiB to 1 PiB." },
        { "MaxMemoryBytes", options => options.MaxMemoryBytes = 128 * ByteSize.MiB, "is 128 MiB, less than the 256 MiB of one run; raise it, or lower DefaultLimits.MemoryBytes." },
        { "MaxMemoryBytes", options => options.MaxMemoryBytes = 300 * ByteSize.MiB, "is 300 MiB, of which 64 MiB are for pulls, and the rest is less than the 256 MiB of one run; raise it, or lower PullMemoryBytes or DefaultLimits.MemoryBytes." },
        { "PullMemoryBytes", options => options.PullMemoryBytes = 12_200 * ByteSize.MiB, "is 12200 MiB, which leaves 88 MiB of this machine's 16 GiB for sandboxes; lower it." },
        { "PullMemoryBytes", options => options.PullMemoryBytes = 63 * ByteSize.MiB, "is 63 MiB, but must be from 64 MiB to 64 GiB." },
        { "PullMemoryBytes", options => options.PullMemoryBytes = 65_537 * ByteSize.MiB, "is 65537 MiB, but must be from 64 MiB to 64 GiB." },
        { "MaxMemoryBytes", options => options.MaxMemoryBytes = ByteSize.TiB, "is 1 TiB, but this machine has 16 GiB, of which 15 GiB can be given to sandboxes; lower it." },
        { "DefaultLimits.MemoryBytes", options => options.DefaultLimits.MemoryBytes = 13_000 * ByteSize.MiB, "is 13000 MiB, but this machine has 16 GiB, of which 11776 MiB are given to sandboxes; lower it." },
        { "DefaultLimits.CpuCores", options => options.DefaultLimits.CpuCores = 4.5, "is 4.5, but this machine has 4 processors; ask for at most 4." },
        { "DefaultLimits.CpuCores", options => options.DefaultLimits.CpuCores = 2_000, "is 2000, but must be from 0.01 to 1024 cores." },
        { "CpuOvercommit", options => options.CpuOvercommit = 0.5, "is 0.5, but must be from 1 to 100." },
        { "CpuOvercommit", options => options.CpuOvercommit = double.NaN, "is NaN, but must be from 1 to 100." },
        { "MaxLimits", options => options.MaxLimits = null!, "must not be null." },
        { "MaxLimits.Pids", options => options.MaxLimits.Pids = 0, "is 0, but must be from 1 to 32768 processes." },
        { "DefaultLimits.MemoryBytes", options => options.MaxLimits.MemoryBytes = 128 * ByteSize.MiB, "is 256 MiB, but at most 128 MiB are allowed by MaxLimits; lower it, or raise MaxLimits.MemoryBytes." },
        { "DefaultLimits.WallClock", options => options.MaxLimits.WallClock = TimeSpan.FromSeconds(10), "is 30 s, but at most 10 s are allowed by MaxLimits; lower it, or raise MaxLimits.WallClock." },
        { "MaxConcurrentRunsPerKey", options => options.MaxConcurrentRunsPerKey = 0, "is 0, but must be from 1 to 10000 runs." },
        { "MaxQueuedRunsPerKey", options => options.MaxQueuedRunsPerKey = -1, "is -1, but must be from 0 to 1000000 runs." },
        { "MaxQueuedRuns", options => options.MaxQueuedRuns = -1, "is -1, but must be from 0 to 1000000 runs." },
        { "QueueTimeout", options => options.QueueTimeout = TimeSpan.FromHours(2), "is 2 h, but must be from 0 s to 1 h." },
        { "PullTimeout", options => options.PullTimeout = TimeSpan.Zero, "is 0 s, but must be from 1 s to 24 h." },
        { "Pool", options => options.Pool = null!, "must not be null." },
        { "Pool.MaxSandboxes", options => options.Pool.MaxSandboxes = -1, "is -1, but must be from 0 to 10000 sandboxes." },
        { "Pool.IdleTimeout", options => options.Pool.IdleTimeout = TimeSpan.Zero, "is 0 s, but must be from 1 s to 24 h." },
        { "Sessions", options => options.Sessions = null!, "must not be null." },
        { "Sessions.IdleTimeout", options => options.Sessions.IdleTimeout = TimeSpan.Zero, "is 0 s, but must be from 1 s to 168 h." },
        { "Sessions.IdleTimeout", options => options.Sessions.IdleTimeout = TimeSpan.FromDays(8), "is 192 h, but must be from 1 s to 168 h." },
        { "Sessions.Lifetime", options => options.Sessions.MaxLifetime = TimeSpan.FromMinutes(10), "is 1 h, more than the 10 min of Sessions.MaxLifetime; lower it." },
        { "Sessions.IdleTimeout", options => (options.Sessions.IdleTimeout, options.Sessions.Lifetime, options.Sessions.MaxLifetime) = (TimeSpan.FromSeconds(61), TimeSpan.FromSeconds(60), TimeSpan.FromSeconds(60)), "is 61 s, more than the 60 s of Sessions.MaxLifetime; lower it." },
        { "Sessions.MaxMemoryBytes", options => (options.MaxMemoryBytes, options.Sessions.MaxMemoryBytes) = (ByteSize.GiB, 2 * ByteSize.GiB), "is 2 GiB, more than the 1 GiB of MaxMemoryBytes; lower it." },
        { "Sessions.MaxMemoryBytesPerKey", options => (options.Sessions.MaxMemoryBytes, options.Sessions.MaxMemoryBytesPerKey) = (ByteSize.GiB, 2 * ByteSize.GiB), "is 2 GiB, more than the 1 GiB of Sessions.MaxMemoryBytes; lower it." },
        { "Sessions.MaxMemoryBytes", options => options.Sessions.MaxMemoryBytes = ByteSize.MiB, "is 1 MiB, but must be from 32 MiB to 1 PiB." },
        { "Sessions.MaxParallelExecs", options => options.Sessions.MaxParallelExecs = 0, "is 0, but must be from 1 to 64 commands." },
        { "Sessions.MaxProcesses", options => options.Sessions.MaxProcesses = 257, "is 257, but must be from 1 to 256 processes." },
        { "Sessions.ProcessHistoryBytes", options => options.Sessions.ProcessHistoryBytes = 1, "is 1 byte, but must be from 4 KiB to 64 MiB." },
        { "Sessions.MaxConnections", options => options.Sessions.MaxConnections = 0, "is 0, but must be from 1 to 1024 connections." },
        { "Sessions.MaxListEntries", options => options.Sessions.MaxListEntries = 0, "is 0, but must be from 1 to 100000 entries." },
        { "Sessions.MaxArchiveBytes", options => options.Sessions.MaxArchiveBytes = 0, "is 0 bytes, but must be from 1 byte to 64 GiB." },
        { "Pool.MaxAge", options => options.Pool.MaxAge = TimeSpan.FromDays(2), "is 48 h, but must be from 1 s to 24 h." },
        { "Pool.Images", options => options.Pool.Images = null!, "must not be null." },
        { "Pool.Images", options => options.Pool = new() { MaxSandboxes = 2, Images = { new() { Image = "python", Count = 3 } } }, "need more than the 2 pooled sandboxes that are allowed; lower the counts, or raise Pool.MaxSandboxes." },
        { "Pool.Images[0].Image", options => options.Pool.Images = [new() { Count = 1 }], "is missing; write an image reference, such as python:3.12-slim." },
        { "Pool.Images[0].Count", options => options.Pool.Images = [new() { Image = "python", Count = -1 }], "is -1, but must be from 0 to 1000 sandboxes." },
        { "Pool.Images[1].Image", options => options.Pool.Images = [new() { Image = "python" }, new() { Image = "docker.io/library/python:latest" }], "'docker.io/library/python:latest' is listed twice; merge the entries." },
        { "Pool.Images[0].WarmUp", options => options.Pool.Images = [new() { Image = "python", WarmUp = null! }], "must not be null." },
        { "Pool.Images[0].WarmUp", options => options.Pool.Images = [new() { Image = "python", WarmUp = [.. new string[1_025].Select(_ => "a")] }], "has 1025 arguments, but must have at most 1024." },
        { "Pool.Images[0].WarmUp", options => options.Pool.Images = [new() { Image = "python", WarmUp = ["a", "b\0"] }], "must be a program and its arguments, without NUL characters." },
        { "Pool.Images[0].WarmUp", options => options.Pool.Images = [new() { Image = "python", WarmUp = [""] }], "must be a program and its arguments, without NUL characters." },
        { "BootTimeout", options => options.BootTimeout = Timeout.InfiniteTimeSpan, "is -1 ms, but must be from 1 s to 10 min." },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public void Validate_reports_each_fault_with_its_option_and_remedy(string field, Action<BoxerOptions> spoil, string message)
    {
        var options = new BoxerOptions();
        spoil(options);

        SandboxFault fault = Assert.Single(OptionsValidator.Validate(options, ["none", "other"], MachineBytes, MachineProcessors));

        Assert.Equal((field, message), (fault.Field, fault.Message));
    }

    [Theory]
    [InlineData(64)]
    [InlineData(256)]
    [InlineData(600)]
    [InlineData(4_096)]
    [InlineData(1 << 20)]
    public void MemoryBudget_never_exceeds_the_memory_of_the_machine(long machine)
    {
        var options = new BoxerOptions { DefaultLimits = { MemoryBytes = 32 * ByteSize.MiB } };
        Assert.InRange(MemoryBudget.Of(options, machine * ByteSize.MiB), 0, machine * ByteSize.MiB * 3 / 4);
        foreach (long wanted in (long[])[32, machine / 2, machine - 128, machine, machine * 2])
        {
            options.MaxMemoryBytes = wanted * ByteSize.MiB;
            bool isRefused = OptionsValidator.Validate(options, ["none"], machine * ByteSize.MiB).Count > 0;
            Assert.True(isRefused || MemoryBudget.Of(options, machine * ByteSize.MiB) <= (machine - 128) * ByteSize.MiB, $"{wanted} of {machine}");
        }
    }

    [Theory]
    [InlineData(null, null, 12_288, 512)]
    [InlineData(4_096, null, 4_096, 256)]
    [InlineData(512, null, 512, 64)]
    [InlineData(4_096, 1_024, 4_096, 1_024)]
    public void Pull_memory_reduces_sandbox_memory(int? most, int? pulls, long total, long expected)
    {
        var options = new BoxerOptions { MaxMemoryBytes = most * ByteSize.MiB, PullMemoryBytes = pulls * ByteSize.MiB };

        Assert.Equal(expected * ByteSize.MiB, MemoryBudget.OfPulls(options, MachineBytes));
        Assert.Equal((total - expected) * ByteSize.MiB, MemoryBudget.Of(options, MachineBytes));
    }

    [Fact]
    public void SandboxRunner_constructor_reports_all_faults_of_the_options()
    {
        var options = new BoxerOptions { Home = "x", Platform = "y", MaxQueuedRuns = -1, DefaultLimits = { MemoryBytes = 1 * ByteSize.MiB } };

        ArgumentException fault = Assert.Throws<ArgumentException>(() => new SandboxRunner(options, []));

        Assert.All(
            (string[])["Home: ", "Platform: ", "MaxQueuedRuns: ", "DefaultLimits.MemoryBytes: "],
            field => Assert.Contains(field, fault.Message, StringComparison.Ordinal));
    }

    [Fact]
    public void BoxerOptions_defaults_are_the_documented_ones()
    {
        var options = new BoxerOptions();

        Assert.Empty(OptionsValidator.Validate(options, ["none"], MachineBytes));
        Assert.EndsWith("/.boxer", options.Home, StringComparison.Ordinal);
        Assert.Equal(("runsc", "systrap"), (options.RunscPath, options.Platform));
        Assert.Equal((256, TimeSpan.FromSeconds(60)), (options.MaxQueuedRuns, options.QueueTimeout));
        Assert.Equal((TimeSpan.FromMinutes(10), TimeSpan.FromSeconds(30)), (options.PullTimeout, options.BootTimeout));
        Assert.False(options.IgnoreCgroups);
        Assert.Equal(1, options.CpuOvercommit);
        Assert.Equal(
            new ResourceLimits
            {
                CpuCores = 1,
                MemoryBytes = 256 * ByteSize.MiB,
                Pids = 64,
                WallClock = TimeSpan.FromSeconds(30),
                OpenFiles = 256,
                DiskBytes = 128 * ByteSize.MiB,
                StandardOutputBytes = 10 << 20,
                OutputFilesBytes = 64 << 20,
                OutputFilesCount = 1_000,
            },
            LimitsValidator.Fill(options.DefaultLimits, LimitDefaults.Values));
    }

    [Fact]
    public void LimitsValidator_Fill_prefers_the_request_then_the_options_then_the_documented_default()
    {
        ResourceLimits limits = LimitsValidator.Fill(
            new() { Pids = 3 }, LimitsValidator.Fill(new() { Pids = 2, OpenFiles = 20 }, LimitDefaults.Values));

        Assert.Equal((3, 20, 256 * ByteSize.MiB), (limits.Pids, limits.OpenFiles, limits.MemoryBytes));
    }
}
