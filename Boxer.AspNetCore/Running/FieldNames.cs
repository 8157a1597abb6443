using System.Globalization;
using System.Text.RegularExpressions;

namespace Boxer.AspNetCore.Running;

/// <summary>Turns the names of properties in messages of Boxer into those of the HTTP request, or of the configuration.</summary>
internal static partial class FieldNames
{
    private static readonly Dictionary<string, string> Limits = new(StringComparer.Ordinal)
    {
        ["CpuCores"] = "cpu_cores",
        ["MemoryBytes"] = "memory_mb",
        ["Pids"] = "pids_limit",
        ["WallClock"] = "wall_clock_secs",
        ["CpuTime"] = "cpu_time_secs",
        ["OpenFiles"] = "nofile",
        ["DiskBytes"] = "disk_mb",
    };

    // These limits are set for the whole host.
    private static readonly Dictionary<string, string> HostLimits = new(StringComparer.Ordinal)
    {
        ["StandardOutputBytes"] = "output_limit_bytes",
        ["OutputFilesBytes"] = "outputs_limit_bytes",
        ["OutputFilesCount"] = "outputs_limit_files",
    };

    private static readonly Dictionary<string, string> RequestFields = new(StringComparer.Ordinal)
    {
        ["Image"] = "image",
        ["Command"] = "cmd",
        ["Environment"] = "env",
        ["WorkingDirectory"] = "cwd",
        ["User"] = "user",
        ["Network"] = "network",
        ["Egress"] = "egress",
        ["PullPolicy"] = "pull",
        ["StandardInput"] = "stdin",
        ["StandardInputStream"] = "stdin",
        ["MergeStandardError"] = "merge_stderr",
        ["StopGrace"] = "stop_grace_ms",
        ["Files"] = "files",
        ["Workspace"] = "workspace",
        ["OutputFiles"] = "outputs",
        ["Path"] = "path",
        ["Limits"] = "limits",
    };

    private static readonly Dictionary<string, string> OptionKeys = new(StringComparer.Ordinal)
    {
        ["FilesDirectory"] = "home",
        ["ApiKeys"] = "api_keys",
        ["HostNames"] = "host_names",
        ["Home"] = "home",
        ["RunscPath"] = "runsc_path",
        ["Platform"] = "platform",
        ["IgnoreCgroups"] = "ignore_cgroups",
        ["CgroupParent"] = "cgroup_parent",
        ["DnsServers"] = "dns_servers",
        ["RegistryMirrors"] = "registry_mirrors",
        ["AllowedRegistries"] = "allowed_registries",
        ["InsecureRegistries"] = "insecure_registries",
        ["RegistryCertificates"] = "registry_certificates",
        ["DockerConfigPath"] = "docker_config",
        ["PullPolicy"] = "pull_policy",
        ["MinFreeDiskBytes"] = "image_min_free_bytes",
        ["MaxImageStoreBytes"] = "image_quota_bytes",
        ["PullMemoryBytes"] = "pull_memory_mb",
        ["AllowedNetworks"] = "allowed_networks",
        ["NetworkBlocks"] = "network_blocks",
        ["EnableIPv6"] = "enable_ipv6",
        ["Egress"] = "egress",
        ["Allow"] = "allow",
        ["Deny"] = "deny",
        ["BandwidthBitsPerSecond"] = "bandwidth_bps",
        ["QuotaBytes"] = "quota_bytes",
        ["AllowWiderEgress"] = "allow_wider_egress",
        ["MaxConcurrentRuns"] = "max_concurrent_runs",
        ["CpuOvercommit"] = "cpu_overcommit",
        ["MaxMemoryBytes"] = "max_memory_mb",
        ["MaxQueuedRuns"] = "max_queued_runs",
        ["MaxConcurrentRunsPerKey"] = "max_concurrent_runs_per_key",
        ["MaxQueuedRunsPerKey"] = "max_queued_runs_per_key",
        ["MaxLimits"] = "max_limits",
        ["QueueTimeout"] = "queue_timeout_secs",
        ["PullTimeout"] = "pull_timeout_secs",
        ["BootTimeout"] = "boot_timeout_secs",
        ["Pool"] = "pool",
        ["Enabled"] = "enabled",
        ["MaxSandboxes"] = "max_sandboxes",
        ["IdleTimeout"] = "idle_timeout_secs",
        ["MaxAge"] = "max_age_secs",
        ["Images"] = "images",
        ["DefaultLimits"] = "defaults",
    };

