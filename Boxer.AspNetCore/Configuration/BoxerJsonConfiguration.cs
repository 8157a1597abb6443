using System.Collections;
using System.Globalization;
using System.Net;
using Boxer.Networking;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Configuration;

/// <summary>
/// The configuration of a host: one JSON file with snake_case keys, and environment variables that override it. A variable is <c>BOXER__key</c>, with
/// <c>__</c> between levels and before the index of an item, such as <c>BOXER__defaults__memory_mb</c>. Unknown keys and invalid values are faults; all
/// faults are found at once.
/// </summary>
public sealed class BoxerJsonConfiguration
{
    private readonly HostSettings _settings;

    private BoxerJsonConfiguration(HostSettings settings, string? file, IReadOnlyList<string> faults)
    {
        _settings = settings;
        File = file;
        Faults = faults;
    }

    /// <summary>Path of the file that was read; <see langword="null"/> if there was none.</summary>
    public string? File { get; }

    /// <summary>All faults, each with its key and the remedy. Do not start a host with a configuration that has faults.</summary>
    public IReadOnlyList<string> Faults { get; }

    /// <summary>The listen address, in the form that clients on this machine use.</summary>
    public string ListenAddress => _settings.ListenAddress.Address is { } ip
        ? new IPEndPoint(ip, _settings.ListenAddress.Port).ToString()
        : string.Create(CultureInfo.InvariantCulture, $"localhost:{_settings.ListenAddress.Port}");

    /// <summary>Whether other machines can reach the address and no API key is set.</summary>
    public bool IsOpenToStrangers => _settings.ApiKeys.Count == 0 && !_settings.ListenAddress.IsLoopback;

    /// <summary>Whether the default of <c>allowed_networks</c> omits <c>host</c>, because not only users of this machine can send requests.</summary>
    public bool OmitsHostNetwork => _settings.OmitsHostNetwork;

    /// <summary>Reads the configuration. Invalid settings do not throw; they are listed in <see cref="Faults"/>.</summary>
    /// <param name="file">Path of the file; <see langword="null"/> for <c>BOXER_CONFIG</c>, else <c>.boxer/config.json</c> in the home directory if it exists.</param>
    /// <param name="environment">The environment variables.</param>
    /// <param name="homeDirectory">The directory that <c>~</c> refers to.</param>
    public static BoxerJsonConfiguration Read(string? file, IDictionary environment, string homeDirectory)
    {
        ArgumentNullException.ThrowIfNull(environment);
        ArgumentNullException.ThrowIfNull(homeDirectory);
        SettingsSource source = SettingsSource.Read(file, environment, homeDirectory);
        HostSettings settings = SettingsBinder.Bind(source, homeDirectory, out IReadOnlyList<string> faults);
        return new(settings, source.File, faults);
    }

    /// <summary>
    /// Sets the options of the runner and of the endpoints. If <c>allowed_networks</c> is not set, the network mode <c>host</c> is allowed only if
    /// <c>listen_addr</c> is a loopback address and no API key is set. This relies on <see cref="Listen"/> being the only address of the host.
    /// </summary>
    /// <param name="services">The services of the application.</param>
    public void Configure(IServiceCollection services)
    {
        ArgumentNullException.ThrowIfNull(services);
        services.AddOptions<BoxerOptions>().Configure<IEnumerable<INetworkMode>>((options, modes) => _settings.CopyTo(options, [.. modes.Select(mode => mode.Name)]));
        if (Faults.Count == 0)
        {
            services.AddOptions<BoxerHttpOptions>().Configure(_settings.CopyTo);
        }
    }

    /// <summary>Makes Kestrel listen on the configured address.</summary>
    /// <param name="options">Kestrel's options.</param>
    public void Listen(KestrelServerOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        _settings.ListenAddress.Bind(options);
    }

    /// <summary>Translates faults of options to the keys of the configuration.</summary>
    /// <param name="exception">The faults of <see cref="BoxerOptions"/> or <see cref="BoxerHttpOptions"/>.</param>
    /// <returns>One line per fault.</returns>
    public static IReadOnlyList<string> NameFaults(OptionsValidationException exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        return [.. exception.Failures.Select(FieldNames.OfOptions)];
    }

    /// <summary>Translates options in a message about this machine to the keys of the configuration.</summary>
    /// <param name="exception">The reason why this machine cannot run sandboxes.</param>
    /// <returns>The message.</returns>
    public static string NameFault(SandboxException exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        return FieldNames.OfMachine(exception.Message);
    }
}
