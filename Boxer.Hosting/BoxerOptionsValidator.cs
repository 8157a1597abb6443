using Boxer.Validation;
using Microsoft.Extensions.Options;

namespace Boxer.Hosting;

/// <summary>Validates the <see cref="BoxerOptions"/> of one runner: all faults are reported at once, each with the key and the remedy.</summary>
internal sealed class BoxerOptionsValidator(RunnerParts parts, IServiceProvider provider) : IValidateOptions<BoxerOptions>
{
    public ValidateOptionsResult Validate(string? name, BoxerOptions options)
    {
        if (name != parts.Name)
        {
            return ValidateOptionsResult.Skip;
        }

        // The modes are resolved here, not in the constructor, so that a network mode may depend on IOptions.
        IReadOnlyList<SandboxFault> faults = OptionsValidator.Validate(
            options, [.. parts.GetNetworkModes(provider).Select(mode => mode.Name).Distinct(StringComparer.Ordinal)]);
        return faults.Count == 0
            ? ValidateOptionsResult.Success
            : ValidateOptionsResult.Fail(faults.Select(fault => $"{fault.Field}: {fault.Message}"));
    }
}
