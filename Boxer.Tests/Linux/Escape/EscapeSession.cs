using System.Text;
using System.Text.Json.Nodes;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Escape;

/// <summary>
/// Runs the attempts of <c>escape.py</c> as a command of a session. Beside them run an exec, a process with a terminal, a relayed one and a file worker, and short
/// commands start all the time. They belong to other users, except for the worker, and have secrets.
/// </summary>
internal static class EscapeSession
{
    private const string Beside = "boxer-beside";
    private const string Secret = "for my eyes only";
    private const int FileBytes = 4 << 20;

    private static readonly string ProgramText = File.ReadAllText(Path.Join(AppContext.BaseDirectory, "Linux/Escape/escape.py"));

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    /// <summary>The file of the attempts.</summary>
    internal static SandboxFile Program => SandboxFile.FromText("job/escape.py", ProgramText);

    /// <summary>The command of the attempts. It prints whether the sandbox had a warm-up.</summary>
    internal static string[] Attack(JsonObject facts) =>
        ["sh", "-c", "test ! -e /var/tmp/warmed || echo warmed >&2; exec \"$@\"", "sh", "python3", "/job/escape.py", facts.ToJsonString()];

    internal static async Task<SandboxResult> AttackAsync(ISandboxSessions sessions, string network, bool pooled, string user, JsonObject facts)
    {
        await using IOwnedSandboxSession session = await OpenAsync(sessions, network, pooled, user);
        string other = user == "0" ? "65534" : "0";
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        SandboxCommand waiting = WithSecret(new("python3", "-c", "import sys; sys.stdin.read(); print('done')", Beside + "-exec") { User = "1000", WorkingDirectory = "/", StandardInputStream = new NeverEndingStream() });
        waiting.Limits = new() { WallClock = TimeSpan.FromMinutes(10) };
        Task<SandboxResult> exec = session.ExecAsync(waiting, stop.Token);
        ISandboxProcess terminal = await session.StartAsync(WithSecret(new("sh", "-c", "stty -echo; echo ready; read line; echo \"got $line\"", Beside + "-terminal") { User = other, WorkingDirectory = "/", Terminal = new(80, 24) }), Cancel);
        ISandboxProcess relayed = await session.StartAsync(WithSecret(new("sh", "-c", "echo ready; while read line; do echo \"got $line\"; done", Beside + "-relayed") { User = "1000", WorkingDirectory = "/" }), Cancel);
        await session.Files.WriteAsync("/tmp/read", new byte[FileBytes], mode: null, Cancel);
        Stream file = await session.Files.OpenReadAsync("/tmp/read", Cancel);
        await file.ReadExactlyAsync(new byte[1], Cancel);
        await ReadUntilAsync(terminal, "ready");
        await ReadUntilAsync(relayed, "ready");

        var more = (JsonObject)facts.DeepClone();
        more["beside"] = Beside;
        string[] command = Attack(more);

        // The attempts fill the table of processes. As many of them as the default permits would reach the limit of memory.
        var attack = new SandboxCommand(command[0], command[1..]) { Limits = new() { WallClock = TimeSpan.FromMinutes(5), Pids = 32 } };
        attack.Environment["STEP"] = "61";
        SandboxResult result = await AttackAsync(session, attack, user);

        // The others do not notice.
        Assert.True(!exec.IsCompleted, exec.IsCompletedSuccessfully ? $"{exec.Result.Termination} {exec.Result.StandardOutput}{exec.Result.StandardError}" : $"{exec.Exception}");
        Assert.True(terminal.End is null && relayed.End is null, $"{user}: {terminal.End} {relayed.End} {result.StandardOutput}");
        await terminal.Input.WriteAsync("typed\n"u8.ToArray(), Cancel);
        Assert.EndsWith("got typed\r\n", await ReadUntilAsync(terminal, "got"), StringComparison.Ordinal);
        await relayed.Input.WriteAsync("typed\n"u8.ToArray(), Cancel);
        Assert.True(user == "0" || await ReadUntilAsync(relayed, "got") == "ready\ngot typed\n");
        Assert.True(user == "0" || !(await ReadUntilAsync(terminal, "got")).Contains("forged", StringComparison.Ordinal));
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => exec);

