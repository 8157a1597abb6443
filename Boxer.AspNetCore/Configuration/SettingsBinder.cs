using System.Globalization;
using System.Net;
using System.Text.Json;
using Boxer.Images;
using Boxer.Validation;

namespace Boxer.AspNetCore.Configuration;

/// <summary>
/// Makes <see cref="HostSettings"/> of what is set, by the rows of <see cref="SettingTable"/>. Every fault is found in one pass; each names its key
/// and the remedy.
/// </summary>
internal sealed class SettingsBinder : StrictReader
{
    private static readonly string[] NetworkModes = ["none", "sandbox", "host"];
    private readonly SettingObject _root;
    private readonly string _homeDirectory;

    private SettingsBinder(SettingTable table, SettingObject root, string homeDirectory)
        : base(table, int.MaxValue)
    {
        _root = root;
        _homeDirectory = homeDirectory;
    }

    /// <summary>Whether a key may be set at the top of the configuration.</summary>
    public static bool IsKey(string key) => HostKeys.Names(SettingTable.BuiltIn).Contains(key, StringComparer.Ordinal);

    /// <summary>Reads everything.</summary>
    /// <param name="source">What is set.</param>
    /// <param name="homeDirectory">The directory that <c>~</c> stands for.</param>
    /// <param name="faults">Everything that is wrong; the result may be used only where this is empty.</param>
    /// <param name="table">The settings that there are; <see langword="null"/>: the built-in ones.</param>
    public static HostSettings Bind(SettingsSource source, string homeDirectory, out IReadOnlyList<string> faults, SettingTable? table = null)
    {
        SettingsBinder binder = new(table ?? SettingTable.BuiltIn, source.Root, homeDirectory);
        foreach (string fault in source.Faults)
        {
            binder.AddFault(fault);
        }

        HostSettings settings = binder.BindRoot();
        faults = binder.Faults;
        return settings;
    }

    private HostSettings BindRoot()
    {
        RefuseUnknown(_root, "", HostKeys.Names(Table));
        ListenAddress listen = BindListenAddress();
        List<string> keys = BindApiKeys();
        BoxerOptions options = new() { Home = Path.Combine(_homeDirectory, ".boxer") };
        foreach (Setting setting in Table.Options.Where(setting => setting.HostDefault is not null))
        {
            setting.Set(options, setting.HostDefault);
        }

        Bind(_root, "", Table.Options, options);
        Bind(_root, "", HostKeys.Top(Table.Limits), options.DefaultLimits);
        BindOldRegistries(options);

        bool ownUsersOnly = listen.IsLoopback && keys.Count == 0;
        bool byDefault = !_root.Members.ContainsKey("allowed_networks");
        if (byDefault)
        {
            options.AllowedNetworks = [.. ownUsersOnly ? NetworkModes : NetworkModes[..2]];
        }
        else if (_root.Members["allowed_networks"] is SettingList { Items.Count: 0 })
        {
            Fault("allowed_networks", "lists no network, so nothing could run; list none, sandbox or host, or remove the key");
        }

        BoxerHttpOptions http = new();
        Bind(_root, "", HostKeys.Http, http);
        return new HostSettings
        {
            Sandboxes = options,
            Http = http,
            ListenAddress = listen,
            ApiKeys = keys,
            HostNames = BindHostNames(),
            NetworksByDefault = byDefault,
            HostNetworkLeftOut = byDefault && !ownUsersOnly,
        };
    }

    private void Bind(SettingObject section, string prefix, IEnumerable<Setting> settings, object target)
    {
        foreach (Setting setting in settings)
        {
            string path = prefix + KeyOf(setting);
            if (!section.Members.TryGetValue(KeyOf(setting), out SettingNode? node))
            {
                continue;
            }

            if (setting.Kind == SettingKind.Group)
            {
                BindGroup(node, path, setting, setting.Get(target)!);
            }
            else if (Read(setting, node, path) is { } value)
            {
                setting.Set(target, value);
                Check(setting, value, path);
            }
        }
    }

