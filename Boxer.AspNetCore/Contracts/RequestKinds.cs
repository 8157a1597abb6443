using System.Text.Json;
using Boxer.Validation;

namespace Boxer.AspNetCore.Contracts;

/// <summary>Kinds of values that requests of runs, sessions and commands in sessions have in common.</summary>
internal static class RequestKinds
{
    /// <summary>Maximum number of input files of one request.</summary>
    internal const int MaxFiles = 1_000;

    internal const int MaxStopGraceMs = 60_000;

    /// <summary>Maximum number of columns and of rows of a terminal.</summary>
    internal const int MaxTerminalSize = 65_535;

    internal static readonly string[] PullPolicies = ["missing", "always", "never"];

    private static readonly Fields<InputBody> Input = new Fields<InputBody>()
        .Add("path", Kind.Text(), (input, path) => input.Path = path, missing: "is missing; give a relative path such as src/main.py")
        .Add("content", Kind.Text(allowNul: true), (input, content) => input.Content = content)
        .Add("content_base64", Kind.Base64, (input, content) => input.ContentBase64 = content, excludes: "content")
        .Add("executable", Kind.Flag, (input, executable) => input.Executable = executable);

    private static readonly Kind<long?> TerminalSize = Kind.Whole(1, MaxTerminalSize, $" from 1 to {MaxTerminalSize}");

    private static readonly Kind<List<string>> Variables = Kind.Texts(kind: "a list of texts or an object").Check(variables => variables.Index()
        .Where(variable => variable.Item.IndexOf('=', StringComparison.Ordinal) < 1)
        .Select(variable => (StrictReader.Item("", variable.Index), "must be NAME=value with a NAME that is not empty")));

    private static readonly Kind<string> Variable = Kind.Text();

    private static readonly Kind<List<string>> Rules = Kind.Texts(kind: "a list of rules such as pypi.org:443", item: "a rule such as pypi.org:443");

    /// <summary>A text; an empty one means the default.</summary>
    internal static Kind<string> Name { get; } = Kind.Text().OrEmpty();

    /// <summary>An image reference.</summary>
    internal static Kind<string> Image { get; } = Kind.Text().Check(CheckImage);

    /// <summary>A program and its arguments.</summary>
    internal static Kind<List<string>> Command { get; } = Kind.Texts().Check(CheckCommand);

    /// <summary>An absolute path; an empty one means the default.</summary>
    internal static Kind<string> Directory { get; } = Name.Check(CheckDirectory);

    /// <summary>Environment variables as a list or an object.</summary>
    internal static Kind<List<string>> Environment { get; } = ReadEnvironment;

    /// <summary>Paths of uploads.</summary>
    internal static Kind<List<string>> Uploads { get; } = Kind.Texts(MaxFiles);

    /// <summary>Files in the request itself.</summary>
    internal static Kind<List<InputBody>> Inputs { get; } = Kind.Objects(Input, () => new InputBody { Path = "" }, MaxFiles, " with path and content");

    /// <summary>A workspace.</summary>
    internal static Kind<WorkspaceBody> Workspace { get; } = Kind.Object(new Fields<WorkspaceBody>()
        .Add("path", Name, (workspace, path) => workspace.Path = path)
        .Add("uploads", Uploads, (workspace, uploads) => workspace.Uploads = uploads)
        .Add("files", Inputs, (workspace, files) => workspace.Files = files)
        .Add("archive", Name, (workspace, archive) => workspace.Archive = archive));

    /// <summary>A policy for destinations.</summary>
    internal static Kind<EgressBody> Egress { get; } = Kind.Object(new Fields<EgressBody>()
        .Add("allow", Rules, (egress, rules) => egress.Allow = rules)
        .Add("deny", Rules, (egress, rules) => egress.Deny = rules)
        .Add("bandwidth_bps", Kind.Whole(), (egress, bandwidth) => egress.BandwidthBps = bandwidth)
        .Add("quota_bytes", Kind.Whole(), (egress, quota) => egress.QuotaBytes = quota));

    /// <summary>A grace period in milliseconds.</summary>
    internal static Kind<long?> StopGrace { get; } = Kind.Whole(0, MaxStopGraceMs, $" from 0 to {MaxStopGraceMs}");

    /// <summary>The fields of the size of a terminal.</summary>
    internal static Fields<TerminalBody> TerminalFields { get; } = new Fields<TerminalBody>()
        .Add("cols", TerminalSize, (terminal, columns) => terminal.Cols = (int)columns!.Value, missing: "is missing; give the number of columns")
        .Add("rows", TerminalSize, (terminal, rows) => terminal.Rows = (int)rows!.Value, missing: "is missing; give the number of rows");

    /// <summary>The size of a terminal.</summary>
    internal static Kind<TerminalBody> Terminal { get; } = ReadTerminal;

    /// <summary>When to contact the registry.</summary>
    internal static Kind<string> Pull { get; } = Kind.Choice(PullPolicies, Name);

    /// <summary>Limits.</summary>
    internal static Kind<LimitsBody> Limits(SettingTable table) => Kind.Object(new Fields<LimitsBody>()
        .Add(table.Limits.Where(limit => limit.HttpKey is not null), limit => Kind.Number(limit, zeroIsDefault: true), body => body.Values));

    private static IEnumerable<(string, string)> CheckImage(string image) =>
        image.Length == 0 ? [("", "is empty; name an image such as python:3.12-slim")] : [];

    private static IEnumerable<(string, string)> CheckCommand(List<string> command) => command switch
    {
        [] => [("", "is empty; list the program and its arguments")],
        [{ Length: 0 }, ..] => [("[0]", "is empty; name a program")],
        _ => [],
    };

    private static IEnumerable<(string, string)> CheckDirectory(string directory) =>
        directory[0] == '/' ? [] : [("", $"must be an absolute path, not {StrictReader.Quote(directory)}")];

    private static TerminalBody ReadTerminal(StrictReader reader, JsonElement value, string path)
    {
        TerminalBody terminal = new() { Cols = 1, Rows = 1 };
        reader.Read(value, path, TerminalFields, terminal, "an object with cols and rows");
        return terminal;
    }

    private static List<string>? ReadEnvironment(StrictReader reader, JsonElement value, string path) =>
        value.ValueKind == JsonValueKind.Object ? ReadVariables(reader, value, path) : Variables(reader, value, path);

    private static List<string>? ReadVariables(StrictReader reader, JsonElement variables, string path)
    {
        if (variables.GetPropertyCount() > Kind.MaxItems)
        {
            reader.Fault(path, $"has {variables.GetPropertyCount()} entries; at most {Kind.MaxItems} are allowed");
            return null;
        }

        List<string> read = [];
        foreach (JsonProperty variable in variables.EnumerateObject())
        {
            string name = variable.Name;
            if (name.Length == 0 || name.Contains('=', StringComparison.Ordinal) || name.Contains('\0', StringComparison.Ordinal))
            {
                reader.Fault(path, $"has the name {StrictReader.Quote(name)}; a name must not be empty, and have neither = nor NUL");
            }

            read.Add($"{name}={Variable(reader, variable.Value, $"{path}.{StrictReader.Clip(name)}")}");
        }

        return read;
    }
}
