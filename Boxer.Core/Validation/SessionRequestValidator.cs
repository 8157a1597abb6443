using System.Text;
using Boxer.Networking;

namespace Boxer.Validation;

/// <summary>Parses a request for a session and finds all its faults before anything is started for it.</summary>
/// <inheritdoc/>
internal sealed class SessionRequestValidator(
    IReadOnlyDictionary<string, INetworkMode> networks,
    IReadOnlyCollection<string> allowedNetworks,
    ResourceLimits defaultLimits,
    ResourceLimits maxLimits,
    long maxMemoryBytes,
    int processors)
    : SandboxValidator(networks, allowedNetworks, defaultLimits, maxLimits, maxMemoryBytes, processors)
{
    internal const int MaxLabels = 16;
    internal const int MaxLabelNameBytes = 64;
    internal const int MaxLabelBytes = 256;
    private static readonly Setting IdleTimeout = SettingOf(nameof(SessionOptions.IdleTimeout));
    private static readonly Setting Lifetime = SettingOf(nameof(SessionOptions.Lifetime));
    private readonly long _maxMemoryBytes = maxMemoryBytes;

    /// <summary>Options of sessions.</summary>
    internal SessionOptions Options { get; init; } = new();

    /// <summary>Memory in bytes that the open sessions of one key together may be promised; default that of all.</summary>
    internal long MaxMemoryBytesPerKey { get; init; } = maxMemoryBytes;

    private protected override string Receivers => "sessions";

    /// <summary>Parses a request.</summary>
    /// <param name="request">The request. The result uses its lists, so nothing else may change them.</param>
    /// <exception cref="InvalidSandboxRequestException">The request is invalid; all faults are listed.</exception>
    internal CheckedSession Validate(SandboxSessionRequest request)
    {
        var faults = new RequestFaults();
        ParsedSandbox sandbox = Parse(request, faults);
        CheckLimitsOfSession(request, sandbox.Limits, faults);
        CheckLabels(request.Labels, faults);
        CheckTime(IdleTimeout, request.IdleTimeout, faults);
        CheckTime(Lifetime, request.Lifetime, faults);
        if (request.FreezeAfter is { } freezeAfter && (freezeAfter < TimeSpan.Zero || freezeAfter > (TimeSpan)Lifetime.Most!))
        {
            faults.Add("FreezeAfter", $"is {Setting.FormatTime(freezeAfter)}, but must be from 0 s to {Lifetime.Format(Lifetime.Most)}, or null for never.");
        }

        ThrowIfAny(faults);
        return new CheckedSession
        {
            Image = sandbox.Image,
            PullPolicy = sandbox.PullPolicy,
            Network = sandbox.Network,
            Egress = sandbox.Egress.ForSession(),
            Environment = request.Environment.AsReadOnly(),
            WorkingDirectory = sandbox.WorkingDirectory,
            User = sandbox.User,
            Limits = sandbox.Limits,
            FairnessKey = request.FairnessKey,
            Files = request.Files.AsReadOnly(),
            Workspace = sandbox.Workspace,
            Labels = request.Labels.AsReadOnly(),
            IdleTimeout = request.IdleTimeout ?? Options.IdleTimeout,
            Lifetime = request.Lifetime ?? Options.Lifetime,
            FreezeAfter = request.FreezeAfter,
            KeepAliveWhileRunning = request.KeepAliveWhileRunning,
        };
    }

    /// <summary>Checks the times of <see cref="ISandboxSession.ExtendAsync"/>.</summary>
    /// <param name="idleTimeout">The idle timeout, or <see langword="null"/>.</param>
    /// <param name="lifetime">The lifetime, or <see langword="null"/>.</param>
    /// <exception cref="InvalidSandboxRequestException">A time is out of range; all faults are listed.</exception>
    internal void ValidateTimes(TimeSpan? idleTimeout, TimeSpan? lifetime)
    {
        var faults = new RequestFaults();
        CheckTime(IdleTimeout, idleTimeout, faults);
        CheckTime(Lifetime, lifetime, faults);
        ThrowIfAny(faults);
    }

    private static void CheckLabels(IDictionary<string, string> labels, RequestFaults faults)
    {
        if (labels.Count > MaxLabels)
        {
            faults.Add("Labels", $"must have at most {MaxLabels} entries.");
            return;
        }

        foreach ((string name, string? value) in labels)
        {
            string field = $"Labels[{RequestFaults.Shorten(name)}]";
            if (name.Length == 0 || Encoding.UTF8.GetByteCount(name) > MaxLabelNameBytes)
            {
                faults.Add(field, $"must have a name of 1 to {MaxLabelNameBytes} bytes.");
            }

            if (value is null)
            {
                faults.Add(field, "must not be null.");
                continue;
            }

            if (Encoding.UTF8.GetByteCount(value) > MaxLabelBytes)
            {
                faults.Add(field, $"must have at most {MaxLabelBytes} bytes.");
            }

            if (!Common.CleanPath.IsUnicode(name) || !Common.CleanPath.IsUnicode(value))
            {
                faults.Add(field, RequestFaults.NoUnicode);
            }

            if (name.Concat(value).Any(char.IsControl))
            {
                faults.Add(field, "must not contain control characters.");
            }
        }
    }

    private void CheckLimitsOfSession(SandboxSessionRequest request, ResourceLimits limits, RequestFaults faults)
    {
        if (request.Workspace is { MaxChangesBytes: not 0 })
        {
            faults.Add("Workspace.MaxChangesBytes", "must be 0: a session returns no changes; read the workspace with Files.ReadArchiveAsync.");
        }

        foreach ((string name, bool isSet) in new[] { (nameof(limits.OutputFilesBytes), request.Limits?.OutputFilesBytes is not null), (nameof(limits.OutputFilesCount), request.Limits?.OutputFilesCount is not null) })
        {
            if (isSet)
            {
                faults.Add($"Limits.{name}", "must not be set: a session collects no output files.");
            }
        }

        if (!string.IsNullOrEmpty(request.FairnessKey) && limits.MemoryBytes > MaxMemoryBytesPerKey && limits.MemoryBytes <= _maxMemoryBytes)
        {
            faults.Add("Limits.MemoryBytes", $"must be at most {ByteSize.Round(MaxMemoryBytesPerKey)}, which is all that this host gives to the sessions of one key.");
        }
    }

    private void CheckTime(Setting setting, TimeSpan? time, RequestFaults faults)
    {
        if (time is { } value && (setting with { Most = Options.MaxLifetime }).FindFault(value) is { } fault)
        {
            faults.Add(setting.Name, fault);
        }
    }

    private static void ThrowIfAny(RequestFaults faults)
    {
        if (faults.Count > 0)
        {
            throw new InvalidSandboxRequestException(faults);
        }
    }

    private static Setting SettingOf(string name) => SettingTable.BuiltIn.Sessions.Single(setting => setting.Name == name);
}
