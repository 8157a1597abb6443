using System.CommandLine;
using Boxer.Hosting;
using Boxer.Images;
using Boxer.Validation;

namespace Boxer.Cli;

/// <summary>Runs a command in a sandbox.</summary>
internal static class RunCommand
{
    internal static Command Make(CommonOptions settings, SettingTable? table = null)
    {
        Argument<string> image = new("IMAGE") { Description = "The image, such as python:3.12-slim." };
        Argument<string[]> arguments = new("COMMAND") { Description = "The whole command; the image's own one where it is left out. Put -- before it where it has options of this program." };
        Option<string> network = new("--network") { Description = "none, sandbox or host.", DefaultValueFactory = _ => "none" };
        Option<string[]> environment = new("--env", "-e") { Description = "A variable, as NAME=VALUE; may be given again." };
        Option<string?> user = new("--user", "-u") { Description = "A name, a uid, or either with :group. Default: the image's, else 65534." };
        Option<string?> directory = new("--workdir", "-w") { Description = "The directory that the command starts in. Default: the image's, else /." };
        LimitOption[] limits = [.. (table ?? SettingTable.BuiltIn).Limits.Where(limit => limit.CliOption is not null).Select(limit => new LimitOption(limit))];
        Option<PullPolicy?> pull = new("--pull") { Description = "When the registry is asked for the image." };
        Option<bool> interactive = new("--interactive", "-i") { Description = "Give the command this program's standard input. Without it the command reads nothing." };
        Option<bool> ignoreCgroups = new("--ignore-cgroups") { Description = "Run without limits of memory and processors." };
        var command = new Command("run", "Runs a command in a sandbox, and ends as it ended.")
        {
            network, environment, user, directory, pull, interactive, ignoreCgroups, image, arguments,
        };
        foreach (LimitOption limit in limits)
        {
            command.Options.Add(limit.Option);
        }

        command.SetAction(async (result, cancellationToken) =>
        {
            BoxerOptions options = settings.Read(result);
            options.IgnoreCgroups = result.GetValue(ignoreCgroups);
            string[] own = result.GetValue(arguments) ?? [];
            var request = new SandboxRequest(result.GetRequiredValue(image), own)
            {
                UseImageCommand = own.Length == 0,
                Network = result.GetRequiredValue(network),
                User = result.GetValue(user),
                WorkingDirectory = result.GetValue(directory),
                PullPolicy = result.GetValue(pull),
                OutputFiles = OutputFilePolicy.Discard,
                KeepStandardOutput = false,
            };
            foreach (LimitOption limit in limits)
            {
                limit.CopyTo(request.Limits, result);
            }

            foreach ((string name, string value) in CommonOptions.Pairs(result, environment))
            {
                request.Environment[name] = value;
            }

            if (result.GetValue(interactive))
            {
                request.StandardInputStream = Console.OpenStandardInput();
            }

            await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
            return await RunAsync(runner, request, cancellationToken);
        });
        return command;
    }

    private static async Task<int> RunAsync(SandboxRunner runner, SandboxRequest request, CancellationToken cancellationToken)
    {
        await using Stream stdout = Console.OpenStandardOutput();
        await using Stream stderr = Console.OpenStandardError();
        SandboxResult result = await runner.StreamAsync(request, cancellationToken).CopyToAsync(stdout, stderr, cancellationToken);
        if (result.Termination.Kind != TerminationKind.Exited)
        {
            await Console.Error.WriteLineAsync(result.Termination.Message);
        }

        return result.ExitCode;
    }
}