    /// <summary>Notes how many of a request's files are uploads: those after them are its inputs.</summary>
    public static void NoteUploads(HttpContext context, int uploads) => context.Items[typeof(FieldNames)] = uploads;

    /// <summary>All faults of a request as one text.</summary>
    public static string OfRequest(InvalidSandboxRequestException exception, HttpContext context) =>
        string.Join(" ", exception.Faults.Select(fault => $"{OfRequestField(fault.Field, context.Items[typeof(FieldNames)] as int?)}: {OfLimits(fault.Message, "Limits", "limits")}"));

    /// <summary>One fault of the options as a line.</summary>
    public static string OfOptions(string failure) =>
        Word().Replace(
            OfLimits(OfLimits(failure, "DefaultLimits", "defaults"), "MaxLimits", "max_limits").Replace("BoxerOptions.", "", StringComparison.Ordinal),
            OfOption);

    /// <summary>What this machine lacks, which may name options in its sentences.</summary>
    public static string OfMachine(string message) => Option().Replace(message, OfOption);

    /// <summary>One property of <see cref="ResourceLimits"/>.</summary>
    public static string OfLimit(string property) => Limits.GetValueOrDefault(property) ?? HostLimits.GetValueOrDefault(property, property);

    private static string OfOption(Match property) => OptionKeys.GetValueOrDefault(property.Value, property.Value);

    private static string OfRequestField(string field, int? uploads)
    {
        if (OfWorkspace(field) is { } ofWorkspace)
        {
            return ofWorkspace;
        }

        if (FileNumber().Match(field) is { Success: true } file && int.Parse(file.Groups["number"].ValueSpan, CultureInfo.InvariantCulture) - uploads is >= 0 and var input)
        {
            return $"inputs[{input}]{(file.Groups["path"].Success ? ".path" : "")}";
        }

        string name = OfLimits(field, "Limits", "limits");
        Match head = Word().Match(name);
        if (head is { Success: true, Index: 0 } && RequestFields.TryGetValue(head.Value, out string? mapped))
        {
            name = mapped + name[head.Length..];
            name = name.StartsWith("workspace.", StringComparison.Ordinal) ? name.ToLowerInvariant() : name;
            name = name.StartsWith("egress.", StringComparison.Ordinal) ? OfOptions(name) : name;
        }

        // A file has no members in the request: it is its path.
        return name.StartsWith("files[", StringComparison.Ordinal) ? name.Replace("].Path", "]", StringComparison.Ordinal) : name;
    }

    // The inputs of a workspace are its files, its uploads, and its archive, in this order; an upload may be a directory of many.
    private static string? OfWorkspace(string field) =>
        WorkspaceInput().Match(field) is not { Success: true } match ? null
        : match.Groups["input"].Value switch
        {
            "0" => $"workspace.files{match.Groups["file"].Value}{(match.Groups["path"].Success ? ".path" : "")}",
            "1" => "workspace.uploads",
            _ => "workspace.archive",
        };

    private static string OfLimits(string text, string parent, string mappedParent)
    {
        foreach ((string property, string key) in Limits)
        {
            text = text.Replace($"{parent}.{property}", $"{mappedParent}.{key}", StringComparison.Ordinal);
        }

        foreach ((string property, string key) in HostLimits)
        {
            text = text.Replace($"{parent}.{property}", key, StringComparison.Ordinal);
        }

        return text;
    }

    [GeneratedRegex("[A-Z][A-Za-z]+", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 1_000)]
    private static partial Regex Word();

    [GeneratedRegex(@"^Workspace\.Inputs\[(?<input>\d+)\](?:\.Files(?<file>\[\d+\])?(?<path>\.Path)?)?$", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1_000)]
    private static partial Regex WorkspaceInput();

    [GeneratedRegex(@"^Files\[(?<number>\d+)\](?<path>\.Path)?$", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1_000)]
    private static partial Regex FileNumber();

    // Not what is a part of a path, and no word that sentences begin with.
    [GeneratedRegex("(?<![/A-Za-z0-9._-])(?:[A-Z][a-z]+(?:[A-Z][a-z0-9]*)+|Home)(?![/A-Za-z0-9])", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 1_000)]
    private static partial Regex Option();
}
