using System.Globalization;
using Boxer.Common;
using Boxer.Images;
using Boxer.Networking;

namespace Boxer.Validation;

/// <summary>Parses a request and finds all its faults before anything is started for it.</summary>
internal sealed class RequestValidator
{
    private static readonly TimeSpan MaxStopGrace = TimeSpan.FromSeconds(60);
    private const int MaxStdinBytes = 256 << 20;
    private const int MaxKeyLength = 1_024;
    private readonly IReadOnlyDictionary<string, INetworkMode> _networks;
    private readonly IReadOnlyCollection<string> _allowedNetworks;
    private readonly ResourceLimits _defaultLimits;
    private readonly ResourceLimits _maxLimits;
    private readonly long _maxMemoryBytes;
    private readonly int _processors;

    /// <summary>Creates a validator.</summary>
    /// <param name="networks">The network modes by name.</param>
    /// <param name="allowedNetworks">Names of the modes that requests may use.</param>
    /// <param name="defaultLimits">Limits of requests that do not set their own; only <see cref="ResourceLimits.CpuTime"/> may be <see langword="null"/>.</param>
    /// <param name="maxLimits">Highest value that a request may set for each limit; <see langword="null"/> for no bound.</param>
    /// <param name="maxMemoryBytes">Memory in bytes that all sandboxes together may be promised.</param>
    /// <param name="processors">Number of processors of this machine.</param>
    internal RequestValidator(
        IReadOnlyDictionary<string, INetworkMode> networks,
        IReadOnlyCollection<string> allowedNetworks,
        ResourceLimits defaultLimits,
        ResourceLimits maxLimits,
        long maxMemoryBytes,
        int processors)
    {
        _processors = processors;
        _maxLimits = maxLimits;

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

    /// <summary>Parses a request.</summary>
    /// <param name="request">The request. The result uses its lists, so nothing else may change them.</param>
    /// <exception cref="InvalidSandboxRequestException">The request is invalid; all faults are listed.</exception>
    internal CheckedRequest Validate(SandboxRequest request)
    {
        var faults = new RequestFaults();
        ImageReference? image = ParseImage(request.Image, faults);
        INetworkMode? network = FindNetwork(request.Network, faults);
        CheckedEgress? egress = ParseEgress(request.Egress, network, faults);
        CommandChecks.CheckCommand(request, faults);
        CommandChecks.CheckEnvironment(request.Environment, faults);
        CleanPath? workingDirectory = CommandChecks.ParseWorkingDirectory(request.WorkingDirectory, faults);
        UserName? user = CommandChecks.ParseUser(request.User, faults);
        FileChecks.CheckFiles(request.Files, "Files", isWorkspace: false, faults);
        CheckedWorkspace? workspace = FileChecks.ParseWorkspace(request, faults);
        CheckStandardInput(request, faults);
        ResourceLimits limits = LimitsValidator.Fill(request.Limits ?? new(), _defaultLimits);
        CheckStopGrace(request.StopGrace, limits, faults);
        CheckOthers(request, faults);
        FileChecks.CheckOutputs(request.OutputFiles, limits, faults);
        CheckLimits(limits, faults);
        if (faults.Count > 0)
        {
            throw new InvalidSandboxRequestException(faults);
        }

        return new CheckedRequest
        {
            Image = image!,
            PullPolicy = PullPolicy == PullPolicy.Never ? PullPolicy.Never : request.PullPolicy ?? PullPolicy,
            Network = network!,
            Egress = NetworkPolicy.Combine(Egress, egress, AllowsWiderEgress),
            Command = request.Command.AsReadOnly(),
            UseImageCommand = request.UseImageCommand,
            Environment = request.Environment.AsReadOnly(),
            WorkingDirectory = workingDirectory,
            User = user,
            Limits = limits,
            FairnessKey = request.FairnessKey,
            Files = request.Files.AsReadOnly(),
            Workspace = workspace,
            StandardInput = request.StandardInput,
            StandardInputStream = request.StandardInputStream,
            MergeStandardError = request.MergeStandardError,
            KeepStandardOutput = request.KeepStandardOutput,
            StopGrace = request.StopGrace,
            OutputFiles = request.OutputFiles,
        };
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

    private static void CheckStandardInput(SandboxRequest request, RequestFaults faults)
    {
        if (request.StandardInputStream is not null && request.StandardInput.Length > 0)
        {
            faults.Add(new SandboxFault("StandardInputStream", "cannot be set together with {0}; leave one of them.", ["StandardInput"]));
        }
        else if (request.StandardInputStream is { CanRead: false })
        {
            faults.Add("StandardInputStream", "cannot be read from.");
        }

        if (request.StandardInput.Length > MaxStdinBytes)
        {
            faults.Add("StandardInput", $"must have at most {MaxStdinBytes} bytes; put more into a file.");
        }
    }

    private void CheckStopGrace(TimeSpan grace, ResourceLimits limits, RequestFaults faults)
    {
        if (grace < TimeSpan.Zero || grace > MaxStopGrace)
        {
            faults.Add("StopGrace", $"must be from 0 to {MaxStopGrace.TotalSeconds:0} s.");
        }

        if (grace > TimeSpan.Zero && _maxLimits.WallClock is { } most && limits.WallClock <= most && limits.WallClock + grace > most)
        {
            string format = string.Create(CultureInfo.InvariantCulture, $"and {{0}} together must be at most {most.TotalSeconds:0.###} s, as {{1}} says; lower one of them.");
            faults.Add(new SandboxFault("StopGrace", format, ["Limits.WallClock", "MaxLimits.WallClock"]));
        }
    }

    private static void CheckOthers(SandboxRequest request, RequestFaults faults)
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
        found = [.. found, .. LimitsValidator.FindAbove(limits, _maxLimits, "Limits").ExceptBy(found.Select(fault => fault.Field), fault => fault.Field)];
        faults.AddRange(found);
        if (limits.MemoryBytes > _maxMemoryBytes && !found.Any(fault => fault.Field == "Limits.MemoryBytes"))
        {
            faults.Add("Limits.MemoryBytes", $"must be at most {ByteSize.Round(_maxMemoryBytes)}, which is all that this host gives to sandboxes.");
        }

        if (limits.CpuCores > _processors && !found.Any(fault => fault.Field == "Limits.CpuCores"))
        {
            faults.Add("Limits.CpuCores", LimitsValidator.TooManyCores(limits.CpuCores.Value, _processors));
        }
    }
}
