using System.CommandLine;
using System.Runtime.CompilerServices;
using Boxer.Hosting;
using Boxer.Images;
using Boxer.Validation;

namespace Boxer.Cli;

/// <summary>The command <c>run</c>: runs a command in a sandbox.</summary>
internal sealed class RunCommand
{
    // A person may think for longer than a program.
    private static readonly TimeSpan TerminalTime = TimeSpan.FromHours(24);

    private readonly Argument<string> _image = new("IMAGE") { Description = "The image, such as python:3.12-slim." };
    private readonly Argument<string[]> _arguments = new("COMMAND") { Description = "The program and its arguments. Default: the image's command. Put -- before it if it contains options of this program." };
    private readonly Option<string> _network = new("--network") { Description = "none, sandbox or host.", DefaultValueFactory = _ => "none" };
    private readonly Option<string[]> _environment = new("--env", "-e") { Description = "An environment variable, as NAME=VALUE. May be repeated." };
    private readonly Option<string?> _user = new("--user", "-u") { Description = "A user name or uid, optionally with :group. Default: the image's, else 65534." };
    private readonly Option<string?> _directory = new("--workdir", "-w") { Description = "Working directory of the command. Default: the image's, else /." };
    private readonly Option<PullPolicy?> _pull = new("--pull") { Description = "When to contact the registry." };
    private readonly Option<bool> _interactive = new("--interactive", "-i") { Description = "Passes this program's standard input to the command. Without it the command's standard input is empty." };
    private readonly Option<bool> _terminal = new("--terminal", "-t") { Description = "Runs the command in a terminal of the size of this one. Implies -i. Without --timeout, the command may run for 24 h." };
    private readonly Option<bool> _ignoreCgroups = new("--ignore-cgroups") { Description = "Runs without limits on memory and processors." };
    private readonly LimitOption[] _limits;
    private readonly CommonOptions _settings;

    private RunCommand(CommonOptions settings, SettingTable table)
    {
        _settings = settings;
        _limits = [.. table.Limits.Where(limit => limit.CliOption is not null).Select(limit => new LimitOption(limit))];
    }

    /// <summary>Creates the command.</summary>
    /// <param name="settings">The options of all commands.</param>
    /// <param name="table">The limits; <see langword="null"/> for the built-in table.</param>
    internal static Command Create(CommonOptions settings, SettingTable? table = null)
    {
        RunCommand run = new(settings, table ?? SettingTable.BuiltIn);
        Command command = new("run", "Runs a command in a sandbox and exits with its exit code.")
        {
            run._network, run._environment, run._user, run._directory, run._pull, run._interactive, run._terminal, run._ignoreCgroups, run._image, run._arguments,
        };
        foreach (LimitOption limit in run._limits)
        {
            command.Options.Add(limit.Option);
        }

        command.SetAction(run.RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        BoxerOptions options = _settings.Read(parsed);
        options.IgnoreCgroups = parsed.GetValue(_ignoreCgroups);
        SandboxRequest request = CreateRequest(parsed);
        using LocalTerminal? terminal = request.Terminal is null ? null : new();
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        return await RunAsync(runner, request, terminal, cancellationToken);
    }

    private SandboxRequest CreateRequest(ParseResult parsed)
    {
        string[] arguments = parsed.GetValue(_arguments) ?? [];
        SandboxRequest request = new(parsed.GetRequiredValue(_image), arguments)
        {
            UseImageCommand = arguments.Length == 0,
            Network = parsed.GetRequiredValue(_network),
            User = parsed.GetValue(_user),
            WorkingDirectory = parsed.GetValue(_directory),
            PullPolicy = parsed.GetValue(_pull),
            OutputFiles = OutputFilePolicy.Discard,
            KeepStandardOutput = false,
        };
        foreach (LimitOption limit in _limits)
        {
            limit.CopyTo(request.Limits, parsed);
        }

        foreach ((string name, string value) in CommonOptions.Pairs(parsed, _environment))
        {
            request.Environment[name] = value;
        }

        if (parsed.GetValue(_terminal))
        {
            (int columns, int rows) = LocalTerminal.Size;
            request.Terminal = new SandboxTerminal(columns, rows);
            request.Limits.WallClock ??= TerminalTime;
            LocalTerminal.AddKind(request.Environment.TryAdd);
        }

        if (parsed.GetValue(_interactive) || request.Terminal is not null)
        {
            request.StandardInputStream = request.Terminal is null ? Console.OpenStandardInput() : LocalTerminal.OpenInput();
        }

        return request;
    }

    private static async Task<int> RunAsync(SandboxRunner runner, SandboxRequest request, LocalTerminal? terminal, CancellationToken cancellationToken)
    {
        await using Stream stdout = Console.OpenStandardOutput();
        await using Stream stderr = Console.OpenStandardError();
        SandboxResult result = await StreamAsync(runner, request, terminal, cancellationToken).CopyToAsync(stdout, stderr, cancellationToken);
        terminal?.Dispose();
        if (result.Termination.Kind != TerminationKind.Exited)
        {
            await Console.Error.WriteLineAsync(result.Termination.Message);
        }

        return result.ExitCode;
    }

    // Ctrl+C ends this program while the image is pulled, and goes to the command from its start on.
    private static async IAsyncEnumerable<SandboxEvent> StreamAsync(
        SandboxRunner runner, SandboxRequest request, LocalTerminal? terminal, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        await foreach (SandboxEvent item in runner.StreamAsync(request, cancellationToken))
        {
            if (item is SandboxStarted)
            {
                terminal?.MakeRaw();
            }

            yield return item;
        }
    }
}
