using System.Globalization;
using System.Net;
using System.Text.Json;
using Boxer.Images;

namespace Boxer.AspNetCore.Configuration;

/// <summary>Makes <see cref="HostSettings"/> of what is set. Every fault is found in one pass; each names its key and the remedy.</summary>
internal sealed class SettingsBinder
{
    private const long Mebibyte = 1L << 20;
    private const long Gibibyte = 1L << 30;
    private const int MaxShown = 60;

    // Clients of a host mostly wait: for input, the network, or each other.
    private const decimal CpuOvercommit = 4;

    private static readonly string[] NetworkModes = ["none", "sandbox", "host"];

    private static readonly string[] Keys =
    [
        "allow_wider_egress", "allowed_networks", "allowed_registries", "api_keys", "boot_timeout_secs", "cgroup_parent", "cpu_overcommit", "defaults", "dns_servers", "docker_config", "egress", "enable_ipv6", "home", "host_names",
        "ignore_cgroups", "image_min_free_bytes", "image_quota_bytes", "inline_outputs_bytes", "inline_outputs_files", "insecure_registries", "listen_addr", "max_concurrent_runs", "max_concurrent_runs_per_key", "max_limits", "max_memory_mb", "max_queued_runs",
        "max_queued_runs_per_key", "network_blocks",
        "output_limit_bytes", "outputs_limit_bytes", "outputs_limit_files", "platform", "pool", "pull_memory_mb", "pull_policy", "pull_timeout_secs", "queue_timeout_secs", "registry_certificates", "registry_mirrors",
        "run_body_limit_bytes", "runsc_path", "stop_grace_secs", "upload_limit_bytes", "upload_quota_bytes", "upload_quota_files",
    ];

    private static readonly string[] EgressKeys = ["allow", "bandwidth_bps", "deny", "quota_bytes"];

    private static readonly string[] PoolKeys = ["enabled", "idle_timeout_secs", "images", "max_age_secs", "max_sandboxes", "warm_ups"];

    private static readonly string[] LimitKeys = ["cpu_cores", "cpu_time_secs", "disk_mb", "memory_mb", "nofile", "pids_limit", "wall_clock_secs"];

    private readonly List<string> _faults = [];
    private readonly SettingObject _root;

    private SettingsBinder(SettingObject root) => _root = root;

    /// <summary>Whether a key may be set at the top of the configuration.</summary>
    public static bool IsKey(string key) => Keys.Contains(key, StringComparer.Ordinal);

    /// <summary>Reads everything.</summary>
    /// <param name="source">What is set.</param>
    /// <param name="homeDirectory">What <c>~</c> stands for.</param>
    /// <param name="faults">Everything that is wrong; the result may be used only where this is empty.</param>
    public static HostSettings Bind(SettingsSource source, string homeDirectory, out IReadOnlyList<string> faults)
    {
        SettingsBinder binder = new(source.Root);
        binder._faults.AddRange(source.Faults);
        HostSettings settings = binder.BindRoot(homeDirectory);
        faults = binder._faults;
        return settings;
    }

