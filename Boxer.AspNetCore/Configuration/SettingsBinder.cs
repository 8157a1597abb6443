using System.Net;
using System.Text.Json;
using Boxer.Validation;

namespace Boxer.AspNetCore.Configuration;

/// <summary>
/// Creates <see cref="HostSettings"/> from the sources, by the rows of <see cref="SettingTable"/>. All faults are found in one pass; each has its key
/// and the remedy. A new setting needs a row of the table, or a line in <see cref="CreateRoot"/> if it belongs to the host.
/// </summary>
internal sealed partial class SettingsBinder(SettingTable table, string homeDirectory)
{
    private static readonly string[] NetworkModes = ["none", "sandbox", "host"];

    /// <summary>Whether a key exists at the top of the configuration.</summary>
    public static bool IsKey(string key) => HostKeys.Names(SettingTable.BuiltIn).Contains(key, StringComparer.Ordinal);

    /// <summary>Reads all settings.</summary>
    /// <param name="source">The sources.</param>
    /// <param name="homeDirectory">The directory that <c>~</c> refers to.</param>
    /// <param name="faults">All faults. Use the result only if there are none.</param>
    /// <param name="table">The table; <see langword="null"/> for the built-in one.</param>
    public static HostSettings Bind(SettingsSource source, string homeDirectory, out IReadOnlyList<string> faults, SettingTable? table = null)
    {
        SettingsBinder binder = new(table ?? SettingTable.BuiltIn, homeDirectory);
        StrictReader reader = new("is not a setting", variables: source.Variables);
        foreach (string fault in source.Faults)
        {
            reader.Fault(fault);
        }

        HostSettings settings = binder.CreateDefaults();
        reader.Read(source.Root, "", binder.CreateRoot(), settings);
        SetDefaultNetworks(reader, source.Root, settings);
        faults = reader.Faults;
        return settings;
    }

    private Fields<HostSettings> CreateRoot()
    {
        Fields<HostSettings> root = new Fields<HostSettings>()
            .Add(HostKeys.ListenAddress, ReadListenAddress, (settings, address) => settings.ListenAddress = address)
            .Add(HostKeys.ApiKeys, ((Kind<List<string>>)ReadTexts).Check(CheckApiKeys), (settings, keys) => settings.ApiKeys = keys)
            .Add(HostKeys.HostNames, ((Kind<List<string>>)ReadTexts).Check(CheckHostNames), (settings, names) => settings.HostNames = names);
        AddRows(root, table.Options, settings => settings.Sandboxes);
        AddRows(root, HostKeys.Top(table.Limits), settings => settings.Sandboxes.DefaultLimits);
        AddRows(root, HostKeys.Http, settings => settings.Http);

        return AddOldRegistries(root).Sorted();
    }

    /// <summary>Adds settings. A group is read into the existing object of its property.</summary>
    private Fields<T> AddRows<T>(Fields<T> fields, IEnumerable<Setting> settings, Func<T, object> ownerOf, string? firstMissing = null)
    {
        foreach (Setting setting in settings)
        {
            if (setting.Name == nameof(BoxerOptions.Pool))
            {
                fields.Add(new Field<T>(setting.Key, (reader, owner, value, path) => ReadPool(reader, value, path, (PoolOptions)setting.Get(ownerOf(owner))!)));
            }
            else if (setting.Kind == SettingKind.Group)
            {
                Fields<object> members = MembersOf(setting);
                fields.Add(new Field<T>(setting.Key, (reader, owner, value, path) => reader.Read(value, path, members, setting.Get(ownerOf(owner))!)));
            }
            else
            {
                fields.Add(setting.Key, KindOf(setting), (owner, value) => setting.Set(ownerOf(owner), value), firstMissing);
            }

            firstMissing = null;
        }

        return fields;
    }

    // Limits that requests cannot set are at the top of the configuration.
    private Fields<object> MembersOf(Setting setting) => AddRows(
        new Fields<object>(),
        setting.Members(table).Where(member => setting.Type != typeof(ResourceLimits) || member.HttpKey is not null),
        owner => owner,
        setting.Kind == SettingKind.Groups ? "is missing" : null).Sorted();

    private Kind<object> KindOf(Setting setting)
    {
        Kind<object> kind = setting.Kind switch
        {
            SettingKind.Flag => (reader, value, path) => Kind.Flag(reader, value, path),
            SettingKind.Number or SettingKind.Size or SettingKind.Time => Kind.Number(setting),
            SettingKind.Choice => ChoiceOf(setting),
            SettingKind.Path => ReadPath,
            SettingKind.Texts => ReadTexts,
            SettingKind.Groups => GroupsOf(setting),
            _ => ReadText,
        };

        // The runner itself checks the machine, and reports everything that is missing at once.
        return setting.Check is not { } find || setting.LooksAtMachine ? kind : (reader, value, path) =>
        {
            object? read = kind(reader, value, path);
            foreach ((string suffix, string message) in read is null ? [] : find(read))
            {
                reader.Fault($"{path}{NameMembers(setting, suffix)}: {message}");
            }

            return read;
        };
    }

    private string NameMembers(Setting setting, string suffix) =>
        setting.Members(table).Aggregate(suffix, (text, member) => text.Replace($".{member.Name}", $".{member.Key}", StringComparison.Ordinal));

