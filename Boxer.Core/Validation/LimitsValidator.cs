namespace Boxer.Validation;

/// <summary>Validates limits against the table, for requests and for the default limits in the options.</summary>
internal static class LimitsValidator
{
    /// <summary>Returns <paramref name="limits"/>, with the values of <paramref name="defaults"/> for those that are <see langword="null"/>.</summary>
    internal static ResourceLimits Fill(ResourceLimits limits, ResourceLimits defaults)
    {
        var filled = new ResourceLimits();
        foreach (Setting setting in SettingTable.BuiltIn.Limits)
        {
            setting.Set(filled, setting.Get(limits) ?? setting.Get(defaults));
        }

        return filled;
    }

    /// <summary>Finds the limits that exceed a maximum.</summary>
    /// <param name="limits">The limits.</param>
    /// <param name="ceiling">Maximum of each limit; <see langword="null"/> for no maximum.</param>
    /// <param name="prefix">Path of the property that has the limits.</param>
    /// <param name="table">The table of limits; <see langword="null"/> for the built-in one.</param>
    /// <param name="ceilingName">Name of the option that has the maximum, if the reader of the message can raise it.</param>
    internal static IEnumerable<SandboxFault> FindAbove(ResourceLimits limits, ResourceLimits ceiling, string prefix, SettingTable? table = null, string? ceilingName = null)
    {
        foreach (Setting setting in (table ?? SettingTable.BuiltIn).Limits)
        {
            // NaN is out of range, which is another fault.
            if (setting.Get(limits) is IComparable value && setting.Get(ceiling) is { } most && value.CompareTo(most) > 0 && most is not double.NaN)
            {
                string remedy = ceilingName is null ? "are allowed here." : $"are allowed by {ceilingName}; lower it, or raise {ceilingName}.{setting.Name}.";
                yield return new($"{prefix}.{setting.Name}", $"is {setting.Format(value, withUnit: false)}, but at most {setting.Format(most)} {remedy}");
            }
        }
    }

    /// <summary>Returns the message for a limit of more cores than the machine has.</summary>
    internal static string TooManyCores(double cores, int processors) =>
        FormattableString.Invariant($"is {cores}, but this machine has {processors} processors; ask for at most {processors}.");

    /// <summary>Finds the limits that are out of range. A <see langword="null"/> limit is in range.</summary>
    /// <param name="limits">The limits.</param>
    /// <param name="prefix">Path of the property that has the limits.</param>
    /// <param name="table">The table of limits; <see langword="null"/> for the built-in one.</param>
    internal static IEnumerable<SandboxFault> Validate(ResourceLimits limits, string prefix, SettingTable? table = null)
    {
        table ??= SettingTable.BuiltIn;
        return table.Validate(table.Limits, limits, prefix + ".");
    }
}