    private HostSettings BindRoot(string homeDirectory)
    {
        RefuseUnknown(_root, "", Keys);
        ListenAddress listen = BindListenAddress();
        List<string> keys = BindApiKeys();
        bool ownUsersOnly = listen.IsLoopback && keys.Count == 0;
        List<string>? networks = BindNetworks();
        BoxerOptions options = new()
        {
            RunscPath = Text(_root, "", "runsc_path") ?? "runsc",
            Platform = BindPlatform(),
            DefaultLimits = BindDefaults(),
            IgnoreCgroups = Flag("ignore_cgroups"),
            CgroupParent = Text(_root, "", "cgroup_parent"),
            DnsServers = [.. BindDnsServers()],
            Egress = BindEgress(),
            AllowWiderEgress = Flag("allow_wider_egress"),
            EnableIPv6 = Flag("enable_ipv6"),
            NetworkBlocks = Texts(_root, "", "network_blocks") ?? [],
            Registries = BindRegistryList(),
            AllowedRegistries = [.. BindRegistries("allowed_registries")],
            DockerConfigPath = BindPath("docker_config", homeDirectory),
            PullPolicy = BindPullPolicy(),
            MaxImageStoreBytes = Whole(_root, "", "image_quota_bytes", 1, long.MaxValue),
            MinFreeDiskBytes = Whole(_root, "", "image_min_free_bytes", 0, 1L << 50) ?? new BoxerOptions().MinFreeDiskBytes,
            PullMemoryBytes = Whole(_root, "", "pull_memory_mb", 64, 65_536) * ByteSize.MiB,
            AllowedNetworks = networks ?? [.. ownUsersOnly ? NetworkModes : NetworkModes[..2]],
            MaxConcurrentRuns = (int?)Whole(_root, "", "max_concurrent_runs", 1, 10_000),
            CpuOvercommit = (double)(Number(_root, "", "cpu_overcommit", 1, 100, whole: false) ?? CpuOvercommit),
            MaxMemoryBytes = Whole(_root, "", "max_memory_mb", 32, 1 << 30) * ByteSize.MiB,
            MaxQueuedRuns = (int)(Whole(_root, "", "max_queued_runs", 0, 1_000_000) ?? 256),
            MaxConcurrentRunsPerKey = (int?)Whole(_root, "", "max_concurrent_runs_per_key", 1, 10_000),
            MaxQueuedRunsPerKey = (int?)Whole(_root, "", "max_queued_runs_per_key", 0, 1_000_000),
            MaxLimits = BindLimits("max_limits", new ResourceLimits()),
            QueueTimeout = Seconds(_root, "", "queue_timeout_secs", 0, 3_600) ?? TimeSpan.FromSeconds(60),
            PullTimeout = Seconds(_root, "", "pull_timeout_secs", 1, 86_400) ?? TimeSpan.FromMinutes(10),
            BootTimeout = Seconds(_root, "", "boot_timeout_secs", 1, 600) ?? TimeSpan.FromSeconds(30),
            Pool = BindPool(),
        };
        options.Home = BindPath("home", homeDirectory) ?? Path.Combine(homeDirectory, ".boxer");
        return new HostSettings
        {
            Sandboxes = options,
            ListenAddress = listen,
            InlineOutputsBytes = Whole(_root, "", "inline_outputs_bytes", 0, 64 * Mebibyte) ?? 4 * Mebibyte,
            InlineOutputsFiles = (int)(Whole(_root, "", "inline_outputs_files", 0, 10_000) ?? 100),
            UploadLimitBytes = Whole(_root, "", "upload_limit_bytes", 1, 64 * Gibibyte) ?? 10_485_760,
            UploadQuotaBytes = Whole(_root, "", "upload_quota_bytes", 1, long.MaxValue) ?? 4 * Gibibyte,
            UploadQuotaFiles = (int)(Whole(_root, "", "upload_quota_files", 1, int.MaxValue) ?? 100_000),
            RunBodyLimitBytes = Whole(_root, "", "run_body_limit_bytes", 1_024, Gibibyte) ?? 16L << 20,
            StopGrace = Seconds(_root, "", "stop_grace_secs", 0, 3_600) ?? TimeSpan.FromSeconds(10),
            ApiKeys = keys,
            HostNames = BindHostNames(),
            NetworksByDefault = networks is null,
            HostNetworkLeftOut = networks is null && !ownUsersOnly,
        };
    }

    private ListenAddress BindListenAddress()
    {
        string text = Text(_root, "", "listen_addr") ?? "127.0.0.1:8080";
        if (ListenAddress.Parse(text) is { } address)
        {
            return address;
        }

        Fault("listen_addr", "must be a port with an IP address, localhost or nothing before it, such as :8080 or 127.0.0.1:8080", _root.Members["listen_addr"]);
        return new ListenAddress(IPAddress.Loopback, 0);
    }

