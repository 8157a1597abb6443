using System.Buffers;
using System.Text.Json;
using System.Text.Unicode;
using Boxer.Validation;

namespace Boxer.AspNetCore.Contracts;

/// <summary>
/// Reads the body of a run request strictly. Wrong types, values out of range and unknown names are all reported at once, by their names in the body.
/// A new field needs a line in the table of its object, and a member of <see cref="RunRequestBody"/>.
/// </summary>
internal static class RunRequestReader
{
    /// <summary>Maximum number of input files of one run.</summary>
    internal const int MaxFiles = 1_000;

    internal const int MaxStopGraceMs = 60_000;

    private const int MaxValues = 100_000;
    private const int MaxFaults = 50;

    internal static readonly string[] OutputKinds = ["none", "inline", "keep"];

    internal static readonly string[] PullPolicies = ["missing", "always", "never"];

    private static readonly Kind<string> Name = Kind.Text().OrEmpty();

    private static readonly Fields<InputBody> Input = new Fields<InputBody>()
        .Add("path", Kind.Text(), (input, path) => input.Path = path, missing: "is missing; give a relative path such as src/main.py")
        .Add("content", Kind.Text(allowNul: true), (input, content) => input.Content = content)
        .Add("content_base64", Kind.Base64, (input, content) => input.ContentBase64 = content, excludes: "content")
        .Add("executable", Kind.Flag, (input, executable) => input.Executable = executable);

    private static readonly Kind<List<InputBody>> Inputs = Kind.Objects(Input, () => new InputBody { Path = "" }, MaxFiles, " with path and content");

    private static readonly Fields<WorkspaceBody> Workspace = new Fields<WorkspaceBody>()
        .Add("path", Name, (workspace, path) => workspace.Path = path)
        .Add("uploads", Kind.Texts(MaxFiles), (workspace, uploads) => workspace.Uploads = uploads)
        .Add("files", Inputs, (workspace, files) => workspace.Files = files)
        .Add("archive", Name, (workspace, archive) => workspace.Archive = archive);

    private static readonly Kind<List<string>> Rules = Kind.Texts(kind: "a list of rules such as pypi.org:443", item: "a rule such as pypi.org:443");

    private static readonly Fields<EgressBody> Egress = new Fields<EgressBody>()
        .Add("allow", Rules, (egress, rules) => egress.Allow = rules)
        .Add("deny", Rules, (egress, rules) => egress.Deny = rules)
        .Add("bandwidth_bps", Kind.Whole(), (egress, bandwidth) => egress.BandwidthBps = bandwidth)
        .Add("quota_bytes", Kind.Whole(), (egress, quota) => egress.QuotaBytes = quota);

    private static readonly Kind<List<string>> Variables = Kind.Texts(kind: "a list of texts or an object").Check(variables => variables.Index()
        .Where(variable => variable.Item.IndexOf('=', StringComparison.Ordinal) < 1)
        .Select(variable => (StrictReader.Item("", variable.Index), "must be NAME=value with a NAME that is not empty")));

    private static readonly Kind<string> Variable = Kind.Text();

    private static readonly Fields<RunRequestBody> Run = FieldsOf(SettingTable.BuiltIn);

    private static ReadOnlySpan<byte> ByteOrderMark => [0xEF, 0xBB, 0xBF];

