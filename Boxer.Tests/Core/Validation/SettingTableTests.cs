using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using Boxer.Networking;
using Boxer.Validation;

namespace Boxer.Tests.Core.Validation;

/// <summary><see cref="SettingTable"/> has a row for each limit and option, and their documentation agrees with it.</summary>
public sealed partial class SettingTableTests
{
    private static readonly (Type Owner, IReadOnlyList<Setting> Settings)[] Groups =
    [
        (typeof(BoxerOptions), SettingTable.BuiltIn.Options),
        (typeof(ResourceLimits), SettingTable.BuiltIn.Limits),
        (typeof(EgressPolicy), SettingTable.BuiltIn.Egress),
        (typeof(PoolOptions), SettingTable.BuiltIn.Pool),
        (typeof(PoolImageOptions), SettingTable.BuiltIn.PoolImages),
        (typeof(RegistryOptions), SettingTable.BuiltIn.Registries),
        (typeof(SessionOptions), SettingTable.BuiltIn.Sessions),
    ];

    public static TheoryData<string, string> Settings => new(Groups.SelectMany(group => group.Settings.Select(setting => (group.Owner.Name, setting.Name))));

    [Fact]
    public void SettingTable_has_a_row_for_each_public_property_and_the_reverse() => Assert.All(Groups, group => Assert.Equal(
        group.Owner.GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(property => property.CanWrite).Select(property => property.Name).Order(StringComparer.Ordinal),
        group.Settings.Select(setting => setting.Name).Order(StringComparer.Ordinal)));

    [Theory]
    [MemberData(nameof(Settings))]
    public void Setting_reads_and_writes_its_property_and_has_all_columns(string owner, string name)
    {
        (Type type, Setting setting) = Find(owner, name);
        PropertyInfo property = type.GetProperty(name)!;
        Type value = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;

        Assert.Equal(value, setting.Type);
        Assert.Equal(new NullabilityInfoContext().Create(property).WriteState == NullabilityState.Nullable, setting.IsOptional);
        Assert.All((object?[])[setting.Least, setting.Most], bound => Assert.True(bound is null || bound.GetType() == value));
        Assert.True(setting.Kind is not (SettingKind.Number or SettingKind.Size or SettingKind.Time) || setting.Least is not null, "a number has a least value");
        Assert.True(setting.Kind != SettingKind.Number || setting.Unit.Length > 0 || setting.Name == nameof(BoxerOptions.CpuOvercommit), "a number has a unit");
        Assert.True(setting.Default is not null || setting.DefaultText is not null, "a default is a value or said in words");
        Assert.True((setting.HttpKey is null) != (setting.HostKey is null), "a key of requests is one of the configuration too");
        Assert.Matches("^[A-Z].*\\.$", setting.Text);

        object target = Activator.CreateInstance(type)!;
        object? byDefault = property.GetValue(target);
        Assert.Equal(byDefault, setting.Get(target));
        object? other = setting.Kind switch
        {
            SettingKind.Flag => true,
            SettingKind.Text or SettingKind.Path or SettingKind.Choice when value == typeof(string) => "/other",
            SettingKind.Choice => setting.Choices.Values.Last(),
            SettingKind.Texts => new List<string> { "other" },
            SettingKind.Group => Activator.CreateInstance(value),
            SettingKind.Groups => setting.CreateList!([setting.CreateItem!()]),
            _ => setting.Least,
        };
        setting.Set(target, other);
        Assert.Equal(other, property.GetValue(target));
    }

    [Theory]
    [MemberData(nameof(Settings))]
    public void The_documentation_of_a_property_has_the_default_and_the_range_of_its_row(string owner, string name)
    {
        (Type type, Setting setting) = Find(owner, name);
        string text = Document(type, name);

        if (setting.Kind is SettingKind.Number or SettingKind.Size or SettingKind.Time)
        {
            // The documentation names the unit once, with the description of the number.
            string range = (setting with { Unit = "" }).Range().Replace("from ", "", StringComparison.Ordinal);
            Assert.Contains(range, text.Replace(",", "", StringComparison.Ordinal), StringComparison.Ordinal);
        }

        string expected = setting switch
        {
            { DefaultText: "required" } => "Required",
            { Default: string[] { Length: > 0 } texts } => $"Default {string.Join(", ", texts)}",
            { Kind: SettingKind.Texts, IsOptional: false } or { Kind: SettingKind.Groups } => "Default empty",
            { Kind: SettingKind.Group } => "Default: ",
            { Default: not null } => $"Default {setting.Format(setting.Default, withUnit: false)}",
            { IsOptional: true } => "Default null",
            _ => "Default ~/.boxer",
        };
        Assert.Contains(expected, text.Replace(" and ", ", ", StringComparison.Ordinal).Replace("1,000", "1000", StringComparison.Ordinal).Replace("10,000", "10000", StringComparison.Ordinal), StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(Settings))]
    public void BoxerOptions_new_instances_have_the_defaults_of_the_table(string owner, string name)
    {
        (Type type, Setting setting) = Find(owner, name);
        object? value = setting.Get(Activator.CreateInstance(type)!);
        object? ofOptions = type == typeof(ResourceLimits) ? setting.Get(new BoxerOptions().DefaultLimits) : value;

        if (setting.Default is not null)
        {
            Assert.Equal(setting.Default, ofOptions);
        }
        else if (setting.IsOptional)
        {
            Assert.Null(ofOptions);
        }
    }

