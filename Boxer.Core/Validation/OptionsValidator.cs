using Boxer.Runtime.Cgroups;

namespace Boxer.Validation;

/// <summary>
/// Finds all faults of the options without changing anything on the host: first of each value against the table, then of values that contradict
/// each other.
/// </summary>
internal static class OptionsValidator
{
    private const string DefaultMemory = $"{nameof(BoxerOptions.DefaultLimits)}.{nameof(ResourceLimits.MemoryBytes)}";

    /// <summary>Finds all faults of the options.</summary>
    /// <param name="options">The options.</param>
    /// <param name="networks">Names of the registered network modes.</param>
    /// <param name="machineBytes">Memory of the machine in bytes; <see langword="null"/> for this machine's.</param>
    /// <param name="machineProcessors">Number of processors of the machine; <see langword="null"/> for this machine's.</param>
    /// <param name="table">The table of options; <see langword="null"/> for the built-in one.</param>
    internal static IReadOnlyList<SandboxFault> Validate(
        BoxerOptions options, IReadOnlyCollection<string> networks, long? machineBytes = null, int? machineProcessors = null, SettingTable? table = null)
    {
        table ??= SettingTable.BuiltIn;
        List<SandboxFault> faults = [.. table.Validate(table.Options, options, "")];

        // An invalid value is one fault, not two.
        HashSet<string> wrong = [.. faults.Select(fault => fault.Field)];
        faults.AddRange(((SandboxFault?[])
        [
            .. FindUnknownNetworks(options, networks),
            .. FindWrongDefaults(options, machineProcessors ?? Environment.ProcessorCount, wrong),
            FindWrongMemory(options, machineBytes ?? MachineMemory.ReadBytes(), wrong),
            FindTooManyImages(options),
            .. FindWrongSessions(options, wrong),
        ]).OfType<SandboxFault>());
        return faults;
    }

    private static IEnumerable<SandboxFault> FindUnknownNetworks(BoxerOptions options, IReadOnlyCollection<string> networks) =>
        (options.AllowedNetworks ?? []).Index().Where(network => !networks.Contains(network.Item)).Select(network => new SandboxFault(
            $"{nameof(options.AllowedNetworks)}[{network.Index}]",
            $"'{network.Item}' is not a network mode; use one of: {string.Join(", ", networks.Order(StringComparer.Ordinal))}."));

    private static IEnumerable<SandboxFault> FindWrongDefaults(BoxerOptions options, int processors, HashSet<string> wrong)
    {
        if (options.DefaultLimits is not { } defaults)
        {
            return [];
        }

        const string Prefix = nameof(options.DefaultLimits);
        SandboxFault? cores = defaults.CpuCores > processors
            ? new($"{Prefix}.{nameof(defaults.CpuCores)}", LimitsValidator.TooManyCores(defaults.CpuCores.Value, processors))
            : null;
        IEnumerable<SandboxFault> above = options.MaxLimits is null ? [] : LimitsValidator.FindAbove(LimitsValidator.Fill(defaults, LimitDefaults.Values), options.MaxLimits, Prefix, ceilingName: nameof(options.MaxLimits))
            .Where(fault => !wrong.Contains(fault.Field.Replace(Prefix, nameof(options.MaxLimits), StringComparison.Ordinal)));
        return ((SandboxFault?[])[cores, .. above]).OfType<SandboxFault>().Where(fault => !wrong.Contains(fault.Field));
    }

