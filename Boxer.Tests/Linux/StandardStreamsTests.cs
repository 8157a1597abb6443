using System.Text;
using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>A command of any user, and no other user, opens its standard streams by their names.</summary>
[Collection(Sandboxes.Name)]
public sealed class StandardStreamsTests(SharedRunner shared)
{
    private const string Script = """
        cat /dev/stdin
        echo one >/dev/stdout
        echo two >/dev/stderr
        echo three | tee /dev/fd/2
        echo four >/proc/self/fd/1
        echo five >>/proc/self/fd/2
        python3 -c "open('/dev/stdout', 'w').write('six\n'); open('/dev/stderr', 'a').write('seven\n')"
        sh -c 'echo eight >/dev/stdout' | cat
        """;

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("0", false)]
    [InlineData("12345", false)]
    [InlineData("65534", false)]
    [InlineData("0", true)]
    [InlineData("12345", true)]
    [InlineData("65534", true)]
    public async Task Standard_streams_open_by_name(string user, bool pooled)
    {
        SandboxRequest request = Shell(Script);
        (request.User, request.StandardInput) = (user, "given\n"u8.ToArray());

        SandboxResult result = await shared.RunAsync(request, pooled);

        Assert.Equal(("given\none\nthree\nfour\nsix\neight\n", "two\nthree\nfive\nseven\n", 0), (result.StandardOutput, result.StandardError, result.ExitCode));
    }

    [Theory]
    [InlineData("0")]
    [InlineData("12345")]
    [InlineData("1000")]
    public async Task Streams_of_a_session_belong_to_the_user_of_their_command_and_not_to_that_of_the_session(string user)
    {
        await using IOwnedSandboxSession box = await shared.Runner.OpenAsync(new SandboxSessionRequest(PythonImage.Name) { User = "1000" }, Cancel);
        SandboxResult result = await box.ExecAsync(Command(user, Script).WithStandardInput("given\n"), Cancel);
        Assert.Equal(("given\none\nthree\nfour\nsix\neight\n", "two\nthree\nfive\nseven\n", 0), (result.StandardOutput, result.StandardError, result.ExitCode));

        await using ISandboxProcess relayed = await box.StartAsync(Command(user, Script), Cancel);
        await relayed.Input.WriteAsync("given\n"u8.ToArray(), Cancel);
        await relayed.Input.DisposeAsync();
        (string output, string error) = await ReadAsync(relayed);
        Assert.Equal(("given\none\nthree\nfour\nsix\neight\n", "two\nthree\nfive\nseven\n"), (output, error));

        SandboxCommand command = Command(user, "cat /dev/stdin; stat -c %u $(tty); echo one >$(tty); echo two >/dev/stderr");
        command.Terminal = new(80, 24);
        await using ISandboxProcess terminal = await box.StartAsync(command, Cancel);
        await terminal.Input.WriteAsync("given\n"u8.ToArray(), Cancel);
        await terminal.Input.DisposeAsync();
        Assert.EndsWith($"given\r\n{user}\r\none\r\ntwo\r\n", (await ReadAsync(terminal)).Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("12345", "0\n")]
    [InlineData("1000", "3\n")]
    public async Task Streams_of_a_session_are_closed_to_other_users_also_to_that_of_the_session(string user, string opened)
    {
        await using IOwnedSandboxSession box = await shared.Runner.OpenAsync(new SandboxSessionRequest(PythonImage.Name) { User = "1000" }, Cancel);
        await using ISandboxProcess waiting = await box.StartAsync(Command(user, "echo $$ >/tmp/pid; read line"), Cancel);
        SandboxResult result = await box.ExecAsync(
            Command("1000", "until [ -s /tmp/pid ]; do sleep 0.05; done; n=0; for fd in 0 1 2; do (: >>/proc/$(cat /tmp/pid)/fd/$fd) 2>/dev/null && n=$((n+1)); done; echo $n"), Cancel);
        Assert.Equal(opened, result.StandardOutput);
    }

    private static SandboxCommand Command(string user, string script) => new("sh", "-c", script) { User = user, WorkingDirectory = "/" };

    private static async Task<(string Output, string Error)> ReadAsync(ISandboxProcess process)
    {
        (StringBuilder output, StringBuilder error) = (new(), new());
        await foreach (SandboxProcessEvent item in process.EventsAsync(cancellationToken: Cancel))
        {
            if (item is SandboxProcessOutput piece)
            {
                (piece.Stream == SandboxStream.StandardError ? error : output).Append(Encoding.UTF8.GetString(piece.Data.Span));
            }
        }

        return ($"{output}", $"{error}");
    }
}
