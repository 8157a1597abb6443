using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using Boxer.AspNetCore.Configuration;
using Boxer.Hosting.Configuration;
using Boxer.Validation;
using Microsoft.Extensions.Configuration;

namespace Boxer.Tests.Core.Validation;

/// <summary>Compares docs/configuration.md and the tables of docs/server.md and docs/limits.md with the table of options; the examples are valid and complete.</summary>
public sealed partial class ConfigurationPageTests
{
    private static readonly string Page = Read("configuration.md");

    public static TheoryData<string> Groups => ["Limits", "Options", "Pool", "Pool images", "Sessions", "Egress", "Registries", "HTTP host"];

    [Theory]
    [MemberData(nameof(Groups))]
    public void A_table_of_the_page_is_that_of_its_options(string group)
    {
        string expected = MakeTable(group, SettingsOf(SettingTable.BuiltIn, group));

        Assert.True(TableOf(Page, group) == expected, $"The table under \"### {group}\" of docs/configuration.md must be:\n{expected}");
    }

    [Fact]
    public void A_row_that_is_added_to_the_table_is_missing_on_the_page()
    {
        Setting added = SettingTable.BuiltIn.Options[0] with { Name = "Added", HostKey = "added" };
        SettingTable table = SettingTable.BuiltIn with { Options = [.. SettingTable.BuiltIn.Options, added] };

        string expected = MakeTable("Options", SettingsOf(table, "Options"));

        Assert.Contains("| `Added` | ~/.boxer | | `added` |", expected, StringComparison.Ordinal);
        Assert.NotEqual(expected, TableOf(Page, "Options"));
    }

    [Fact]
    public void The_appsettings_json_of_the_page_has_every_option_and_is_valid()
    {
        string json = ExampleAfter("## appsettings.json with every option");
        using JsonDocument document = JsonDocument.Parse(json);
        AssertComplete(document.RootElement.GetProperty("Boxer"), SettingTable.BuiltIn.Options, setting => setting.Name);

        IConfiguration section = new ConfigurationBuilder().AddJsonStream(new MemoryStream(System.Text.Encoding.UTF8.GetBytes(json))).Build().GetSection("Boxer");
        var faults = new Faults(section);
        var options = new BoxerOptions();
        new OptionKeys(SettingTable.BuiltIn, faults).Read(section, SettingTable.BuiltIn.Options, options);

        Assert.Empty(faults.All);
        Assert.All(options.Registries.Where(registry => registry.Certificate is not null), registry => registry.Certificate = Path.Combine(AppContext.BaseDirectory, "Boxer.Core.xml"));
        Assert.Empty(OptionsValidator.Validate(options, ["none", "sandbox", "host"], 16 * ByteSize.GiB, 4));
        Assert.Equal((512 * ByteSize.MiB, TimeSpan.FromSeconds(30), "python:3.12-slim", "registry.example:5000"), (options.DefaultLimits.MemoryBytes, options.DefaultLimits.WallClock, options.Pool.Images[0].Image, options.Registries[1].Name));
    }

    [Fact]
    public void The_config_json_of_the_page_has_every_key_and_is_valid()
    {
        string json = ExampleAfter("## config.json of the HTTP host with every key");
        using JsonDocument document = JsonDocument.Parse(json, new JsonDocumentOptions { CommentHandling = JsonCommentHandling.Skip });
        string[] old = [HostKeys.Mirrors, HostKeys.Certificates, HostKeys.Insecure];
        Assert.Equal(
            HostKeys.Names(SettingTable.BuiltIn).Except(old).Order(StringComparer.Ordinal),
            document.RootElement.EnumerateObject().Select(property => property.Name).Order(StringComparer.Ordinal));
        AssertComplete(document.RootElement, SettingTable.BuiltIn.Options, setting => setting.HttpKey ?? setting.HostKey!);
        string file = Path.GetTempFileName();
        try
        {
            File.WriteAllText(file, json);

            HostSettings settings = SettingsBinder.Bind(SettingsSource.Read(file, new Dictionary<string, string>(), "/home/me"), "/home/me", out IReadOnlyList<string> faults);

            Assert.Empty(faults);
            Assert.Equal((512 * ByteSize.MiB, TimeSpan.FromSeconds(30)), (settings.Sandboxes.DefaultLimits.MemoryBytes, settings.Sandboxes.DefaultLimits.WallClock));
        }
        finally
        {
            File.Delete(file);
        }
    }

    [Fact]
    public void Server_page_names_every_key_of_the_host_with_its_default()
    {
        string table = Between(Read("server.md"), "| key, default | meaning |", "\n\n");
        Assert.All(HostKeys.Names(SettingTable.BuiltIn), key => Assert.Contains($"`{key}`", table, StringComparison.Ordinal));
        IEnumerable<Setting> settings = [.. SettingTable.BuiltIn.Options, .. SettingTable.BuiltIn.Pool, .. SettingTable.BuiltIn.Sessions, .. SettingTable.BuiltIn.Limits, .. HostKeys.Http];
        Assert.All(settings.Where(setting => setting.Kind is SettingKind.Number or SettingKind.Size or SettingKind.Time && (setting.HostDefault ?? setting.Default) is not null), setting =>
        {
            object value = setting.HostDefault ?? setting.Default!;
            string key = setting.HttpKey ?? setting.HostKey!;
            string[] spellings = [setting.ToNumber(value).ToString(CultureInfo.InvariantCulture), setting.Format(value)];
            Assert.True(spellings.Any(spelling => Regex.IsMatch(table, $@"`{key}` {Regex.Escape(spelling)}\b")), $"docs/server.md must say `{key}` {spellings[0]}.");
        });
    }