    private void BindGroup(SettingNode node, string path, Setting setting, object target)
    {
        // Limits that requests cannot set have keys at the top.
        Setting[] members = [.. setting.Members(Table).Where(member => target is not ResourceLimits || member.HttpKey is not null)];
        if (node is not SettingObject section)
        {
            Fault(path, "must be an object", node);
            return;
        }

        RefuseUnknown(section, path + ".", [.. members.Select(KeyOf), .. target is PoolOptions ? [HostKeys.WarmUps] : (string[])[]]);
        if (target is PoolOptions pool)
        {
            members = [.. members.Where(member => section.Members.GetValueOrDefault(KeyOf(member)) is not SettingObject || member.Kind != SettingKind.Groups)];
            BindOldImages(section, path + ".", pool);
        }

        Bind(section, path + ".", members, target);
    }

    private void Check(Setting setting, object value, string path)
    {
        if (setting.LooksAtMachine)
        {
            // The runner says so with all else that the machine lacks.
            return;
        }

        foreach ((string suffix, string message) in setting.Check?.Invoke(value) ?? [])
        {
            string key = setting.Members(Table).Aggregate(suffix, (text, member) => text.Replace($".{member.Name}", $".{KeyOf(member)}", StringComparison.Ordinal));
            AddFault($"{path}{key}: {message}");
        }
    }

    private object? Read(Setting setting, SettingNode node, string path) => setting.Kind switch
    {
        SettingKind.Flag => ReadFlag(node, path),
        SettingKind.Number or SettingKind.Size or SettingKind.Time => ReadNumber(setting, node, path),
        SettingKind.Choice => ReadChoice(setting, node, path),
        SettingKind.Path => ReadPath(node, path),
        SettingKind.Texts => ReadTexts(node, path),
        SettingKind.Groups => ReadItems(setting, node, path),
        _ => ReadText(node, path),
    };

    private object? ReadItems(Setting setting, SettingNode node, string path)
    {
        if (node is not SettingList list)
        {
            Fault(path, "must be a list of objects", node);
            return null;
        }

        List<object> items = [];
        foreach ((int i, SettingNode item) in list.Items.Index())
        {
            object made = setting.CreateItem!();
            string field = string.Create(CultureInfo.InvariantCulture, $"{path}[{i}]");
            BindGroup(item, field, setting, made);
            if (item is SettingObject { Members: var members } && KeyOf(setting.Members(Table)[0]) is { } first && !members.ContainsKey(first))
            {
                Fault($"{field}.{first}", "is missing");
            }

            items.Add(made);
        }

        return setting.CreateList!(items);
    }

    private object? ReadChoice(Setting setting, SettingNode node, string path)
    {
        Dictionary<string, object> choices = setting.Choices.ToDictionary(choice => JsonNamingPolicy.SnakeCaseLower.ConvertName(choice.Key), choice => choice.Value, StringComparer.Ordinal);
        return Choose(ReadText(node, path), [.. choices.Keys], path, () => Show(node) + From(node)) is { } text ? choices[text] : null;
    }

    private string? ReadPath(SettingNode node, string key)
    {
        string? path = ReadText(node, key);
        if (path is "~" || (path?.StartsWith("~/", StringComparison.Ordinal) ?? false))
        {
            path = _homeDirectory + path[1..];
        }

        if (path is not null && (!Path.IsPathFullyQualified(path) || path.Contains('\0', StringComparison.Ordinal)))
        {
            Fault(key, "must be an absolute path or start with ~/", node);
            return null;
        }

        return path;
    }

    private string? ReadText(SettingNode node, string path)
    {
        string? text = AsText(node);
        if (string.IsNullOrEmpty(text))
        {
            Fault(path, "must be a text that is not empty", node);
            return null;
        }

        return text;
    }

    private List<string>? ReadTexts(SettingNode node, string path)
    {
        if (node is not SettingList list)
        {
            string remedy = node.Variable is null ? "" : $"; number the variables of its items, as in {node.Variable}__0";
            Fault(path, $"must be a list of texts{remedy}");
            return null;
        }

        List<string> texts = [];
        for (int i = 0; i < list.Items.Count; i++)
        {
            if (AsText(list.Items[i]) is { } text)
            {
                texts.Add(text);
            }
            else
            {
                Fault($"{path}[{i}]", "must be a text");
            }
        }

        return texts;
    }

    private bool? ReadFlag(SettingNode node, string path)
    {
        switch (node)
        {
            case SettingScalar { Text: null, Json.ValueKind: JsonValueKind.False }:
                return false;
            case SettingScalar { Text: null, Json.ValueKind: JsonValueKind.True }:
                return true;
            case SettingScalar { Text: { } text } when bool.TryParse(text, out bool flag):
                return flag;
            default:
                Fault(path, "must be true or false", node);
                return null;
        }
    }

