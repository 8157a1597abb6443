using System.Net;
using System.Runtime.CompilerServices;
using Boxer.AspNetCore.Configuration;
using Boxer.HttpHost;
using Boxer.Validation;
using Microsoft.Extensions.DependencyInjection;

namespace Boxer.Tests.HttpHost;

public sealed class HostSettingsTests
{
    [Fact]
    public void The_defaults_match_the_contract()
    {
        HostSettings settings = Bind("{}", out IReadOnlyList<string> faults);

        Assert.Empty(faults);
        BoxerOptions options = settings.Sandboxes;
        Assert.Equal("/home/me/.boxer", options.Home);
        Assert.Equal("runsc", options.RunscPath);
        Assert.Equal("systrap", options.Platform);
        Assert.Equal(10_485_760, options.DefaultLimits.StandardOutputBytes);
        Assert.Equal(10_485_760, settings.Http.MaxUploadBytes);
        Assert.Equal(new ListenAddress(IPAddress.Loopback, 8080), settings.ListenAddress);
        Assert.False(options.IgnoreCgroups);
        Assert.Equal(["8.8.8.8", "8.8.4.4"], options.DnsServers);
        Assert.Equal(LimitDefaults.Values, options.DefaultLimits);
        Assert.Empty(options.Registries);
        Assert.Empty(options.AllowedRegistries);
        Assert.Empty(settings.ApiKeys);
        Assert.Equal(["none", "sandbox", "host"], options.AllowedNetworks);
        Assert.False(settings.OmitsHostNetwork);
        Assert.Empty(settings.HostNames);
        Assert.Null(options.CgroupParent);
        Assert.Null(options.MaxConcurrentRuns);
        Assert.Null(options.MaxMemoryBytes);
        Assert.Equal(4, options.CpuOvercommit);
        Assert.Equal(256, options.MaxQueuedRuns);
        Assert.Equal(TimeSpan.FromSeconds(60), options.QueueTimeout);
        Assert.Equal(TimeSpan.FromMinutes(10), options.PullTimeout);
        Assert.Equal(TimeSpan.FromSeconds(30), options.BootTimeout);
        Assert.Equal(TimeSpan.FromSeconds(10), settings.Http.StopGrace);
        Assert.Equal(16 << 20, settings.Http.MaxRequestBytes);
        Assert.Equal(4L << 30, settings.Http.MaxStoredBytes);
        Assert.Equal(100_000, settings.Http.MaxStoredFiles);
    }