    private string? BindPath(string key, string homeDirectory)
    {
        string? path = Text(_root, "", key);
        if (path is "~" || (path?.StartsWith("~/", StringComparison.Ordinal) ?? false))
        {
            path = homeDirectory + path[1..];
        }

        if (path is not null && (!Path.IsPathFullyQualified(path) || path.Contains('\0', StringComparison.Ordinal)))
        {
            Fault(key, "must be an absolute path or start with ~/", _root.Members[key]);
            return null;
        }

        return path;
    }

    private PullPolicy BindPullPolicy()
    {
        string policy = Text(_root, "", "pull_policy") ?? "missing";
        if (policy is not ("missing" or "always" or "never"))
        {
            Fault("pull_policy", "must be missing, always or never", _root.Members["pull_policy"]);
            return PullPolicy.Missing;
        }

        return Enum.Parse<PullPolicy>(policy, ignoreCase: true);
    }

    private Dictionary<string, string> BindCertificates()
    {
        Dictionary<string, string> files = new(StringComparer.Ordinal);
        if (Section("registry_certificates") is { } section)
        {
            foreach (string registry in section.Members.Keys)
            {
                if (Text(section, "registry_certificates.", registry) is { } file)
                {
                    files[registry] = file;
                }
            }
        }

        return files;
    }

    private string BindPlatform()
    {
        string platform = Text(_root, "", "platform") ?? "systrap";
        if (platform is not ("systrap" or "kvm" or "ptrace"))
        {
            Fault("platform", "must be systrap, kvm or ptrace", _root.Members["platform"]);
        }

        return platform;
    }

    private ResourceLimits BindDefaults()
    {
        ResourceLimits limits = new()
        {
            StandardOutputBytes = Whole(_root, "", "output_limit_bytes", 1, Gibibyte) ?? 10_485_760,
            OutputFilesBytes = Whole(_root, "", "outputs_limit_bytes", 1, 64 * Gibibyte),
            OutputFilesCount = (int?)Whole(_root, "", "outputs_limit_files", 1, 1_000_000),
        };
        return BindLimits("defaults", limits);
    }

    private ResourceLimits BindLimits(string key, ResourceLimits limits)
    {
        if (Section(key) is not { } section)
        {
            return limits;
        }

        string prefix = key + ".";
        RefuseUnknown(section, prefix, LimitKeys);
        limits.CpuCores = (double?)Number(section, prefix, "cpu_cores", 0.01m, 1_024, whole: false);
        limits.MemoryBytes = Whole(section, prefix, "memory_mb", 32, 1_048_576) * ByteSize.MiB;
        limits.Pids = (int?)Whole(section, prefix, "pids_limit", 1, 32_768);
        limits.WallClock = Seconds(section, prefix, "wall_clock_secs", 0.001m, 86_400);
        limits.CpuTime = Seconds(section, prefix, "cpu_time_secs", 0.01m, 86_400);
        limits.OpenFiles = (int?)Whole(section, prefix, "nofile", 8, 1_048_576);
        limits.DiskBytes = Whole(section, prefix, "disk_mb", 1, 1_048_576) * ByteSize.MiB;
        return limits;
    }

    private EgressPolicy BindEgress()
    {
        if (Section("egress") is not { } section)
        {
            return new EgressPolicy();
        }

        const string Prefix = "egress.";
        RefuseUnknown(section, Prefix, EgressKeys);
        return new EgressPolicy
        {
            Allow = Texts(section, Prefix, "allow"),
            Deny = Texts(section, Prefix, "deny") ?? [],
            BandwidthBitsPerSecond = Whole(section, Prefix, "bandwidth_bps", 8_000, 100_000_000_000),
            QuotaBytes = Whole(section, Prefix, "quota_bytes", 1, 1L << 60),
        };
    }

