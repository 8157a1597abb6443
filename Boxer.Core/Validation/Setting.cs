using System.Globalization;

namespace Boxer.Validation;

/// <summary>Kind of value of a <see cref="Setting"/>.</summary>
internal enum SettingKind
{
    /// <summary>A text.</summary>
    Text,

    /// <summary>A path of this host; <c>~/</c> in the HTTP host's configuration is the home directory.</summary>
    Path,

    /// <summary>One of <see cref="Setting.Choices"/>.</summary>
    Choice,

    /// <summary>True or false.</summary>
    Flag,

    /// <summary>A number of <see cref="Setting.Unit"/>.</summary>
    Number,

    /// <summary>A number of bytes.</summary>
    Size,

    /// <summary>A <see cref="TimeSpan"/>.</summary>
    Time,

    /// <summary>A list of texts.</summary>
    Texts,

    /// <summary>An object with the settings of <see cref="Setting.Members"/>.</summary>
    Group,

    /// <summary>A list of objects with the settings of <see cref="Setting.Members"/>.</summary>
    Groups,
}

/// <summary>
/// A limit or option: a row of <see cref="SettingTable"/>. Validation, configuration, HTTP requests, the command line and the documentation of
/// options are generated from it or checked against it.
/// </summary>
internal sealed record Setting
{
    /// <summary>Name of the C# property.</summary>
    public required string Name { get; init; }

    /// <summary>Kind of the value.</summary>
    public required SettingKind Kind { get; init; }

    /// <summary>Type of the value, without <see cref="Nullable{T}"/>.</summary>
    public required Type Type { get; init; }

    /// <summary>Description in one sentence.</summary>
    public required string Text { get; init; }

    /// <summary>Gets the value from its owner.</summary>
    public required Func<object, object?> Get { get; init; }

    /// <summary>Sets the value on its owner; <see langword="null"/> only if <see cref="IsOptional"/>.</summary>
    public required Action<object, object?> Set { get; init; }

    /// <summary>Whether the value may be <see langword="null"/>.</summary>
    public bool IsOptional { get; init; }

    /// <summary>Value that applies unless another is set.</summary>
    public object? Default { get; init; }

    /// <summary>Description of a default that depends on the machine or on other settings.</summary>
    public string? DefaultText { get; init; }

    /// <summary>Minimum, of <see cref="Type"/>; <see langword="null"/> for none.</summary>
    public IComparable? Least { get; init; }

    /// <summary>Maximum, of <see cref="Type"/>; <see langword="null"/> for none.</summary>
    public IComparable? Most { get; init; }

    /// <summary>Unit of a number, in the plural.</summary>
    public string Unit { get; init; } = "";

    /// <summary>Values of a choice by name.</summary>
    public IReadOnlyDictionary<string, object> Choices { get; init; } = new Dictionary<string, object>();

    /// <summary>
    /// Key in the objects of HTTP requests that have it (<c>limits</c>, <c>egress</c>), and in the same objects of the HTTP host's configuration;
    /// <see langword="null"/> if requests cannot set it.
    /// </summary>
    public string? HttpKey { get; init; }

    /// <summary>Key in the HTTP host's configuration if requests cannot set it. The key of a limit is at the top level and sets the default.</summary>
    public string? HostKey { get; init; }

    /// <summary>Key in JSON.</summary>
    public string Key => HttpKey ?? HostKey ?? Name;

    /// <summary>Default of the HTTP host, if it differs.</summary>
    public object? HostDefault { get; init; }

    /// <summary>Option of the command line; <see langword="null"/> for none.</summary>
    public string? CliOption { get; init; }

    /// <summary>Returns the settings of the object, or of each object in the list.</summary>
    public Func<SettingTable, IReadOnlyList<Setting>> Members { get; init; } = _ => [];

    /// <summary>Creates an object for the list.</summary>
    public Func<object>? CreateItem { get; init; }

    /// <summary>Creates the list for <see cref="Set"/>.</summary>
    public Func<IEnumerable<object>, object>? CreateList { get; init; }

