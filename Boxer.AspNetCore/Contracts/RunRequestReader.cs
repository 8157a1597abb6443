using System.Buffers;
using System.Globalization;
using System.Text.Json;
using System.Text.Unicode;
using Boxer.Validation;

namespace Boxer.AspNetCore.Contracts;

/// <summary>
/// Reads the body of a run request strictly: wrong types, values out of range and names that nobody knows are all reported at once, by
/// their names in the body.
/// </summary>
internal sealed class RunRequestReader : StrictReader
{
    /// <summary>Input files of one run.</summary>
    internal const int MaxFiles = 1_000;


    /// <summary>Entries of a list that has no smaller bound; what a command may have.</summary>
    private const int MaxItems = 32_768;

    private const int MaxValues = 100_000;
    private const int MaxFaults = 50;
    internal const int MaxStopGraceMs = 60_000;

    private static readonly string[] Fields = ["image", "cmd", "env", "cwd", "limits", "files", "inputs", "workspace", "workspace_out", "stdin", "stdin_base64", "merge_stderr", "stop_grace_ms", "user", "persist", "outputs", "network", "egress", "pull"];

    private static readonly string[] InputFields = ["path", "content", "content_base64", "executable"];

    private static readonly string[] WorkspaceFields = ["path", "uploads", "files", "archive"];

    internal static readonly string[] OutputKinds = ["none", "inline", "keep"];

    internal static readonly string[] PullPolicies = ["missing", "always", "never"];

    private static ReadOnlySpan<byte> ByteOrderMark => [0xEF, 0xBB, 0xBF];

    private readonly JsonElement _body;

    private RunRequestReader(JsonElement body, SettingTable table)
        : base(table, MaxFaults) => _body = body;