    private object? ReadNumber(Setting setting, SettingNode node, string path)
    {
        decimal? number = node switch
        {
            SettingScalar { Text: { } text } => decimal.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out decimal parsed) ? parsed : null,
            SettingScalar { Json: { ValueKind: JsonValueKind.Number } json } => json.TryGetDecimal(out decimal parsed) ? parsed : null,
            _ => null,
        };
        return ToValue(setting, number, path, () => Show(node) + From(node));
    }

    // registry_mirrors, registry_certificates and insecure_registries, which registries replaces.
    private void BindOldRegistries(BoxerOptions options)
    {
        if (_root.Members.ContainsKey(HostKeys.Registries))
        {
            foreach (string old in (string[])[HostKeys.Mirrors, HostKeys.Certificates, HostKeys.Insecure])
            {
                if (_root.Members.ContainsKey(old))
                {
                    Fault(old, $"cannot be there together with {HostKeys.Registries}; put what it has into {HostKeys.Registries}");
                }
            }

            return;
        }

        Setting setting = Table.Options.Single(known => known.HostKey == HostKeys.Registries);
        foreach ((string name, SettingNode node) in Entries(HostKeys.Mirrors))
        {
            string path = $"{HostKeys.Mirrors}.{name}";
            if (ReadTexts(node, path) is { } places)
            {
                RegistryOf(name, path).Mirrors = places;
                Check(setting.Members(Table).Single(member => member.Name == nameof(RegistryOptions.Mirrors)), places, path);
                if (places.Count == 0)
                {
                    Fault(path, "lists no place, so no image of that registry could be had; list one or remove the key");
                }
            }
        }

        foreach ((string name, SettingNode node) in Entries(HostKeys.Certificates))
        {
            string path = $"{HostKeys.Certificates}.{name}";
            if (ReadText(node, path) is { } file)
            {
                RegistryOf(name, path).Certificate = file;
            }
        }

        if (_root.Members.TryGetValue(HostKeys.Insecure, out SettingNode? list))
        {
            foreach ((int i, string name) in (ReadTexts(list, HostKeys.Insecure) ?? []).Index())
            {
                RegistryOf(name, string.Create(CultureInfo.InvariantCulture, $"{HostKeys.Insecure}[{i}]")).Insecure = true;
            }
        }

        RegistryOptions RegistryOf(string name, string path)
        {
            if (options.Registries.FirstOrDefault(registry => registry.Name == name) is not { } found)
            {
                options.Registries.Add(found = new() { Name = name });
            }

            Check(setting.Members(Table).Single(member => member.Name == nameof(RegistryOptions.Name)), name, path);
            return found;
        }
    }

    private Dictionary<string, SettingNode> Entries(string key)
    {
        switch (_root.Members.GetValueOrDefault(key))
        {
            case SettingObject section:
                return section.Members;
            case null:
                return [];
            case { } other:
                Fault(key, "must be an object", other);
                return [];
        }
    }

    // Images as an object with a number of sandboxes for each, and warm_ups with a command for each: a list of images replaces both.
    private void BindOldImages(SettingObject section, string prefix, PoolOptions pool)
    {
        SettingNode? images = section.Members.GetValueOrDefault("images");
        SettingNode? warmUps = section.Members.GetValueOrDefault(HostKeys.WarmUps);
        if (images is SettingList && warmUps is not null)
        {
            Fault(prefix + HostKeys.WarmUps, $"cannot be there together with a list in {prefix}images; put each command into warm_up of its image");
            return;
        }

        foreach ((string image, SettingNode node) in (images as SettingObject)?.Members ?? [])
        {
            if (ReadNumber(Table.PoolImages.Single(member => member.Name == nameof(PoolImageOptions.Count)) with { Least = 1 }, node, $"{prefix}images.{image}") is int count)
            {
                ImageOf(image, $"{prefix}images.{image}").Count = count;
            }
        }

        if (warmUps is not null and not SettingObject)
        {
            Fault(prefix + HostKeys.WarmUps, "must be an object with a command for each image", warmUps);
        }

        foreach ((string image, SettingNode node) in (warmUps as SettingObject)?.Members ?? [])
        {
            if (ReadTexts(node, $"{prefix}{HostKeys.WarmUps}.{image}") is { } command)
            {
                ImageOf(image, $"{prefix}{HostKeys.WarmUps}.{image}").WarmUp = command;
            }
        }

        PoolImageOptions ImageOf(string name, string path)
        {
            if (!ImageReference.TryParse(name, out _))
            {
                Fault(path, "is not the name of an image; write one such as python:3.12-slim");
            }

            if (pool.Images.FirstOrDefault(known => known.Image == name) is not { } found)
            {
                pool.Images.Add(found = new() { Image = name, Count = 0 });
            }

            return found;
        }
    }

    private ListenAddress BindListenAddress()
    {
        if (!_root.Members.TryGetValue(HostKeys.ListenAddress, out SettingNode? node))
        {
            return new ListenAddress(IPAddress.Loopback, 8080);
        }

        if (ReadText(node, HostKeys.ListenAddress) is { } text)
        {
            if (ListenAddress.Parse(text) is { } address)
            {
                return address;
            }

            Fault(HostKeys.ListenAddress, "must be a port with an IP address, localhost or nothing before it, such as :8080 or 127.0.0.1:8080", node);
        }

        return new ListenAddress(IPAddress.Loopback, 0);
    }

    private List<string> BindHostNames()
    {
        List<string> names = _root.Members.TryGetValue(HostKeys.HostNames, out SettingNode? node) ? ReadTexts(node, HostKeys.HostNames) ?? [] : [];
        for (int i = 0; i < names.Count; i++)
        {
            if (!IsHostName(names[i]))
            {
                Fault($"{HostKeys.HostNames}[{i}]", $"must be a name that clients use for this host, alone or with a port, such as boxer.example or boxer.example:8080, not {Quote(names[i])}");
            }
        }

        return names;
    }

    private List<string> BindApiKeys()
    {
        List<string> keys = _root.Members.TryGetValue(HostKeys.ApiKeys, out SettingNode? node) ? ReadTexts(node, HostKeys.ApiKeys) ?? [] : [];
        for (int i = 0; i < keys.Count; i++)
        {
            // The value is a secret: no message shows it.
            if (keys[i].Length == 0 || keys[i].Length > 4_096 || keys[i].Any(c => c is <= ' ' or > '~'))
            {
                Fault($"{HostKeys.ApiKeys}[{i}]", "must be 1 to 4096 visible ASCII characters without spaces");
            }
            else if (keys.IndexOf(keys[i]) < i)
            {
                Fault($"{HostKeys.ApiKeys}[{i}]", $"is the same as api_keys[{keys.IndexOf(keys[i])}]; remove one");
            }
        }

        if (keys.Count == 0 && node is SettingList)
        {
            Fault(HostKeys.ApiKeys, "lists no key; list one, or remove the setting to leave the host open");
        }

        return keys;
    }

    private static bool IsHostName(string text) =>
        text.Length is > 0 and <= 255
        && !text.Contains('/', StringComparison.Ordinal)
        && text.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or ':' or '[' or ']')
        && Uri.TryCreate($"https://{text}/", UriKind.Absolute, out Uri? url)
        && url.AbsolutePath == "/";

    private void RefuseUnknown(SettingObject section, string prefix, IEnumerable<string> known)
    {
        string[] keys = [.. known.Order(StringComparer.Ordinal)];
        foreach ((string key, SettingNode node) in section.Members)
        {
            RefuseUnless(prefix, key, keys, $"is not a setting{From(node)}");
        }
    }

    private static string KeyOf(Setting setting) => setting.HttpKey ?? setting.HostKey!;

    private static string? AsText(SettingNode node) =>
        node switch
        {
            SettingScalar { Text: { } text } => text,
            SettingScalar { Json: { ValueKind: JsonValueKind.String } json } => json.GetString(),
            _ => null,
        };

    private static string From(SettingNode node) => node.Variable is { } variable ? $" (environment variable {variable})" : "";

    private static string Quote(string text) => JsonSerializer.Serialize(Clip(text), HostJson.Default.String);

    private static string Show(SettingNode node) => node switch
    {
        SettingScalar { Text: { } text } => Quote(text),
        SettingScalar { Json: var json } => Show(json),
        _ => node is SettingList ? "a list" : "an object",
    };

    private void Fault(string key, string message, SettingNode found) => Fault(key, $"{message}, not {Show(found)}{From(found)}");
}
