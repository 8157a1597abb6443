// Images and runs at a prompt:
//
//   boxer pull IMAGE            boxer images          boxer rm IMAGE...
//   boxer import SOURCE IMAGE   boxer prune [--all]   boxer run IMAGE [COMMAND [ARG...]]
//
// Exits with 0; with 1 where an image was not there or in use, or an argument is wrong; with 125 where something failed; run exits as its command did.
using System.CommandLine;
using Boxer;
using Boxer.Cli;

var root = new RootCommand("Runs OCI images in gVisor sandboxes, and keeps images.");
var settings = new CommonOptions();
settings.AddTo(root);
root.Subcommands.Add(ImageCommands.Pull(settings));
root.Subcommands.Add(ImageCommands.List(settings));
root.Subcommands.Add(ImageCommands.Remove(settings));
root.Subcommands.Add(ImageCommands.Import(settings));
root.Subcommands.Add(ImageCommands.Prune(settings));
root.Subcommands.Add(RunCommand.Make(settings));
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
    /// <summary>What the program exits with by itself.</summary>
    internal static class ExitCodes
    {
        internal const int Refused = 1;
        internal const int Failed = 125;
    }
}
