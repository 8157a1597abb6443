using System.Reflection;
using System.Text;
using Boxer.Hosting.Configuration;
using Boxer.Images;
using Boxer.Validation;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;

namespace Boxer.Tests.Hosting;

public sealed class ConfigurationTests
{
    private const string Json = """
        {
          "Boxer": {
            "Home": "/var/lib/boxer",
            "defaultlimits": { "MemoryBytes": 536870912, "WallClock": "00:01:30", "CpuCores": 0.5, "Pids": null },
            "IgnoreCgroups": true,
            "PullPolicy": "always",
            "MaxConcurrentRuns": 3,
            "DnsServers": [ "9.9.9.9", "1.1.1.1" ],
            "AllowedNetworks": [],
            "Egress": { "Allow": [ "pypi.org:443" ], "BandwidthBitsPerSecond": 8000000 },
            "Pool": {
              "Enabled": false,
              "MaxAge": "1.00:00:00",
              "Images": [ { "Image": "python:3.12-slim", "Count": 1, "WarmUp": [ "python3", "-c", "pass" ] }, { "Image": "127.0.0.1:5000/box:2" } ]
            },
            "Registries": [ { "Name": "127.0.0.1:5000", "Mirrors": [ "http://127.0.0.1:5000" ], "Certificate": null, "Insecure": true } ]
          }
        }
        """;

    private static readonly string[] Flat =
    [
        "Boxer:Home=/var/lib/boxer",
        "Boxer:defaultlimits:MemoryBytes=536870912",
        "Boxer:defaultlimits:WallClock=00:01:30",
        "Boxer:defaultlimits:CpuCores=0.5",
        "Boxer:defaultlimits:Pids=",
        "Boxer:IgnoreCgroups=True",
        "Boxer:PullPolicy=always",
        "Boxer:MaxConcurrentRuns=3",
        "Boxer:DnsServers:0=9.9.9.9",
        "Boxer:DnsServers:1=1.1.1.1",
        "Boxer:AllowedNetworks=",
        "Boxer:Egress:Allow:0=pypi.org:443",
        "Boxer:Egress:BandwidthBitsPerSecond=8000000",
        "Boxer:Pool:Enabled=false",
        "Boxer:Pool:MaxAge=1.00:00:00",
        "Boxer:Pool:Images:0:Image=python:3.12-slim",
        "Boxer:Pool:Images:0:Count=1",
        "Boxer:Pool:Images:0:WarmUp:0=python3",
        "Boxer:Pool:Images:0:WarmUp:1=-c",
        "Boxer:Pool:Images:0:WarmUp:2=pass",
        "Boxer:Pool:Images:1:Image=127.0.0.1:5000/box:2",
        "Boxer:Registries:0:Name=127.0.0.1:5000",
        "Boxer:Registries:0:Mirrors:0=http://127.0.0.1:5000",
        "Boxer:Registries:0:Insecure=true",
    ];

    public static TheoryData<string> Providers => ["json", "environment", "command line", "memory"];

    [Theory]
    [MemberData(nameof(Providers))]
    public void Every_configuration_provider_sets_the_same_options(string provider)
    {
        BoxerOptions options = Read(Build(provider, Json, Flat), before => (before.AllowedNetworks, before.DnsServers, before.DefaultLimits.Pids) = (["none"], ["8.8.8.8"], 5));

        Assert.Equal("/var/lib/boxer", options.Home);
        Assert.Equal((536_870_912L, TimeSpan.FromSeconds(90), 0.5, null), (options.DefaultLimits.MemoryBytes, options.DefaultLimits.WallClock, options.DefaultLimits.CpuCores, options.DefaultLimits.Pids));
        Assert.Equal((true, PullPolicy.Always, 3), (options.IgnoreCgroups, options.PullPolicy, options.MaxConcurrentRuns));
        Assert.Equal(["9.9.9.9", "1.1.1.1"], options.DnsServers);
        Assert.Empty(options.AllowedNetworks);
        Assert.Equal(["pypi.org:443"], options.Egress.Allow!);
        Assert.Equal(8_000_000, options.Egress.BandwidthBitsPerSecond);
        Assert.Equal((false, TimeSpan.FromDays(1)), (options.Pool.Enabled, options.Pool.MaxAge));
        Assert.Equal(["python:3.12-slim 1 python3 -c pass", "127.0.0.1:5000/box:2 1 "], options.Pool.Images.Select(image => $"{image.Image} {image.Count} {string.Join(' ', image.WarmUp)}"));
        RegistryOptions registry = Assert.Single(options.Registries);
        Assert.Equal(("127.0.0.1:5000", "http://127.0.0.1:5000", null, true), (registry.Name, Assert.Single(registry.Mirrors), registry.Certificate, registry.Insecure));
    }

