using System.Text.Json;
using Boxer.Common;
using Boxer.Validation;

namespace Boxer.AspNetCore.Contracts;

/// <summary>Reads the bodies of requests to sessions. A new field needs a line in a table, and a member of its body.</summary>
internal static class SessionRequestReader
{
    private const int MaxSeconds = 7 * 24 * 60 * 60;

    private const string InSession = "belongs to POST /sessions";

    private const string AsFile = "is not for commands in a session; write files with PUT /sessions/{id}/files";

    private static readonly Kind<double?> Seconds = ReadSeconds;

    private static readonly Kind<string> Path = Kind.Text().Check(CheckPath);

    private static readonly Fields<SessionRequestBody> Session = new Fields<SessionRequestBody>()
        .Add("image", RequestKinds.Image, (session, image) => session.Image = image, missing: "is missing; name an image such as python:3.12-slim")
        .Add("network", RequestKinds.Name, (session, network) => session.Network = network)
        .Add("egress", RequestKinds.Egress, (session, egress) => session.Egress = egress)
        .Add("limits", RequestKinds.Limits(SettingTable.BuiltIn), (session, limits) => session.Limits = limits)
        .Add("env", RequestKinds.Environment, (session, environment) => session.Env = environment)
        .Add("user", RequestKinds.Name, (session, user) => session.User = user)
        .Add("cwd", RequestKinds.Directory, (session, directory) => session.Cwd = directory)
        .Add("workspace", RequestKinds.Workspace, (session, workspace) => session.Workspace = workspace)
        .Add("files", RequestKinds.Uploads, (session, files) => session.Files = files)
        .Add("inputs", RequestKinds.Inputs, (session, inputs) => session.Inputs = inputs)
        .Add("persist", Kind.Flag, (session, persist) => session.Persist = persist)
        .Add("pull", RequestKinds.Pull, (session, pull) => session.Pull = pull)
        .Add("labels", ReadLabels, (session, labels) => session.Labels = labels)
        .Add("idle_timeout_secs", Seconds, (session, seconds) => session.IdleTimeoutSecs = seconds)
        .Add("lifetime_secs", Seconds, (session, seconds) => session.LifetimeSecs = seconds)
        .Refuse("cmd", "is not run by a session itself; send it to POST /sessions/{id}/exec");

    private static readonly Fields<ExecRequestBody> ExecFields = new Fields<ExecRequestBody>()
        .Add("cmd", RequestKinds.Command, (exec, command) => exec.Cmd = command, missing: "is missing; list the program and its arguments")
        .Add("env", RequestKinds.Environment, (exec, environment) => exec.Env = environment)
        .Add("cwd", RequestKinds.Name, (exec, directory) => exec.Cwd = directory)
        .Add("limits", RequestKinds.Limits(SettingTable.BuiltIn), (exec, limits) => exec.Limits = limits)
        .Add("stdin", Kind.Text(allowNul: true), (exec, stdin) => exec.Stdin = stdin)
        .Add("stdin_base64", Kind.Base64, (exec, stdin) => exec.StdinBase64 = stdin, excludes: "stdin")
        .Add("merge_stderr", Kind.Flag, (exec, merge) => exec.MergeStderr = merge)
        .Add("stop_grace_ms", RequestKinds.StopGrace, (exec, milliseconds) => exec.StopGraceMs = (int?)milliseconds)
        .Add("user", RequestKinds.Name, (exec, user) => exec.User = user)
        .Refuse("terminal", "is not for commands that end with the request; start the command with POST /sessions/{id}/processes")
        .Refuse("files", AsFile)
        .Refuse("inputs", AsFile)
        .Refuse("outputs", "is not for commands in a session; read files with GET /sessions/{id}/files")
        .Refuse("workspace_out", "is not for commands in a session; read the directory with GET /sessions/{id}/files/tar")
        .Refuse("persist", "is not for commands in a session, which use no uploads")
        .Refuse(["image", "network", "egress", "workspace", "pull", "labels", "idle_timeout_secs", "lifetime_secs"], InSession);

    /// <summary>The fields of POST /sessions/{id}/exec.</summary>
    public static Fields<ExecRequestBody> Exec => ExecFields;

