using System.Diagnostics;

namespace Boxer.Tests.Support;

/// <summary>Exit code and output of a command line.</summary>
internal sealed record CliResult(int ExitCode, string Stdout, string Stderr);

/// <summary>Runs the command line as a process of its own.</summary>
internal static class CliProcess
{
    internal static async Task<CliResult> RunAsync(IEnumerable<string> arguments, Dictionary<string, string>? environment = null, string stdin = "")
    {
        using Process process = Start(arguments, environment);
        Task<string> stdout = process.StandardOutput.ReadToEndAsync();
        Task<string> stderr = process.StandardError.ReadToEndAsync();
        await process.StandardInput.WriteAsync(stdin);
        process.StandardInput.Close();
        await process.WaitForExitAsync();
        return new(process.ExitCode, await stdout, await stderr);
    }

    internal static Process Start(IEnumerable<string> arguments, Dictionary<string, string>? environment = null)
    {
        var start = new ProcessStartInfo("dotnet", [Path.Join(AppContext.BaseDirectory, "boxer.dll"), .. arguments])
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
        };
        foreach ((string name, string value) in environment ?? [])
        {
            start.Environment[name] = value;
        }

        return Process.Start(start)!;
    }
}
