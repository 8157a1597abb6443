using System.Diagnostics;

namespace Boxer.Benchmarks;

/// <summary>Runs programs of this machine.</summary>
internal static class HostProgram
{
    /// <summary>Runs a program and waits for its end.</summary>
    /// <returns>Its standard output.</returns>
    /// <exception cref="InvalidOperationException">The exit code is not 0.</exception>
    internal static async Task<string> RunAsync(string program, params IEnumerable<string> arguments)
    {
        using Process process = Start(program, arguments);
        Task<string> errors = process.StandardError.ReadToEndAsync();
        string output = await process.StandardOutput.ReadToEndAsync().ConfigureAwait(false);
        await process.WaitForExitAsync().ConfigureAwait(false);
        return process.ExitCode == 0
            ? output
            : throw new InvalidOperationException($"{program} {string.Join(' ', arguments)} exited with {process.ExitCode}: {await errors.ConfigureAwait(false)}");
    }

    /// <summary>Starts a program with its output redirected.</summary>
    internal static Process Start(string program, params IEnumerable<string> arguments) =>
        Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true, UseShellExecute = false })!;

    /// <summary>Whether a program is in PATH.</summary>
    internal static bool Exists(string program) =>
        (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(directory => File.Exists(Path.Join(directory, program)));
}
