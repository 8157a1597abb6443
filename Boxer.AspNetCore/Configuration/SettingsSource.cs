using System.Collections;
using System.Globalization;
using System.Text.Json;

namespace Boxer.AspNetCore.Configuration;

/// <summary>
/// Reads the configuration file and the environment variables over it. A variable is <c>BOXER__key</c> with <c>__</c> between levels
/// and before the number of an item, as in .NET: <c>BOXER__defaults__memory_mb=512</c>, <c>BOXER__dns_servers__0=9.9.9.9</c>. For known
/// keys the short form <c>BOXER_key</c> does too; other variables that start with <c>BOXER_</c> are not the host's. A list or a mirror
/// from variables replaces that of the file.
/// </summary>
internal sealed class SettingsSource
{
    /// <summary>The variable that names the file.</summary>
    internal const string FileVariable = "BOXER_CONFIG";

    private const string ShortPrefix = "BOXER_";
    private const string LongPrefix = "BOXER__";
    private const int MaxFileBytes = 1 << 20;

    private SettingsSource(SettingObject root, string? file, IReadOnlyList<string> faults)
    {
        Root = root;
        File = file;
        Faults = faults;
    }

    /// <summary>Everything that is set.</summary>
    public SettingObject Root { get; }

    /// <summary>The file that was read; <see langword="null"/> where there is none.</summary>
    public string? File { get; }

    /// <summary>Why the file cannot be read.</summary>
    public IReadOnlyList<string> Faults { get; }

    /// <summary>Reads the file that the command line, else the environment, else the default path names, and the environment.</summary>
    public static SettingsSource Read(string? fileArgument, IDictionary environment, string homeDirectory)
    {
        List<string> faults = [];
        string? named = fileArgument ?? (environment[FileVariable] as string is { Length: > 0 } variable ? variable : null);
        string file = named ?? Path.Combine(homeDirectory, ".boxer", "config.json");
        SettingObject? root = null;
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

        root ??= new SettingObject(null, new(StringComparer.Ordinal));
        ReadEnvironment(root, environment, faults);
        return new SettingsSource(root, exists ? file : null, faults);
    }

    private static SettingObject? ReadFile(string file, List<string> faults)
    {
        try
        {
            if (new FileInfo(file).Length > MaxFileBytes)
            {
                faults.Add($"{file}: is larger than 1 MiB; that is no configuration.");
                return null;
            }

            using JsonDocument document = StrictJson.Parse(System.IO.File.ReadAllBytes(file), isOfAPerson: true);
            CheckStrings(document.RootElement);
            if (Convert(document.RootElement) is SettingObject root)
            {
                return root;
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

    private static SettingNode Convert(JsonElement element)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                Dictionary<string, SettingNode> members = new(StringComparer.Ordinal);
                foreach (JsonProperty property in element.EnumerateObject())
                {
                    members.Add(property.Name, Convert(property.Value));
                }

                return new SettingObject(null, members);
            case JsonValueKind.Array:
                return new SettingList(null, [.. element.EnumerateArray().Select(Convert)]);
            default:
                return new SettingScalar(null, element.Clone(), null);
        }
    }

    private static void ReadEnvironment(SettingObject root, IDictionary environment, List<string> faults)
    {
        SettingObject fromVariables = new(null, new(StringComparer.Ordinal));
        Dictionary<string, string> seen = new(StringComparer.Ordinal);
        foreach (string name in environment.Keys.Cast<string>().Order(StringComparer.Ordinal))
        {
            bool isLong = name.StartsWith(LongPrefix, StringComparison.OrdinalIgnoreCase);
            if ((!isLong && !name.StartsWith(ShortPrefix, StringComparison.OrdinalIgnoreCase)) || name == FileVariable)
            {
                continue;
            }

            string key = name[(isLong ? LongPrefix : ShortPrefix).Length..].ToLowerInvariant();
            string[] path = key.Split("__");
            if (!isLong && !SettingsBinder.IsKey(path[0]))
            {
                continue;
            }

            if (!seen.TryAdd(key, name))
            {
                faults.Add($"{name}: says the same as {seen[key]}; set one of them.");
                continue;
            }

            Put(fromVariables, path, name, environment[name] as string ?? "");
        }

        foreach ((string key, SettingNode node) in fromVariables.Members)
        {
            bool merged = node is SettingObject { Members: var members }
                && root.Members.GetValueOrDefault(key) is SettingObject present
                && Merge(present, members);
            if (!merged)
            {
                root.Members[key] = Listed(node);
            }
        }
    }

    private static bool Merge(SettingObject target, Dictionary<string, SettingNode> members)
    {
        foreach ((string key, SettingNode node) in members)
        {
            target.Members[key] = Listed(node);
        }

        return true;
    }

    private static void Put(SettingObject target, string[] path, string variable, string value)
    {
        foreach (string name in path[..^1])
        {
            if (target.Members.GetValueOrDefault(name) is not SettingObject next)
            {
                next = new SettingObject(variable, new(StringComparer.Ordinal));
                target.Members[name] = next;
            }

            target = next;
        }

        target.Members[path[^1]] = new SettingScalar(variable, default, value);
    }

    /// <summary>Turns objects whose names are 0, 1, 2 ... into lists.</summary>
    private static SettingNode Listed(SettingNode node)
    {
        if (node is not SettingObject { Members: var members } target)
        {
            return node;
        }

        List<SettingNode> items = [];
        while (members.TryGetValue(items.Count.ToString(CultureInfo.InvariantCulture), out SettingNode? item))
        {
            items.Add(Listed(item));
        }

        return items.Count == members.Count
            ? new SettingList(target.Variable, items)
            : target with { Members = members.ToDictionary(member => member.Key, member => Listed(member.Value), StringComparer.Ordinal) };
    }

    // A string is decoded only when it is read, and an escaped half of a surrogate pair throws InvalidOperationException then.
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
