using System.Net;
using Boxer.Admission;
using Boxer.Common;
using Boxer.Linux;

namespace Boxer.Validation;

/// <summary>Finds everything that is wrong with the options, without changing anything on the host.</summary>
internal static class OptionsValidator
{
    private const int MostDnsServers = 3;
    private static readonly string[] Platforms = ["systrap", "kvm", "ptrace"];

    /// <param name="options">The options.</param>
    /// <param name="networks">The network modes that there are.</param>
    /// <param name="machineBytes">What the machine has; <see langword="null"/>: this one.</param>
    /// <param name="machineProcessors">The processors that it has; <see langword="null"/>: this one.</param>
    internal static IReadOnlyList<SandboxFault> Validate(
        BoxerOptions options, IReadOnlyCollection<string> networks, long? machineBytes = null, int? machineProcessors = null)
    {
        var faults = new List<SandboxFault>();
        if (string.IsNullOrEmpty(options.Home) || !Path.IsPathFullyQualified(options.Home) || options.Home.Contains('\0', StringComparison.Ordinal))
        {
            Add(nameof(options.Home), $"'{options.Home}' must be an absolute path, such as /var/lib/boxer.");
        }

        if (string.IsNullOrWhiteSpace(options.RunscPath))
        {
            Add(nameof(options.RunscPath), "must be a path or a program name, such as runsc.");
        }

        if (!Platforms.Contains(options.Platform, StringComparer.Ordinal))
        {
            Add(nameof(options.Platform), $"'{options.Platform}' must be one of: {string.Join(", ", Platforms)}.");
        }

        NotNull(nameof(options.DefaultLimits), options.DefaultLimits);
        if (options.DefaultLimits is not null)
        {
            faults.AddRange(LimitsValidator.Validate(options.DefaultLimits, nameof(options.DefaultLimits)));
            int processors = machineProcessors ?? Environment.ProcessorCount;
            if (options.DefaultLimits.CpuCores is { } cores && cores > processors && !faults.Any(fault => fault.Field == "DefaultLimits.CpuCores"))
            {
                Add("DefaultLimits.CpuCores", LimitsValidator.TooManyCores(cores, processors));
            }
        }

        NotNull(nameof(options.MaxLimits), options.MaxLimits);
        if (options.MaxLimits is not null)
        {
            faults.AddRange(LimitsValidator.Validate(options.MaxLimits, nameof(options.MaxLimits)));
        }

        if (options is { DefaultLimits: not null, MaxLimits: not null })
        {
            // A default that is out of range is one fault, not two.
            SandboxFault[] above = [.. LimitsValidator.FindAbove(LimitsValidator.Fill(options.DefaultLimits, LimitsValidator.BuiltIn), options.MaxLimits, nameof(options.DefaultLimits))];
            faults.AddRange(above.Where(fault => !faults.Any(other => other.Field == fault.Field || other.Field == fault.Field.Replace(nameof(options.DefaultLimits), nameof(options.MaxLimits), StringComparison.Ordinal))));
        }

        if (options.CgroupParent is { } parent && (parent.Length == 0 || parent.Split('/').Contains("..", StringComparer.Ordinal)))
        {
            Add(nameof(options.CgroupParent), $"'{parent}' must be a path below the cgroup mount without '..'.");
        }

        for (int i = 0; i < options.DnsServers?.Count; i++)
        {
            if (IPAddress.TryParse(options.DnsServers[i], out IPAddress? resolver) && IPAddress.IsLoopback(resolver))
            {
                Add($"{nameof(options.DnsServers)}[{i}]", $"'{resolver}' is this host's loopback, which sandboxes do not reach; name another address of the resolver.");
            }
            else if (resolver is null)
            {
                Add($"{nameof(options.DnsServers)}[{i}]", $"'{options.DnsServers[i]}' must be an IP address, such as 9.9.9.9.");
            }
        }

        if (options.DnsServers?.Count > MostDnsServers)
        {
            Add(nameof(options.DnsServers), $"must have at most {MostDnsServers} entries (resolv.conf(5)).");
        }

        foreach ((string registry, IList<string> places) in options.RegistryMirrors ?? new Dictionary<string, IList<string>>())
        {
            ValidateMirrors($"{nameof(options.RegistryMirrors)}[{registry}]", places);
        }

        ValidateRegistries(nameof(options.AllowedRegistries), options.AllowedRegistries);
        ValidateRegistries(nameof(options.InsecureRegistries), options.InsecureRegistries);
        foreach ((string registry, string file) in options.RegistryCertificates ?? new Dictionary<string, string>())
        {
            if (!File.Exists(file))
            {
                Add($"{nameof(options.RegistryCertificates)}[{registry}]", $"'{file}' is not a file; name one with certificates in PEM form.");
            }
        }

        if (options.DockerConfigPath is { } dockerConfig && !Path.IsPathFullyQualified(dockerConfig))
        {
            Add(nameof(options.DockerConfigPath), $"'{dockerConfig}' must be an absolute path, such as /root/.docker/config.json.");
        }

        if (!Enum.IsDefined(options.PullPolicy))
        {
            Add(nameof(options.PullPolicy), $"'{options.PullPolicy}' must be Missing, Always or Never.");
        }

        Range(nameof(options.MaxImageStoreBytes), options.MaxImageStoreBytes, 1, long.MaxValue);
        Range(nameof(options.MinFreeDiskBytes), options.MinFreeDiskBytes, 0, 1L << 50);
        Size(nameof(options.PullMemoryBytes), options.PullMemoryBytes, MemoryBudget.LeastPull, MemoryBudget.MostPull);

        for (int i = 0; i < options.AllowedNetworks?.Count; i++)
        {
            if (!networks.Contains(options.AllowedNetworks[i]))
            {
                Add($"{nameof(options.AllowedNetworks)}[{i}]", $"'{options.AllowedNetworks[i]}' is not a network mode; use one of: {string.Join(", ", networks.Order(StringComparer.Ordinal))}.");
            }
        }

        NotNull(nameof(options.Egress), options.Egress);
        if (options.Egress is not null)
        {
            faults.AddRange(EgressValidator.Validate(options.Egress, nameof(options.Egress)));
        }

        NotNull(nameof(options.NetworkBlocks), options.NetworkBlocks);
        for (int i = 0; i < options.NetworkBlocks?.Count; i++)
        {
            if (!IPNetwork.TryParse(options.NetworkBlocks[i], out IPNetwork block)
                || block.BaseAddress.AddressFamily != System.Net.Sockets.AddressFamily.InterNetwork
                || block.PrefixLength is < 16 or > 30
                || !SpecialRanges.IsPrivate(block))
            {
                Add($"{nameof(options.NetworkBlocks)}[{i}]", $"'{options.NetworkBlocks[i]}' must be a private IPv4 range of /16 to /30, such as 10.231.0.0/16.");
            }
        }

        NotNull(nameof(options.DnsServers), options.DnsServers);
        NotNull(nameof(options.RegistryMirrors), options.RegistryMirrors);
        NotNull(nameof(options.AllowedRegistries), options.AllowedRegistries);
        NotNull(nameof(options.InsecureRegistries), options.InsecureRegistries);
        NotNull(nameof(options.RegistryCertificates), options.RegistryCertificates);
        NotNull(nameof(options.AllowedNetworks), options.AllowedNetworks);
        Range(nameof(options.MaxConcurrentRuns), options.MaxConcurrentRuns, 1, 10_000);
        ValidateMemory();
        Range(nameof(options.CpuOvercommit), options.CpuOvercommit, 1, 100);
        Range(nameof(options.MaxQueuedRuns), options.MaxQueuedRuns, 0, 1_000_000);
        Range(nameof(options.MaxConcurrentRunsPerKey), options.MaxConcurrentRunsPerKey, 1, 10_000);
        Range(nameof(options.MaxQueuedRunsPerKey), options.MaxQueuedRunsPerKey, 0, 1_000_000);
        Range(nameof(options.QueueTimeout), options.QueueTimeout.TotalSeconds, 0, 3_600);
        Range(nameof(options.PullTimeout), options.PullTimeout.TotalSeconds, 1, 86_400);
        Range(nameof(options.BootTimeout), options.BootTimeout.TotalSeconds, 1, 600);
        ValidatePool();
        return faults;

        void Add(string field, string message) => faults.Add(new SandboxFault(field, message));

        void ValidateMemory()
        {
            const long Least = 32 * ByteSize.MiB;
            const long Most = 1024 * ByteSize.TiB;
            Size(nameof(options.MaxMemoryBytes), options.MaxMemoryBytes, Least, Most);
            long machine = machineBytes ?? MachineMemory.ReadBytes();
            long most = MemoryBudget.Most(machine);
            bool arePullsInRange = options.PullMemoryBytes is null or (>= MemoryBudget.LeastPull and <= MemoryBudget.MostPull);
            long? one = options.DefaultLimits is null ? null : LimitsValidator.Fill(options.DefaultLimits, LimitsValidator.BuiltIn).MemoryBytes;
            if (options.MaxMemoryBytes is >= Least and <= Most && options.MaxMemoryBytes > most)
            {
                Add(nameof(options.MaxMemoryBytes), $"is {ByteSize.Format(options.MaxMemoryBytes.Value)}, but this machine has {ByteSize.Round(machine)}, of which {ByteSize.Round(most)} can be given to sandboxes; lower it.");
            }
            else if (options.MaxMemoryBytes is >= Least && options.MaxMemoryBytes < one)
            {
                Add(nameof(options.MaxMemoryBytes), $"is {ByteSize.Format(options.MaxMemoryBytes.Value)}, less than the {ByteSize.Format(one.Value)} of one run; raise it, or lower {nameof(options.DefaultLimits)}.{nameof(ResourceLimits.MemoryBytes)}.");
            }
            else if (options is { MaxMemoryBytes: null, PullMemoryBytes: not null } && arePullsInRange && MemoryBudget.Of(options, machine) < LimitsValidator.BuiltIn.MemoryBytes)
            {
                Add(nameof(options.PullMemoryBytes), $"is {ByteSize.Format(options.PullMemoryBytes.Value)}, which leaves {ByteSize.Round(MemoryBudget.Of(options, machine))} of this machine's {ByteSize.Round(machine)} for sandboxes; lower it.");
            }
            else if (options.MaxMemoryBytes is >= Least && arePullsInRange && MemoryBudget.Of(options, machine) < one)
            {
                Add(nameof(options.MaxMemoryBytes), $"is {ByteSize.Format(options.MaxMemoryBytes.Value)}, of which {ByteSize.Round(MemoryBudget.OfPulls(options, machine))} are for pulls, and the rest is less than the {ByteSize.Format(one.Value)} of one run; raise it, or lower {nameof(options.PullMemoryBytes)} or {nameof(options.DefaultLimits)}.{nameof(ResourceLimits.MemoryBytes)}.");
            }
            else if (options.MaxMemoryBytes is null && arePullsInRange && MemoryBudget.Of(options, machine) < one && !faults.Any(fault => fault.Field == "DefaultLimits.MemoryBytes"))
            {
                Add("DefaultLimits.MemoryBytes", $"is {ByteSize.Format(one.Value)}, but this machine has {ByteSize.Round(machine)}, of which {ByteSize.Round(MemoryBudget.Of(options, machine))} are given to sandboxes; lower it.");
            }
        }

        void ValidatePool()
        {
            NotNull(nameof(options.Pool), options.Pool);
            if (options.Pool is not { } pool)
            {
                return;
            }

            Range("Pool.MaxSandboxes", pool.MaxSandboxes, 0, 10_000);
            Range("Pool.IdleTimeout", pool.IdleTimeout.TotalSeconds, 1, 86_400);
            Range("Pool.MaxAge", pool.MaxAge.TotalSeconds, 1, 86_400);
            NotNull("Pool.Images", pool.Images);
            int most = pool.MaxSandboxes ?? Pool.SandboxPool<Pool.WarmSandbox>.DefaultMaxSandboxes;
            if (most >= 0 && pool.Images?.Values.Sum(minimum => (long)minimum) > most)
            {
                Add("Pool.Images", $"wants more sandboxes than the {most} that may wait; lower the numbers, or raise Pool.MaxSandboxes.");
            }

            foreach ((string image, int minimum) in pool.Images ?? new Dictionary<string, int>())
            {
                Range($"Pool.Images[{image}]", minimum, 1, 1_000);
                NameImage($"Pool.Images[{image}]", image);
            }

            NotNull("Pool.WarmUps", pool.WarmUps);
            foreach ((string image, IList<string> command) in pool.WarmUps ?? new Dictionary<string, IList<string>>())
            {
                string field = $"Pool.WarmUps[{image}]";
                NameImage(field, image);
                Range(field, command?.Count ?? 0, 1, 1_024);
                if (command?.Any(argument => argument is null || argument.Contains('\0', StringComparison.Ordinal)) == true || command is [""])
                {
                    Add(field, "must be a program and its arguments, without NUL characters.");
                }
            }
        }

        void NameImage(string field, string image)
        {
            if (!Images.ImageReference.TryParse(image, out _, out string? fault))
            {
                Add(field, $"is not an image: {fault}");
            }
        }

        void NotNull(string field, object? value)
        {
            if (value is null)
            {
                Add(field, "must not be null.");
            }
        }

        void Range(string field, double? value, double least, double most)
        {
            if (value is { } number && !(number >= least && number <= most))
            {
                Add(field, FormattableString.Invariant($"is {number}, but must be from {least} to {most}."));
            }
        }

        void Size(string field, long? value, long least, long most)
        {
            if (value < least || value > most)
            {
                Add(field, $"is {ByteSize.Format(value.Value)}, but must be from {ByteSize.Format(least)} to {ByteSize.Format(most)}.");
            }
        }

        void ValidateRegistries(string field, IList<string>? registries)
        {
            for (int i = 0; i < registries?.Count; i++)
            {
                if (string.IsNullOrWhiteSpace(registries[i]) || registries[i].AsSpan().ContainsAny("/ @"))
                {
                    Add($"{field}[{i}]", $"'{registries[i]}' must be a host or host:port, such as ghcr.io.");
                }
            }
        }

        void ValidateMirrors(string field, IList<string>? places)
        {
            if (places is null || places.Count == 0)
            {
                Add(field, "must list at least one place, such as https://mirror.example.");
                return;
            }

            for (int i = 0; i < places.Count; i++)
            {
                if (!Uri.TryCreate(places[i], UriKind.Absolute, out Uri? uri) || (uri.Scheme != Uri.UriSchemeHttp && uri.Scheme != Uri.UriSchemeHttps)
                    || uri is not { UserInfo: "", Query: "", Fragment: "" })
                {
                    Add($"{field}[{i}]", $"'{places[i]}' must be an http or https URL without user, query and fragment, such as http://127.0.0.1:5000.");
                }
            }
        }
    }
}