    /// <summary>Finds faults beyond range and choices. Each has the suffix to the property's name and a message.</summary>
    public Func<object, IEnumerable<(string Suffix, string Message)>>? Check { get; init; }

    /// <summary>Whether <see cref="Check"/> depends on this machine.</summary>
    public bool LooksAtMachine { get; init; }

    /// <summary>Unit of sizes in JSON, in bytes; the end of the key tells.</summary>
    private long KeyUnit => Key.EndsWith("_mb", StringComparison.Ordinal) ? ByteSize.MiB : 1;

    /// <summary>Creates a setting. The type of the property determines its kind: 64-bit numbers are sizes unless they have a unit.</summary>
    internal static Setting Of<TOwner, TValue>(string name, Func<TOwner, TValue> get, Action<TOwner, TValue> set, string text)
    {
        Type type = Nullable.GetUnderlyingType(typeof(TValue)) ?? typeof(TValue);
        return new()
        {
            Name = name,
            Type = type,
            Kind = type == typeof(bool) ? SettingKind.Flag
                : type == typeof(TimeSpan) ? SettingKind.Time
                : type == typeof(long) ? SettingKind.Size
                : type == typeof(int) || type == typeof(double) ? SettingKind.Number
                : type == typeof(IList<string>) ? SettingKind.Texts
                : type.IsEnum ? SettingKind.Choice
                : type == typeof(string) ? SettingKind.Text
                : SettingKind.Group,
            Text = text,
            Get = owner => get((TOwner)owner),
            Set = (owner, value) => set((TOwner)owner, (TValue)value!),
            IsOptional = Nullable.GetUnderlyingType(typeof(TValue)) is not null,
        };
    }

    /// <summary>Finds the fault of a value by itself.</summary>
    /// <returns>A sentence without its subject, or <see langword="null"/>.</returns>
    internal string? FindFault(object value)
    {
        // NaN compares as less than every number.
        if ((Least is not null && Least.CompareTo(value) > 0) || (Most is not null && Most.CompareTo(value) < 0))
        {
            return $"is {Format(value, withUnit: false)}, but must be {Range()}.";
        }

        return Choices.Count > 0 && !Choices.Values.Contains(value)
            ? $"'{value}' must be one of: {string.Join(", ", Choices.Keys)}."
            : null;
    }

    /// <summary>The range in words, such as <c>from 32 MiB to 1 TiB</c>.</summary>
    internal string Range() => (Least, Most) switch
    {
        (null, null) => "",
        ({ } least, null) => $"at least {(this with { Unit = least is 1 ? Unit.TrimEnd('s') : Unit }).Format(least, withUnit: true)}",
        (null, { } most) => $"at most {Format(most, withUnit: true)}",
        ({ } least, { } most) => $"from {Format(least, withUnit: false)} to {Format(most, withUnit: true)}",
    };

    /// <summary>Returns the description, the range and the default, in the unit of JSON and the command line.</summary>
    internal string Describe()
    {
        string unit = Kind switch
        {
            SettingKind.Time => "seconds",
            SettingKind.Size => KeyUnit == ByteSize.MiB ? "MiB" : "bytes",
            _ => Unit,
        };
        (decimal least, decimal most) = NumberRange();
        string byDefault = Default is null ? DefaultText!.Replace("`", "", StringComparison.Ordinal) : ToNumber(Default).ToString(CultureInfo.InvariantCulture);
        return string.Create(CultureInfo.InvariantCulture, $"{Text} {least} to {most} {unit}. Default: {byDefault}.");
    }

