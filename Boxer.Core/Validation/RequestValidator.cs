using System.Globalization;
using System.Text;
using Boxer.Common;
using Boxer.Images;
using Boxer.Networking;
using Boxer.Runtime.Init;

namespace Boxer.Validation;

/// <summary>Parses a request, and finds everything that is wrong with it before anything is started for it.</summary>
internal sealed class RequestValidator
{
    private const int MaxArgumentBytes = 128 << 10;
    private const int MaxArgumentsBytes = 2 << 20;
    private const int MaxArguments = 32_768;
    private static readonly TimeSpan MaxStopGrace = TimeSpan.FromSeconds(60);
    private const int MaxFiles = 10_000;
    private const int MaxStdinBytes = 256 << 20;
    private const int MaxKeyLength = 1_024;
    private const string NoNul = "must not contain a NUL character.";
    private const string NoUnicode = "must be valid Unicode: it has half of a surrogate pair.";
    private static readonly string[] ReservedDirectories = ["output", "proc", "sys", "dev", ".boxer"];
    private readonly IReadOnlyDictionary<string, INetworkMode> _networks;
    private readonly IReadOnlyCollection<string> _allowedNetworks;
    private readonly ResourceLimits _defaultLimits;
    private readonly ResourceLimits _maxLimits;
    private readonly long _maxMemoryBytes;
    private readonly int _processors;

    /// <param name="networks">The modes by name.</param>
    /// <param name="allowedNetworks">The names that may be used.</param>
    /// <param name="defaultLimits">Limits of requests that do not set their own; only <see cref="ResourceLimits.CpuTime"/> may be <see langword="null"/>.</param>
    /// <param name="maxLimits">The most that a request may have of each; <see langword="null"/>: no bound.</param>
    /// <param name="maxMemoryBytes">What all sandboxes together may be promised.</param>
    /// <param name="processors">Processors of this machine.</param>
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

    /// <summary>The operator's pull policy. Where that is <see cref="PullPolicy.Never"/>, no request pulls.</summary>
    internal PullPolicy PullPolicy { get; init; }

    /// <summary>Parses a request.</summary>
    /// <param name="request">The request. Its lists are used from then on, so nobody else may change them.</param>
    /// <exception cref="InvalidSandboxRequestException">Something is wrong; all of it is listed.</exception>
    internal CheckedRequest Validate(SandboxRequest request)
    {
        var faults = new List<SandboxFault>();
        ImageReference? image = null;
        if (!ImageReference.TryParse(request.Image, out image, out string? imageError))
        {
            Add("Image", imageError!);
        }

        INetworkMode? network = ValidateNetwork(request.Network, Add);
        CheckedEgress? egress = null;
        if (request.Egress is not null)
        {
            egress = EgressValidator.Check(request.Egress, nameof(request.Egress), faults);
            if (network is { SupportsEgressPolicy: false })
            {
                Add(nameof(request.Egress), $"cannot be held by the network mode '{network.Name}'; leave it out, or use 'sandbox'.");
            }
        }

        ValidateCommand(request, Add);
        ValidateEnvironment(request.Environment, Add);
        CleanPath? workingDirectory = ParseWorkingDirectory(request.WorkingDirectory, Add);
        UserName? user = ParseUser(request.User, Add);
        ValidateFiles(request.Files, "Files", isWorkspace: false, Add);
        CheckedWorkspace? workspace = ParseWorkspace(request, Add);
        if (request.StandardInputStream is { } stream && (request.StandardInput.Length > 0 || !stream.CanRead))
        {
            faults.Add(request.StandardInput.Length > 0
                ? new("StandardInputStream", "cannot be set together with {0}; leave one of them.", ["StandardInput"])
                : new("StandardInputStream", "cannot be read from."));
        }

        if (request.StandardInput.Length > MaxStdinBytes)
        {
            Add("StandardInput", $"must have at most {MaxStdinBytes} bytes; put more into a file.");
        }

        if (request.StopGrace < TimeSpan.Zero || request.StopGrace > MaxStopGrace)
        {
            Add("StopGrace", $"must be from 0 to {MaxStopGrace.TotalSeconds:0} s.");
        }

        ResourceLimits limits = LimitsValidator.Fill(request.Limits ?? new(), _defaultLimits);
        if (request.StopGrace > TimeSpan.Zero && _maxLimits.WallClock is { } most && limits.WallClock <= most && limits.WallClock + request.StopGrace > most)
        {
            faults.Add(new("StopGrace", string.Create(CultureInfo.InvariantCulture, $"and {{0}} together must be at most {most.TotalSeconds:0.###} s, as {{1}} says; lower one of them."), ["Limits.WallClock", "MaxLimits.WallClock"]));
        }

        if (request.Limits is null)
        {
            Add("Limits", "must not be null.");
        }

        if (request.PullPolicy is { } policy && !Enum.IsDefined(policy))
        {
            Add("PullPolicy", $"'{policy}' must be Missing, Always or Never.");
        }

        if (request.FairnessKey?.Length > MaxKeyLength)
        {
            Add("FairnessKey", $"must have at most {MaxKeyLength} characters.");
        }

        ValidateOutputs(request.OutputFiles, limits, faults);
        SandboxFault[] outOfRange = [.. LimitsValidator.Validate(limits, "Limits")];
        outOfRange = [.. outOfRange, .. LimitsValidator.FindAbove(limits, _maxLimits, "Limits").ExceptBy(outOfRange.Select(fault => fault.Field), fault => fault.Field)];
        faults.AddRange(outOfRange);
        if (limits.MemoryBytes > _maxMemoryBytes && !outOfRange.Any(fault => fault.Field == "Limits.MemoryBytes"))
        {
            Add("Limits.MemoryBytes", $"must be at most {ByteSize.Round(_maxMemoryBytes)}, which is all that this host gives to sandboxes.");
        }

        if (limits.CpuCores > _processors && !outOfRange.Any(fault => fault.Field == "Limits.CpuCores"))
        {
            Add("Limits.CpuCores", LimitsValidator.TooManyCores(limits.CpuCores.Value, _processors));
        }

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

        void Add(string field, string message) => faults.Add(new SandboxFault(field, message));
    }

