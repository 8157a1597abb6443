using Boxer.Networking;

namespace Boxer.Validation;

/// <summary>Parses a request for a run and finds all its faults before anything is started for it.</summary>
/// <inheritdoc/>
internal sealed class RequestValidator(
    IReadOnlyDictionary<string, INetworkMode> networks,
    IReadOnlyCollection<string> allowedNetworks,
    ResourceLimits defaultLimits,
    ResourceLimits maxLimits,
    long maxMemoryBytes,
    int processors)
    : SandboxValidator(networks, allowedNetworks, defaultLimits, maxLimits, maxMemoryBytes, processors)
{
    /// <summary>Parses a request.</summary>
    /// <param name="request">The request. The result uses its lists, so nothing else may change them.</param>
    /// <exception cref="InvalidSandboxRequestException">The request is invalid; all faults are listed.</exception>
    internal CheckedRequest Validate(SandboxRequest request)
    {
        var faults = new RequestFaults();
        CommandChecks.CheckCommand(request.Command, request.UseImageCommand, faults);
        CommandChecks.CheckStandardInput(request.StandardInput, request.StandardInputStream, faults);
        CommandChecks.CheckTerminal(request.Terminal, "Terminal.", faults);
        ParsedSandbox sandbox = Parse(request, faults);
        CommandChecks.CheckStopGrace(request.StopGrace, sandbox.Limits.WallClock, MaxLimits.WallClock, faults);
        FileChecks.CheckOutputs(request.OutputFiles, sandbox.Limits, faults);
        if (faults.Count > 0)
        {
            throw new InvalidSandboxRequestException(faults);
        }

        return new CheckedRequest
        {
            Image = sandbox.Image,
            PullPolicy = sandbox.PullPolicy,
            Network = sandbox.Network,
            Egress = sandbox.Egress,
            Command = request.Command.AsReadOnly(),
            UseImageCommand = request.UseImageCommand,
            Environment = request.Environment.AsReadOnly(),
            WorkingDirectory = sandbox.WorkingDirectory,
            User = sandbox.User,
            Limits = sandbox.Limits,
            FairnessKey = request.FairnessKey,
            Files = request.Files.AsReadOnly(),
            Workspace = sandbox.Workspace,
            StandardInput = request.StandardInput,
            StandardInputStream = request.StandardInputStream,
            MergeStandardError = request.MergeStandardError,
            Terminal = request.Terminal,
            KeepStandardOutput = request.KeepStandardOutput,
            StopGrace = request.StopGrace,
            OutputFiles = request.OutputFiles,
        };
    }
}
