using System.Globalization;
using System.Runtime.InteropServices;
using Spectre.Console;

namespace Boxer.Benchmarks;

/// <summary>Prints the machine and the versions of the measured software.</summary>
internal static class Machine
{
    internal static async Task PrintAsync()
    {
        string[] runsc = (await HostProgram.RunAsync("runsc", "--version").ConfigureAwait(false)).Split('\n');
        string model = File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal))?.Split(": ")[^1] ?? "of an unknown model";
        Table table = new Table().AddColumns("machine", "").HideHeaders();
        Row("date", TimeProvider.System.GetUtcNow().ToString("yyyy-MM-dd HH:mm 'UTC'", CultureInfo.InvariantCulture));
        Row("commit", await CommitAsync().ConfigureAwait(false));
        Row("kernel", $"{File.ReadAllText("/proc/sys/kernel/osrelease").Trim()}, cgroup {(File.Exists("/sys/fs/cgroup/cgroup.controllers") ? "v2" : "v1")}");
        Row("processors", $"{Environment.ProcessorCount} {model}");
        Row("memory", $"{Memory.Machine() / 1_000:0.0} GB, {Memory.Available() / 1_000:0.0} GB of it available");
        Row("load before", string.Join(' ', File.ReadAllText("/proc/loadavg").Split(' ')[..3]));
        Row("runsc", $"{runsc[0]}, platform {new BoxerOptions().Platform}");
        Row(".NET", RuntimeInformation.FrameworkDescription);
        AnsiConsole.Write(table);

        void Row(string name, string value) => table.AddRow(Markup.Escape(name), Markup.Escape(value));
    }

    private static async Task<string> CommitAsync()
    {
        try
        {
            return (await HostProgram.RunAsync("git", "describe", "--always", "--dirty", "--abbrev=12").ConfigureAwait(false)).Trim();
        }
        catch (Exception exception) when (exception is InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            return "unknown";
        }
    }
}