    /// <summary>Reads a request.</summary>
    /// <param name="body">The body; read to its end.</param>
    /// <param name="networks">The network modes that the client may use.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <param name="table">The settings; <see langword="null"/> for the built-in table.</param>
    /// <exception cref="HttpFaultException">The body is invalid (400). The message lists all faults.</exception>
    public static async Task<RunRequestBody> ReadAsync(Stream body, IEnumerable<string> networks, CancellationToken cancellationToken, SettingTable? table = null)
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(16 << 10);
        try
        {
            int length = 0;
            int read;
            while ((read = await body.ReadAsync(buffer.AsMemory(length), cancellationToken)) > 0)
            {
                length += read;
                if (length == buffer.Length)
                {
                    // The declared length is not trusted.
                    byte[] larger = ArrayPool<byte>.Shared.Rent(2 * length);
                    buffer.CopyTo(larger, 0);
                    ArrayPool<byte>.Shared.Return(buffer);
                    buffer = larger;
                }
            }

            ReadOnlyMemory<byte> text = buffer.AsMemory(0, length);
            return Parse(text.Span.StartsWith(ByteOrderMark) ? text[ByteOrderMark.Length..] : text, [.. networks], table is null ? Run : FieldsOf(table));
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static Fields<RunRequestBody> FieldsOf(SettingTable table)
    {
        Fields<LimitsBody> limits = new Fields<LimitsBody>()
            .Add(table.Limits.Where(limit => limit.HttpKey is not null), limit => Kind.Number(limit, zeroIsDefault: true), body => body.Values);
        return new Fields<RunRequestBody>()
            .Add("image", Kind.Text().Check(CheckImage), (run, image) => run.Image = image, missing: "is missing; name an image such as python:3.12-slim")
            .Add("cmd", Kind.Texts().Check(CheckCommand), (run, command) => run.Cmd = command, missing: "is missing; list the program and its arguments")
            .Add("env", ReadEnvironment, (run, environment) => run.Env = environment)
            .Add("cwd", Name.Check(CheckDirectory), (run, directory) => run.Cwd = directory)
            .Add("limits", Kind.Object(limits), (run, values) => run.Limits = values)
            .Add("files", Kind.Texts(MaxFiles), (run, files) => run.Files = files)
            .Add("inputs", Inputs, (run, inputs) => run.Inputs = inputs)
            .Add("workspace", Kind.Object(Workspace), (run, workspace) => run.Workspace = workspace)
            .Add("workspace_out", Kind.Flag, (run, comesBack) => run.WorkspaceOut = comesBack)
            .Add("stdin", Kind.Text(allowNul: true), (run, stdin) => run.Stdin = stdin)
            .Add("stdin_base64", Kind.Base64, (run, stdin) => run.StdinBase64 = stdin, excludes: "stdin")
            .Add("merge_stderr", Kind.Flag, (run, merge) => run.MergeStderr = merge)
            .Add("stop_grace_ms", Kind.Whole(0, MaxStopGraceMs, $" from 0 to {MaxStopGraceMs}"), (run, milliseconds) => run.StopGraceMs = (int?)milliseconds)
            .Add("user", Name, (run, user) => run.User = user)
            .Add("persist", Kind.Flag, (run, persist) => run.Persist = persist)
            .Add("outputs", Kind.Choice(OutputKinds, Name), (run, outputs) => run.Outputs = outputs)
            .Add("network", Name, (run, network) => run.Network = network)
            .Add("egress", Kind.Object(Egress), (run, egress) => run.Egress = egress)
            .Add("pull", Kind.Choice(PullPolicies, Name), (run, pull) => run.Pull = pull);
    }

    private static RunRequestBody Parse(ReadOnlyMemory<byte> text, string[] networks, Fields<RunRequestBody> fields)
    {
        // The parser does not validate strings: an invalid one would throw wherever it is read later.
        if (!Utf8.IsValid(text.Span))
        {
            throw HttpFaultException.BadRequest("the body is not valid UTF-8; encode it as UTF-8.");
        }

        JsonDocument document;
        try
        {
            CountValues(text.Span);
            document = StrictJson.Parse(text, allowComments: false);
        }
        catch (JsonException exception)
        {
            throw HttpFaultException.BadRequest($"the body is not valid JSON: {StrictJson.Explain(exception)}");
        }
        catch (InvalidOperationException)
        {
            // Thrown by the check for duplicates for a name with an unpaired surrogate.
            throw HttpFaultException.BadRequest("the body has a name that is not valid Unicode; remove it.");
        }

        using (document)
        {
            return Read(document.RootElement, networks, fields);
        }
    }

    private static RunRequestBody Read(JsonElement body, string[] networks, Fields<RunRequestBody> fields)
    {
        StrictReader reader = new("is not a field of the request", MaxFaults, nullIsAbsent: true);
        RunRequestBody run = new() { Image = "", Cmd = [] };
        if (body.ValueKind != JsonValueKind.Object)
        {
            throw HttpFaultException.BadRequest($"the body must be a JSON object, not {StrictReader.Show(body)}.");
        }

        reader.Read(body, "", fields, run);
        if (run.Network is { } network && !networks.Contains(network, StringComparer.Ordinal))
        {
            reader.Fault("network", $"{StrictReader.Quote(network)} is not a network of this host; use one of {string.Join(", ", networks)}");
        }

        if (run.WorkspaceOut == true && !reader.Has(body, "workspace", out _))
        {
            reader.Fault("workspace_out", "needs a workspace; add one, which may be {}");
        }

        return reader.Faults.Count == 0 ? run : throw HttpFaultException.BadRequest(string.Join(" ", reader.Faults));
    }

    /// <summary>Limits the number of values. In a parsed document a short value needs many times its bytes, so the limit is checked before parsing.</summary>
    private static void CountValues(ReadOnlySpan<byte> text)
    {
        Utf8JsonReader reader = new(text, new JsonReaderOptions { MaxDepth = StrictJson.MaxDepth });
        for (int values = 0; reader.Read(); values++)
        {
            if (values == MaxValues)
            {
                throw HttpFaultException.BadRequest($"the body has more than {MaxValues} values; put what is large into one text, or upload it with POST /files.");
            }
        }
    }

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
