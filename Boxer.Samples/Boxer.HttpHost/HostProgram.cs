using Boxer.AspNetCore;
using System.Collections;
using System.Globalization;
using Boxer.AspNetCore.Files;
using Boxer.AspNetCore.Configuration;
using Boxer.Network;
using Microsoft.Extensions.Options;

namespace Boxer.HttpHost;

/// <summary>The command line of the host.</summary>
internal static class HostProgram
{
    /// <summary>The exit code where the command line or the configuration is wrong: the host did not listen.</summary>
    internal const int ConfigurationFault = 2;

    /// <summary>The exit code where this machine cannot run sandboxes as configured: the host did not listen.</summary>
    internal const int MachineFault = 1;

    private const string Usage = """
        Usage: Boxer.HttpHost [--config FILE]

        Runs untrusted code in gVisor sandboxes for HTTP clients.

          --config FILE   JSON configuration; else $BOXER_CONFIG, else ~/.boxer/config.json if it is there
          --help          this text

        Every key can also be set as an environment variable: BOXER__listen_addr, BOXER__defaults__memory_mb, BOXER__dns_servers__0.
        """;

    /// <summary>Runs the host until it is told to stop.</summary>
    /// <returns>0 after a stop that was asked for, 1 for a machine that cannot run sandboxes, 2 for a wrong configuration.</returns>
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

        string? file;
        switch (arguments)
        {
            case []:
                file = null;
                break;
            case ["--config", { Length: > 0 } named]:
                file = named;
                break;
            case [{ } one] when one.StartsWith("--config=", StringComparison.Ordinal) && one.Length > "--config=".Length:
                file = one["--config=".Length..];
                break;
            default:
                await errors.WriteLineAsync("boxer: the arguments cannot be used." + Environment.NewLine + Usage);
                return ConfigurationFault;
        }

        string home = environment["HOME"] as string is { Length: > 0 } named2 ? named2 : "/root";
        SettingsSource source = SettingsSource.Read(file, environment, home);
        HostSettings settings = SettingsBinder.Bind(source, home, out IReadOnlyList<string> faults);
        WebApplication app;
        try
        {
            app = HostComposition.Build(settings, addSandboxes);
        }
        catch (OptionsValidationException exception)
        {
            return await ReportAsync(errors, source.File, Together(faults, exception.Failures.Select(FieldNames.OfOptions)));
        }

        await using (app)
        {
            // What the binder replaced by a default has its fault already.
            if (Together(faults, FindFaults(app, openFiles: faults.Count == 0)) is { Count: > 0 } all)
            {
                return await ReportAsync(errors, source.File, all);
            }

            if (DescriptorLimit.FindFault(settings) is { } few)
            {
                return await ReportMachineAsync(errors, few);
            }

            Announce(app.Services, settings, source.File);
            try
            {
                await app.RunAsync();
            }
            catch (OptionsValidationException exception)
            {
                return await ReportAsync(errors, source.File, [.. exception.Failures.Select(FieldNames.OfOptions)]);
            }
            catch (SandboxException exception)
            {
                return await ReportMachineAsync(errors, FieldNames.OfMachine(exception.Message));
            }
            catch (IOException exception) when (exception.InnerException is Microsoft.AspNetCore.Connections.AddressInUseException)
            {
                return await ReportAsync(errors, source.File, ["listen_addr: the port is in use; choose another, or stop what listens there."]);
            }
            catch (System.Net.Sockets.SocketException exception)
            {
                return await ReportAsync(errors, source.File, [$"listen_addr: cannot be listened on ({exception.Message}); choose an address of this machine and a port that is free to this user."]);
            }
        }

        return 0;
    }

    /// <summary>Finds what only the parts themselves can say, before anything listens.</summary>
    private static List<string> FindFaults(WebApplication app, bool openFiles)
    {
        try
        {
            _ = app.Services.GetRequiredService<IOptions<BoxerOptions>>().Value;
            if (openFiles)
            {
                _ = app.Services.GetRequiredService<FileStore>();
            }

            return [];
        }
        catch (OptionsValidationException exception)
        {
            return [.. exception.Failures.Select(FieldNames.OfOptions)];
        }
        catch (SandboxPrivilegeException exception)
        {
            return [$"home: {FieldNames.OfMachine(exception.Message)}"];
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return [$"home: its directory files cannot be used; give each host a home of its own that is its user's. ({exception.Message})"];
        }
    }

    private static List<string> Together(IEnumerable<string> first, IEnumerable<string> second)
    {
        List<string> all = [.. first];
        all.AddRange(second.Where(fault => !all.Any(known => known.Split(':')[0] == fault.Split(':')[0])));
        return all;
    }

    private static void Announce(IServiceProvider services, HostSettings settings, string? file)
    {
        ILogger logger = services.GetRequiredService<ILoggerFactory>().CreateLogger("Boxer.HttpHost");
        HostLog.Configured(logger, file ?? "none, defaults only", settings.Sandboxes.Home);
        string address = settings.ListenAddress.Address is { } ip
            ? new System.Net.IPEndPoint(ip, settings.ListenAddress.Port).ToString()
            : string.Create(CultureInfo.InvariantCulture, $"localhost:{settings.ListenAddress.Port}");
        if (settings.HostNetworkLeftOut && services.GetServices<INetworkMode>().Any(mode => mode.Name == "host"))
        {
            HostLog.HostNetworkLeftOut(logger, address);
        }

        if (settings.ApiKeys.Count == 0 && !settings.ListenAddress.IsLoopback)
        {
            HostLog.Open(logger, address);
        }
    }

    private static async Task<int> ReportMachineAsync(TextWriter errors, string fault)
    {
        await errors.WriteLineAsync($"boxer: this machine cannot run sandboxes as configured; nothing was started: {fault}");
        return MachineFault;
    }

    private static async Task<int> ReportAsync(TextWriter errors, string? file, List<string> faults)
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
