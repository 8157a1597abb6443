using System.Collections;
using System.Globalization;
using System.Net;
using Boxer.Networking;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Configuration;

/// <summary>
/// The configuration of a host in one JSON file with snake_case keys, and in environment variables over it: <c>BOXER__key</c>, with <c>__</c> between
/// levels and before the number of an item, such as <c>BOXER__defaults__memory_mb</c>. It is read strictly: unknown keys and bad values are
/// faults, and all of them are found at once.
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

    /// <summary>The file that was read, or <see langword="null"/>.</summary>
    public string? File { get; }

    /// <summary>All faults, each with its key and the remedy. With any, nothing else of this object may be used to start a host.</summary>
    public IReadOnlyList<string> Faults { get; }

    /// <summary>The address to listen on, as clients of this machine write it.</summary>
    public string ListenAddress => _settings.ListenAddress.Address is { } ip
        ? new IPEndPoint(ip, _settings.ListenAddress.Port).ToString()
        : string.Create(CultureInfo.InvariantCulture, $"localhost:{_settings.ListenAddress.Port}");

    /// <summary>Whether strangers can reach the address and no key is set.</summary>
    public bool IsOpenToStrangers => _settings.ApiKeys.Count == 0 && !_settings.ListenAddress.IsLoopback;

    /// <summary>Whether the default of <c>allowed_networks</c> omits <c>host</c>, because others than this machine's users can send requests.</summary>
    public bool OmitsHostNetwork => _settings.HostNetworkLeftOut;

    /// <summary>Reads the configuration. It never throws for what is wrong in it: see <see cref="Faults"/>.</summary>
    /// <param name="file">The file; <see langword="null"/>: <c>BOXER_CONFIG</c>, else <c>.boxer/config.json</c> in the home directory if it is there.</param>
    /// <param name="environment">The environment variables.</param>
    /// <param name="homeDirectory">The directory that <c>~</c> stands for.</param>
    public static BoxerJsonConfiguration Read(string? file, IDictionary environment, string homeDirectory)
    {
        ArgumentNullException.ThrowIfNull(environment);
        ArgumentNullException.ThrowIfNull(homeDirectory);
        SettingsSource source = SettingsSource.Read(file, environment, homeDirectory);
        HostSettings settings = SettingsBinder.Bind(source, homeDirectory, out IReadOnlyList<string> faults);
        return new(settings, source.File, faults);
    }

    /// <summary>
    /// Sets the options of the runner and of the endpoints to what is configured. Without <c>allowed_networks</c> the network mode <c>host</c> is allowed where
    /// <c>listen_addr</c> is a loopback address and there are no keys: the host listens there, and nowhere else, with <see cref="Listen"/>.
    /// </summary>
    /// <param name="services">The services of the host.</param>
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
    /// <param name="options">The options of Kestrel.</param>
    public void Listen(KestrelServerOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        _settings.ListenAddress.Bind(options);
    }

    /// <summary>Names faults of options by the keys of the configuration.</summary>
    /// <param name="exception">The faults of <see cref="BoxerOptions"/> or <see cref="BoxerHttpOptions"/>.</param>
    public static IReadOnlyList<string> NameFaults(OptionsValidationException exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        return [.. exception.Failures.Select(FieldNames.OfOptions)];
    }

    /// <summary>Names the options in a sentence about this machine by the keys of the configuration.</summary>
    /// <param name="exception">The reason why this machine cannot run sandboxes.</param>
    public static string NameFault(SandboxException exception)
    {
        ArgumentNullException.ThrowIfNull(exception);
        return FieldNames.OfMachine(exception.Message);
    }
}