    private PoolOptions BindPool()
    {
        var pool = new PoolOptions();
        if (Section("pool") is not { } section)
        {
            return pool;
        }

        const string Prefix = "pool.";
        RefuseUnknown(section, Prefix, PoolKeys);
        pool.Enabled = Flag(section, Prefix, "enabled");
        pool.MaxSandboxes = (int?)Whole(section, Prefix, "max_sandboxes", 0, 10_000);
        pool.IdleTimeout = Seconds(section, Prefix, "idle_timeout_secs", 1, 86_400) ?? pool.IdleTimeout;
        pool.MaxAge = Seconds(section, Prefix, "max_age_secs", 1, 86_400) ?? pool.MaxAge;
        BindImages(section, Prefix, "images", "a number of sandboxes", (images, prefix, image) => pool.Images.Add(new() { Image = image, Count = (int)(Whole(images, prefix, image, 1, 1_000) ?? 1) }));
        BindImages(section, Prefix, "warm_ups", "a command", (warmUps, prefix, image) =>
        {
            if (pool.Images.FirstOrDefault(known => known.Image == image) is not { } found)
            {
                pool.Images.Add(found = new() { Image = image, Count = 0 });
            }

            found.WarmUp = Texts(warmUps, prefix, image) ?? [];
        });
        return pool;
    }

    // An object with something for each image.
    private void BindImages(SettingObject section, string prefix, string key, string what, Action<SettingObject, string, string> bind)
    {
        switch (section.Members.GetValueOrDefault(key))
        {
            case null:
                break;
            case SettingObject images:
                foreach (string image in images.Members.Keys)
                {
                    if (!Boxer.Images.ImageReference.TryParse(image, out _))
                    {
                        Fault($"{prefix}{key}.{image}", "is not the name of an image; write one such as python:3.12-slim");
                    }

                    bind(images, $"{prefix}{key}.", image);
                }

                break;
            case { } other:
                Fault(prefix + key, $"must be an object with {what} for each image", other);
                break;
        }
    }

    private List<string> BindDnsServers()
    {
        List<string> servers = Texts(_root, "", "dns_servers") ?? ["8.8.8.8", "8.8.4.4"];
        for (int i = 0; i < servers.Count; i++)
        {
            if (!IPAddress.TryParse(servers[i], out _))
            {
                Fault($"dns_servers[{i}]", $"must be an IP address, not {Quote(servers[i])}");
            }
        }

        if (servers.Count > 3)
        {
            Fault("dns_servers", "has more than 3 entries; resolv.conf takes 3");
        }

        return servers;
    }

    private Dictionary<string, IList<string>> BindMirrors()
    {
        Dictionary<string, IList<string>> mirrors = new(StringComparer.Ordinal);
        foreach (string registry in Section("registry_mirrors")?.Members.Keys.ToList() ?? [])
        {
            string key = $"registry_mirrors.{registry}";
            if (!IsRegistryName(registry))
            {
                Fault(key, "is not the name of a registry; write host or host:port, such as docker.io");
            }

            List<string> places = Texts((SettingObject)_root.Members["registry_mirrors"], "registry_mirrors.", registry) ?? [];
            for (int i = 0; i < places.Count; i++)
            {
                if (!Uri.TryCreate(places[i], UriKind.Absolute, out Uri? url)
                    || url.Scheme is not ("http" or "https")
                    || url.UserInfo.Length > 0
                    || url.Query.Length > 0
                    || url.Fragment.Length > 0)
                {
                    Fault($"{key}[{i}]", $"must be a URL such as http://127.0.0.1:5000, without user, query and fragment, not {Quote(places[i])}");
                }
            }

            if (places.Count == 0)
            {
                Fault(key, "lists no place, so no image of that registry could be had; list one or remove the key");
            }

            mirrors.Add(registry, places);
        }

        return mirrors;
    }

