using System.Diagnostics;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Root directory with busybox and the attack program.</summary>
public sealed class InitFixture : IDisposable
{
    private static readonly string[] Applets =
        ["sh", "cat", "chmod", "chown", "dd", "echo", "false", "head", "hostname", "id", "kill", "ln", "ls", "mkdir", "mkfifo", "mount", "mv", "nc", "ps",
         "rm", "seq", "sleep", "stat", "stty", "touch", "tr", "true", "tty", "umount", "wc", "yes"];

    public InitFixture()
    {
        Unable = Why();
        if (Unable is not null)
        {
            return;
        }

        // Only its owner can enter a temporary directory, but every user of the sandbox must be able to enter the root.
        File.SetUnixFileMode(Root, (UnixFileMode)0x1ED);
        Directory.CreateDirectory(Path.Combine(Root, "bin"));
        foreach (string name in (string[])["proc", "dev", "etc", "home", ".boxer"])
        {
            Directory.CreateDirectory(Path.Combine(Root, name));
        }

        // A shell opens it for every process in the background.
        File.WriteAllText(Path.Combine(Root, "dev", "null"), "");
        File.SetUnixFileMode(Path.Combine(Root, "dev", "null"), (UnixFileMode)0x1B6);
        Copy("/usr/bin/busybox", Path.Combine(Root, "bin", "busybox"));
        foreach (string applet in Applets)
        {
            File.CreateSymbolicLink(Path.Combine(Root, "bin", applet), "busybox");
        }

        string source = Path.Combine(Root, "attack.c");
        File.WriteAllText(source, InitAttack.Source);
        Compile(source, Path.Combine(Root, "bin", "attack"), "-static", "-w");
        File.WriteAllText(Path.Combine(Root, "bin", "not-executable"), "#!/bin/sh\n");
        File.WriteAllText(Path.Combine(Root, "bin", "unknown-format"), "true\n");
        File.SetUnixFileMode(Path.Combine(Root, "bin", "unknown-format"), (UnixFileMode)0x1ED);
    }

    /// <summary>Reason why this machine cannot run the tests, or null.</summary>
    public string? Unable { get; }

    public string Root { get; } = Directory.CreateTempSubdirectory("boxer-init-root-").FullName;

    // Not Directory.Delete: tests with damaged frames create names that are not UTF-8.
    public void Dispose() => Run("rm", "-rf", "--", Root);

    internal static void Copy(string from, string to)
    {
        File.Copy(from, to, overwrite: true);
        File.SetUnixFileMode(to, (UnixFileMode)0x1ED);
    }

    internal static string Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, UseShellExecute = false })!;
        string output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? output : throw new InvalidOperationException($"{program} ended with {process.ExitCode}.");
    }

    internal static void Compile(string source, string output, params string[] flags) =>
        Run("sh", ["-c", "if command -v musl-gcc >/dev/null && [ \"$3\" = -static ]; then c=musl-gcc; else c=cc; fi; s=$1; o=$2; shift 2; exec $c \"$@\" -o \"$o\" \"$s\"", "sh", source, output, .. flags]);

    private static string? Why()
    {
        if (Environment.UserName != "root")
        {
            return "Not root.";
        }

        string[] missing = [.. ((string[])["/usr/bin/busybox", "/usr/bin/python3", "/usr/bin/cc", "/usr/bin/unshare"]).Where(path => !File.Exists(path))];
        if (missing.Length > 0)
        {
            return $"Not installed: {string.Join(", ", missing)}.";
        }

        bool runsc = (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':').Any(directory => File.Exists(Path.Combine(directory, "runsc")));
        return runsc ? null : "Not installed: runsc.";
    }
}