    [Fact]
    public void Every_key_is_read()
    {
        HostSettings settings = Bind(
            """
            {
              // comments and trailing commas are allowed
              "home": "~/boxes", "runsc_path": "/opt/runsc", "platform": "ptrace", "output_limit_bytes": 1, "upload_limit_bytes": 2,
              "listen_addr": "127.0.0.1:9", "ignore_cgroups": true, "dns_servers": ["9.9.9.9", "2620:fe::fe"],
              "defaults": {"cpu_cores": 0.5, "memory_mb": 64, "pids_limit": 3, "wall_clock_secs": 4.5, "cpu_time_secs": 5.5, "nofile": 16, "disk_mb": 6},
              "registry_mirrors": {"docker.io": ["http://127.0.0.1:5000", "https://registry-1.docker.io"], "localhost:5001": ["http://localhost:5001"]},
              "api_keys": ["k"], "allowed_networks": ["host"], "allowed_registries": ["10.0.0.5:5000"], "cgroup_parent": "boxes",
              "host_names": ["boxer.example", "boxer.example:8443"], "max_concurrent_runs": 7, "cpu_overcommit": 1.5, "max_memory_mb": 8000, "max_queued_runs": 9, "max_concurrent_runs_per_key": 35, "max_queued_runs_per_key": 36, "max_limits": {"memory_mb": 512, "cpu_time_secs": 60}, "queue_timeout_secs": 10, "pull_timeout_secs": 11,
              "boot_timeout_secs": 12, "stop_grace_secs": 13, "inline_outputs_bytes": 19, "inline_outputs_files": 20, "run_body_limit_bytes": 2048, "body_timeout_secs": 21, "buffered_requests_bytes": 16384, "buffered_answers_bytes": 1048577, "upload_quota_bytes": 15,
              "upload_quota_files": 16, "outputs_limit_bytes": 17, "outputs_limit_files": 18,
              "docker_config": "~/.docker/config.json", "insecure_registries": ["10.0.0.6:5000"], "registry_certificates": {"a.example": "/etc/ca.pem"},
              "pull_policy": "always", "image_quota_bytes": 20, "image_min_free_bytes": 30, "pull_memory_mb": 80,
              "pool": {"enabled": true, "max_sandboxes": 31, "idle_timeout_secs": 32, "max_age_secs": 33, "images": {"python:3.12-slim": 34}, "warm_ups": {"python:3.12-slim": ["python3", "-c", "pass"]}},
              "network_blocks": ["10.9.0.0/16"], "enable_ipv6": true, "allow_wider_egress": true, "allow_sessions": false,
              "egress": {"allow": ["pypi.org:443"], "deny": ["203.0.113.7"], "bandwidth_bps": 9000, "quota_bytes": 19},
            }
            """,
            out IReadOnlyList<string> faults);

        Assert.Empty(faults);
        BoxerOptions options = new();
        settings.CopyTo(options, ["none"]);
        Assert.Equal("/home/me/boxes", options.Home);
        Assert.Equal("/opt/runsc", options.RunscPath);
        Assert.Equal("ptrace", options.Platform);
        Assert.True(options.IgnoreCgroups);
        Assert.Equal("boxes", options.CgroupParent);
        Assert.Equal(["9.9.9.9", "2620:fe::fe"], options.DnsServers);
        Assert.Equal(["http://127.0.0.1:5000", "https://registry-1.docker.io"], Registry("docker.io").Mirrors);
        Assert.Equal(["http://localhost:5001"], Registry("localhost:5001").Mirrors);
        Assert.Equal(["10.0.0.5:5000"], options.AllowedRegistries);
        Assert.True(Registry("10.0.0.6:5000").Insecure);
        Assert.Equal("/etc/ca.pem", Registry("a.example").Certificate);
        Assert.Equal(("/home/me/.docker/config.json", Boxer.Images.PullPolicy.Always, 20L, 30L), (options.DockerConfigPath, options.PullPolicy, options.MaxImageStoreBytes, options.MinFreeDiskBytes));
        Assert.Equal(80 * ByteSize.MiB, options.PullMemoryBytes);
        Assert.Equal((true, 31, 32, 33), (options.Pool.Enabled, options.Pool.MaxSandboxes, (int)options.Pool.IdleTimeout.TotalSeconds, (int)options.Pool.MaxAge.TotalSeconds));
        PoolImageOptions image = Assert.Single(options.Pool.Images);
        Assert.Equal(("python:3.12-slim", 34), (image.Image, image.Count));
        Assert.Equal(["python3", "-c", "pass"], image.WarmUp);
        Assert.Equal(["host"], options.AllowedNetworks);
        Assert.Equal(["boxer.example", "boxer.example:8443"], settings.HostNames);
        Assert.Equal(["10.9.0.0/16"], options.NetworkBlocks);
        Assert.True(options is { EnableIPv6: true, AllowWiderEgress: true, Egress: { BandwidthBitsPerSecond: 9_000, QuotaBytes: 19 } });
        Assert.Equal(("pypi.org:443", "203.0.113.7"), (Assert.Single(options.Egress.Allow!), Assert.Single(options.Egress.Deny)));
        Assert.Equal((7, 1.5, 8000 * ByteSize.MiB, 9), (options.MaxConcurrentRuns, options.CpuOvercommit, options.MaxMemoryBytes, options.MaxQueuedRuns));
        Assert.Equal((35, 36, 512 * ByteSize.MiB), (options.MaxConcurrentRunsPerKey, options.MaxQueuedRunsPerKey, options.MaxLimits.MemoryBytes));
        Assert.Equal(TimeSpan.FromMinutes(1), options.MaxLimits.CpuTime);
        Assert.Equal((10, 11, 12), (options.QueueTimeout.TotalSeconds, options.PullTimeout.TotalSeconds, options.BootTimeout.TotalSeconds));
        Assert.Equal(
            new ResourceLimits
            {
                CpuCores = 0.5,
                MemoryBytes = 64 * ByteSize.MiB,
                Pids = 3,
                WallClock = TimeSpan.FromSeconds(4.5),
                CpuTime = TimeSpan.FromSeconds(5.5),
                OpenFiles = 16,
                DiskBytes = 6 * ByteSize.MiB,
                StandardOutputBytes = 1,
                OutputFilesBytes = 17,
                OutputFilesCount = 18,
            },
            options.DefaultLimits);
        Assert.Equal((2L, 2048L, 15L, 16), (settings.Http.MaxUploadBytes, settings.Http.MaxRequestBytes, settings.Http.MaxStoredBytes, settings.Http.MaxStoredFiles));
        Assert.Equal((19L, 20), (settings.Http.MaxInlineOutputBytes, settings.Http.MaxInlineOutputFiles));
        Assert.Equal(TimeSpan.FromSeconds(13), settings.Http.StopGrace);
        Assert.Equal((16_384L, 1_048_577L, 21), (settings.Http.MaxBufferedRequestBytes, settings.Http.MaxBufferedAnswerBytes, settings.Http.RequestBodyTimeout.TotalSeconds));
        Assert.Equal(["k"], settings.ApiKeys);
        Assert.False(settings.Http.AllowSessions);

        RegistryOptions Registry(string name) => options.Registries.Single(registry => registry.Name == name);
    }

