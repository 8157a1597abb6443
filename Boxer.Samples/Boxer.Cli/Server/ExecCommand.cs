using System.CommandLine;
using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using Boxer.Common;

namespace Boxer.Cli.Server;

/// <summary>The command <c>exec</c>: runs a command in a session of a server.</summary>
internal sealed class ExecCommand
{
    private const int BufferSize = 32 * 1024;
    private static readonly TimeSpan KillTime = TimeSpan.FromSeconds(5);
    private readonly Argument<string> _session = new("SESSION") { Description = "Identifier of the session." };
    private readonly Argument<string[]> _arguments = new("COMMAND") { Description = "The program and its arguments. Put -- before it if it contains options of this program.", Arity = ArgumentArity.OneOrMore };
    private readonly Option<string[]> _environment = new("--env", "-e") { Description = "An environment variable, as NAME=VALUE. May be repeated." };
    private readonly Option<string?> _user = new("--user", "-u") { Description = "A user name or uid, optionally with :group. Default: the session's." };
    private readonly Option<string?> _directory = new("--workdir", "-w") { Description = "Working directory of the command. Default: the session's." };
    private readonly Option<bool> _interactive = new("--interactive", "-i") { Description = "Passes this program's standard input to the command. Without it the command's standard input is empty." };
    private readonly Option<bool> _terminal = new("--terminal", "-t") { Description = "Runs the command in a terminal of the size of this one. Implies -i." };
    private readonly ServerOptions _server = new();

    internal static Command Create()
    {
        ExecCommand exec = new();
        Command command = new("exec", "Runs a command in a session of a Boxer server and exits with its exit code.")
        {
            exec._environment, exec._user, exec._directory, exec._interactive, exec._terminal, exec._session, exec._arguments,
        };
        exec._server.AddTo(command);
        command.SetAction(exec.RunAsync);
        return command;
    }

    private async Task<int> RunAsync(ParseResult parsed, CancellationToken cancellationToken)
    {
        bool hasTerminal = parsed.GetValue(_terminal);
        JsonObject body = CreateBody(parsed, hasTerminal);
        using SessionServer server = _server.Connect(parsed);

        // A process must not be left behind if there is no terminal.
        using LocalTerminal? local = hasTerminal ? new() : null;
        string path;
        try
        {
            path = await server.StartAsync(parsed.GetRequiredValue(_session), body, cancellationToken);
        }
        catch (ServerException exception) when (exception.ExitCode is { } code)
        {
            await Console.Error.WriteLineAsync(exception.Message);
            return code;
        }

        RemoteProcess process = new(server, path, TimeProvider.System);
        try
        {
            // Until now, Ctrl+C ended this program, and errors were printed as usual.
            local?.MakeRaw();
            using PosixSignalRegistration? resizes = hasTerminal ? PosixSignalRegistration.Create(PosixSignal.SIGWINCH, _ => Resize(process)) : null;
            return await RelayAsync(process, hasTerminal ? LocalTerminal.OpenInput : parsed.GetValue(_interactive) ? Console.OpenStandardInput : null, cancellationToken);
        }
        catch when (process.End is null)
        {
            // The server may take longer than this program has left.
            local?.Dispose();
            await TryKillAsync(process);
            throw;
        }
    }

    private JsonObject CreateBody(ParseResult parsed, bool hasTerminal)
    {
        JsonObject body = new() { ["cmd"] = new JsonArray([.. parsed.GetRequiredValue(_arguments).Select(argument => JsonValue.Create(argument))]) };
        SessionCommands.AddPairs(body, "env", parsed, _environment);
        SessionCommands.Add(body, "user", parsed.GetValue(_user));
        SessionCommands.Add(body, "cwd", parsed.GetValue(_directory));
        if (!hasTerminal)
        {
            return body;
        }

        (int columns, int rows) = LocalTerminal.Size;
        body["terminal"] = new JsonObject { ["cols"] = columns, ["rows"] = rows };
        LocalTerminal.AddKind((name, value) =>
        {
            JsonObject environment = body["env"] as JsonObject ?? [];
            body["env"] = environment;
            return environment.TryAdd(name, value);
        });
        return body;
    }

    private static async Task<int> RelayAsync(RemoteProcess process, Func<Stream>? openInput, CancellationToken cancellationToken)
    {
        // A read of standard input cannot be cancelled. It ends with this program.
        _ = Task.Run(() => SendInputAsync(process, openInput, cancellationToken), CancellationToken.None);
        await using Stream stdout = Console.OpenStandardOutput();
        await using Stream stderr = Console.OpenStandardError();
        await foreach (RemoteOutput output in process.ReadAsync(cancellationToken))
        {
            Stream target = output.IsError ? stderr : stdout;
            await target.WriteAsync(output.Data, cancellationToken);
            await target.FlushAsync(cancellationToken);
        }

        if (SessionServer.Text(process.End, "error") is { } error)
        {
            await Console.Error.WriteLineAsync(UntrustedText.Show(error));
        }

        return (int)SessionServer.Number(process.End, "exit_code");
    }

    private static async Task SendInputAsync(RemoteProcess process, Func<Stream>? openInput, CancellationToken cancellationToken)
    {
        try
        {
            if (openInput is not null)
            {
                await using Stream stdin = openInput();
                byte[] buffer = new byte[BufferSize];
                while (await stdin.ReadAsync(buffer, cancellationToken) is > 0 and int count)
                {
                    await process.WriteAsync(buffer.AsMemory(0, count), cancellationToken);
                }
            }

            await process.EndInputAsync(cancellationToken);
        }
        catch (Exception exception) when (exception is ServerException or HttpRequestException or IOException or OperationCanceledException)
        {
            // The process has ended, or its events will tell why the server does not answer.
        }
    }

    private static void Resize(RemoteProcess process)
    {
        (int columns, int rows) = LocalTerminal.Size;
        _ = Task.Run(async () =>
        {
            try
            {
                await process.ResizeAsync(columns, rows, CancellationToken.None);
            }
            catch (Exception exception) when (exception is ServerException or HttpRequestException)
            {
                // The process has ended.
            }
        });
    }

    private static async Task TryKillAsync(RemoteProcess process)
    {
        using CancellationTokenSource patience = new(KillTime);
        try
        {
            await process.KillAsync(patience.Token);
        }
        catch (Exception exception) when (exception is ServerException or HttpRequestException or OperationCanceledException)
        {
            // The session has ended, or the server is gone: the process ends with its session.
        }
    }
}