        // The worker was stopped, and the last attempt ends every process of its own user.
        await Record.ExceptionAsync(async () => await file.DisposeAsync());
        Assert.Equal(FileBytes, (await session.Files.StatAsync("/tmp/read", Cancel))!.Size);

        // No stopped process is left.
        SandboxCommand states = new("sh", "-c", "cat /proc/[0-9]*/stat | grep -c ') T '");
        await Until.IsSoAsync(async () => (await session.ExecAsync(states, Cancel)).StandardOutput == "0\n", 60);
        SandboxResult alive = await session.ExecAsync(new SandboxCommand("echo", "alive"), Cancel);
        Assert.True(alive.StandardOutput == "alive\n", $"{alive} '{alive.StandardError}'");
        Assert.Null(session.End);
        return result;
    }

    private static async Task<IOwnedSandboxSession> OpenAsync(ISandboxSessions sessions, string network, bool pooled, string user)
    {
        const int Attempts = 40;
        for (int attempt = 0; attempt < Attempts; attempt++)
        {
            var request = new SandboxSessionRequest(EscapeImage.Name) { Network = network, User = user, Files = [Program] };
            IOwnedSandboxSession session = await sessions.OpenAsync(request, Cancel);
            if (!pooled || (await session.ExecAsync(new SandboxCommand("test", "-e", "/var/tmp/warmed"), Cancel)).ExitCode == 0)
            {
                return session;
            }

            await session.DisposeAsync();
            await Task.Delay(TimeSpan.FromMilliseconds(500), Cancel);
        }

        throw new InvalidOperationException($"None of {Attempts} sessions got a pooled sandbox.");
    }

    private static SandboxCommand WithSecret(SandboxCommand command)
    {
        command.Environment["SECRET"] = Secret;
        return command;
    }

    // Short commands start while the attempts ask for it: between two rows of their output.
    private static async Task<SandboxResult> AttackAsync(ISandboxSession session, SandboxCommand attack, string user)
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        Task starting = Task.CompletedTask;
        var said = new StringBuilder();
        SandboxResult? result = null;
        await foreach (SandboxEvent item in session.StreamAsync(attack, Cancel))
        {
            if (item is SandboxDataReceived output)
            {
                said.Append(Encoding.UTF8.GetString(output.Data.Span));
                string rows = said.ToString();
                if (starting == Task.CompletedTask && rows.Contains("\nevery signal to PID 1\t", StringComparison.Ordinal))
                {
                    starting = StartAsync(session, user, stop.Token);
                }

                if (rows.Contains("\ndescriptors while commands start\t", StringComparison.Ordinal))
                {
                    await stop.CancelAsync();
                }
            }
            else if (item is SandboxEnded ended)
            {
                result = ended.Result;
            }
        }

        await starting;
        return result!;
    }

    // Each reads and prints a secret through its streams. Nobody else may take from them or add to them, except user 0, which may open every file.
    private static async Task StartAsync(ISandboxSession session, string user, CancellationToken cancellationToken)
    {
        try
        {
            while (true)
            {
                SandboxCommand command = WithSecret(new("sh", "-c", "read line; echo \"$SECRET, $line\"; sleep 0.1", Beside + "-start") { User = "1001", WorkingDirectory = "/" });
                command.WithStandardInput("typed\n");
                SandboxResult result = await session.ExecAsync(command, cancellationToken);
                Assert.True(user == "0" || (result.StandardOutput, result.StandardError) == (Secret + ", typed\n", ""), $"{result.Termination} {result.StandardOutput}{result.StandardError}");
            }
        }
        catch (OperationCanceledException) when (cancellationToken.IsCancellationRequested)
        {
            // The attempts have seen enough of them.
        }
    }

    private static async Task<string> ReadUntilAsync(ISandboxProcess process, string word)
    {
        var said = new StringBuilder();
        await foreach (SandboxProcessEvent item in process.EventsAsync(cancellationToken: Cancel))
        {
            if (item is not SandboxProcessOutput output)
            {
                break;
            }

            said.Append(Encoding.UTF8.GetString(output.Data.Span));
            if (said.ToString().Contains(word, StringComparison.Ordinal) && said[^1] == '\n')
            {
                break;
            }
        }

        return said.ToString();
    }
}