    [Fact]
    public void All_faults_are_found_at_once()
    {
        Bind(
            """
            {
              "home": "relative", "runsc_path": "", "platform": "docker", "output_limit_bytes": 0, "upload_limit_bytes": "10",
              "listen_addr": "example.org:80", "ignore_cgroups": "no", "dns_servers": ["dns.example", "1.1.1.1", "1.1.1.2", "1.1.1.3"],
              "defaults": {"cpu_cores": -1, "memory_mb": 16, "pids_limit": 0, "wall_clock_secs": null, "cpu_time_secs": -2, "nofile": 1.5, "disk": 1},
              "registry_mirrors": {"docker.io": ["ftp://x", "http://u:p@x"], "a/b": []},
              "api_keys": ["", "secret key", "same", "same"], "host_names": ["*.example", "http://boxer.example"], "allowed_networks": ["bridge"], "allowed_registries": ["https://x"],
              "cgroup_parent": 5, "cpu_overcommit": 0, "max_concurrent_runs": 0, "max_memory_mb": 1, "max_queued_runs": -1, "queue_timeout_secs": 3601,
              "pull_timeout_secs": 0, "boot_timeout_secs": 601, "stop_grace_secs": -1, "run_body_limit_bytes": 1,
              "upload_quota_bytes": {}, "upload_quota_files": [], "inline_outputs_bytes": -1, "inline_outputs_files": 10001, "outputs_limit_bytes": 0, "outputs_limit_files": 0, "memory_mb": 5,
              "docker_config": "x", "insecure_registries": ["a/b"], "registry_certificates": {"a": 1}, "pull_policy": "sometimes", "image_quota_bytes": 0
            }
            """,
            out IReadOnlyList<string> faults);

        Assert.Equal(
            """
            allowed_registries[0]: 'https://x' must be a host or host:port, such as ghcr.io.
            api_keys[0]: must be 1 to 4096 visible ASCII characters without spaces.
            api_keys[1]: must be 1 to 4096 visible ASCII characters without spaces.
            api_keys[3]: is the same as api_keys[2]; remove one.
            boot_timeout_secs: must be a number from 1 to 600, not 601.
            cgroup_parent: must be a text that is not empty, not 5.
            cpu_overcommit: must be a number from 1 to 100, not 0.
            defaults.cpu_cores: must be a number from 0.01 to 1024, not -1.
            defaults.cpu_time_secs: must be a number from 0.01 to 86400, not -2.
            defaults.disk: is not a setting; remove it or use one of cpu_cores, cpu_time_secs, disk_mb, memory_mb, nofile, pids_limit, wall_clock_secs.
            defaults.memory_mb: must be a whole number from 32 to 1048576, not 16.
            defaults.nofile: must be a whole number from 8 to 1048576, not 1.5.
            defaults.pids_limit: must be a whole number from 1 to 32768, not 0.
            defaults.wall_clock_secs: must be a number from 0.001 to 86400, not null.
            dns_servers: must have at most 3 entries (resolv.conf(5)).
            dns_servers[0]: 'dns.example' must be an IP address, such as 9.9.9.9.
            docker_config: must be an absolute path or start with ~/, not "x".
            home: must be an absolute path or start with ~/, not "relative".
            host_names[0]: must be a name that clients use for this host, alone or with a port, such as boxer.example or boxer.example:8080, not "*.example".
            host_names[1]: must be a name that clients use for this host, alone or with a port, such as boxer.example or boxer.example:8080, not "http://boxer.example".
            ignore_cgroups: must be true or false, not "no".
            image_quota_bytes: must be a whole number from 1 to 9223372036854775807, not 0.
            inline_outputs_bytes: must be a whole number from 0 to 67108864, not -1.
            inline_outputs_files: must be a whole number from 0 to 10000, not 10001.
            insecure_registries[0]: 'a/b' must be a host or host:port, such as ghcr.io.
            listen_addr: must be a port with an IP address, localhost or nothing before it, such as :8080 or 127.0.0.1:8080, not "example.org:80".
            max_concurrent_runs: must be a whole number from 1 to 10000, not 0.
            max_memory_mb: must be a whole number from 32 to 1073741824, not 1.
            max_queued_runs: must be a whole number from 0 to 1000000, not -1.
            memory_mb: is not a setting; did you mean max_memory_mb?
            output_limit_bytes: must be a whole number from 1 to 1073741824, not 0.
            outputs_limit_bytes: must be a whole number from 1 to 68719476736, not 0.
            outputs_limit_files: must be a whole number from 1 to 1000000, not 0.
            platform: must be systrap, kvm or ptrace, not "docker".
            pull_policy: must be missing, always or never, not "sometimes".
            pull_timeout_secs: must be a number from 1 to 86400, not 0.
            queue_timeout_secs: must be a number from 0 to 3600, not 3601.
            registry_certificates.a: must be a text that is not empty, not 1.
            registry_mirrors.a/b: 'a/b' must be a host or host:port, such as ghcr.io.
            registry_mirrors.a/b: lists no mirror, so no image of that registry could be pulled; list one or remove the key.
            registry_mirrors.docker.io[0]: 'ftp://x' must be an http or https URL without user, query and fragment, such as http://127.0.0.1:5000.
            registry_mirrors.docker.io[1]: 'http://u:p@x' must be an http or https URL without user, query and fragment, such as http://127.0.0.1:5000.
            run_body_limit_bytes: must be a whole number from 1024 to 1073741824, not 1.
            runsc_path: must be a text that is not empty, not "".
            stop_grace_secs: must be a number from 0 to 3600, not -1.
            upload_limit_bytes: must be a whole number from 1 to 68719476736, not "10".
            upload_quota_bytes: must be a whole number from 1 to 9223372036854775807, not an object.
            upload_quota_files: must be a whole number from 1 to 2147483647, not a list.
            """.ReplaceLineEndings("\n"),
            string.Join('\n', faults.Order(StringComparer.Ordinal)));
    }

