using Boxer.Common;
using Boxer.Images;
using Boxer.Networking;

namespace Boxer.Validation;

/// <summary>Parses the part of a request that describes the sandbox: the same for a run and for a session.</summary>
internal abstract class SandboxValidator
{
    private const int MaxKeyLength = 1_024;
    private readonly IReadOnlyDictionary<string, INetworkMode> _networks;
    private readonly IReadOnlyCollection<string> _allowedNetworks;
    private readonly ResourceLimits _defaultLimits;
    private readonly long _maxMemoryBytes;
    private readonly int _processors;

    /// <summary>Creates a validator.</summary>
    /// <param name="networks">The network modes by name.</param>
    /// <param name="allowedNetworks">Names of the modes that requests may use.</param>
    /// <param name="defaultLimits">Limits of requests that do not set their own; only <see cref="ResourceLimits.CpuTime"/> may be <see langword="null"/>.</param>
    /// <param name="maxLimits">Highest value that a request may set for each limit; <see langword="null"/> for no bound.</param>
    /// <param name="maxMemoryBytes">Memory in bytes that all sandboxes together may be promised.</param>
    /// <param name="processors">Number of processors of this machine.</param>
    private protected SandboxValidator(
        IReadOnlyDictionary<string, INetworkMode> networks,
        IReadOnlyCollection<string> allowedNetworks,
        ResourceLimits defaultLimits,
        ResourceLimits maxLimits,
        long maxMemoryBytes,
        int processors)
    {
        _processors = processors;
        MaxLimits = maxLimits;

        // CpuTime has no built-in default. A request that omits it must not exceed MaxLimits.
        _defaultLimits = defaultLimits with { CpuTime = defaultLimits.CpuTime ?? maxLimits.CpuTime };
        _networks = networks;
        _allowedNetworks = allowedNetworks;
        _maxMemoryBytes = maxMemoryBytes;
    }

    /// <summary>The operator's egress policy.</summary>
    internal CheckedEgress Egress { get; init; } = CheckedEgress.Public;

    /// <summary>Whether a request's egress policy replaces the operator's.</summary>
    internal bool AllowsWiderEgress { get; init; }

    /// <summary>The operator's pull policy. With <see cref="PullPolicy.Never"/>, no request can pull.</summary>
    internal PullPolicy PullPolicy { get; init; }

    /// <summary>Name of the sandboxes that share the memory, for messages.</summary>
    private protected virtual string Receivers => "sandboxes";

    /// <summary>Highest value that a request may set for each limit; <see langword="null"/> for no bound.</summary>
    private protected ResourceLimits MaxLimits { get; }

    /// <summary>Parses the sandbox of a request.</summary>
    /// <param name="request">The properties of the request.</param>
    /// <param name="faults">Receives the faults. The result is meaningless if there are any.</param>
    private protected ParsedSandbox Parse(ISandboxDescription request, RequestFaults faults)
    {
        ImageReference? image = ParseImage(request.Image, faults);
        INetworkMode? network = FindNetwork(request.Network, faults);
        CheckedEgress? egress = ParseEgress(request.Egress, network, faults);
        CommandChecks.CheckEnvironment(request.Environment, faults);
        CleanPath? workingDirectory = CommandChecks.ParseWorkingDirectory(request.WorkingDirectory, faults);
        UserName? user = CommandChecks.ParseUser(request.User, faults);
        FileChecks.CheckFiles(request.Files, "Files", isWorkspace: false, faults);
        CheckedWorkspace? workspace = FileChecks.ParseWorkspace(request.Workspace, request.Files, faults);
        CheckOthers(request, faults);
        ResourceLimits limits = LimitsValidator.Fill(request.Limits ?? new(), _defaultLimits);
        CheckLimits(limits, faults);
        return new ParsedSandbox(
            image!,
            PullPolicy == PullPolicy.Never ? PullPolicy.Never : request.PullPolicy ?? PullPolicy,
            network!,
            NetworkPolicy.Combine(Egress, egress, AllowsWiderEgress),
            workingDirectory,
            user,
            limits,
            workspace);
    }

    private static ImageReference? ParseImage(string text, RequestFaults faults)
    {
        if (!ImageReference.TryParse(text, out ImageReference? image, out string? fault))
        {
            faults.Add("Image", fault!);
        }

        return image;
    }

    private INetworkMode? FindNetwork(string? name, RequestFaults faults)
    {
        string known = string.Join(", ", _allowedNetworks.Order(StringComparer.Ordinal));
        if (name is null || !_networks.TryGetValue(name, out INetworkMode? mode))
        {
            faults.Add("Network", $"'{RequestFaults.Shorten(name)}' is not a network mode; use one of: {known}.");
            return null;
        }

        if (!_allowedNetworks.Contains(name))
        {
            faults.Add("Network", $"'{name}' is not allowed here; use one of: {known}.");
            return null;
        }

        return mode;
    }

    private static CheckedEgress? ParseEgress(EgressPolicy? policy, INetworkMode? network, RequestFaults faults)
    {
        if (policy is null)
        {
            return null;
        }

        CheckedEgress? egress = EgressValidator.Check(policy, "Egress", faults);
        if (network is { SupportsEgressPolicy: false })
        {
            faults.Add("Egress", $"is not supported by the network mode '{network.Name}'; leave it out, or use 'sandbox'.");
        }

        return egress;
    }

    private static void CheckOthers(ISandboxDescription request, RequestFaults faults)
    {
        if (request.Limits is null)
        {
            faults.Add("Limits", "must not be null.");
        }

        if (request.PullPolicy is { } policy && !Enum.IsDefined(policy))
        {
            faults.Add("PullPolicy", $"'{policy}' must be Missing, Always or Never.");
        }

        if (request.FairnessKey?.Length > MaxKeyLength)
        {
            faults.Add("FairnessKey", $"must have at most {MaxKeyLength} characters.");
        }
    }

    // Each limit has at most one fault: a value out of its range is not compared with a maximum.
    private void CheckLimits(ResourceLimits limits, RequestFaults faults)
    {
        SandboxFault[] found = [.. LimitsValidator.Validate(limits, "Limits")];
        found = [.. found, .. LimitsValidator.FindAbove(limits, MaxLimits, "Limits").ExceptBy(found.Select(fault => fault.Field), fault => fault.Field)];
        faults.AddRange(found);
        if (limits.MemoryBytes > _maxMemoryBytes && !found.Any(fault => fault.Field == "Limits.MemoryBytes"))
        {
            faults.Add("Limits.MemoryBytes", $"must be at most {ByteSize.Round(_maxMemoryBytes)}, which is all that this host gives to {Receivers}.");
        }

        if (limits.CpuCores > _processors && !found.Any(fault => fault.Field == "Limits.CpuCores"))
        {
            faults.Add("Limits.CpuCores", LimitsValidator.TooManyCores(limits.CpuCores.Value, _processors));
        }
    }

    /// <summary>The parsed properties.</summary>
    private protected sealed record ParsedSandbox(
        ImageReference Image,
        PullPolicy PullPolicy,
        INetworkMode Network,
        NetworkPolicy Egress,
        CleanPath? WorkingDirectory,
        UserName? User,
        ResourceLimits Limits,
        CheckedWorkspace? Workspace);
}
