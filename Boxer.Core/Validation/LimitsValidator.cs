namespace Boxer.Validation;

/// <summary>Limits against the table, for requests and for the defaults in the options.</summary>
internal static class LimitsValidator
{
    /// <summary><paramref name="limits"/>, and what is <see langword="null"/> there from <paramref name="defaults"/>.</summary>
    internal static ResourceLimits Fill(ResourceLimits limits, ResourceLimits defaults)
    {
        var filled = new ResourceLimits();
        foreach (Setting setting in SettingTable.BuiltIn.Limits)
        {
            setting.Set(filled, setting.Get(limits) ?? setting.Get(defaults));
        }

        return filled;
    }

    /// <summary>Finds the limits that are higher than a ceiling has them; <see langword="null"/> there is no ceiling.</summary>
    /// <param name="limits">The limits.</param>
    /// <param name="ceiling">The most of each.</param>
    /// <param name="prefix">What comes before the name of a field.</param>
    /// <param name="table">The limits that there are; <see langword="null"/>: the built-in ones.</param>
    /// <param name="ceilingName">Name of the option that has the ceiling, for who can raise it.</param>
    internal static IEnumerable<SandboxFault> FindAbove(ResourceLimits limits, ResourceLimits ceiling, string prefix, SettingTable? table = null, string? ceilingName = null)
    {
        foreach (Setting setting in (table ?? SettingTable.BuiltIn).Limits)
        {
            // NaN is out of range and not above.
            if (setting.Get(limits) is IComparable value && setting.Get(ceiling) is { } most && value.CompareTo(most) > 0 && most is not double.NaN)
            {
                string remedy = ceilingName is null ? "are allowed here." : $"are allowed by {ceilingName}; lower it, or raise {ceilingName}.{setting.Name}.";
                yield return new($"{prefix}.{setting.Name}", $"is {setting.Format(value, withUnit: false)}, but at most {setting.Format(most)} {remedy}");
            }
        }
    }

    /// <summary>Says that a limit asks for more processors than the machine has.</summary>
    internal static string TooManyCores(double cores, int processors) =>
        FormattableString.Invariant($"is {cores}, but this machine has {processors} processors; ask for at most {processors}.");

    /// <summary>Finds the limits that are out of range; <see langword="null"/> is in range.</summary>
    /// <param name="limits">The limits.</param>
    /// <param name="prefix">What comes before the name of a field.</param>
    /// <param name="table">The limits that there are; <see langword="null"/>: the built-in ones.</param>
    internal static IEnumerable<SandboxFault> Validate(ResourceLimits limits, string prefix, SettingTable? table = null)
    {
        table ??= SettingTable.BuiltIn;
        return table.Validate(table.Limits, limits, prefix + ".");
    }
}