    [Fact]
    public void Registries_and_images_of_the_pool_are_lists_of_objects()
    {
        HostSettings settings = Bind(
            """
            {
              "registries": [{"name": "docker.io", "mirrors": ["http://127.0.0.1:5000"]}, {"name": "10.0.0.6:5000", "certificate": "/etc/ca.pem", "insecure": true}],
              "pool": {"images": [{"image": "python:3.12-slim", "count": 2, "warm_up": ["python3", "-c", "pass"]}, {"image": "alpine:3"}]}
            }
            """,
            out IReadOnlyList<string> faults,
            out _,
            ("BOXER__max_queued_runs", "1"));

        Assert.Empty(faults);
        Assert.Equal(
            [("docker.io", "http://127.0.0.1:5000", null, false), ("10.0.0.6:5000", "", "/etc/ca.pem", true)],
            settings.Sandboxes.Registries.Select(registry => (registry.Name, string.Join(' ', registry.Mirrors), registry.Certificate, registry.Insecure)));
        Assert.Equal(
            [("python:3.12-slim", 2, "python3 -c pass"), ("alpine:3", 1, "")],
            settings.Sandboxes.Pool.Images.Select(image => (image.Image, image.Count, string.Join(' ', image.WarmUp))));
    }

    [Fact]
    public void Variables_name_registries_and_images_by_number()
    {
        HostSettings settings = Bind(
            "{}",
            out IReadOnlyList<string> faults,
            out _,
            ("BOXER__registries__0__name", "localhost:5001"),
            ("BOXER__registries__0__mirrors__0", "http://localhost:5001"),
            ("BOXER__pool__images__0__image", "python:3.12-slim"));

        Assert.Empty(faults);
        Assert.Equal("http://localhost:5001", Assert.Single(Assert.Single(settings.Sandboxes.Registries).Mirrors));
        Assert.Equal("python:3.12-slim", Assert.Single(settings.Sandboxes.Pool.Images).Image);
    }

