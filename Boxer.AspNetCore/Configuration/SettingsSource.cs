using System.Buffers;
using System.Collections;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace Boxer.AspNetCore.Configuration;

/// <summary>
/// Reads the configuration file and the environment variables that override it. A variable is <c>BOXER__key</c>, with <c>__</c> between levels and
/// before the index of an item, as in .NET: <c>BOXER__defaults__memory_mb=512</c>, <c>BOXER__dns_servers__0=9.9.9.9</c>. Known keys may have the short
/// form <c>BOXER_key</c>; other variables that start with <c>BOXER_</c> are ignored. A list or a mirror from variables replaces the one of the file.
/// </summary>
internal sealed class SettingsSource
{
    /// <summary>The variable with the path of the file.</summary>
    internal const string FileVariable = "BOXER_CONFIG";

    private const string ShortPrefix = "BOXER_";
    private const string LongPrefix = "BOXER__";
    private const int MaxFileBytes = 1 << 20;

    private SettingsSource(JsonElement root, IReadOnlyDictionary<string, string> variables, string? file, IReadOnlyList<string> faults)
    {
        Root = root;
        Variables = variables;
        File = file;
        Faults = faults;
    }

    /// <summary>All settings as one document. IConfiguration cannot be used: it would split registry names at their colons.</summary>
    public JsonElement Root { get; }

    /// <summary>The variables that set values, by path; see <see cref="StrictReader.Plain"/>.</summary>
    public IReadOnlyDictionary<string, string> Variables { get; }

    /// <summary>The file that was read; <see langword="null"/> if there was none.</summary>
    public string? File { get; }

    /// <summary>Faults of the file and of the names of variables.</summary>
    public IReadOnlyList<string> Faults { get; }

    /// <summary>Reads the environment, and the file from the command line, else from the environment, else from the default path.</summary>
    public static SettingsSource Read(string? fileArgument, IDictionary environment, string homeDirectory)
    {
        List<string> faults = [];
        string? named = fileArgument ?? (environment[FileVariable] as string is { Length: > 0 } variable ? variable : null);
        string file = named ?? Path.Combine(homeDirectory, ".boxer", "config.json");
        JsonObject? root = null;
        bool exists = System.IO.File.Exists(file);
        if (exists)
        {
            root = ReadFile(file, faults);
        }
        else if (named is not null)
        {
            string origin = fileArgument is null ? FileVariable : "--config";
            faults.Add($"{origin}: there is no file {file}; name one that exists.");
        }

        root ??= [];
        Dictionary<string, string> variables = new(StringComparer.Ordinal);
        ReadEnvironment(root, environment, variables, faults);
        return new SettingsSource(ToElement(root), variables, exists ? file : null, faults);
    }

    private static JsonObject? ReadFile(string file, List<string> faults)
    {
        try
        {
            if (new FileInfo(file).Length > MaxFileBytes)
            {
                faults.Add($"{file}: is larger than 1 MiB, the maximum size of a configuration.");
                return null;
            }

            using JsonDocument document = StrictJson.Parse(System.IO.File.ReadAllBytes(file), allowComments: true);
            CheckStrings(document.RootElement);
            if (document.RootElement.ValueKind == JsonValueKind.Object)
            {
                return JsonObject.Create(document.RootElement.Clone());
            }

            faults.Add($"{file}: is not a JSON object; write {{ \"key\": value, ... }}.");
        }
        catch (JsonException exception)
        {
            faults.Add($"{file}: is not valid JSON: {StrictJson.Explain(exception)}");
        }
        catch (InvalidOperationException)
        {
            faults.Add($"{file}: has a string that is not valid Unicode; correct its \\u escapes.");
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            faults.Add($"{file}: cannot be read: {exception.Message}");
        }

        return null;
    }

    private static JsonElement ToElement(JsonObject root)
    {
        ArrayBufferWriter<byte> buffer = new();
        using (Utf8JsonWriter writer = new(buffer, new JsonWriterOptions { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
        {
            root.WriteTo(writer);
        }

        using var document = JsonDocument.Parse(buffer.WrittenMemory);
        return document.RootElement.Clone();
    }

    private static void ReadEnvironment(JsonObject root, IDictionary environment, Dictionary<string, string> variables, List<string> faults)
    {
        JsonObject fromVariables = [];
        Dictionary<string, string> seen = new(StringComparer.Ordinal);
        foreach (string name in environment.Keys.Cast<string>().Order(StringComparer.Ordinal))
        {
            if (KeyOf(name) is not { } key)
            {
                continue;
            }

            string[] path = key.Split("__");
            if (!seen.TryAdd(key, name))
            {
                faults.Add($"{name}: sets the same key as {seen[key]}; set one of them.");
            }
            else if (path.Length > StrictJson.MaxDepth)
            {
                faults.Add($"{name}: has more than {StrictJson.MaxDepth} levels, which is more than any setting has.");
            }
            else
            {
                Put(fromVariables, path, environment[name] as string ?? "");
                for (int levels = 1; levels <= path.Length; levels++)
                {
                    variables.TryAdd(StrictReader.Plain(string.Join('.', path[..levels])), name);
                }
            }
        }

        Merge(root, fromVariables);
    }

    /// <summary>Gets the key that a variable sets; <see langword="null"/> if it sets none.</summary>
    private static string? KeyOf(string variable)
    {
        bool isLong = variable.StartsWith(LongPrefix, StringComparison.OrdinalIgnoreCase);
        if ((!isLong && !variable.StartsWith(ShortPrefix, StringComparison.OrdinalIgnoreCase)) || variable == FileVariable)
        {
            return null;
        }

        string key = variable[(isLong ? LongPrefix : ShortPrefix).Length..].ToLowerInvariant();
        return isLong || SettingsBinder.IsKey(key.Split("__")[0]) ? key : null;
    }

    private static void Merge(JsonObject root, JsonObject fromVariables)
    {
        foreach ((string key, JsonNode? node) in fromVariables)
        {
            if (node is JsonObject members && root[key] is JsonObject present)
            {
                foreach ((string member, JsonNode? value) in members)
                {
                    present[member] = WithLists(value!);
                }
            }
            else
            {
                root[key] = WithLists(node!);
            }
        }
    }

    private static void Put(JsonObject target, string[] path, string value)
    {
        foreach (string name in path[..^1])
        {
            if (target[name] is not JsonObject next)
            {
                target[name] = next = [];
            }

            target = next;
        }

        target[path[^1]] = value;
    }

    /// <summary>Copies a value. Objects whose names are 0, 1, 2 and so on become lists.</summary>
    private static JsonNode WithLists(JsonNode node)
    {
        if (node is not JsonObject members)
        {
            return node.DeepClone();
        }

        return Enumerable.Range(0, members.Count).All(i => members.ContainsKey(i.ToString(CultureInfo.InvariantCulture)))
            ? new JsonArray([.. Enumerable.Range(0, members.Count).Select(i => WithLists(members[i.ToString(CultureInfo.InvariantCulture)]!))])
            : new JsonObject(members.Select(member => KeyValuePair.Create(member.Key, (JsonNode?)WithLists(member.Value!))));
    }

    // Strings are decoded when they are read; an escaped unpaired surrogate throws InvalidOperationException then.
    private static void CheckStrings(JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.String:
                _ = element.GetString();
                break;
            case JsonValueKind.Array:
                foreach (JsonElement item in element.EnumerateArray())
                {
                    CheckStrings(item);
                }

                break;
            case JsonValueKind.Object:
                foreach (JsonProperty property in element.EnumerateObject())
                {
                    CheckStrings(property.Value);
                }

                break;
        }
    }
}
