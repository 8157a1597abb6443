using System.Collections;
using System.Globalization;
using Boxer.AspNetCore.Configuration;
using Boxer.Networking;
using Microsoft.Extensions.Options;

namespace Boxer.HttpHost;

/// <summary>The command line of the host.</summary>
internal static class HostProgram
{
    /// <summary>Exit code for an invalid command line or configuration. The host did not listen.</summary>
    internal const int ConfigurationFault = 2;

    /// <summary>Exit code if this machine cannot run sandboxes as configured. The host did not listen.</summary>
    internal const int MachineFault = 1;

    private const string Usage = """
        Usage: Boxer.HttpHost [--config FILE]

        Runs untrusted code in gVisor sandboxes for HTTP clients.

          --config FILE   JSON configuration. Default: $BOXER_CONFIG, else ~/.boxer/config.json if it exists.
          --help          Shows this text.

        Every key can also be set as an environment variable: BOXER__listen_addr, BOXER__defaults__memory_mb, BOXER__dns_servers__0.
        """;

    /// <summary>Runs the host until it is asked to stop.</summary>
    /// <returns>The exit code: 0 after a requested stop, 1 if this machine cannot run sandboxes, 2 for an invalid configuration.</returns>
    public static async Task<int> RunAsync(
        string[] arguments,
        IDictionary environment,
        TextWriter output,
        TextWriter errors,
        Action<IServiceCollection>? addSandboxes = null)
    {
        if (arguments is ["--help"] or ["-h"])
        {
            await output.WriteLineAsync(Usage);
            return 0;
        }

        if (!TryParse(arguments, out string? file))
        {
            await errors.WriteLineAsync("boxer: invalid arguments." + Environment.NewLine + Usage);
            return ConfigurationFault;
        }

        string home = environment["HOME"] as string is { Length: > 0 } variable ? variable : "/root";
        return await RunAsync(BoxerJsonConfiguration.Read(file, environment, home), errors, addSandboxes);
    }

    private static bool TryParse(string[] arguments, out string? file)
    {
        const string Option = "--config=";
        file = arguments switch
        {
            ["--config", { Length: > 0 } next] => next,
            [var one] when one.StartsWith(Option, StringComparison.Ordinal) && one.Length > Option.Length => one[Option.Length..],
            _ => null,
        };
        return file is not null || arguments.Length == 0;
    }

    private static async Task<int> RunAsync(BoxerJsonConfiguration configuration, TextWriter errors, Action<IServiceCollection>? addSandboxes)
    {
        try
        {
            await using WebApplication app = HostComposition.Build(configuration, addSandboxes);
            _ = app.Services.GetRequiredService<IOptions<BoxerOptions>>().Value;
            if (configuration.Faults.Count > 0)
            {
                return await ReportAsync(errors, configuration.File, configuration.Faults);
            }

            LogConfiguration(app.Services, configuration);
            await app.RunAsync();
            return 0;
        }
        catch (OptionsValidationException exception)
        {
            // A setting with a fault was replaced by its default, which may have another fault: both are reported once.
            return await ReportAsync(errors, configuration.File, Combine(configuration.Faults, BoxerJsonConfiguration.NameFaults(exception)));
        }
        catch (SandboxException exception)
        {
            await errors.WriteLineAsync($"boxer: this machine cannot run sandboxes as configured; nothing was started: {BoxerJsonConfiguration.NameFault(exception)}");
            return MachineFault;
        }
        catch (IOException exception) when (exception.InnerException is Microsoft.AspNetCore.Connections.AddressInUseException)
        {
            return await ReportAsync(errors, configuration.File, ["listen_addr: the port is in use; choose another, or stop what listens there."]);
        }
        catch (System.Net.Sockets.SocketException exception)
        {
            return await ReportAsync(
                errors, configuration.File, [$"listen_addr: cannot be listened on ({exception.Message}); choose an address of this machine and a port that is free to this user."]);
        }
    }

    private static List<string> Combine(IEnumerable<string> first, IEnumerable<string> second)
    {
        List<string> all = [.. first];
        all.AddRange(second.Where(fault => !all.Any(known => known.Split(':')[0] == fault.Split(':')[0])));
        return all;
    }

    private static void LogConfiguration(IServiceProvider services, BoxerJsonConfiguration configuration)
    {
        ILogger logger = services.GetRequiredService<ILoggerFactory>().CreateLogger("Boxer.HttpHost");
        HostLog.Configured(logger, configuration.File ?? "none, defaults only", services.GetRequiredService<IOptions<BoxerOptions>>().Value.Home);
        if (configuration.OmitsHostNetwork && services.GetServices<INetworkMode>().Any(mode => mode.Name == "host"))
        {
            HostLog.HostNetworkOmitted(logger, configuration.ListenAddress);
        }

        if (configuration.IsOpenToStrangers)
        {
            HostLog.OpenToStrangers(logger, configuration.ListenAddress);
        }
    }

    private static async Task<int> ReportAsync(TextWriter errors, string? file, IReadOnlyList<string> faults)
    {
        string count = faults.Count == 1 ? "1 fault" : string.Create(CultureInfo.InvariantCulture, $"{faults.Count} faults");
        await errors.WriteLineAsync($"boxer: the configuration ({file ?? "environment and defaults"}) has {count}; nothing was started:");
        foreach (string fault in faults)
        {
            await errors.WriteLineAsync($"  {fault}");
        }

        return ConfigurationFault;
    }
}