    [Fact]
    public void Old_and_new_keys_together_are_faults_and_objects_in_lists_are_read_strictly()
    {
        Bind(
            """
            {
              "registries": [{"name": "a/b", "mirror": []}, {"insecure": 1}, 5, {"name": "docker.io"}, {"name": "docker.io"}], "registry_mirrors": {}, "insecure_registries": [],
              "pool": {"images": [{"image": "a b", "count": -1}], "warm_ups": {}}
            }
            """,
            out IReadOnlyList<string> faults);

        Assert.Equal(
            """
            insecure_registries: cannot be combined with registries; put what it has into registries.
            pool.images[0].count: must be a whole number from 0 to 1000, not -1.
            pool.images[0].image: is not an image: REASON
            pool.warm_ups: cannot be combined with a list in pool.images; put each command into warm_up of its image.
            registries[0].mirror: is not a setting; did you mean mirrors?
            registries[0].name: 'a/b' must be a host or host:port, such as ghcr.io.
            registries[1].insecure: must be true or false, not 1.
            registries[1].name: is missing.
            registries[2]: must be an object, not 5.
            registries[4].name: 'docker.io' is listed twice; merge the entries.
            registry_mirrors: cannot be combined with registries; put what it has into registries.
            """.ReplaceLineEndings("\n"),
            string.Join('\n', faults.Order(StringComparer.Ordinal).Select(fault => fault.StartsWith("pool.images[0].image:", StringComparison.Ordinal) ? "pool.images[0].image: is not an image: REASON" : fault)));
    }

    [Fact]
    public void SettingTable_rows_are_keys_of_the_configuration()
    {
        var values = new ConditionalWeakTable<object, object>();
        Setting added = Setting.Of<ResourceLimits, long?>(
            "NapBytes", limits => values.TryGetValue(limits, out object? value) ? (long)value : null, (limits, value) => values.AddOrUpdate(limits, value!), "Naps.") with
        {
            Default = ByteSize.MiB,
            Least = ByteSize.MiB,
            Most = ByteSize.GiB,
            HttpKey = "nap_mb",
        };
        SettingTable table = SettingTable.BuiltIn with { Limits = [.. SettingTable.BuiltIn.Limits, added] };

        HostSettings settings = Bind("""{"defaults": {"nap_mb": 5}, "max_limits": {"nap_mb": 2000}}""", table, out IReadOnlyList<string> faults);

        Assert.Equal(["max_limits.nap_mb: must be a whole number from 1 to 1024, not 2000."], faults);
        Assert.Equal(5 * ByteSize.MiB, added.Get(settings.Sandboxes.DefaultLimits));
    }

    [Theory]
    [InlineData("{\n  \"home\" 1\n}", "FILE: is not valid JSON: line 2, byte 10: ")]
    [InlineData("", "FILE: is not valid JSON: ")]
    [InlineData("""{"home": "/a", "home": "/b"}""", "FILE: is not valid JSON: ")]
    [InlineData("[]", "FILE: is not a JSON object; write { \"key\": value, ... }.")]
    [InlineData("""{"home": "\ud800"}""", "FILE: has a string that is not valid Unicode; correct its \\u escapes.")]
    [InlineData("""{"dns_servers": [[[[[[[[[[]]]]]]]]]]}""", "FILE: is not valid JSON: ")]
    public void An_invalid_file_is_reported(string json, string start)
    {
        Bind(json, out IReadOnlyList<string> faults, out string file);

        Assert.StartsWith(start.Replace("FILE", file, StringComparison.Ordinal), Assert.Single(faults), StringComparison.Ordinal);
    }

