using System.CommandLine;
using System.Globalization;
using System.Text.Json.Nodes;
using Boxer.Common;
using Boxer.Validation;
using Spectre.Console;

namespace Boxer.Cli.Server;

/// <summary>Commands that open, list, pause, extend and close the sessions of a server.</summary>
internal static class SessionCommands
{
    private const int WideEnough = 250;

    internal static Command Open()
    {
        ServerOptions server = new();
        Argument<string> image = new("IMAGE") { Description = "The image, such as python:3.12-slim." };
        Option<string> network = new("--network") { Description = "none or sandbox.", DefaultValueFactory = _ => "none" };
        Option<string[]> environment = new("--env", "-e") { Description = "An environment variable of all commands, as NAME=VALUE. May be repeated." };
        Option<string?> user = new("--user", "-u") { Description = "A user name or uid, optionally with :group. Default: the image's, else 65534." };
        Option<string[]> labels = new("--label") { Description = "A label, as NAME=VALUE. May be repeated." };
        Option<double?> idle = new("--idle-timeout") { Description = "Seconds without a call after which the session ends. Default: the server's, 300 unless configured." };
        Option<double?> lifetime = new("--lifetime") { Description = "Seconds after which the session ends in any case. Default: the server's, 3600 unless configured." };
        LimitOption[] limits = [.. SettingTable.BuiltIn.Limits.Where(limit => limit.CliOption is not null).Select(limit => new LimitOption(limit))];
        Command command = new("open", "Opens a session on a Boxer server: a sandbox that is kept. Prints its identifier.") { image, network, environment, user, labels, idle, lifetime };
        foreach (LimitOption limit in limits)
        {
            command.Options.Add(limit.Option);
        }

        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            JsonObject body = new() { ["image"] = parsed.GetRequiredValue(image), ["network"] = parsed.GetRequiredValue(network) };
            AddPairs(body, "env", parsed, environment);
            AddPairs(body, "labels", parsed, labels);
            Add(body, "user", parsed.GetValue(user));
            Add(body, "idle_timeout_secs", parsed.GetValue(idle));
            Add(body, "lifetime_secs", parsed.GetValue(lifetime));
            JsonObject numbers = [];
            foreach (LimitOption limit in limits)
            {
                limit.CopyTo(numbers, parsed);
            }

            body["limits"] = numbers;
            using SessionServer client = server.Connect(parsed);
            await Console.Out.WriteLineAsync(Id(await client.OpenAsync(body, cancellationToken)));
            return 0;
        });
        return command;
    }

    internal static Command List()
    {
        ServerOptions server = new();
        Argument<string?> session = new("SESSION") { Description = "A session whose processes are listed. Default: the open sessions.", Arity = ArgumentArity.ZeroOrOne };
        Option<bool> quiet = new("--quiet", "-q") { Description = "Prints only identifiers." };
        Command command = new("ps", "Lists the open sessions of a Boxer server, or the processes of one that were started with exec.") { session, quiet };
        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using SessionServer client = server.Connect(parsed);
            bool brief = parsed.GetValue(quiet);
            if (parsed.GetValue(session) is { } id)
            {
                await ShowAsync(await client.ListProcessesAsync(id, cancellationToken), brief, ["PID", "STATE", "STARTED", "COMMAND"], ProcessRow);
            }
            else
            {
                await ShowAsync(await client.ListAsync(cancellationToken), brief, ["SESSION", "STATE", "IMAGE", "EXPIRES", "LABELS"], SessionRow);
            }

            return 0;
        });
        return command;
    }

    internal static Command Close() => OfEach("close", "Closes sessions of a Boxer server. Everything in them is lost.", (client, session, cancel) => client.CloseAsync(session, cancel));

    internal static Command Pause() => OfEach(
        "pause", "Freezes sessions of a Boxer server and stops their clocks. Their memory stays reserved.", (client, session, cancel) => client.PauseAsync(session, cancel));

    internal static Command Resume() => OfEach("resume", "Resumes paused sessions of a Boxer server.", (client, session, cancel) => client.ResumeAsync(session, cancel));

    internal static Command Extend()
    {
        ServerOptions server = new();
        Argument<string> session = new("SESSION") { Description = "Identifier of the session." };
        Option<double?> idle = new("--idle-timeout") { Description = "Seconds without a call after which the session ends. Default: unchanged." };
        Option<double?> lifetime = new("--lifetime") { Description = "Seconds from the opening after which the session ends in any case. Default: unchanged." };
        Command command = new("extend", "Changes when a session of a Boxer server ends. Prints its identifier and the time of its end.") { session, idle, lifetime };
        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            JsonObject body = [];
            Add(body, "idle_timeout_secs", parsed.GetValue(idle));
            Add(body, "lifetime_secs", parsed.GetValue(lifetime));
            if (body.Count == 0)
            {
                throw new FormatException("extend: give --idle-timeout, --lifetime or both.");
            }

            using SessionServer client = server.Connect(parsed);
            JsonNode extended = await client.ExtendAsync(parsed.GetRequiredValue(session), body, cancellationToken);
            await Console.Out.WriteLineAsync($"{Id(extended)} {Time(extended, "expires_at")}".TrimEnd());
            return 0;
        });
        return command;
    }

    /// <summary>Adds variables or labels, if there are any, as an object.</summary>
    internal static void AddPairs(JsonObject body, string name, ParseResult parsed, Option<string[]> option)
    {
        JsonObject pairs = [];
        foreach ((string key, string value) in CommonOptions.Pairs(parsed, option))
        {
            pairs[key] = value;
        }

        if (pairs.Count > 0)
        {
            body[name] = pairs;
        }
    }

    /// <summary>Adds a value, if there is one.</summary>
    internal static void Add<T>(JsonObject body, string name, T? value)
    {
        if (value is not null)
        {
            body[name] = JsonValue.Create(value);
        }
    }

    private static Command OfEach(string name, string description, Func<SessionServer, string, CancellationToken, Task> action)
    {
        ServerOptions server = new();
        Argument<string[]> sessions = new("SESSION") { Description = "Identifiers of the sessions.", Arity = ArgumentArity.OneOrMore };
        Command command = new(name, description) { sessions };
        server.AddTo(command);
        command.SetAction(async (parsed, cancellationToken) =>
        {
            using SessionServer client = server.Connect(parsed);
            int exitCode = 0;
            foreach (string session in parsed.GetRequiredValue(sessions))
            {
                try
                {
                    await action(client, session, cancellationToken);
                    await Console.Out.WriteLineAsync(session);
                }
                catch (Exception exception) when (exception is ServerException or FormatException)
                {
                    await Console.Error.WriteLineAsync(exception is FormatException ? exception.Message : $"{session}: {exception.Message}");
                    exitCode = ExitCodes.Failed;
                }
            }

            return exitCode;
        });
        return command;
    }

    private static string Id(JsonNode? session) => SessionServer.Text(session, "id") ?? throw new ServerException("The server sent a session without an identifier.");

    private static string[] SessionRow(JsonNode? session) =>
    [
        Id(session),
        SessionServer.Text(session, "state") ?? "",
        ShortDigest(SessionServer.Text(session, "image_digest")),
        Time(session, "expires_at"),
        string.Join(' ', (session!["labels"] as JsonObject ?? []).Select(label => $"{label.Key}={label.Value}")),
    ];

    private static string[] ProcessRow(JsonNode? process) =>
    [
        SessionServer.Number(process, "pid").ToString(CultureInfo.InvariantCulture),
        process!["ended"] is JsonObject ended ? $"{SessionServer.Text(ended, "termination")} ({SessionServer.Number(ended, "exit_code")})" : "running",
        Time(process, "started_at"),
        string.Join(' ', (process["cmd"] as JsonArray ?? []).Select(argument => argument?.ToString())),
    ];

    private static string ShortDigest(string? digest) => digest?.Split(':') is [_, { Length: >= 12 } hash] ? hash[..12] : "";

    private static string Time(JsonNode? node, string name) =>
        DateTimeOffset.TryParse(SessionServer.Text(node, name), CultureInfo.InvariantCulture, out DateTimeOffset time)
            ? time.ToLocalTime().ToString("yyyy-MM-dd HH:mm:ss", CultureInfo.InvariantCulture)
            : "";

    private static async Task ShowAsync(JsonNode items, bool brief, string[] columns, Func<JsonNode?, string[]> row)
    {
        // Labels and arguments are others' text, which a terminal must not interpret.
        string[][] rows = [.. (items as JsonArray ?? []).Select(item => row(item).Select(UntrustedText.Show).ToArray())];
        if (brief)
        {
            foreach (string[] cells in rows)
            {
                await Console.Out.WriteLineAsync(cells[0]);
            }

            return;
        }

        Table table = new Table().NoBorder().AddColumns(columns);
        foreach (string[] cells in rows)
        {
            table.AddRow(cells.Select(cell => new Text(cell)));
        }

        if (Console.IsOutputRedirected)
        {
            AnsiConsole.Profile.Width = WideEnough;
        }

        AnsiConsole.Write(table);
    }
}
