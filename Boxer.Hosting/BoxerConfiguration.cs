using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.Options;

namespace Boxer.Hosting;

/// <summary>
/// Binds <see cref="BoxerOptions"/> to configuration. A key that is no option and a value of another type are faults like others: all of
/// them are said at once, where the binder alone would throw at the first.
/// </summary>
internal sealed class BoxerConfiguration(IConfiguration configuration, string runner) : IConfigureNamedOptions<BoxerOptions>, IValidateOptions<BoxerOptions>
{
    public void Configure(BoxerOptions options) => Configure(Options.DefaultName, options);

    public void Configure(string? name, BoxerOptions options)
    {
        if (name == runner && FindFaults().Count == 0)
        {
            configuration.Bind(options);
        }
    }

    public ValidateOptionsResult Validate(string? name, BoxerOptions options)
    {
        if (name != runner)
        {
            return ValidateOptionsResult.Skip;
        }

        List<string> faults = FindFaults();
        return faults.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(faults);
    }

    // Each value by itself, so that one fault does not hide the others.
    private List<string> FindFaults()
    {
        var faults = new List<string>();
        foreach ((string key, string? value) in configuration.AsEnumerable(makePathsRelative: true).Where(pair => pair.Value is not null))
        {
            IConfiguration single = new ConfigurationBuilder().AddInMemoryCollection([new(key, value)]).Build();
            try
            {
                single.Bind(new BoxerOptions(), binder => binder.ErrorOnUnknownConfiguration = true);
            }
            catch (InvalidOperationException exception)
            {
                faults.Add(exception.InnerException is null
                    ? $"{key}: is no option; the options are the properties of {nameof(BoxerOptions)}."
                    : key.StartsWith(nameof(BoxerOptions.RegistryMirrors), StringComparison.OrdinalIgnoreCase)
                        ? $"{key}: cannot be read; it must be {nameof(BoxerOptions.RegistryMirrors)}:REGISTRY:INDEX, and a registry with a port can be named only in code."
                        : $"{key}: '{value}' cannot be read; see the type of this property of {nameof(BoxerOptions)}.");
            }
        }

        return faults;
    }
}