    [Fact]
    public void Variables_override_the_file()
    {
        HostSettings settings = Bind(
            """{"defaults": {"memory_mb": 64, "nofile": 16}, "dns_servers": ["9.9.9.9"], "max_queued_runs": 1}""",
            out IReadOnlyList<string> faults,
            out _,
            ("BOXER__defaults__memory_mb", "512"),
            ("BOXER__DNS_SERVERS__0", "1.1.1.1"),
            ("BOXER__dns_servers__1", "1.0.0.1"),
            ("BOXER_listen_addr", "localhost:0"),
            ("BOXER_IGNORE_CGROUPS", "True"),
            ("BOXER__registry_mirrors__docker.io__0", "http://127.0.0.1:5000"),
            ("BOXER_PORT", "tcp://10.0.0.1:8080"),
            ("BOXER_CONFIG", "unused"),
            ("OTHER", "x"));

        Assert.Empty(faults);
        Assert.Equal(512 * ByteSize.MiB, settings.Sandboxes.DefaultLimits.MemoryBytes);
        Assert.Equal(16, settings.Sandboxes.DefaultLimits.OpenFiles);
        Assert.Equal(["1.1.1.1", "1.0.0.1"], settings.Sandboxes.DnsServers);
        Assert.Equal(new ListenAddress(null, 0), settings.ListenAddress);
        Assert.True(settings.Sandboxes.IgnoreCgroups);
        Assert.Equal(["http://127.0.0.1:5000"], Assert.Single(settings.Sandboxes.Registries).Mirrors);
        Assert.Equal(1, settings.Sandboxes.MaxQueuedRuns);
    }

    [Fact]
    public void Faults_of_variables_name_the_variable()
    {
        Bind(
            "{}",
            out IReadOnlyList<string> faults,
            out _,
            ("BOXER__defaults__memory_mb", "lots"),
            ("BOXER__dns_servers", "1.1.1.1"),
            ("BOXER__listen_adr", ":1"),
            ("BOXER__max_queued_runs", "1"),
            ("BOXER_max_queued_runs", "2"));

        Assert.Equal(
            [
                "BOXER_max_queued_runs: sets the same key as BOXER__max_queued_runs; set one of them.",
                "defaults.memory_mb: must be a whole number from 32 to 1048576, not \"lots\" (environment variable BOXER__defaults__memory_mb).",
                "dns_servers: must be a list of texts; number the variables of its items, as in BOXER__dns_servers__0.",
            ],
            faults.Where(fault => !fault.StartsWith("listen_adr:", StringComparison.Ordinal)).Order(StringComparer.Ordinal));
        Assert.Equal(
            "listen_adr: is not a setting (environment variable BOXER__listen_adr); did you mean listen_addr?",
            Assert.Single(faults, fault => fault.StartsWith("listen_adr:", StringComparison.Ordinal)));
    }

    [Fact]
    public void A_variable_with_too_many_levels_is_a_fault_and_others_are_still_read()
    {
        HostSettings settings = Bind(
            "{}",
            out IReadOnlyList<string> faults,
            out _,
            ("BOXER__defaults__" + string.Join("__", Enumerable.Repeat("a", 1_000)), "1"),
            ("BOXER__registry_certificates__[::1]:5000", "/etc/ca.pem"),
            ("BOXER__registry_certificates__a.example", ""));

        Assert.Equal(2, faults.Count);
        Assert.EndsWith(": has more than 8 levels, which is more than any setting has.", faults[0], StringComparison.Ordinal);
        Assert.Equal("registry_certificates.a.example: must be a text that is not empty, not \"\" (environment variable BOXER__registry_certificates__a.example).", faults[1]);
        Assert.Equal(("[::1]:5000", "/etc/ca.pem"), (Assert.Single(settings.Sandboxes.Registries).Name, settings.Sandboxes.Registries[0].Certificate));
    }

    [Theory]
    [InlineData(":8080", "::", 8080)]
    [InlineData("127.0.0.1:8080", "127.0.0.1", 8080)]
    [InlineData("[::1]:8080", "::1", 8080)]
    [InlineData("localhost:0", null, 0)]
    [InlineData("0.0.0.0:65535", "0.0.0.0", 65_535)]
    public void ListenAddress_parses_valid_addresses(string text, string? address, int port) =>
        Assert.Equal(new ListenAddress(address is null ? null : IPAddress.Parse(address), port), ListenAddress.Parse(text));

    [Theory]
    [InlineData("")]
    [InlineData("8080")]
    [InlineData(":")]
    [InlineData(":65536")]
    [InlineData(":-1")]
    [InlineData("::1:8080")]
    [InlineData("[127.0.0.1]:80")]
    [InlineData("127.1:80")]
    [InlineData("example.org:80")]
    [InlineData("http://127.0.0.1:80")]
    [InlineData(" 127.0.0.1:80")]
    public void ListenAddress_rejects_invalid_addresses(string text) => Assert.Null(ListenAddress.Parse(text));