    /// <summary>Formats a value with its unit.</summary>
    internal string Format(object? value, bool withUnit = true)
    {
        string text = value switch
        {
            null => "none",
            bool flag => flag ? "true" : "false",
            TimeSpan time => FormatTime(time),
            long size when Kind == SettingKind.Size => ByteSize.Format(size),
            IEnumerable<string> texts => texts.Any() ? string.Join(", ", texts) : "none",
            IFormattable formattable when Kind == SettingKind.Number => formattable.ToString(null, CultureInfo.InvariantCulture),
            _ when Kind == SettingKind.Choice => Choices.FirstOrDefault(choice => Equals(choice.Value, value)).Key ?? $"{value}",
            _ => $"{value}",
        };
        return withUnit && Kind == SettingKind.Number && Unit.Length > 0 ? $"{text} {Unit}" : text;
    }

    /// <summary>Reads a value from the text of .NET configuration.</summary>
    /// <exception cref="FormatException">The text is invalid; the message is a sentence without its subject.</exception>
    internal object ReadText(string text) => Kind switch
    {
        SettingKind.Flag => OptionText.ReadBoolean(text),
        SettingKind.Time => OptionText.ReadTime(text),
        SettingKind.Size => OptionText.ReadSize(text),
        SettingKind.Number when Type == typeof(int) => OptionText.ReadInt32(text),
        SettingKind.Number when Type == typeof(long) => OptionText.ReadInt64(text),
        SettingKind.Number => OptionText.ReadDouble(text),
        SettingKind.Choice when Type.IsEnum => Choices.FirstOrDefault(choice => choice.Key.Equals(text.Trim(), StringComparison.OrdinalIgnoreCase)).Value
            ?? throw new FormatException($"'{text}' must be one of: {string.Join(", ", Choices.Keys)}."),
        _ => text,
    };

    /// <summary>Converts a number of JSON to a value. Sizes are in bytes, or in MiB for keys that end with <c>_mb</c>; times are in seconds.</summary>
    internal object FromNumber(decimal number) => Kind switch
    {
        SettingKind.Time => TimeSpan.FromSeconds((double)number),
        SettingKind.Size => (long)number * KeyUnit,
        _ when Type == typeof(int) => (int)number,
        _ when Type == typeof(long) => (long)number,
        _ => (double)number,
    };

    /// <summary>Converts a value to its number in JSON; see <see cref="FromNumber"/>.</summary>
    internal decimal ToNumber(object value) => value switch
    {
        TimeSpan time => (decimal)time.Ticks / TimeSpan.TicksPerSecond,
        long size when Kind == SettingKind.Size => (decimal)size / KeyUnit,
        IConvertible number => number.ToDecimal(CultureInfo.InvariantCulture),
        _ => throw new ArgumentException($"{Name} is no number.", nameof(value)),
    };

    /// <summary>Whether the number in JSON must be whole.</summary>
    internal bool IsWhole => Kind == SettingKind.Size || Type == typeof(int) || Type == typeof(long);

    /// <summary>Returns the minimum and maximum of the number in JSON.</summary>
    internal (decimal Least, decimal Most) NumberRange() => (
        Least is null ? decimal.MinValue : ToNumber(Least),
        Most is not null ? ToNumber(Most) : Type == typeof(int) ? int.MaxValue : long.MaxValue);

    /// <summary>Formats a time with the largest unit that divides it.</summary>
    internal static string FormatTime(TimeSpan time)
    {
        (long ticks, string unit) = time.Ticks switch
        {
            var all when all != 0 && all % TimeSpan.TicksPerHour == 0 => (TimeSpan.TicksPerHour, "h"),
            var all when all % TimeSpan.TicksPerMinute == 0 && Math.Abs(all) > TimeSpan.TicksPerMinute => (TimeSpan.TicksPerMinute, "min"),
            var all when all % TimeSpan.TicksPerSecond == 0 => (TimeSpan.TicksPerSecond, "s"),
            var all when all % TimeSpan.TicksPerMillisecond == 0 && Math.Abs(all) < TimeSpan.TicksPerSecond => (TimeSpan.TicksPerMillisecond, "ms"),
            _ => (TimeSpan.TicksPerSecond, "s"),
        };
        return string.Create(CultureInfo.InvariantCulture, $"{(decimal)time.Ticks / ticks:0.#######} {unit}");
    }
}
