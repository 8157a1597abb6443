using Boxer.Validation;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace Boxer.Hosting.Configuration;

/// <summary>
/// Reads the <see cref="BoxerOptions"/> of one runner from configuration. Unknown keys and values of the wrong type are faults; all faults are reported
/// at once.
/// </summary>
internal sealed class BoxerConfiguration(IConfiguration configuration, string runner) : IConfigureNamedOptions<BoxerOptions>, IValidateOptions<BoxerOptions>
{
    public void Configure(BoxerOptions options) => Configure(Options.DefaultName, options);

    public void Configure(string? name, BoxerOptions options)
    {
        if (name == runner)
        {
            Read(options);
        }
    }

    public ValidateOptionsResult Validate(string? name, BoxerOptions options)
    {
        if (name != runner)
        {
            return ValidateOptionsResult.Skip;
        }

        IReadOnlyList<string> faults = Read(new BoxerOptions());
        return faults.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(faults);
    }

    private IReadOnlyList<string> Read(BoxerOptions options)
    {
        var faults = new Faults(configuration);
        new OptionKeys(SettingTable.BuiltIn, faults).Read(configuration, SettingTable.BuiltIn.Options, options);
        return faults.All;
    }
}