    private static SandboxFault? FindWrongMemory(BoxerOptions options, long machine, HashSet<string> wrong)
    {
        if (options.DefaultLimits is null || wrong.Contains(nameof(options.MaxMemoryBytes)) || wrong.Contains(nameof(options.PullMemoryBytes)) || wrong.Contains(DefaultMemory))
        {
            return null;
        }

        long one = options.DefaultLimits.MemoryBytes ?? LimitDefaults.Values.MemoryBytes!.Value;
        long most = MemoryBudget.Most(machine);
        long ofRuns = MemoryBudget.Of(options, machine);
        string has = $"this machine has {ByteSize.Round(machine)}";
        return options switch
        {
            { MaxMemoryBytes: { } all } when all > most =>
                new(nameof(options.MaxMemoryBytes), $"is {ByteSize.Format(all)}, but {has}, of which {ByteSize.Round(most)} can be given to sandboxes; lower it."),
            { MaxMemoryBytes: { } all } when all < one =>
                new(nameof(options.MaxMemoryBytes), $"is {ByteSize.Format(all)}, less than the {ByteSize.Format(one)} of one run; raise it, or lower {DefaultMemory}."),
            { MaxMemoryBytes: { } all } when ofRuns < one =>
                new(nameof(options.MaxMemoryBytes), $"is {ByteSize.Format(all)}, of which {ByteSize.Round(MemoryBudget.OfPulls(options, machine))} are for pulls, and the rest is less than the {ByteSize.Format(one)} of one run; raise it, or lower {nameof(options.PullMemoryBytes)} or {DefaultMemory}."),
            { MaxMemoryBytes: null, PullMemoryBytes: { } pulls } when ofRuns < LimitDefaults.Values.MemoryBytes =>
                new(nameof(options.PullMemoryBytes), $"is {ByteSize.Format(pulls)}, which leaves {ByteSize.Round(ofRuns)} of this machine's {ByteSize.Round(machine)} for sandboxes; lower it."),
            { MaxMemoryBytes: null } when ofRuns < one =>
                new(DefaultMemory, $"is {ByteSize.Format(one)}, but {has}, of which {ByteSize.Round(ofRuns)} are given to sandboxes; lower it."),
            _ => null,
        };
    }

    private static IEnumerable<SandboxFault> FindWrongSessions(BoxerOptions options, HashSet<string> wrong)
    {
        const string Prefix = nameof(options.Sessions);
        if (options.Sessions is not { } sessions)
        {
            return [];
        }

        SandboxFault?[] found =
        [
            FindLongTime(nameof(sessions.IdleTimeout), sessions.IdleTimeout),
            FindLongTime(nameof(sessions.Lifetime), sessions.Lifetime),
            sessions.MaxMemoryBytes > options.MaxMemoryBytes
                ? new($"{Prefix}.{nameof(sessions.MaxMemoryBytes)}", $"is {ByteSize.Format(sessions.MaxMemoryBytes.Value)}, more than the {ByteSize.Format(options.MaxMemoryBytes.Value)} of {nameof(options.MaxMemoryBytes)}; lower it.")
                : null,
            sessions.MaxMemoryBytesPerKey > sessions.MaxMemoryBytes
                ? new($"{Prefix}.{nameof(sessions.MaxMemoryBytesPerKey)}", $"is {ByteSize.Format(sessions.MaxMemoryBytesPerKey.Value)}, more than the {ByteSize.Format(sessions.MaxMemoryBytes.Value)} of {Prefix}.{nameof(sessions.MaxMemoryBytes)}; lower it.")
                : null,
        ];
        return found.OfType<SandboxFault>().Where(fault => !wrong.Contains(fault.Field));

        SandboxFault? FindLongTime(string name, TimeSpan time) => time > sessions.MaxLifetime && !wrong.Contains($"{Prefix}.{nameof(sessions.MaxLifetime)}")
            ? new($"{Prefix}.{name}", $"is {Setting.FormatTime(time)}, more than the {Setting.FormatTime(sessions.MaxLifetime)} of {Prefix}.{nameof(sessions.MaxLifetime)}; lower it.")
            : null;
    }

    private static SandboxFault? FindTooManyImages(BoxerOptions options)
    {
        int most = options.Pool?.MaxSandboxes ?? PoolOptions.DefaultMaxSandboxes;
        return most >= 0 && options.Pool?.Images?.Sum(image => (long)(image?.Count ?? 0)) > most
            ? new("Pool.Images", $"need more than the {most} pooled sandboxes that are allowed; lower the counts, or raise Pool.MaxSandboxes.")
            : null;
    }
}
