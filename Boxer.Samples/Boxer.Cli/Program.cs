// Runs commands in sandboxes and manages images:
//
//   boxer pull IMAGE            boxer images          boxer rm IMAGE...
//   boxer import SOURCE IMAGE   boxer prune [--all]   boxer run IMAGE [COMMAND [ARG...]]
//
// Exit codes: 0; 1 if an image was missing or in use, or an argument is invalid; 125 for other failures. run exits with the exit code of its command.
using System.CommandLine;
using Boxer;
using Boxer.Cli;

var root = new RootCommand("Runs OCI images in gVisor sandboxes, and manages the image store.");
var settings = new CommonOptions();
settings.AddTo(root);
root.Subcommands.Add(ImageCommands.Pull(settings));
root.Subcommands.Add(ImageCommands.List(settings));
root.Subcommands.Add(ImageCommands.Remove(settings));
root.Subcommands.Add(ImageCommands.Import(settings));
root.Subcommands.Add(ImageCommands.Prune(settings));
root.Subcommands.Add(RunCommand.Create(settings));
try
{
    return await root.Parse(args).InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false });
}
catch (Exception exception) when (exception is SandboxException or ArgumentException or FormatException or IOException or UnauthorizedAccessException or OverflowException or OperationCanceledException)
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