    private static Kind<object> ChoiceOf(Setting setting)
    {
        Dictionary<string, object> choices = setting.Choices.ToDictionary(choice => JsonNamingPolicy.SnakeCaseLower.ConvertName(choice.Key), choice => choice.Value, StringComparer.Ordinal);
        Kind<string> choice = Kind.Choice([.. choices.Keys], ReadText);
        return (reader, value, path) => choice(reader, value, path) is { } text ? choices[text] : null;
    }

    private Kind<object> GroupsOf(Setting setting)
    {
        Kind<List<object>> items = Kind.Objects(MembersOf(setting), setting.CreateItem!);
        return (reader, value, path) => items(reader, value, path) is { } read ? setting.CreateList!(read) : null;
    }

    private string? ReadPath(StrictReader reader, JsonElement value, string path)
    {
        string? text = ReadText(reader, value, path);
        if (text is "~" || (text?.StartsWith("~/", StringComparison.Ordinal) ?? false))
        {
            text = homeDirectory + text[1..];
        }

        if (text is not null && (!Path.IsPathFullyQualified(text) || text.Contains('\0', StringComparison.Ordinal)))
        {
            reader.Wrong(path, "an absolute path or start with ~/", value);
            return null;
        }

        return text;
    }

    private static string? ReadText(StrictReader reader, JsonElement value, string path)
    {
        if (value.ValueKind == JsonValueKind.String && value.GetString() is { Length: > 0 } text)
        {
            return text;
        }

        reader.Wrong(path, "a text that is not empty", value);
        return null;
    }

    // Values may be secrets: messages must not contain them.
    private static List<string>? ReadTexts(StrictReader reader, JsonElement value, string path)
    {
        if (value.ValueKind != JsonValueKind.Array)
        {
            reader.Fault(path, "must be a list of texts" + (reader.VariableOf(path) is { } variable ? $"; number the variables of its items, as in {variable}__0" : ""));
            return null;
        }

        foreach ((int i, _) in value.EnumerateArray().Index().Where(item => item.Item.ValueKind != JsonValueKind.String))
        {
            reader.Fault(StrictReader.Item(path, i), "must be a text");
        }

        return [.. value.EnumerateArray().Where(item => item.ValueKind == JsonValueKind.String).Select(item => item.GetString()!)];
    }

    private static ListenAddress? ReadListenAddress(StrictReader reader, JsonElement value, string path)
    {
        ListenAddress? address = null;
        if (ReadText(reader, value, path) is { } text && (address = ListenAddress.Parse(text)) is null)
        {
            reader.Wrong(path, "a port with an IP address, localhost or nothing before it, such as :8080 or 127.0.0.1:8080", value);
        }

        return address;
    }

    // Keys are secret: messages must not contain them.
    private static IEnumerable<(string, string)> CheckApiKeys(List<string> keys) => keys.Count == 0
        ? [("", "lists no key; list one, or remove the setting to leave the host open")]
        : keys.Index().Select(key => (StrictReader.Item("", key.Index), FindFault(keys, key.Index))).Where(fault => fault.Item2.Length > 0);

    private static string FindFault(List<string> keys, int i) =>
        !BoxerApiKey.IsValid(keys[i]) ? $"must be 1 to {BoxerApiKey.MaxLength} visible ASCII characters without spaces"
        : keys.IndexOf(keys[i]) < i ? $"is the same as {HostKeys.ApiKeys}[{keys.IndexOf(keys[i])}]; remove one"
        : "";

    private static IEnumerable<(string, string)> CheckHostNames(List<string> names) => names.Index()
        .Where(name => !IsHostName(name.Item))
        .Select(name => (StrictReader.Item("", name.Index), $"must be a name that clients use for this host, alone or with a port, such as boxer.example or boxer.example:8080, not {StrictReader.Quote(name.Item)}"));

    private static bool IsHostName(string text) =>
        text.Length is > 0 and <= 255
        && !text.Contains('/', StringComparison.Ordinal)
        && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or ':' or '[' or ']')
        && Uri.TryCreate($"https://{text}/", UriKind.Absolute, out Uri? url)
        && url.AbsolutePath == "/";

    private HostSettings CreateDefaults()
    {
        HostSettings settings = new() { ListenAddress = new ListenAddress(IPAddress.Loopback, 8080) };
        settings.Sandboxes.Home = Path.Combine(homeDirectory, ".boxer");
        foreach (Setting setting in table.Options.Where(setting => setting.HostDefault is not null))
        {
            setting.Set(settings.Sandboxes, setting.HostDefault);
        }

        return settings;
    }

    private static void SetDefaultNetworks(StrictReader reader, JsonElement root, HostSettings settings)
    {
        bool ownUsersOnly = settings.ListenAddress.IsLoopback && settings.ApiKeys.Count == 0;
        settings.HasDefaultNetworks = !reader.Has(root, "allowed_networks", out JsonElement networks);
        settings.OmitsHostNetwork = settings.HasDefaultNetworks && !ownUsersOnly;
        if (settings.HasDefaultNetworks)
        {
            settings.Sandboxes.AllowedNetworks = [.. ownUsersOnly ? NetworkModes : NetworkModes[..2]];
        }
        else if (networks.ValueKind == JsonValueKind.Array && networks.GetArrayLength() == 0)
        {
            reader.Fault("allowed_networks", "lists no network, so nothing could run; list none, sandbox or host, or remove the key");
        }
    }
}