    [Fact]
    public void SettingTable_an_added_row_is_validated_compared_and_described()
    {
        var values = new ConditionalWeakTable<object, object>();
        Setting added = Setting.Of<BoxerOptions, TimeSpan?>(
            "NapTime",
            options => values.TryGetValue(options, out object? value) ? (TimeSpan)value : null,
            (options, value) => values.AddOrUpdate(options, value!),
            "Time that a run naps.") with
        {
            Default = TimeSpan.FromSeconds(1),
            Least = TimeSpan.Zero,
            Most = TimeSpan.FromMinutes(5),
            HostKey = "nap_time_secs",
        };
        SettingTable table = SettingTable.BuiltIn with { Options = [.. SettingTable.BuiltIn.Options, added] };
        BoxerOptions options = new(), other = new();
        Assert.Empty(table.FindDifferences(options, other));

        added.Set(options, TimeSpan.FromDays(30));

        SandboxFault fault = Assert.Single(OptionsValidator.Validate(options, ["none"], 16 * ByteSize.GiB, 4, table));
        Assert.Equal(("NapTime", "is 720 h, but must be from 0 s to 5 min."), (fault.Field, fault.Message));
        Assert.Equal(["NapTime"], table.FindDifferences(options, other));
        Assert.Equal(TimeSpan.FromSeconds(90), added.ReadText("00:01:30"));
        Assert.Equal("'30' has no unit; write hours:minutes:seconds, such as 00:00:30 for 30 s.", Assert.Throws<FormatException>(() => added.ReadText("30")).Message);
        Assert.Equal(TimeSpan.FromSeconds(1.5), added.FromNumber(1.5m));
    }

    [Fact]
    public void FindDifferences_returns_the_paths_of_changed_options()
    {
        BoxerOptions first = new(), second = new();
        Assert.Empty(SettingTable.BuiltIn.FindDifferences(first, second));

        second.DefaultLimits.MemoryBytes = ByteSize.GiB;
        second.DnsServers = ["9.9.9.9"];
        second.Pool.MaxAge = TimeSpan.FromMinutes(1);
        second.Sessions.Lifetime = TimeSpan.FromMinutes(1);
        second.Egress = new() { Allow = [] };
        second.Registries.Add(new() { Name = "docker.io" });
        first.Pool.Images.Add(new() { Image = "python", WarmUp = ["a"] });
        second.Pool.Images.Add(new() { Image = "python", WarmUp = ["b"] });
        Assert.Equal(
            ["DefaultLimits.MemoryBytes", "DnsServers", "Registries", "Egress.Allow", "Pool.Images", "Pool.MaxAge", "Sessions.Lifetime"],
            SettingTable.BuiltIn.FindDifferences(first, second));
    }

    [Theory]
    [InlineData(0, "0 s")]
    [InlineData(-1, "-1 ms")]
    [InlineData(1, "1 ms")]
    [InlineData(1_500, "1.5 s")]
    [InlineData(30_000, "30 s")]
    [InlineData(60_000, "60 s")]
    [InlineData(90_000, "90 s")]
    [InlineData(120_000, "2 min")]
    [InlineData(3_600_000, "1 h")]
    [InlineData(5_400_000, "90 min")]
    [InlineData(86_400_000, "24 h")]
    public void Setting_Format_writes_times_with_the_largest_unit(long milliseconds, string text) =>
        Assert.Equal(text, SettingTable.BuiltIn.Limits.Single(limit => limit.Name == "WallClock").Format(TimeSpan.FromMilliseconds(milliseconds)));

    private static (Type Owner, Setting Setting) Find(string owner, string name)
    {
        (Type type, IReadOnlyList<Setting> settings) = Groups.Single(group => group.Owner.Name == owner);
        return (type, settings.Single(setting => setting.Name == name));
    }

    // The text that a reader sees: references by their last name, no markup, one line.
    private static string Document(Type type, string property)
    {
        XElement member = XDocument.Load(Path.ChangeExtension(typeof(BoxerOptions).Assembly.Location, ".xml"))
            .Descendants("member").Single(member => member.Attribute("name")!.Value == $"P:{type.FullName}.{property}");
        foreach (XElement element in member.Descendants().Where(element => element.Name.LocalName is "see").ToList())
        {
            string text = element.Attribute("langword")?.Value ?? element.Attribute("cref")!.Value.Split('.')[^1];
            element.ReplaceWith(new XText(text));
        }

        return Space().Replace(member.Value, " ");
    }

    [GeneratedRegex(@"\s+", RegexOptions.None, matchTimeoutMilliseconds: 1_000)]
    private static partial Regex Space();
}