    private List<RegistryOptions> BindRegistryList()
    {
        List<RegistryOptions> registries = [.. BindMirrors().Select(mirror => new RegistryOptions { Name = mirror.Key, Mirrors = mirror.Value })];
        foreach ((string name, string file) in BindCertificates())
        {
            Find(name).Certificate = file;
        }

        foreach (string name in BindRegistries("insecure_registries"))
        {
            Find(name).Insecure = true;
        }

        return registries;

        RegistryOptions Find(string name)
        {
            if (registries.FirstOrDefault(registry => registry.Name == name) is not { } found)
            {
                registries.Add(found = new() { Name = name });
            }

            return found;
        }
    }

    private List<string> BindRegistries(string key)
    {
        List<string> registries = Texts(_root, "", key) ?? [];
        for (int i = 0; i < registries.Count; i++)
        {
            if (!IsRegistryName(registries[i]))
            {
                Fault($"{key}[{i}]", $"must be host or host:port, such as docker.io or 10.0.0.5:5000, not {Quote(registries[i])}");
            }
        }

        return registries;
    }

    private List<string> BindHostNames()
    {
        List<string> names = Texts(_root, "", "host_names") ?? [];
        for (int i = 0; i < names.Count; i++)
        {
            // Registries are named in the same way.
            if (!IsRegistryName(names[i]))
            {
                Fault($"host_names[{i}]", $"must be a name that clients use for this host, alone or with a port, such as boxer.example or boxer.example:8080, not {Quote(names[i])}");
            }
        }

        return names;
    }

    private List<string>? BindNetworks()
    {
        List<string>? networks = Texts(_root, "", "allowed_networks");
        if (networks?.Count == 0)
        {
            Fault("allowed_networks", "lists no network, so nothing could run; list none, sandbox or host, or remove the key");
        }

        return networks;
    }

    private List<string> BindApiKeys()
    {
        List<string> keys = Texts(_root, "", "api_keys") ?? [];
        for (int i = 0; i < keys.Count; i++)
        {
            // The value is a secret: no message shows it.
            if (keys[i].Length == 0 || keys[i].Length > 4_096 || keys[i].Any(c => c is <= ' ' or > '~'))
            {
                Fault($"api_keys[{i}]", "must be 1 to 4096 visible ASCII characters without spaces");
            }
            else if (keys.IndexOf(keys[i]) < i)
            {
                Fault($"api_keys[{i}]", $"is the same as api_keys[{keys.IndexOf(keys[i])}]; remove one");
            }
        }

        if (keys.Count == 0 && _root.Members.GetValueOrDefault("api_keys") is SettingList)
        {
            Fault("api_keys", "lists no key; list one, or remove the setting to leave the host open");
        }

        return keys;
    }

