using System.Globalization;
using Boxer.Validation;
using Microsoft.Extensions.Configuration;

namespace Boxer.Hosting.Configuration;

/// <summary>
/// Reads options from configuration by the rows of a <see cref="SettingTable"/>. It uses no reflection, so that it works in programs compiled ahead of
/// time. All faults are collected, each with its key.
/// </summary>
internal sealed class OptionKeys(SettingTable table, Faults faults)
{
    /// <summary>Reads a section. A key without a value (<c>null</c> in JSON) keeps the default, or sets an optional option to <see langword="null"/>.</summary>
    /// <param name="section">The section.</param>
    /// <param name="settings">The settings of the section.</param>
    /// <param name="target">The object that has the properties.</param>
    internal void Read(IConfiguration section, IReadOnlyList<Setting> settings, object target)
    {
        foreach (IConfigurationSection child in section.GetChildren())
        {
            if (settings.FirstOrDefault(setting => setting.Name.Equals(child.Key, StringComparison.OrdinalIgnoreCase)) is { } setting)
            {
                Read(child, setting, target);
                continue;
            }

            string[] known = [.. settings.Select(known => known.Name)];
            string remedy = child.GetChildren().Any(inner => known.Contains(inner.Key, StringComparer.OrdinalIgnoreCase))
                ? $"it has options: pass this section, as GetSection(\"{child.Key}\") does."
                : NearestName.Find(child.Key, known) is { } nearest
                ? $"did you mean {nearest}?"
                : $"the options here are {string.Join(", ", known.Order(StringComparer.Ordinal))}.";
            faults.Add(child, $"is not an option; {remedy}");
        }
    }

    private void Read(IConfigurationSection section, Setting setting, object target)
    {
        bool isEmpty = section.Value is null && !section.GetChildren().Any();
        switch (setting.Kind)
        {
            case SettingKind.Group:
                ReadGroup(section, setting.Members(table), setting.Get(target));
                break;
            case SettingKind.Texts when !isEmpty:
                if (ReadList(section, "", ReadText) is { } texts)
                {
                    setting.Set(target, texts);
                }

                break;
            case SettingKind.Groups when !isEmpty:
                if (ReadList(section, $":{setting.Members(table)[0].Name}", item => ReadItem(item, setting)) is { } items)
                {
                    setting.Set(target, setting.CreateList!(items));
                }

                break;
            case SettingKind.Texts or SettingKind.Groups:
                break;
            case var kind when isEmpty || (section.Value is "" && kind is not (SettingKind.Text or SettingKind.Path)):
                if (setting.IsOptional)
                {
                    setting.Set(target, null);
                }
                else if (!isEmpty)
                {
                    ReadValue(section, setting, target);
                }

                break;
            default:
                ReadValue(section, setting, target);
                break;
        }
    }

    private void ReadGroup(IConfigurationSection section, IReadOnlyList<Setting> settings, object? group)
    {
        if (!string.IsNullOrEmpty(section.Value))
        {
            faults.Add(section, $"'{section.Value}' must be a section with keys such as {faults.Name(section)}:{settings[0].Name}.");
        }
        else if (group is not null)
        {
            Read(section, settings, group);
        }
    }

    private object ReadItem(IConfigurationSection section, Setting setting)
    {
        object item = setting.CreateItem!();
        ReadGroup(section, setting.Members(table), item);
        return item;
    }

    // A list has the keys 0, 1, 2 and so on. Merged configuration sources may leave gaps; other keys are mistakes.
    private List<TItem>? ReadList<TItem>(IConfigurationSection section, string suffix, Func<IConfigurationSection, TItem> read)
    {
        if (!string.IsNullOrEmpty(section.Value))
        {
            faults.Add(section, $"'{section.Value}' must be a list: {KeysOf(section, suffix)}.");
            return null;
        }

        var list = new List<(int Index, TItem Item)>();
        foreach (IConfigurationSection child in section.GetChildren())
        {
            if (int.TryParse(child.Key, NumberStyles.None, CultureInfo.InvariantCulture, out int index))
            {
                list.Add((index, read(child)));
            }
            else
            {
                faults.Add(child, $"must be in a list: {KeysOf(section, suffix)}.");
            }
        }

        return [.. list.OrderBy(item => item.Index).Select(item => item.Item)];
    }

    private string KeysOf(IConfigurationSection list, string suffix) => $"{faults.Name(list)}:0{suffix}, {faults.Name(list)}:1{suffix} and so on";

    private string ReadText(IConfigurationSection section)
    {
        if (section.Value is null)
        {
            faults.Add(section, "must be a text.");
        }

        return section.Value ?? "";
    }

    private void ReadValue(IConfigurationSection section, Setting setting, object target)
    {
        if (section.GetChildren().Any())
        {
            faults.Add(section, "must be a value, not a section or a list.");
            return;
        }

        try
        {
            setting.Set(target, setting.ReadText(section.Value ?? ""));
        }
        catch (FormatException exception)
        {
            faults.Add(section, exception.Message);
        }
    }
}

/// <summary>Collects the faults of a configuration section, each with its key in the section.</summary>
internal sealed class Faults(IConfiguration root)
{
    private readonly List<string> _all = [];

    internal IReadOnlyList<string> All => _all;

    internal void Add(IConfigurationSection section, string message) => _all.Add($"{Name(section)}: {message}");

    /// <summary>The key of a section within the root.</summary>
    internal string Name(IConfigurationSection section) => root is IConfigurationSection own ? section.Path[(own.Path.Length + 1)..] : section.Path;
}