    /// <summary>Reads a request.</summary>
    /// <param name="body">The body, read to its end.</param>
    /// <param name="networks">The network modes that may be asked for.</param>
    /// <param name="cancellationToken">Gives up.</param>
    /// <param name="table">The limits that there are; <see langword="null"/>: the built-in ones.</param>
    /// <exception cref="HttpFaultException">400, with everything that is wrong.</exception>
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
                    // As it comes, whatever length was announced.
                    byte[] larger = ArrayPool<byte>.Shared.Rent(2 * length);
                    buffer.CopyTo(larger, 0);
                    ArrayPool<byte>.Shared.Return(buffer);
                    buffer = larger;
                }
            }

            ReadOnlyMemory<byte> text = buffer.AsMemory(0, length);
            return Parse(text.Span.StartsWith(ByteOrderMark) ? text[ByteOrderMark.Length..] : text, networks, table ?? SettingTable.BuiltIn);
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    private static RunRequestBody Parse(ReadOnlyMemory<byte> text, IEnumerable<string> networks, SettingTable table)
    {
        // The parser does not look into texts: what is wrong with one would throw wherever it is read or shown.
        if (!Utf8.IsValid(text.Span))
        {
            throw HttpFaultException.BadRequest("the body is not valid UTF-8; encode it so.");
        }

        JsonDocument document;
        try
        {
            CountValues(text.Span);
            document = StrictJson.Parse(text, isOfAPerson: false);
        }
        catch (JsonException exception)
        {
            throw HttpFaultException.BadRequest($"the body is not valid JSON: {StrictJson.Explain(exception)}");
        }
        catch (InvalidOperationException)
        {
            // The check for duplicates decodes names, and throws this for those with half of a surrogate pair.
            throw HttpFaultException.BadRequest("the body has a name that is not valid Unicode; remove it.");
        }

        using (document)
        {
            if (document.RootElement.ValueKind != JsonValueKind.Object)
            {
                throw HttpFaultException.BadRequest($"the body must be a JSON object, not {Show(document.RootElement)}.");
            }

            return new RunRequestReader(document.RootElement, table).Read(networks);
        }
    }

    /// <summary>A document costs many times the bytes of a value that is short: too many are refused before one is made.</summary>
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

    private RunRequestBody Read(IEnumerable<string> networks)
    {
        RefuseUnknown(_body, "", Fields);
        RunRequestBody request = new()
        {
            Image = ReadImage(),
            Cmd = ReadCommand(),
            Env = ReadEnvironment(),
            Cwd = ReadCwd(),
            Limits = ReadLimits(),
            Files = ReadTexts("files", MaxFiles),
            Inputs = ReadInputs(_body, "inputs", "inputs"),
            Workspace = ReadWorkspace(),
            WorkspaceOut = ReadWorkspaceOut(),
            Stdin = ReadText("stdin"),
            StdinBase64 = ReadStdinBytes(),
            User = NullIfEmpty(ReadText("user", refuseNul: true)),
            MergeStderr = ReadFlag("merge_stderr"),
            StopGraceMs = ReadStopGrace(),
            Persist = ReadFlag("persist"),
            Outputs = ReadOutputs(),
            Network = ReadNetwork([.. networks]),
            Egress = ReadEgress(),
            Pull = ReadPull(),
        };
        return Faults.Count == 0 ? request : throw HttpFaultException.BadRequest(string.Join(" ", Faults));
    }

    private string ReadImage()
    {
        if (!Has("image"))
        {
            Fault("image", "is missing; name an image such as python:3.12-slim");
            return "";
        }

        string? image = ReadText("image", refuseNul: true);
        if (image?.Length == 0)
        {
            Fault("image", "is empty; name an image such as python:3.12-slim");
        }

        return image ?? "";
    }

    private List<string> ReadCommand()
    {
        if (!Has("cmd"))
        {
            Fault("cmd", "is missing; list the program and its arguments");
            return [];
        }

        List<string>? command = ReadTexts("cmd");
        if (command is { Count: 0 } && _body.GetProperty("cmd").GetArrayLength() == 0)
        {
            Fault("cmd", "is empty; list the program and its arguments");
        }
        else if (command is [{ Length: 0 }, ..])
        {
            Fault("cmd[0]", "is empty; name a program");
        }

        return command ?? [];
    }

    private List<string>? ReadEnvironment()
    {
        if (Has("env") && _body.GetProperty("env").ValueKind == JsonValueKind.Object)
        {
            return ReadVariables(_body.GetProperty("env"));
        }

        List<string>? variables = ReadTexts("env", kind: "a list of texts or an object");
        for (int i = 0; i < variables?.Count; i++)
        {
            if (variables[i].IndexOf('=', StringComparison.Ordinal) < 1)
            {
                Fault($"env[{i}]", "must be NAME=value with a NAME that is not empty");
            }
        }

        return variables;
    }

    private List<string>? ReadVariables(JsonElement variables)
    {
        if (variables.GetPropertyCount() > MaxItems)
        {
            Fault("env", $"has {variables.GetPropertyCount()} entries; at most {MaxItems} are allowed");
            return null;
        }

        List<string> read = [];
        foreach (JsonProperty variable in variables.EnumerateObject())
        {
            string name = variable.Name;
            if (name.Length == 0 || name.Contains('=', StringComparison.Ordinal) || name.Contains('\0', StringComparison.Ordinal))
            {
                Fault("env", $"has the name {Quote(name)}; a name must not be empty, and have neither = nor NUL");
            }

            read.Add($"{name}={AsText($"env.{Clip(name)}", variable.Value, refuseNul: true)}");
        }

        return read;
    }

    private string? ReadCwd()
    {
        string? directory = NullIfEmpty(ReadText("cwd", refuseNul: true));
        if (directory is not null && directory[0] != '/')
        {
            Fault("cwd", $"must be an absolute path, not {Quote(directory)}");
        }

        return directory;
    }

    private WorkspaceBody? ReadWorkspace()
    {
        if (ReadObject("workspace", WorkspaceFields) is not { } workspace)
        {
            return null;
        }

        return new WorkspaceBody
        {
            Path = NullIfEmpty(ReadMember(workspace, "path", "workspace.path")),
            Uploads = ReadTexts(workspace, "uploads", "workspace.uploads", MaxFiles),
            Files = ReadInputs(workspace, "files", "workspace.files"),
            Archive = NullIfEmpty(ReadMember(workspace, "archive", "workspace.archive")),
        };
    }

    private bool? ReadWorkspaceOut()
    {
        bool? comesBack = ReadFlag("workspace_out");
        if (comesBack == true && !Has("workspace"))
        {
            Fault("workspace_out", "needs a workspace; add one, which may be {}");
        }

        return comesBack;
    }

    private List<InputBody>? ReadInputs(JsonElement parent, string name, string field)
    {
        if (!parent.TryGetProperty(name, out JsonElement list) || list.ValueKind == JsonValueKind.Null)
        {
            return null;
        }

        if (list.ValueKind != JsonValueKind.Array)
        {
            Fault(field, $"must be a list of objects with path and content, not {Show(list)}");
            return null;
        }

        return IsTooLong(field, list, MaxFiles) ? null : [.. list.EnumerateArray().Select((input, i) => ReadInput(input, string.Create(CultureInfo.InvariantCulture, $"{field}[{i}]")))];
    }

    private InputBody ReadInput(JsonElement input, string field)
    {
        if (input.ValueKind != JsonValueKind.Object)
        {
            Fault(field, $"must be an object with path and content, not {Show(input)}");
            return new InputBody { Path = "" };
        }

        RefuseUnknown(input, field + ".", InputFields);
        string? path = ReadMember(input, "path", field + ".path");
        if (path is null && !Has(input, "path"))
        {
            Fault(field + ".path", "is missing; give a relative path such as src/main.py");
        }

        if (Has(input, "content") && Has(input, "content_base64"))
        {
            Fault(field + ".content_base64", "cannot be there together with content; leave one of them");
        }

        return new InputBody
        {
            Path = path ?? "",
            Content = Has(input, "content") ? AsText(field + ".content", input.GetProperty("content"), refuseNul: false) : null,
            ContentBase64 = Has(input, "content_base64") ? AsBytes(field + ".content_base64", input.GetProperty("content_base64")) : null,
            Executable = Has(input, "executable") ? AsFlag(field + ".executable", input.GetProperty("executable")) : null,
        };
    }

    private string? ReadMember(JsonElement parent, string name, string field) => Has(parent, name) ? AsText(field, parent.GetProperty(name), refuseNul: true) : null;

    private LimitsBody? ReadLimits()
    {
        Setting[] settings = [.. Table.Limits.Where(limit => limit.HttpKey is not null)];
        if (ReadObject("limits", [.. settings.Select(setting => setting.HttpKey!)]) is not { } limits)
        {
            return null;
        }

        ResourceLimits values = new();
        foreach (Setting setting in settings)
        {
            if (ReadLimit(limits, setting) is { } value)
            {
                setting.Set(values, value);
            }
        }

        return new LimitsBody { Values = values };
    }

    private EgressBody? ReadEgress()
    {
        if (ReadObject("egress", [.. Table.Egress.Select(setting => setting.HttpKey!)]) is not { } egress)
        {
            return null;
        }

        return new EgressBody
        {
            Allow = ReadRules(egress, "allow"),
            Deny = ReadRules(egress, "deny"),
            BandwidthBps = ReadWhole(egress, "bandwidth_bps"),
            QuotaBytes = ReadWhole(egress, "quota_bytes"),
        };
    }

    private List<string>? ReadRules(JsonElement egress, string name)
    {
        if (!egress.TryGetProperty(name, out JsonElement rules) || rules.ValueKind == JsonValueKind.Null)
        {
            return null;
        }

        if (rules.ValueKind != JsonValueKind.Array)
        {
            Fault($"egress.{name}", $"must be a list of rules such as pypi.org:443, not {Show(rules)}");
            return null;
        }

        if (IsTooLong($"egress.{name}", rules, MaxItems))
        {
            return null;
        }

        List<string> read = [];
        foreach (JsonElement rule in rules.EnumerateArray())
        {
            if (rule.ValueKind != JsonValueKind.String)
            {
                Fault($"egress.{name}[{read.Count}]", $"must be a rule such as pypi.org:443, not {Show(rule)}");
            }

            read.Add(rule.ValueKind == JsonValueKind.String ? AsText($"egress.{name}[{read.Count}]", rule, refuseNul: true) ?? "" : "");
        }

        return read;
    }

    private long? ReadWhole(JsonElement egress, string name)
    {
        if (!egress.TryGetProperty(name, out JsonElement element) || element.ValueKind == JsonValueKind.Null)
        {
            return null;
        }

        if (element.ValueKind == JsonValueKind.Number && element.TryGetInt64(out long value))
        {
            return value;
        }

        Fault($"egress.{name}", $"must be a whole number, not {Show(element)}");
        return null;
    }

    private object? ReadLimit(JsonElement limits, Setting setting)
    {
        if (!limits.TryGetProperty(setting.HttpKey!, out JsonElement element) || element.ValueKind == JsonValueKind.Null)
        {
            return null;
        }

        decimal? number = element.ValueKind == JsonValueKind.Number && element.TryGetDecimal(out decimal value) ? value : null;
        return number == 0 ? null : ToValue(setting, number, $"limits.{setting.HttpKey}", () => Show(element), ", or 0 for the default");
    }

    private bool? ReadFlag(string name)
    {
        if (!Has(name))
        {
            return null;
        }

        return AsFlag(name, _body.GetProperty(name));
    }

    private bool? AsFlag(string field, JsonElement flag)
    {
        if (flag.ValueKind is JsonValueKind.True or JsonValueKind.False)
        {
            return flag.GetBoolean();
        }

        Fault(field, $"must be true or false, not {Show(flag)}");
        return null;
    }

    private byte[]? ReadStdinBytes()
    {
        if (!Has("stdin_base64"))
        {
            return null;
        }

        if (Has("stdin"))
        {
            Fault("stdin_base64", "cannot be there together with stdin; leave one of them");
        }

        return AsBytes("stdin_base64", _body.GetProperty("stdin_base64"));
    }

    private byte[]? AsBytes(string field, JsonElement element)
    {
        try
        {
            if (element.ValueKind == JsonValueKind.String && element.TryGetBytesFromBase64(out byte[]? bytes))
            {
                return bytes;
            }
        }
        catch (InvalidOperationException)
        {
            // Half of a surrogate pair: no base64 either.
        }

        Fault(field, $"must be a text in base64, not {Show(element)}");
        return null;
    }

    private int? ReadStopGrace()
    {
        if (!Has("stop_grace_ms"))
        {
            return null;
        }

        JsonElement element = _body.GetProperty("stop_grace_ms");
        if (element.ValueKind == JsonValueKind.Number && element.TryGetInt32(out int milliseconds) && milliseconds is >= 0 and <= MaxStopGraceMs)
        {
            return milliseconds;
        }

        Fault("stop_grace_ms", $"must be a whole number from 0 to {MaxStopGraceMs}, not {Show(element)}");
        return null;
    }

    private string? ReadOutputs() => ReadChoice("outputs", OutputKinds);

    private string? ReadNetwork(string[] networks)
    {
        string? network = NullIfEmpty(ReadText("network"));
        if (network is not null && !networks.Contains(network, StringComparer.Ordinal))
        {
            Fault("network", $"{Quote(network)} is not a network of this host; use one of {string.Join(", ", networks)}");
        }

        return network;
    }

    private string? ReadPull() => ReadChoice("pull", PullPolicies);

    private string? ReadChoice(string name, string[] choices) => NullIfEmpty(ReadText(name)) is { } text ? Choose(text, choices, name, () => Quote(text)) : null;

    private JsonElement? ReadObject(string name, string[] fields)
    {
        if (!Has(name))
        {
            return null;
        }

        JsonElement element = _body.GetProperty(name);
        if (element.ValueKind != JsonValueKind.Object)
        {
            Fault(name, $"must be an object, not {Show(element)}");
            return null;
        }

        RefuseUnknown(element, name + ".", fields);
        return element;
    }

    private bool Has(string name) => Has(_body, name);

    private static bool Has(JsonElement parent, string name) => parent.TryGetProperty(name, out JsonElement element) && element.ValueKind != JsonValueKind.Null;

    private string? ReadText(string name, bool refuseNul = false) => Has(name) ? AsText(name, _body.GetProperty(name), refuseNul) : null;

    private List<string>? ReadTexts(string name, int most = MaxItems, string kind = "a list of texts") => ReadTexts(_body, name, name, most, kind);

    private List<string>? ReadTexts(JsonElement parent, string name, string field, int most, string kind = "a list of texts")
    {
        if (!Has(parent, name))
        {
            return null;
        }

        JsonElement list = parent.GetProperty(name);
        if (list.ValueKind != JsonValueKind.Array)
        {
            Fault(field, $"must be {kind}, not {Show(list)}");
            return null;
        }

        if (IsTooLong(field, list, most))
        {
            return null;
        }

        List<string> texts = [];
        int i = 0;
        foreach (JsonElement element in list.EnumerateArray())
        {
            // What stands in for a wrong item causes no second fault about it.
            texts.Add(AsText(string.Create(CultureInfo.InvariantCulture, $"{field}[{i++}]"), element, refuseNul: true) ?? "?=");
        }

        return texts;
    }

    private bool IsTooLong(string field, JsonElement list, int most)
    {
        if (list.GetArrayLength() <= most)
        {
            return false;
        }

        Fault(field, $"has {list.GetArrayLength()} entries; at most {most} are allowed");
        return true;
    }

    private string? AsText(string field, JsonElement element, bool refuseNul)
    {
        if (element.ValueKind != JsonValueKind.String)
        {
            Fault(field, $"must be a text, not {Show(element)}");
            return null;
        }

        string text;
        try
        {
            text = element.GetString()!;
        }
        catch (InvalidOperationException)
        {
            Fault(field, "is not valid Unicode; remove the unpaired surrogate");
            return null;
        }

        if (refuseNul && text.Contains('\0', StringComparison.Ordinal))
        {
            Fault(field, "has a NUL character; remove it");
            return null;
        }

        return text;
    }

    private void RefuseUnknown(JsonElement element, string prefix, string[] known)
    {
        foreach (JsonProperty property in element.EnumerateObject())
        {
            RefuseUnless(prefix, property.Name, known, "is not a field of the request");
        }
    }

    private static string? NullIfEmpty(string? text) => string.IsNullOrEmpty(text) ? null : text;

    private static string Quote(string text) => '"' + Clip(text) + '"';
}
