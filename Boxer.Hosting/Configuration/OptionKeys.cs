using System.Collections;
using System.Globalization;
using Boxer.Validation;
using Microsoft.Extensions.Configuration;

namespace Boxer.Hosting.Configuration;

/// <summary>
/// The keys that a section of the configuration may have, each with the code that sets its property: no reflection, so that it works in programs
/// compiled ahead of time. Each fault is added to a list, by its key, and does not hide others.
/// </summary>
/// <typeparam name="T">The options that the section is for.</typeparam>
internal sealed class OptionKeys<T> : IEnumerable<string>
    where T : class
{
    private readonly Dictionary<string, Action<IConfigurationSection, T, Faults>> _readers = new(StringComparer.OrdinalIgnoreCase);

    public IEnumerator<string> GetEnumerator() => _readers.Keys.GetEnumerator();

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();

    /// <summary>Adds a value that is never <see langword="null"/>: a key without a value leaves the default.</summary>
    internal void Add<TValue>(string name, Func<string, TValue> parse, Action<T, TValue> set) => Add(name, (section, target, faults) =>
    {
        if (!IsEmpty(section) && ReadValue(section, parse, faults, out TValue? value))
        {
            set(target, value!);
        }
    });

    /// <summary>Adds a value that may be <see langword="null"/>: so it is for a key without a value or with an empty one.</summary>
    internal void AddNullable<TValue>(string name, Func<string, TValue> parse, Action<T, TValue?> set)
        where TValue : struct => Add(name, (section, target, faults) =>
    {
        if (IsEmpty(section) || section.Value is "")
        {
            set(target, null);
        }
        else if (ReadValue(section, parse, faults, out TValue value))
        {
            set(target, value);
        }
    });

    /// <summary>Adds a text that may be <see langword="null"/>.</summary>
    internal void AddText(string name, Action<T, string?> set) => Add(name, (section, target, faults) =>
    {
        if (IsEmpty(section))
        {
            set(target, null);
        }
        else if (ReadValue(section, text => text, faults, out string? value))
        {
            set(target, value);
        }
    });

    /// <summary>Adds options within the options.</summary>
    internal void AddGroup<TGroup>(string name, Func<T, TGroup?> get, OptionKeys<TGroup> keys)
        where TGroup : class => Add(name, (section, target, faults) =>
    {
        if (!string.IsNullOrEmpty(section.Value))
        {
            faults.Add(section, $"'{section.Value}' must be a section with keys such as {section.Key}:{keys.First()}.");
        }
        else if (get(target) is { } group)
        {
            keys.Read(section, group, faults);
        }
    });

    /// <summary>Adds a list of texts. It replaces the list that was there; a key without a value leaves it.</summary>
    internal void AddList(string name, Action<T, IList<string>> set) => Add(name, (section, target, faults) =>
    {
        if (!IsEmpty(section) && ReadList(section, faults, ReadText) is { } list)
        {
            set(target, list);
        }
    });

    /// <summary>Adds a dictionary of lists by name, or of texts. Its entries are set beside those that were there.</summary>
    internal void AddDictionary<TValue>(string name, Func<IConfigurationSection, Faults, TValue?> read, Func<T, IDictionary<string, TValue>> get) =>
        Add(name, (section, target, faults) =>
        {
            foreach (IConfigurationSection child in section.GetChildren())
            {
                if (read(child, faults) is { } value)
                {
                    get(target)[child.Key] = value;
                }
            }
        });

    /// <summary>Adds a list of sections. It replaces the list that was there; a key without a value leaves it.</summary>
    internal void AddItems<TItem>(string name, Func<TItem> create, OptionKeys<TItem> keys, Action<T, IList<TItem>> set)
        where TItem : class => Add(name, (section, target, faults) =>
    {
        if (!IsEmpty(section) && ReadList(section, faults, ReadItem) is { } list)
        {
            set(target, list);
        }

        TItem ReadItem(IConfigurationSection item, Faults itemFaults)
        {
            TItem made = create();
            if (!string.IsNullOrEmpty(item.Value))
            {
                itemFaults.Add(item, $"'{item.Value}' must be a section with keys such as {keys.First()}.");
            }

            keys.Read(item, made, itemFaults);
            return made;
        }
    });

    /// <summary>Reads a section.</summary>
    internal void Read(IConfiguration section, T target, Faults faults)
    {
        foreach (IConfigurationSection child in section.GetChildren())
        {
            if (_readers.TryGetValue(child.Key, out Action<IConfigurationSection, T, Faults>? read))
            {
                read(child, target, faults);
            }
            else
            {
                string remedy = NearestName.Find(child.Key, _readers.Keys) is { } nearest
                    ? $"did you mean {nearest}?"
                    : $"the options here are {string.Join(", ", _readers.Keys.Order(StringComparer.Ordinal))}.";
                faults.Add(child, $"is no option; {remedy}");
            }
        }
    }

    private void Add(string name, Action<IConfigurationSection, T, Faults> read) => _readers.Add(name, read);

    // A list has the keys 0, 1, 2 and so on. Layers of configuration may leave numbers out; other keys are mistakes.
    internal static List<TItem>? ReadList<TItem>(IConfigurationSection section, Faults faults, Func<IConfigurationSection, Faults, TItem> read)
    {
        if (!string.IsNullOrEmpty(section.Value))
        {
            faults.Add(section, $"'{section.Value}' must be a list: {section.Key}:0, {section.Key}:1 and so on.");
            return null;
        }

        var list = new List<(int Index, TItem Item)>();
        foreach (IConfigurationSection child in section.GetChildren())
        {
            if (int.TryParse(child.Key, NumberStyles.None, CultureInfo.InvariantCulture, out int index))
            {
                list.Add((index, read(child, faults)));
            }
            else
            {
                faults.Add(child, $"must be in a list: {section.Key}:0, {section.Key}:1 and so on.");
            }
        }

        return [.. list.OrderBy(item => item.Index).Select(item => item.Item)];
    }

    // null in JSON.
    private static bool IsEmpty(IConfigurationSection section) => section.Value is null && !section.GetChildren().Any();

    internal static string ReadText(IConfigurationSection section, Faults faults)
    {
        if (section.Value is null)
        {
            faults.Add(section, "must be a text.");
        }

        return section.Value ?? "";
    }

    private static bool ReadValue<TValue>(IConfigurationSection section, Func<string, TValue> parse, Faults faults, out TValue? value)
    {
        value = default;
        if (section.GetChildren().Any())
        {
            faults.Add(section, "must be a value, not a section or a list.");
            return false;
        }

        try
        {
            value = parse(section.Value ?? "");
            return true;
        }
        catch (FormatException exception)
        {
            faults.Add(section, exception.Message);
            return false;
        }
    }
}

/// <summary>Faults of a section of the configuration, each by its key within it.</summary>
internal sealed class Faults(IConfiguration root)
{
    private readonly List<string> _all = [];

    internal IReadOnlyList<string> All => _all;

    internal void Add(IConfigurationSection section, string message)
    {
        string path = root is IConfigurationSection own ? section.Path[(own.Path.Length + 1)..] : section.Path;
        _all.Add($"{path}: {message}");
    }
}