    private static bool IsRegistryName(string text) =>
        text.Length is > 0 and <= 255
        && !text.Contains('/', StringComparison.Ordinal)
        && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or ':' or '[' or ']')
        && Uri.TryCreate($"https://{text}/", UriKind.Absolute, out Uri? url)
        && url.AbsolutePath == "/";

    private void RefuseUnknown(SettingObject section, string prefix, string[] keys)
    {
        foreach ((string key, SettingNode node) in section.Members.Where(member => !keys.Contains(member.Key, StringComparer.Ordinal)))
        {
            Fault($"{prefix}{key}", $"is not a setting{From(node)}; remove it or use one of {string.Join(", ", keys)}");
        }
    }

    private SettingObject? Section(string key)
    {
        switch (_root.Members.GetValueOrDefault(key))
        {
            case SettingObject section:
                return section;
            case null:
                return null;
            case { } other:
                Fault(key, "must be an object", other);
                return null;
        }
    }

    private string? Text(SettingObject section, string prefix, string key)
    {
        if (!section.Members.TryGetValue(key, out SettingNode? node))
        {
            return null;
        }

        string? text = AsText(node);
        if (string.IsNullOrEmpty(text))
        {
            Fault(prefix + key, "must be a text that is not empty", node);
            return null;
        }

        return text;
    }

    private List<string>? Texts(SettingObject section, string prefix, string key)
    {
        if (!section.Members.TryGetValue(key, out SettingNode? node))
        {
            return null;
        }

        if (node is not SettingList list)
        {
            string remedy = node.Variable is null ? "" : $"; number the variables of its items, as in {node.Variable}__0";
            Fault(prefix + key, $"must be a list of texts{remedy}");
            return null;
        }

        List<string> texts = [];
        for (int i = 0; i < list.Items.Count; i++)
        {
            if (AsText(list.Items[i]) is { } text)
            {
                texts.Add(text);
            }
            else
            {
                Fault($"{prefix}{key}[{i}]", "must be a text");
            }
        }

        return texts;
    }

    private bool Flag(string key) => Flag(_root, "", key) ?? false;

    private bool? Flag(SettingObject section, string prefix, string key)
    {
        switch (section.Members.GetValueOrDefault(key))
        {
            case null:
                return null;
            case SettingScalar { Text: null, Json.ValueKind: JsonValueKind.False }:
                return false;
            case SettingScalar { Text: null, Json.ValueKind: JsonValueKind.True }:
                return true;
            case SettingScalar { Text: { } text } when bool.TryParse(text, out bool flag):
                return flag;
            case { } other:
                Fault(prefix + key, "must be true or false", other);
                return false;
        }
    }

    private long? Whole(SettingObject section, string prefix, string key, long min, long max) =>
        (long?)Number(section, prefix, key, min, max, whole: true);

    private TimeSpan? Seconds(SettingObject section, string prefix, string key, decimal min, decimal max) =>
        Number(section, prefix, key, min, max, whole: false) is { } seconds ? TimeSpan.FromSeconds((double)seconds) : null;

    private decimal? Number(SettingObject section, string prefix, string key, decimal min, decimal max, bool whole)
    {
        if (!section.Members.TryGetValue(key, out SettingNode? node))
        {
            return null;
        }

        bool isNumber = node switch
        {
            SettingScalar { Text: { } text } => decimal.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out _),
            SettingScalar { Json: { ValueKind: JsonValueKind.Number } json } => json.TryGetDecimal(out _),
            _ => false,
        };
        if (isNumber)
        {
            SettingScalar scalar = (SettingScalar)node;
            decimal value = scalar.Text is { } text
                ? decimal.Parse(text, NumberStyles.Float, CultureInfo.InvariantCulture)
                : scalar.Json.GetDecimal();
            if (value >= min && value <= max && (!whole || value == decimal.Truncate(value)))
            {
                return value;
            }
        }

        string kind = whole ? "whole number" : "number";
        Fault(prefix + key, string.Create(CultureInfo.InvariantCulture, $"must be a {kind} from {min} to {max}"), node);
        return null;
    }

    private static string? AsText(SettingNode node) =>
        node switch
        {
            SettingScalar { Text: { } text } => text,
            SettingScalar { Json: { ValueKind: JsonValueKind.String } json } => json.GetString(),
            _ => null,
        };

    private static string From(SettingNode node) => node.Variable is { } variable ? $" (environment variable {variable})" : "";

    private static string Quote(string text) => JsonSerializer.Serialize(text.Length > MaxShown ? text[..MaxShown] + "..." : text, HostJson.Default.String);

    private static string Show(SettingNode node)
    {
        switch (node)
        {
            case SettingScalar { Text: { } text }:
                return Quote(text);
            case SettingScalar { Json: var json }:
                string raw = json.GetRawText();
                return raw.Length > MaxShown ? raw[..MaxShown] + "..." : raw;
            default:
                return node is SettingList ? "a list" : "an object";
        }
    }

    private void Fault(string key, string message, SettingNode found) => Fault(key, $"{message}, not {Show(found)}{From(found)}");

    private void Fault(string key, string message) => _faults.Add($"{key}: {message}.");
}
