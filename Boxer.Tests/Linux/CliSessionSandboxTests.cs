using Boxer.Tests.Support;

namespace Boxer.Tests.Linux;

/// <summary>The command line's <c>open</c>, <c>exec</c>, <c>ps</c> and <c>close</c>, with a host and real sandboxes.</summary>
[Collection(Sandboxes.Name)]
public sealed class CliSessionSandboxTests(PythonImage image)
{
    [Fact]
    public async Task A_session_is_opened_used_listed_and_closed()
    {
        image.Require();
        await using HostProcess host = await HostProcess.StartAsync(image);
        string session = (await RunAsync(host, "", "open", PythonImage.Name, "--env", "A=a", "--label", "who=me")).Stdout.Trim();

        CliResult written = await RunAsync(host, "in", "exec", "-i", "-e", "B=b", session, "--", "sh", "-c", "cat >/tmp/file; echo $A $B; echo err >&2; exit 3");
        CliResult read = await RunAsync(host, "not read", "exec", session, "--", "sh", "-c", "cat; cat /tmp/file; printf '\\377'");
        CliResult listed = await RunAsync(host, "", "ps");
        CliResult processes = await RunAsync(host, "", "ps", session);
        CliResult missing = await RunAsync(host, "", "exec", session, "no-such-program");
        CliResult forbidden = await RunAsync(host, "", "exec", session, "/etc/passwd");
        CliResult paused = await RunAsync(host, "", "pause", session);
        CliResult whilePaused = await RunAsync(host, "", "ps");
        CliResult resumed = await RunAsync(host, "", "resume", session);
        CliResult extended = await RunAsync(host, "", "extend", "--idle-timeout", "900", session);
        CliResult closed = await RunAsync(host, "", "close", session);
        CliResult after = await RunAsync(host, "", "exec", session, "true");

        Assert.Equal(new CliResult(3, "a b\n", "err\n"), written);
        Assert.Equal(new CliResult(0, "in\uFFFD", ""), read);
        Assert.Matches($@"{session} +(idle|running) .* \d\d\d\d-\d\d-\d\d \d\d:\d\d:\d\d +who=me", listed.Stdout);
        Assert.Equal((new CliResult(0, session + "\n", ""), new CliResult(0, session + "\n", "")), (paused, resumed));
        Assert.Matches($"{session} +paused .*who=me", whilePaused.Stdout);
        Assert.Matches($@"{session} \d\d\d\d-\d\d-\d\d \d\d:\d\d:\d\d", extended.Stdout);
        Assert.Matches(@"exited \(3\) .* sh -c cat >/tmp/file", processes.Stdout);
        Assert.Equal((127, ""), (missing.ExitCode, missing.Stdout));
        Assert.Equal((126, ""), (forbidden.ExitCode, forbidden.Stdout));
        Assert.Contains("no-such-program", missing.Stderr, StringComparison.Ordinal);
        Assert.Equal(new CliResult(0, session + "\n", ""), closed);
        Assert.Equal(125, after.ExitCode);
        Assert.Contains("closed", after.Stderr, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_terminal_has_the_size_of_the_one_at_the_prompt()
    {
        image.Require();
        await using HostProcess host = await HostProcess.StartAsync(image);
        string session = (await RunAsync(host, "", "open", PythonImage.Name)).Stdout.Trim();
        string cli = $"dotnet '{Path.Join(AppContext.BaseDirectory, "boxer.dll")}' exec -t --server {host.Address} {session}";

        string output = await HostProgram.RunAsync("env", "TERM=vt100", "script", "-qec", $"stty cols 90 rows 20; {cli} sh -c 'stty size; tty; echo $TERM'", "/dev/null");

        Assert.Contains("20 90", output, StringComparison.Ordinal);
        Assert.Contains("/dev/pts/", output, StringComparison.Ordinal);
        Assert.Contains("vt100", output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Keys_reach_the_command_without_a_new_line_and_are_not_echoed_by_the_client()
    {
        // Types two keys, each when the command has asked for it, and prints the exit code and what came back.
        const string Typist = """
            import os, pty, signal, sys
            signal.alarm(120)
            pid, terminal = pty.fork()
            if pid == 0:
                os.execvp(sys.argv[1], sys.argv[1:])
            seen = b""
            def until(text):
                global seen
                while text not in seen:
                    try:
                        piece = os.read(terminal, 4096)
                    except OSError:
                        piece = b""
                    if not piece:
                        break
                    seen += piece
            until(b"ready")
            os.write(terminal, b"q")
            until(b"again")
            os.write(terminal, b"\x03")
            until(b"never printed")
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen)
            """;
        const string Command = "stty raw -echo; echo ready; key=$(dd bs=1 count=1 2>/dev/null); echo \"<$key>\"; stty sane -echo; trap 'exit 7' INT; echo again; sleep 1000 & wait";
        image.Require();
        await using HostProcess host = await HostProcess.StartAsync(image);
        string session = (await RunAsync(host, "", "open", PythonImage.Name)).Stdout.Trim();
        string[] client = ["dotnet", Path.Join(AppContext.BaseDirectory, "boxer.dll"), "exec", "-t", "--server", host.Address, session, "sh", "-c", Command];

        string output = await HostProgram.RunAsync("python3", ["-c", Typist, .. client]);

        Assert.StartsWith("7 ", output, StringComparison.Ordinal);
        Assert.Contains("<q>", output, StringComparison.Ordinal);
        Assert.DoesNotContain("qq", output, StringComparison.Ordinal);
        Assert.DoesNotContain("^C", output, StringComparison.Ordinal);
    }

    private static Task<CliResult> RunAsync(HostProcess host, string stdin, string command, params string[] arguments) =>
        CliProcess.RunAsync([command, "--server", host.Address, .. arguments], stdin: stdin);
}