    private INetworkMode? ValidateNetwork(string? name, Action<string, string> add)
    {
        string known = string.Join(", ", _allowedNetworks.Order(StringComparer.Ordinal));
        if (name is null || !_networks.TryGetValue(name, out INetworkMode? mode))
        {
            add("Network", $"'{Shorten(name)}' is not a network mode; use one of: {known}.");
            return null;
        }

        if (!_allowedNetworks.Contains(name))
        {
            add("Network", $"'{name}' is not allowed here; use one of: {known}.");
            return null;
        }

        return mode;
    }

    private static void ValidateCommand(SandboxRequest request, Action<string, string> add)
    {
        if (request.Command.Count == 0)
        {
            if (request.UseImageCommand)
            {
                return;
            }

            add("Command", "must have at least one entry: the program to run.");
            return;
        }

        if (request.Command.Count > MaxArguments)
        {
            add("Command", $"must have at most {MaxArguments} entries.");
            return;
        }

        long total = 0;
        for (int i = 0; i < request.Command.Count; i++)
        {
            string? argument = request.Command[i];
            if (argument is null)
            {
                add($"Command[{i}]", "must not be null.");
                continue;
            }

            int bytes = Encoding.UTF8.GetByteCount(argument);
            total += bytes + 1;
            CheckText($"Command[{i}]", argument, bytes, MaxArgumentBytes, add);
        }

        if (request.Command[0] is "" && !request.UseImageCommand)
        {
            add("Command[0]", "must not be empty: it is the program to run.");
        }

        if (total > MaxArgumentsBytes)
        {
            add("Command", $"must have at most {MaxArgumentsBytes} bytes altogether; put more into a file or standard input.");
        }
    }

    private static void ValidateEnvironment(IDictionary<string, string> environment, Action<string, string> add)
    {
        if (environment.Count > MaxArguments)
        {
            add("Environment", $"must have at most {MaxArguments} entries.");
            return;
        }

        long total = 0;
        foreach ((string name, string? value) in environment)
        {
            string field = $"Environment[{Shorten(name)}]";
            if (name.Length == 0 || name.Contains('=', StringComparison.Ordinal))
            {
                add(field, "must have a name that is not empty and has no '='.");
            }

            if (value is null)
            {
                add(field, "must not be null.");
                continue;
            }

            int bytes = Encoding.UTF8.GetByteCount(name) + Encoding.UTF8.GetByteCount(value) + 1;
            total += bytes;
            CheckText(field, name + value, bytes, MaxArgumentBytes, add);
        }

        if (total > MaxArgumentsBytes / 2)
        {
            add("Environment", $"must have at most {MaxArgumentsBytes / 2} bytes altogether; put more into a file.");
        }
    }

