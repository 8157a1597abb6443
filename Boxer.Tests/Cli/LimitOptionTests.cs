using System.CommandLine;
using System.Runtime.CompilerServices;
using Boxer.Cli;
using Boxer.Validation;

namespace Boxer.Tests.Cli;

/// <summary>Tests that the options for limits are exactly those of the table.</summary>
public sealed class LimitOptionTests
{
    [Fact]
    public void Every_limit_has_an_option_with_range_and_default_in_its_help()
    {
        Command command = RunCommand.Create(new CommonOptions());

        Assert.All(SettingTable.BuiltIn.Limits.Where(limit => limit.HttpKey is not null), limit =>
            Assert.Equal(limit.Describe(), Assert.Single(command.Options, option => option.Name == limit.CliOption).Description));
        Assert.Equal(
            "Memory of the whole sandbox. 32 to 1048576 MiB. Default: 256.",
            Assert.Single(command.Options, option => option.Name == "--memory-mb").Description);
        Assert.Equal(
            "Processor time of the whole sandbox, on all cores together. 0.01 to 86400 seconds. Default: as much as MaxLimits allows, else no limit.",
            Assert.Single(command.Options, option => option.Name == "--cpu-time").Description);
    }

    [Fact]
    public void SettingTable_rows_are_options()
    {
        var values = new ConditionalWeakTable<object, object>();
        Setting added = Setting.Of<ResourceLimits, TimeSpan?>(
            "NapTime", limits => values.TryGetValue(limits, out object? value) ? (TimeSpan)value : null, (limits, value) => values.AddOrUpdate(limits, value!), "Time of naps.") with
        {
            Default = TimeSpan.FromSeconds(1),
            Least = TimeSpan.FromMilliseconds(1),
            Most = TimeSpan.FromMinutes(1),
            HttpKey = "nap_secs",
            CliOption = "--nap",
        };
        Command command = RunCommand.Create(new CommonOptions(), SettingTable.BuiltIn with { Limits = [.. SettingTable.BuiltIn.Limits, added] });
        var option = new LimitOption(added);
        ResourceLimits limits = new();

        option.CopyTo(limits, new RootCommand { option.Option }.Parse(["--nap", "1.5"]));

        Assert.Equal("Time of naps. 0.001 to 60 seconds. Default: 1.", Assert.Single(command.Options, known => known.Name == "--nap").Description);
        Assert.Equal(TimeSpan.FromSeconds(1.5), added.Get(limits));
    }

    [Theory]
    [InlineData("--memory-mb", "512", "MemoryBytes", 512 * ByteSize.MiB)]
    [InlineData("--cpus", "0.5", "CpuCores", 0.5)]
    [InlineData("--pids", "7", "Pids", 7)]
    [InlineData("--open-files", "8", "OpenFiles", 8)]
    [InlineData("--disk-mb", "3", "DiskBytes", 3 * ByteSize.MiB)]
    public void An_option_sets_its_limit_in_its_unit(string name, string text, string property, object expected)
    {
        var option = new LimitOption(SettingTable.BuiltIn.Limits.Single(limit => limit.CliOption == name));
        ResourceLimits limits = new();

        option.CopyTo(limits, new RootCommand { option.Option }.Parse([name, text]));

        Assert.Equal(expected, typeof(ResourceLimits).GetProperty(property)!.GetValue(limits));
    }
}