    [Theory]
    [InlineData(":8080", false, "none sandbox")]
    [InlineData("192.0.2.1:80", false, "none sandbox")]
    [InlineData(":8080", true, "none sandbox")]
    [InlineData("127.0.0.1:80", true, "none sandbox")]
    [InlineData("localhost:80", true, "none sandbox")]
    [InlineData("127.0.0.1:80", false, "none sandbox host")]
    [InlineData("127.9.9.9:80", false, "none sandbox host")]
    [InlineData("[::1]:80", false, "none sandbox host")]
    [InlineData("localhost:80", false, "none sandbox host")]
    public void The_host_network_is_a_default_only_on_loopback_without_keys(string listen, bool withKey, string networks)
    {
        string keys = withKey ? """, "api_keys": ["k"]""" : "";
        HostSettings settings = Bind($$"""{"listen_addr": "{{listen}}"{{keys}}}""", out IReadOnlyList<string> faults);

        Assert.Empty(faults);
        Assert.Equal(networks, string.Join(' ', settings.Sandboxes.AllowedNetworks));
        Assert.Equal(networks == "none sandbox", settings.OmitsHostNetwork);
    }

    [Fact]
    public void Default_networks_omit_missing_modes_and_configured_ones_do_not()
    {
        BoxerOptions byDefault = new(), configured = new();
        Bind("{}", out _).CopyTo(byDefault, ["none"]);
        Bind("""{"allowed_networks": ["none", "sandbox"]}""", out _).CopyTo(configured, ["none"]);

        Assert.Equal(["none"], byDefault.AllowedNetworks);
        Assert.Equal(["none", "sandbox"], configured.AllowedNetworks);
    }

    [Theory]
    [InlineData(":8080")]
    [InlineData("127.0.0.1:8080")]
    public void A_configured_host_network_is_allowed_at_any_address(string listen)
    {
        HostSettings settings = Bind($$"""{"listen_addr": "{{listen}}", "api_keys": ["k"], "allowed_networks": ["none", "host"]}""", out IReadOnlyList<string> faults);

        Assert.Empty(faults);
        Assert.Equal(["none", "host"], settings.Sandboxes.AllowedNetworks);
        Assert.False(settings.OmitsHostNetwork);
    }

    [Fact]
    public async Task HostProgram_prints_all_faults_and_exits_with_2_before_it_listens()
    {
        using TemporaryFile file = new("""{"listen_addr": "x", "nonsense": 1}""");
        StringWriter output = new(), errors = new();

        int code = await HostProgram.RunAsync(["--config", file.Path], Environment(), output, errors);

        Assert.Equal(2, code);
        Assert.Equal(
            [
                $"boxer: the configuration ({file.Path}) has 2 faults; nothing was started:",
                "  nonsense: is not a setting; remove it or use one of allow_sessions, allow_wider_egress, allowed_networks, allowed_registries, api_keys, body_timeout_secs, boot_timeout_secs, buffered_answers_bytes, buffered_requests_bytes, cgroup_parent, cpu_overcommit, defaults, dns_servers, docker_config, egress, enable_ipv6, home, host_names, ignore_cgroups, image_min_free_bytes, image_quota_bytes, inline_outputs_bytes, inline_outputs_files, insecure_registries, listen_addr, max_concurrent_runs, max_concurrent_runs_per_key, max_limits, max_memory_mb, max_queued_runs, max_queued_runs_per_key, network_blocks, output_limit_bytes, outputs_limit_bytes, outputs_limit_files, platform, pool, pull_memory_mb, pull_policy, pull_timeout_secs, queue_timeout_secs, registries, registry_certificates, registry_mirrors, run_body_limit_bytes, runsc_path, sessions, stop_grace_secs, upload_limit_bytes, upload_quota_bytes, upload_quota_files.",
                "  listen_addr: must be a port with an IP address, localhost or nothing before it, such as :8080 or 127.0.0.1:8080, not \"x\".",
                "",
            ],
            errors.ToString().Split('\n'));
    }