    /// <summary>The fields of POST /sessions/{id}/processes.</summary>
    public static Fields<ProcessRequestBody> Process { get; } = new Fields<ProcessRequestBody>()
        .Add("cmd", RequestKinds.Command, (process, command) => process.Cmd = command, missing: "is missing; list the program and its arguments")
        .Add("cwd", RequestKinds.Name, (process, directory) => process.Cwd = directory)
        .Add("env", RequestKinds.Environment, (process, environment) => process.Env = environment)
        .Add("user", RequestKinds.Name, (process, user) => process.User = user)
        .Add("limits", RequestKinds.Limits(SettingTable.BuiltIn), (process, limits) => process.Limits = limits)
        .Add("merge_stderr", Kind.Flag, (process, merge) => process.MergeStderr = merge)
        .Add("terminal", RequestKinds.Terminal, (process, terminal) => process.Terminal = terminal)
        .Refuse(["stdin", "stdin_base64"], "is not for processes; send it with POST /sessions/{id}/processes/{pid}/stdin")
        .Refuse("stop_grace_ms", "is not for processes; send a signal with POST /sessions/{id}/processes/{pid}/signal")
        .Refuse(["image", "network", "egress", "workspace", "pull", "labels", "idle_timeout_secs", "lifetime_secs"], InSession);

    /// <summary>The fields of PATCH /sessions/{id}.</summary>
    public static Fields<SessionTimesBody> Times { get; } = new Fields<SessionTimesBody>()
        .Add("idle_timeout_secs", Seconds, (times, seconds) => times.IdleTimeoutSecs = seconds)
        .Add("lifetime_secs", Seconds, (times, seconds) => times.LifetimeSecs = seconds);

    /// <summary>The fields of POST /sessions/{id}/processes/{pid}/signal.</summary>
    public static Fields<SignalBody> Signal { get; } = new Fields<SignalBody>()
        .Add("signal", ReadSignal, (body, signal) => body.Signal = signal!.Value, missing: "is missing; give a name or a number such as SIGTERM or 15");

    /// <summary>The fields of POST /sessions/{id}/files/move.</summary>
    public static Fields<MoveBody> Move { get; } = new Fields<MoveBody>()
        .Add("from", Path, (move, path) => move.From = path, missing: "is missing; give the path of a file or directory")
        .Add("to", Path, (move, path) => move.To = path, missing: "is missing; give the new path");

    /// <summary>The fields of POST /sessions/{id}/files/mkdir.</summary>
    public static Fields<DirectoryBody> Directory { get; } = new Fields<DirectoryBody>()
        .Add("path", Path, (directory, path) => directory.Path = path, missing: "is missing; give the path of the directory");

    /// <summary>Reads the body of POST /sessions.</summary>
    /// <param name="body">The body; read to its end.</param>
    /// <param name="networks">The network modes that sessions of the client may use.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="HttpFaultException">The body is invalid (400). The message lists all faults.</exception>
    public static Task<SessionRequestBody> ReadAsync(Stream body, IReadOnlyList<string> networks, CancellationToken cancellationToken)
    {
        SessionRequestBody session = new() { Image = "" };
        return JsonBody.ReadAsync(
            body, Session, session, (reader, _) => RunRequestReader.CheckNetwork(reader, session.Network, networks, "sessions"), cancellationToken);
    }

    /// <summary>Finds the fault of a path in a session; <see langword="null"/> if it has none.</summary>
    public static string? FindPathFault(string path) =>
        path.Length == 0 ? "is empty; name a path such as src/main.py or /tmp/data"
        : path.Contains('\0', StringComparison.Ordinal) ? "has a NUL character; remove it"
        : null;

    private static IEnumerable<(string, string)> CheckPath(string path) => FindPathFault(path) is { } fault ? [("", fault)] : [];

    private static double? ReadSeconds(StrictReader reader, JsonElement value, string path)
    {
        if (value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out double seconds) && seconds is >= 1 and <= MaxSeconds)
        {
            return seconds;
        }

        reader.Wrong(path, $"a number of seconds from 1 to {MaxSeconds}", value);
        return null;
    }

    private static int? ReadSignal(StrictReader reader, JsonElement value, string path)
    {
        string? text = value.ValueKind switch
        {
            JsonValueKind.Number => value.GetRawText(),
            JsonValueKind.String => RequestKinds.Name(reader, value, path),
            _ => null,
        };
        if (text is not null && StopSignal.Find(text) is { } number)
        {
            return number;
        }

        reader.Wrong(path, "a signal such as SIGTERM, TERM or 15", value);
        return null;
    }

    private static Dictionary<string, string>? ReadLabels(StrictReader reader, JsonElement value, string path)
    {
        const int MaxLabels = 16;
        if (value.ValueKind != JsonValueKind.Object)
        {
            reader.Wrong(path, "an object of names and texts", value);
            return null;
        }

        if (value.GetPropertyCount() > MaxLabels)
        {
            reader.Fault(path, $"has {value.GetPropertyCount()} entries; at most {MaxLabels} are allowed");
            return null;
        }

        Dictionary<string, string> labels = new(StringComparer.Ordinal);
        foreach (JsonProperty label in value.EnumerateObject())
        {
            labels[label.Name] = Kind.Text()(reader, label.Value, $"{path}.{StrictReader.Clip(label.Name)}") ?? "";
        }

        return labels;
    }
}
