using Boxer.Networking;
using Boxer.Runtime.Cgroups;

namespace Boxer.Validation;

/// <summary>Validated options of a runner: a private copy, with texts parsed once and defaults filled in.</summary>
internal sealed record CheckedOptions
{
    private CheckedOptions()
    {
    }

    /// <summary>The copy, for values that need no parsing.</summary>
    internal required BoxerOptions Values { get; init; }

    /// <summary>The network modes by name. A later mode replaces an earlier one of the same name.</summary>
    internal required IReadOnlyDictionary<string, INetworkMode> Networks { get; init; }

    /// <summary>Names of the modes that requests may use.</summary>
    internal required IReadOnlySet<string> AllowedNetworks { get; init; }

    /// <summary>Limits of runs that set none; only <see cref="ResourceLimits.CpuTime"/> may be <see langword="null"/>.</summary>
    internal required ResourceLimits DefaultLimits { get; init; }

    /// <summary>Destinations that sandboxes may reach.</summary>
    internal required CheckedEgress Egress { get; init; }

    /// <summary>Images with a minimum number of pooled sandboxes or with a warm-up command.</summary>
    internal required IReadOnlyList<PoolImage> PoolImages { get; init; }

    /// <summary>Memory that all sandboxes together may be promised, in bytes.</summary>
    internal required long MemoryBytes { get; init; }

    /// <summary>The part of <see cref="MemoryBytes"/> that open sessions together may be promised.</summary>
    internal long SessionMemoryBytes => SessionMemoryOf(Values, MemoryBytes);

    /// <summary>The part of <see cref="SessionMemoryBytes"/> that open sessions of one key together may be promised.</summary>
    internal long SessionMemoryBytesPerKey => Math.Min(SessionMemoryBytes, Values.Sessions.MaxMemoryBytesPerKey ?? SessionMemoryBytes / 2);

    /// <summary>Returns the part of the memory for sandboxes that open sessions together may be promised.</summary>
    /// <param name="options">The options.</param>
    /// <param name="memoryBytes">Memory that all sandboxes together may be promised, in bytes.</param>
    internal static long SessionMemoryOf(BoxerOptions options, long memoryBytes) => Math.Min(memoryBytes, options.Sessions.MaxMemoryBytes ?? memoryBytes / 2);

    /// <summary>Validates and parses options.</summary>
    /// <param name="options">The options; they are copied.</param>
    /// <param name="networks">The network modes.</param>
    /// <exception cref="ArgumentException">The options are invalid and every fault is listed, or a mode has a name that no request could use.</exception>
    internal static CheckedOptions Check(BoxerOptions options, IEnumerable<INetworkMode> networks)
    {
        var byName = new Dictionary<string, INetworkMode>(StringComparer.Ordinal);
        foreach (INetworkMode mode in networks)
        {
            byName[NetworkName.Check(mode.Name)] = mode;
        }

        IReadOnlyList<SandboxFault> faults = OptionsValidator.Validate(options, byName.Keys);
        if (faults.Count > 0)
        {
            throw new ArgumentException(string.Join(" ", faults.Select(fault => $"{fault.Field}: {fault.Message}")), nameof(options));
        }

        BoxerOptions copy = options.Copy();
        return new CheckedOptions
        {
            Values = copy,
            Networks = byName,
            AllowedNetworks = (copy.AllowedNetworks.Count > 0 ? (IEnumerable<string>)copy.AllowedNetworks : byName.Keys).ToHashSet(StringComparer.Ordinal),
            DefaultLimits = LimitsValidator.Fill(copy.DefaultLimits, LimitDefaults.Values),
            Egress = CheckedEgress.Parse(copy.Egress),
            PoolImages = PoolImage.Parse(copy.Pool),
            MemoryBytes = MemoryBudget.Of(copy, MachineMemory.ReadBytes()),
        };
    }
}