    [Fact]
    public void Limits_page_names_every_limit_with_its_default()
    {
        string table = Between(Read("limits.md"), "| limit, default | over HTTP | result when it is reached |", "\n\n");
        Assert.All(SettingTable.BuiltIn.Limits, limit => Assert.Contains(
            $"`{limit.Name}` {(limit.Default is null ? "none" : Display(limit, limit.Default, withUnit: false))}", table, StringComparison.Ordinal));
    }

    [Fact]
    public void Aspnetcore_page_names_every_option_of_the_endpoints_with_its_default()
    {
        string table = Between(Read("aspnetcore.md"), "| option, default | meaning |", "\n\n");
        Assert.All(HostKeys.Http, option => Assert.Contains(
            $"`{option.Name}`{(option.Default is null ? "" : $" {Display(option, option.Default, withUnit: false)}")}", table, StringComparison.Ordinal));
    }

    private static IReadOnlyList<Setting> SettingsOf(SettingTable table, string group) => group switch
    {
        "Limits" => table.Limits,
        "Options" => table.Options,
        "Pool" => table.Pool,
        "Pool images" => table.PoolImages,
        "Sessions" => table.Sessions,
        "Egress" => table.Egress,
        "Registries" => table.Registries,
        _ => HostKeys.Http,
    };

    private static string MakeTable(string group, IReadOnlyList<Setting> settings)
    {
        string command = group == "Limits" ? " | `boxer run`" : "";
        List<string> lines = [$"| C# | default | range | key of the HTTP host{command} | |", $"|---|---|---|---|{(command.Length > 0 ? "---|" : "")}---|"];
        foreach (Setting setting in settings)
        {
            string byDefault = setting.DefaultText ?? Display(setting, setting.Default, withUnit: false);
            string host = setting.HostDefault is null ? "" : $" ({setting.Format(setting.HostDefault)} there)";
            string range = setting.Choices.Count > 0 ? string.Join(", ", setting.Choices.Keys.Select(choice => $"`{choice}`")) : DisplayRange(setting);
            string option = group != "Limits" ? "" : setting.CliOption is null ? " |" : $" `{setting.CliOption}` |";
            lines.Add($"| `{setting.Name}` | {byDefault} |{(range.Length > 0 ? $" {range}" : "")} | `{setting.HttpKey ?? setting.HostKey}`{host} |{option} {setting.Text} |");
        }

        return string.Join('\n', lines);
    }

    private static string DisplayRange(Setting setting) => Digits().Replace(setting.Range().Replace("from ", "", StringComparison.Ordinal), "$0,");

    // Long numbers have commas on pages.
    private static string Display(Setting setting, object? value, bool withUnit) => Digits().Replace(setting.Format(value, withUnit), "$0,");

    private static void AssertComplete(JsonElement element, IReadOnlyList<Setting> settings, Func<Setting, string> nameOf) => Assert.All(settings, setting =>
    {
        // The key of a limit of the whole host is at the top.
        if (settings == SettingTable.BuiltIn.Limits && nameOf(setting) == setting.HostKey)
        {
            return;
        }

        Assert.True(element.TryGetProperty(nameOf(setting), out JsonElement value), $"{nameOf(setting)} is missing in the example.");
        IReadOnlyList<Setting> members = setting.Members(SettingTable.BuiltIn);
        if (setting.Kind == SettingKind.Group)
        {
            AssertComplete(value, members, nameOf);
        }
        else if (setting.Kind == SettingKind.Groups)
        {
            Assert.All(members, member => Assert.Contains(value.EnumerateArray(), item => item.TryGetProperty(nameOf(member), out _)));
        }
    });

    private static string TableOf(string page, string group) => Between(page, $"### {group}\n", "\n\n", afterStart: true, skipProse: true);

    private static string ExampleAfter(string heading)
    {
        string rest = Page[Page.IndexOf(heading, StringComparison.Ordinal)..];
        int start = rest.IndexOf("```json\n", StringComparison.Ordinal) + "```json\n".Length;
        return rest[start..rest.IndexOf("\n```", start, StringComparison.Ordinal)];
    }

    private static string Between(string text, string start, string end, bool afterStart = false, bool skipProse = false)
    {
        int from = text.IndexOf(start, StringComparison.Ordinal);
        Assert.True(from >= 0, $"'{start}' is missing.");
        from += afterStart ? start.Length : 0;
        from = skipProse ? text.IndexOf("\n|", from - 1, StringComparison.Ordinal) + 1 : from;
        int to = text.IndexOf(end, from, StringComparison.Ordinal);
        return (to < 0 ? text[from..] : text[from..to]).TrimEnd('\n');
    }

    private static string Read(string name) => File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "docs", name)).ReplaceLineEndings("\n");

    [GeneratedRegex(@"\d(?=(?:\d{3})+\b)(?<!\.\d*)", RegexOptions.None, matchTimeoutMilliseconds: 1_000)]
    private static partial Regex Digits();
}