    private static CleanPath? ParseWorkingDirectory(string? text, Action<string, string> add)
    {
        const string Field = "WorkingDirectory";
        if (text is null)
        {
            return null;
        }

        PathFaults faults = CleanPath.TryNormalize(text, out CleanPath path);
        Say(PathFaults.Empty | PathFaults.WrongKind, "must be an absolute path such as /work.");
        Say(PathFaults.Nul, NoNul);
        Say(PathFaults.NotUnicode, NoUnicode);
        Say(PathFaults.TooLong, $"must have at most {CleanPath.MaxBytes} bytes.");
        Say(PathFaults.DotDot, "must not contain '..'.");
        if (!faults.HasFlag(PathFaults.TooLong))
        {
            Say(PathFaults.LongName, $"must have at most {CleanPath.MaxNameBytes} bytes between slashes.");
        }

        return faults == PathFaults.None ? path : null;

        void Say(PathFaults kind, string message)
        {
            if ((faults & kind) != PathFaults.None)
            {
                add(Field, message);
            }
        }
    }

    private static UserName? ParseUser(string? text, Action<string, string> add)
    {
        if (text is null)
        {
            return null;
        }

        UserName? user = UserName.TryParse(text, out IReadOnlyList<(UserFault Fault, string Part)> faults);
        foreach ((UserFault fault, string part) in faults)
        {
            add("User", fault switch
            {
                UserFault.Malformed => "must be a name or a uid, alone or followed by ':' and a group, such as 1000 or nobody:nogroup.",
                UserFault.Nul => NoNul,
                UserFault.NotUnicode => NoUnicode,
                UserFault.TooLong => $"must have at most {UserName.MaxBytes} bytes.",
                UserFault.IdTooLarge => $"{Shorten(part)} is not an id: ids go from 0 to {UserName.MaxId}.",
                _ => "must not be negative: ids go from 0 upwards.",
            });
        }

        if (user is not null && (user.Uid == InitProtocol.ReservedId || user.Gid == InitProtocol.ReservedId))
        {
            add("User", $"{InitProtocol.ReservedId} is reserved for the sandbox's own PID 1; use another id.");
        }

        return user;
    }

    private static CheckedWorkspace? ParseWorkspace(SandboxRequest request, Action<string, string> add)
    {
        if (request.Workspace is not { } workspace)
        {
            return null;
        }

        if (FindWorkspaceFault(workspace.Path, out CleanPath path) is { } fault)
        {
            add("Workspace.Path", fault);
        }

        Range("Workspace.MaxBytes", workspace.MaxBytes, 1, 64L << 30, "bytes");
        Range("Workspace.MaxEntries", workspace.MaxEntries, 1, 100_000, "entries");
        Range("Workspace.MaxChangesBytes", workspace.MaxChangesBytes, 0, 1 << 30, "bytes");
        foreach ((int i, SandboxFile? file) in request.Files.Index())
        {
            if (file is not null && ("/" + file.Path + "/").StartsWith(workspace.Path + "/", StringComparison.Ordinal))
            {
                add($"Files[{i}].Path", $"'{Shorten(file.Path)}' is in the workspace; put it into the workspace's inputs.");
            }
        }

        for (int i = 0; i < workspace.Inputs.Count; i++)
        {
            if (workspace.Inputs[i] is { } input)
            {
                ValidateFiles([.. input.Files], $"Workspace.Inputs[{i}].Files", isWorkspace: true, add);
            }
            else
            {
                add($"Workspace.Inputs[{i}]", "must not be null.");
            }
        }

        return new CheckedWorkspace(path, workspace.Inputs.AsReadOnly(), workspace.MaxBytes, workspace.MaxEntries, workspace.MaxChangesBytes);

        void Range(string field, long value, long least, long most, string unit)
        {
            if (value < least || value > most)
            {
                add(field, $"must be from {least} to {most} {unit}.");
            }
        }
    }

    private static string? FindWorkspaceFault(string? text, out CleanPath path)
    {
        PathFaults faults = CleanPath.TryParse(text, PathKind.Absolute, out path);
        return (faults & (PathFaults.Empty | PathFaults.WrongKind | PathFaults.Nul | PathFaults.NotUnicode)) != PathFaults.None || text == "/"
            ? "must be an absolute path below '/', such as /workspace, of valid Unicode without NUL."
            : faults != PathFaults.None
            ? $"'{Shorten(text)}' must be clean: no '..', '.', or empty names, at most {CleanPath.MaxNameBytes} bytes between slashes and {CleanPath.MaxBytes} in all."
            : IsReserved(path)
            ? $"'{Shorten(text)}' is '/{path.FirstName}' or below it, which is reserved; choose another directory."
            : null;
    }

