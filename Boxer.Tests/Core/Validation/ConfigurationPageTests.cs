using System.Text.Json;
using Boxer.Hosting.Configuration;
using Boxer.Validation;
using Microsoft.Extensions.Configuration;

namespace Boxer.Tests.Core.Validation;

/// <summary>docs/configuration.md has every option of the table, and its file can be read.</summary>
public sealed class ConfigurationPageTests
{
    private static readonly string Page = File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "docs", "configuration.md"));

    private static readonly string Json = Page.Split("```json\n")[1].Split("```")[0];

    public static TheoryData<string> Groups => ["Options", "Limits", "Pool", "PoolImages", "Registries", "Egress"];

    [Theory]
    [MemberData(nameof(Groups))]
    public void The_page_has_a_row_for_each_setting(string group)
    {
        string table = string.Concat(SettingsOf(group).Select(Row));

        Assert.True(Page.Contains("|---|---|---|---|---|\n" + table, StringComparison.Ordinal), $"docs/configuration.md must have this table of {group}:\n{table}");
    }

    [Fact]
    public void The_file_sets_each_option()
    {
        using JsonDocument document = JsonDocument.Parse(Json);

        Assert.Empty(FindMissing(SettingTable.BuiltIn.Options, document.RootElement.GetProperty("Boxer"), ""));
    }

    [Fact]
    public void The_file_is_read_without_faults()
    {
        using var stream = new MemoryStream(System.Text.Encoding.UTF8.GetBytes(Json));
        IConfiguration section = new ConfigurationBuilder().AddJsonStream(stream).Build().GetSection("Boxer");
        var options = new BoxerOptions();
        var faults = new Faults(section);
        new OptionKeys(SettingTable.BuiltIn, faults).Read(section, SettingTable.BuiltIn.Options, options);

        Assert.Empty(faults.All);
        Assert.Equal((2, "docker.io", TimeSpan.FromMinutes(5)), (options.Pool.Images.Single().Count, options.Registries[0].Name, options.Pool.IdleTimeout));
    }

    private static IReadOnlyList<Setting> SettingsOf(string group) => group switch
    {
        "Options" => SettingTable.BuiltIn.Options,
        "Limits" => SettingTable.BuiltIn.Limits,
        "Pool" => SettingTable.BuiltIn.Pool,
        "PoolImages" => SettingTable.BuiltIn.PoolImages,
        "Registries" => SettingTable.BuiltIn.Registries,
        _ => SettingTable.BuiltIn.Egress,
    };

    private static string Row(Setting setting)
    {
        string byDefault = (setting.DefaultText ?? setting.Format(setting.Default, withUnit: false)) + (setting.HostDefault is null ? "" : $"; {setting.Format(setting.HostDefault, withUnit: false)} in the HTTP host");
        return $"| `{setting.Name}` | {byDefault} | {(setting.Choices.Count > 0 ? string.Join(", ", setting.Choices.Keys) : setting.Range())} | `{setting.HttpKey ?? setting.HostKey}` | {setting.Text} |\n";
    }

    private static IEnumerable<string> FindMissing(IReadOnlyList<Setting> settings, JsonElement section, string prefix)
    {
        foreach (Setting setting in settings)
        {
            if (!section.TryGetProperty(setting.Name, out JsonElement value))
            {
                yield return prefix + setting.Name;
                continue;
            }

            JsonElement? inner = setting.Kind switch { SettingKind.Group => value, SettingKind.Groups => value[0], _ => null };
            foreach (string missing in inner is { } group ? FindMissing(setting.Members(SettingTable.BuiltIn), group, $"{prefix}{setting.Name}.") : [])
            {
                yield return missing;
            }
        }
    }
}
