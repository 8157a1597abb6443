using Boxer.Validation;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Primitives;

namespace Boxer.Hosting;

/// <summary>Logs a warning when the options of a runner change after it has read them.</summary>
internal sealed class OptionsWatcher : IDisposable
{
    private readonly Lock _lock = new();
    private readonly string _name;
    private readonly BoxerOptions _used;
    private readonly IOptionsFactory<BoxerOptions> _factory;
    private readonly ILogger _logger;
    private readonly List<IDisposable> _registrations = [];
    private string _last = "";

    internal OptionsWatcher(RunnerParts parts, IServiceProvider provider, ILogger logger)
    {
        _name = parts.Name;
        _used = parts.GetOptions(provider).Copy();
        _factory = provider.GetRequiredService<IOptionsFactory<BoxerOptions>>();
        _logger = logger;
        foreach (IOptionsChangeTokenSource<BoxerOptions> source in provider.GetServices<IOptionsChangeTokenSource<BoxerOptions>>().Where(source => (source.Name ?? "") == _name))
        {
            _registrations.Add(ChangeToken.OnChange(source.GetChangeToken, Compare));
        }
    }

    public void Dispose() => _registrations.ForEach(registration => registration.Dispose());

    // Called on the thread that reloads the configuration: an exception would break the reload.
    private void Compare()
    {
        lock (_lock)
        {
            try
            {
                string changed = string.Join(", ", SettingTable.BuiltIn.FindDifferences(_used, _factory.Create(_name)).Order(StringComparer.Ordinal));
                if (changed.Length > 0 && changed != _last)
                {
                    HostingLog.OptionsChanged(_logger, _name, changed);
                }

                _last = changed;
            }
            catch (Exception exception)
            {
                string faults = exception is OptionsValidationException wrong ? string.Join(" ", wrong.Failures) : exception.Message;
                if (faults != _last)
                {
                    HostingLog.ChangedOptionsWrong(_logger, _name, faults);
                }

                _last = faults;
            }
        }
    }
}