    private static bool IsReserved(CleanPath path) => ReservedDirectories.Contains(path.FirstName.ToString(), StringComparer.Ordinal);

    private static void ValidateFiles(IList<SandboxFile> files, string list, bool isWorkspace, Action<string, string> add)
    {
        if (files.Count > MaxFiles)
        {
            add(list, $"must have at most {MaxFiles} entries; pack them into an archive.");
            return;
        }

        var seen = new HashSet<string>(StringComparer.Ordinal);
        for (int i = 0; i < files.Count; i++)
        {
            string field = $"{list}[{i}].Path";
            if (files[i] is not { Path: var path })
            {
                add($"{list}[{i}]", "must not be null.");
            }
            else if (FindPathFault(path, isWorkspace) is { } fault)
            {
                add(field, fault);
            }
            else if (!seen.Add(path))
            {
                add(field, $"'{Shorten(path)}' is there twice.");
            }
        }

        foreach (string path in seen)
        {
            for (int slash = path.IndexOf('/', StringComparison.Ordinal); slash >= 0; slash = path.IndexOf('/', slash + 1))
            {
                if (seen.Contains(path[..slash]))
                {
                    add(list, $"'{Shorten(path[..slash])}' is a file, and the directory of another.");
                }
            }
        }
    }

    private static string? FindPathFault(string text, bool isWorkspace)
    {
        PathFaults faults = CleanPath.TryParse(text, PathKind.BelowRoot, out CleanPath path);
        return faults.HasFlag(PathFaults.Empty) ? "must not be empty."
            : faults.HasFlag(PathFaults.Nul) ? NoNul
            : faults.HasFlag(PathFaults.NotUnicode) ? NoUnicode
            : faults.HasFlag(PathFaults.WrongKind) ? $"'{Shorten(text)}' must be relative: it appears at {(isWorkspace ? "the workspace" : "'/'")} and that path."
            : (faults & PathFaults.Unclean) != PathFaults.None ? $"'{Shorten(text)}' must be clean: no '..', '.', or empty names between slashes."
            : faults != PathFaults.None ? $"must have at most {CleanPath.MaxRelativeBytes} bytes, and {CleanPath.MaxNameBytes} between slashes."
            : !isWorkspace && IsReserved(path) ? $"'{Shorten(text)}' is under '{path.FirstName}/', which is reserved; choose another directory."
            : null;
    }

    private static void ValidateOutputs(OutputFilePolicy? outputs, ResourceLimits limits, List<SandboxFault> faults)
    {
        if (outputs is null)
        {
            faults.Add(new("OutputFiles", "must not be null."));
            return;
        }

        if (outputs.Directory is not { } directory)
        {
            if (outputs.Collects && limits.OutputFilesBytes > Array.MaxLength)
            {
                faults.Add(new("Limits.OutputFilesBytes", $"must be at most {Array.MaxLength} where {{0}} are kept in memory; name a directory for more.", ["OutputFiles"]));
            }

            return;
        }

        if (!Path.IsPathFullyQualified(directory))
        {
            faults.Add(new("OutputFiles", "must be an absolute path of this host."));
        }
        else if (Path.Exists(directory))
        {
            faults.Add(new("OutputFiles", "must be a directory that does not exist yet."));
        }
        else if (!Directory.Exists(Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(directory))))
        {
            faults.Add(new("OutputFiles", "must be a directory whose parent exists."));
        }
    }

    private static void CheckText(string field, string text, int bytes, int maxBytes, Action<string, string> add)
    {
        if (text.Contains('\0', StringComparison.Ordinal))
        {
            add(field, NoNul);
        }

        // Half of a surrogate pair would reach the command as U+FFFD, silently changed.
        if (!CleanPath.IsUnicode(text))
        {
            add(field, NoUnicode);
        }

        if (bytes > maxBytes)
        {
            add(field, $"must have at most {maxBytes} bytes.");
        }
    }

    private static string Shorten(string? text)
    {
        const int Most = 100;
        return text is null ? "" : text.Length <= Most ? text : string.Concat(text.AsSpan(0, Most), "...");
    }
}