    [Fact]
    public async Task Faults_of_the_runner_are_printed_with_the_others()
    {
        using TemporaryFile file = new("""{"listen_addr": "x", "cgroup_parent": "a/../b", "allowed_networks": ["bridge"], "api_keys": [" "]}""");
        StringWriter errors = new();

        int code = await HostProgram.RunAsync(["--config", file.Path], Environment(), TextWriter.Null, errors);

        Assert.Equal(2, code);
        Assert.Equal(
            ["allowed_networks[0]", "api_keys[0]", "cgroup_parent", "listen_addr"],
            errors.ToString().Split('\n').Skip(1).Where(line => line.Length > 0).Select(line => line.Trim().Split(':')[0]).Order(StringComparer.Ordinal));
    }

    [Fact]
    public async Task An_address_of_another_machine_is_a_fault_of_listen_addr()
    {
        string home = Directory.CreateTempSubdirectory("boxer-listen-").FullName;
        try
        {
            using TemporaryFile file = new($$"""{"listen_addr": "203.0.113.1:8080", "home": "{{home}}", "api_keys": ["k"]}""");
            StringWriter errors = new();

            int code = await HostProgram.RunAsync(["--config", file.Path], Environment(), TextWriter.Null, errors, services => services.AddSingleton<ISandboxRunner>(new ScriptedRunner()));

            Assert.Equal(2, code);
            Assert.Contains("  listen_addr: cannot be listened on (", errors.ToString(), StringComparison.Ordinal);
        }
        finally
        {
            Directory.Delete(home, recursive: true);
        }
    }

    [Theory]
    [InlineData("--config", "/does/not/exist.json")]
    [InlineData("--config=/does/not/exist.json")]
    public async Task A_named_file_must_exist(params string[] arguments)
    {
        StringWriter errors = new();

        Assert.Equal(2, await HostProgram.RunAsync(arguments, Environment(), TextWriter.Null, errors));
        Assert.Contains("--config: there is no file /does/not/exist.json; name one that exists.", errors.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_that_the_variable_names_must_exist()
    {
        StringWriter errors = new();

        Assert.Equal(2, await HostProgram.RunAsync([], Environment(("BOXER_CONFIG", "/does/not/exist.json")), TextWriter.Null, errors));
        Assert.Contains("BOXER_CONFIG: there is no file /does/not/exist.json; name one that exists.", errors.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("--config")]
    [InlineData("--config=")]
    [InlineData("--port", "80")]
    [InlineData("serve")]
    public async Task Unknown_arguments_are_rejected(params string[] arguments)
    {
        StringWriter errors = new();

        Assert.Equal(2, await HostProgram.RunAsync(arguments, Environment(), TextWriter.Null, errors));
        Assert.Contains("Usage: ", errors.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_fault_of_the_runner_is_reported_by_its_key()
    {
        using TemporaryFile file = new("""{"listen_addr": "127.0.0.1:0", "home": "/nonexistent/boxer-test", "allowed_networks": ["none", "host", "sandbox"]}""");
        StringWriter errors = new();
        FakeOptionsFault fault = new();

        int code = await HostProgram.RunAsync(["--config", file.Path], Environment(), TextWriter.Null, errors, fault.AddTo);

        Assert.Equal(2, code);
        Assert.Contains("\n  defaults.memory_mb: is 5.\n  allowed_networks[1]: is no mode.\n", errors.ToString(), StringComparison.Ordinal);
    }

    private static Dictionary<string, string> Environment(params (string Name, string Value)[] variables) =>
        new(variables.Append(("HOME", "/nonexistent/home")).Select(v => KeyValuePair.Create(v.Item1, v.Item2)), StringComparer.Ordinal);

    private static HostSettings Bind(string json, out IReadOnlyList<string> faults) => Bind(json, out faults, out _);

    private static HostSettings Bind(string json, SettingTable table, out IReadOnlyList<string> faults)
    {
        using TemporaryFile file = new(json);
        return SettingsBinder.Bind(SettingsSource.Read(file.Path, Environment(), "/home/me"), "/home/me", out faults, table);
    }

    private static HostSettings Bind(string json, out IReadOnlyList<string> faults, out string path, params (string Name, string Value)[] variables)
    {
        using TemporaryFile file = new(json);
        path = file.Path;
        return SettingsBinder.Bind(SettingsSource.Read(file.Path, Environment(variables), "/home/me"), "/home/me", out faults);
    }

    private sealed class TemporaryFile : IDisposable
    {
        public TemporaryFile(string content) => File.WriteAllText(Path, content);

        public string Path { get; } = System.IO.Path.GetTempFileName();

        public void Dispose() => File.Delete(Path);
    }
}
