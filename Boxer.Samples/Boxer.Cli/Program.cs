// Runs commands in sandboxes and manages images:
//
//   boxer pull IMAGE            boxer images          boxer rm IMAGE...
//   boxer import SOURCE IMAGE   boxer prune [--all]   boxer run IMAGE [COMMAND [ARG...]]
//
// and keeps sandboxes on a Boxer server:
//
//   boxer open IMAGE         boxer exec SESSION COMMAND [ARG...]   boxer ps [SESSION]       boxer close SESSION...
//   boxer pause SESSION...   boxer resume SESSION...               boxer extend SESSION
//
// Exit codes: 0; 1 if an image was missing or in use, or the arguments cannot be parsed; 125 for other failures. run and exec exit with the exit code of
// their command, as docker does: 127 if its program does not exist, 126 if it cannot be started, 125 if this program or the server failed.
using System.CommandLine;
using Boxer;
using Boxer.Cli;
using Boxer.Cli.Server;

var root = new RootCommand("Runs OCI images in gVisor sandboxes, manages the image store, and keeps sandboxes on a Boxer server.");
var settings = new CommonOptions();
settings.AddTo(root);
root.Subcommands.Add(ImageCommands.Pull(settings));
root.Subcommands.Add(ImageCommands.List(settings));
root.Subcommands.Add(ImageCommands.Remove(settings));
root.Subcommands.Add(ImageCommands.Import(settings));
root.Subcommands.Add(ImageCommands.Prune(settings));
root.Subcommands.Add(RunCommand.Create(settings));
root.Subcommands.Add(SessionCommands.Open());
root.Subcommands.Add(ExecCommand.Create());
root.Subcommands.Add(SessionCommands.List());
root.Subcommands.Add(SessionCommands.Pause());
root.Subcommands.Add(SessionCommands.Resume());
root.Subcommands.Add(SessionCommands.Extend());
root.Subcommands.Add(SessionCommands.Close());
try
{
    ParseResult parsed = root.Parse(args);
    int exitCode = await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false });

    // The exit code 1 would be that of the command.
    return parsed.Errors.Count > 0 && parsed.CommandResult.Command.Name is ("run" or "exec") ? ExitCodes.Failed : exitCode;
}
catch (Exception exception) when (exception is SandboxException or ArgumentException or FormatException or IOException or UnauthorizedAccessException or OverflowException or ServerException or HttpRequestException or OperationCanceledException)
{
    await Console.Error.WriteLineAsync(exception.Message);
    return ExitCodes.Failed;
}

namespace Boxer.Cli
{
    /// <summary>Exit codes of the program itself.</summary>
    internal static class ExitCodes
    {
        internal const int Refused = 1;
        internal const int Failed = 125;
    }
}