    [Theory]
    [MemberData(nameof(Providers))]
    public void Every_fault_is_reported_by_its_key(string provider)
    {
        const string json = """
            {
              "Boxer": {
                "Hoem": "/x",
                "PullPolicy": "Sometimes",
                "QueueTimeout": 30,
                "BootTimeout": "soon",
                "MaxQueuedRuns": "many",
                "IgnoreCgroups": "yes",
                "CpuOvercommit": "1,5 of them",
                "DnsServers": "9.9.9.9",
                "Pool": "on",
                "Platform": "y",
                "DefaultLimits": { "MemoryMegabytes": 512, "Zzz": 1, "Pids": { "Most": 5 } }
              }
            }
            """;
        string[] flat =
        [
            "Boxer:Hoem=/x", "Boxer:PullPolicy=Sometimes", "Boxer:QueueTimeout=30", "Boxer:BootTimeout=soon", "Boxer:MaxQueuedRuns=many", "Boxer:IgnoreCgroups=yes",
            "Boxer:CpuOvercommit=1,5 of them", "Boxer:DnsServers=9.9.9.9", "Boxer:Pool=on", "Boxer:Platform=y", "Boxer:DefaultLimits:MemoryMegabytes=512",
            "Boxer:DefaultLimits:Zzz=1", "Boxer:DefaultLimits:Pids:Most=5",
        ];

        OptionsValidationException fault = Assert.Throws<OptionsValidationException>(() => Read(Build(provider, json, flat)));

        Assert.Equal(
            [
                "BootTimeout: 'soon' must be a time as hours:minutes:seconds, such as 00:00:30 for 30 s.",
                "CpuOvercommit: '1,5 of them' must be a number, such as 1.5.",
                "DefaultLimits:MemoryMegabytes: is not an option; did you mean MemoryBytes?",
                "DefaultLimits:Pids: must be a value, not a section or a list.",
                "DefaultLimits:Zzz: is not an option; the options here are CpuCores, CpuTime, DiskBytes, MemoryBytes, OpenFiles, OutputFilesBytes, OutputFilesCount, Pids, StandardOutputBytes, WallClock.",
                "DnsServers: '9.9.9.9' must be a list: DnsServers:0, DnsServers:1 and so on.",
                "Hoem: is not an option; did you mean Home?",
                "IgnoreCgroups: 'yes' must be true or false.",
                "MaxQueuedRuns: 'many' must be a whole number of at most 2147483647.",
                "Platform: 'y' must be one of: systrap, kvm, ptrace.",
                "Pool: 'on' must be a section with keys such as Pool:Enabled.",
                "PullPolicy: 'Sometimes' must be one of: Missing, Always, Never.",
                "QueueTimeout: '30' has no unit; write hours:minutes:seconds, such as 00:00:30 for 30 s.",
            ],
            fault.Failures.Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("""{ "Pool": { "Images": { "python:3.12-slim": 1 } } }""", "Pool:Images:python: must be in a list: Pool:Images:0:Image, Pool:Images:1:Image and so on.")]
    [InlineData("""{ "Pool": { "Images": "python:3.12-slim" } }""", "Pool:Images: 'python:3.12-slim' must be a list: Pool:Images:0:Image, Pool:Images:1:Image and so on.")]
    [InlineData("""{ "Pool": { "Images": [ { "Image": "python", "WarmUp": "true" } ] } }""", "Pool:Images:0:WarmUp: 'true' must be a list: Pool:Images:0:WarmUp:0, Pool:Images:0:WarmUp:1 and so on.")]
    [InlineData("""{ "DefaultLimits": { "MemoryBytes": "512M" } }""", "DefaultLimits:MemoryBytes: '512M' must be a number of bytes, such as 536870912 for 512 MiB.")]
    [InlineData("""{ "DefaultLimits": { "MemoryBytes": "2 GB" } }""", "DefaultLimits:MemoryBytes: '2 GB' must be a number of bytes, such as 2147483648 for 2 GiB.")]
    [InlineData("""{ "DefaultLimits": { "MemoryBytes": "much" } }""", "DefaultLimits:MemoryBytes: 'much' must be a number of bytes, such as 536870912 for 512 MiB.")]
    [InlineData("""{ "DefaultLimits": { "MemoryBytes": "9999999999 TiB" } }""", "DefaultLimits:MemoryBytes: '9999999999 TiB' must be a number of bytes, such as 536870912 for 512 MiB.")]
    public void A_mistake_is_reported_with_its_full_key_and_the_remedy(string boxer, string message)
    {
        OptionsValidationException fault = Assert.Throws<OptionsValidationException>(() => Read(Build("json", $$"""{ "Boxer": {{boxer}} }""", [])));

        Assert.Equal([message], fault.Failures);
    }

    [Fact]
    public void A_string_instead_of_an_image_is_reported_with_its_full_key()
    {
        OptionsValidationException fault = Assert.Throws<OptionsValidationException>(() => Read(Build("json", """{ "Boxer": { "Pool": { "Images": [ "python" ] } } }""", [])));

        Assert.Contains("Pool:Images:0: 'python' must be a section with keys such as Pool:Images:0:Image.", fault.Failures);
    }

    [Fact]
    public void A_parent_of_the_section_is_reported_with_the_section_to_use()
    {
        var services = new ServiceCollection();
        services.AddBoxer(new ConfigurationBuilder().AddInMemoryCollection([new("Boxer:Home", "/srv/boxer")]).Build());
        using ServiceProvider provider = services.BuildServiceProvider();

        OptionsValidationException fault = Assert.Throws<OptionsValidationException>(() => provider.GetRequiredService<IOptions<BoxerOptions>>().Value);

        Assert.Equal(["Boxer: is not an option; it has options: pass this section, as GetSection(\"Boxer\") does."], fault.Failures);
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("""{ "Boxer": null }""")]
    [InlineData("""{ "Boxer": {} }""")]
    [InlineData("""{ "Boxer": { "Pool": null, "Home": null, "DnsServers": null, "MaxQueuedRuns": null, "MaxConcurrentRuns": null, "Egress": {} } }""")]
    public void Keys_without_a_value_keep_the_defaults(string json)
    {
        BoxerOptions options = Read(Build("json", json, []));

        var defaults = new BoxerOptions();
        Assert.Equal((defaults.Home, defaults.MaxQueuedRuns, null), (options.Home, options.MaxQueuedRuns, options.MaxConcurrentRuns));
        Assert.Equal(defaults.DnsServers, options.DnsServers);
        Assert.Null(options.Egress.Allow);
    }

    [Fact]
    public void An_empty_allow_list_allows_nothing()
    {
        Assert.Empty(Read(Build("json", """{ "Boxer": { "Egress": { "Allow": [] } } }""", [])).Egress.Allow!);
        Assert.Empty(Read(Build("environment", "", ["Boxer:Egress:Allow="])).Egress.Allow!);
    }

    [Fact]
    public void Later_sources_replace_single_items_and_may_leave_gaps()
    {
        IConfiguration configuration = new ConfigurationBuilder()
            .AddInMemoryCollection([new("Boxer:DnsServers:0", "1.1.1.1"), new("Boxer:DnsServers:10", "3.3.3.3")])
            .AddInMemoryCollection([new("Boxer:DnsServers:0", "9.9.9.9"), new("Boxer:DnsServers:2", "2.2.2.2")])
            .Build();

        Assert.Equal(["9.9.9.9", "2.2.2.2", "3.3.3.3"], Read(configuration).DnsServers);
    }

    [Fact]
    public void Configure_accepts_a_whole_configuration()
    {
        var services = new ServiceCollection();
        services.AddBoxer(new ConfigurationBuilder().AddInMemoryCollection([new("MaxQueuedRuns", "x"), new("Pool:MaxAge", "5")]).Build());
        using ServiceProvider provider = services.BuildServiceProvider();

        OptionsValidationException fault = Assert.Throws<OptionsValidationException>(() => provider.GetRequiredService<IOptions<BoxerOptions>>().Value);

        Assert.Equal(["MaxQueuedRuns", "Pool:MaxAge"], fault.Failures.Select(failure => failure.Split(": ")[0]).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Every_option_has_a_key()
    {
        IEnumerable<string> options = typeof(BoxerOptions).GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(property => property.CanWrite).Select(property => property.Name);

        Assert.Equal(options.Order(StringComparer.Ordinal), SettingTable.BuiltIn.Options.Select(option => option.Name).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void SettingTable_rows_are_keys()
    {
        var values = new System.Runtime.CompilerServices.ConditionalWeakTable<object, object>();
        Setting added = Setting.Of<PoolOptions, TimeSpan?>(
            "NapTime", pool => values.TryGetValue(pool, out object? value) ? (TimeSpan)value : null, (pool, value) => values.AddOrUpdate(pool, value!), "Time of naps.") with
        {
            Default = TimeSpan.FromSeconds(1),
            Least = TimeSpan.Zero,
            Most = TimeSpan.FromMinutes(5),
            HostKey = "nap_time_secs",
        };
        SettingTable table = SettingTable.BuiltIn with { Pool = [.. SettingTable.BuiltIn.Pool, added] };
        IConfiguration configuration = new ConfigurationBuilder().AddInMemoryCollection([new("Pool:NapTime", "00:00:07"), new("Pool:NapTimes", "1")]).Build();
        var faults = new Faults(configuration);
        var options = new BoxerOptions();

        new OptionKeys(table, faults).Read(configuration, table.Options, options);

        Assert.Equal(["Pool:NapTimes: is not an option; did you mean NapTime?"], faults.All);
        Assert.Equal(TimeSpan.FromSeconds(7), added.Get(options.Pool));
    }

    private static BoxerOptions Read(IConfiguration configuration, Action<BoxerOptions>? before = null)
    {
        var services = new ServiceCollection();
        services.AddBoxer(before ?? (_ => { })).Configure(configuration.GetSection("Boxer"));
        using ServiceProvider provider = services.BuildServiceProvider();
        return provider.GetRequiredService<IOptions<BoxerOptions>>().Value;
    }

    private static IConfiguration Build(string provider, string json, string[] flat)
    {
        var builder = new ConfigurationBuilder();
        if (provider == "json")
        {
            return builder.AddJsonStream(new MemoryStream(Encoding.UTF8.GetBytes(json))).Build();
        }

        if (provider == "command line")
        {
            return builder.AddCommandLine([.. flat.Select(pair => $"--{pair}")]).Build();
        }

        KeyValuePair<string, string?>[] pairs = [.. flat.Select(pair => pair.Split('=', 2)).Select(pair => new KeyValuePair<string, string?>(pair[0], pair[1]))];
        if (provider == "memory")
        {
            return builder.AddInMemoryCollection(pairs).Build();
        }

        // Named as in a shell, under a unique prefix.
        string prefix = $"T{Guid.NewGuid():N}_";
        try
        {
            foreach ((string key, string? value) in pairs)
            {
                Environment.SetEnvironmentVariable(prefix + key.Replace(":", "__", StringComparison.Ordinal), value);
            }

            return builder.AddEnvironmentVariables(prefix).Build();
        }
        finally
        {
            foreach ((string key, _) in pairs)
            {
                Environment.SetEnvironmentVariable(prefix + key.Replace(":", "__", StringComparison.Ordinal), null);
            }
        }
    }
}
