using Boxer.Admission;
using Boxer.Network;
using Microsoft.Extensions.Options;

namespace Boxer.Hosting;

/// <summary>Validates <see cref="BoxerOptions"/>: every fault at once, each with the key and the remedy.</summary>
internal sealed class BoxerOptionsValidator : IValidateOptions<BoxerOptions>
{
    private readonly IReadOnlyCollection<string> _networks;

    public BoxerOptionsValidator(IEnumerable<INetworkMode> networks)
    {
        _networks = [.. networks.Select(mode => mode.Name).Distinct(StringComparer.Ordinal)];
    }

    public ValidateOptionsResult Validate(string? name, BoxerOptions options)
    {
        IReadOnlyList<SandboxFault> faults = OptionsValidator.Validate(options, _networks);
        return faults.Count == 0
            ? ValidateOptionsResult.Success
            : ValidateOptionsResult.Fail(faults.Select(fault => $"{fault.Field}: {fault.Message}"));
    }
}
