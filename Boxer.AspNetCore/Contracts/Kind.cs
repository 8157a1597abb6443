using System.Globalization;
using System.Text.Json;
using Boxer.Validation;

namespace Boxer.AspNetCore.Contracts;

/// <summary>Reads a value of one kind.</summary>
/// <returns>The value; <see langword="null"/> if it is invalid (the reader has the fault then) or means the default.</returns>
internal delegate T? Kind<out T>(StrictReader reader, JsonElement value, string path);

/// <summary>The kinds of values in requests and in the configuration.</summary>
internal static class Kind
{
    /// <summary>Maximum number of items of a list without a smaller limit, such as a command.</summary>
    internal const int MaxItems = 32_768;

    /// <summary>A string.</summary>
    internal static Kind<string> Text(bool allowNul = false) => (reader, value, path) =>
    {
        if (value.ValueKind != JsonValueKind.String)
        {
            reader.Wrong(path, "a text", value);
            return null;
        }

        string text;
        try
        {
            text = value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            reader.Fault(path, "is not valid Unicode; remove the unpaired surrogate");
            return null;
        }

        if (!allowNul && text.Contains('\0', StringComparison.Ordinal))
        {
            reader.Fault(path, "has a NUL character; remove it");
            return null;
        }

        return text;
    };

    /// <summary>One of some strings.</summary>
    internal static Kind<string> Choice(IReadOnlyList<string> choices, Kind<string> text) => (reader, value, path) =>
    {
        string? read = text(reader, value, path);
        if (read is not null && !choices.Contains(read, StringComparer.Ordinal))
        {
            reader.Wrong(path, $"{string.Join(", ", choices.SkipLast(1))} or {choices[^1]}", value);
            return null;
        }

        return read;
    };

    /// <summary>True or false.</summary>
    internal static Kind<bool?> Flag { get; } = (reader, value, path) =>
    {
        if (value.ValueKind is JsonValueKind.True or JsonValueKind.False)
        {
            return value.GetBoolean();
        }

        if (reader.VariableOf(path) is not null && value.ValueKind == JsonValueKind.String && bool.TryParse(value.GetString(), out bool flag))
        {
            return flag;
        }

        reader.Wrong(path, "true or false", value);
        return null;
    };

    /// <summary>Bytes.</summary>
    internal static Kind<byte[]> Base64 { get; } = (reader, value, path) =>
    {
        try
        {
            if (value.ValueKind == JsonValueKind.String && value.TryGetBytesFromBase64(out byte[]? bytes))
            {
                return bytes;
            }
        }
        catch (InvalidOperationException)
        {
            // An unpaired surrogate: not base64 either.
        }

        reader.Wrong(path, "a text in base64", value);
        return null;
    };

    /// <summary>A whole number. The range is given in words for messages, unless it is that of 64 bits.</summary>
    internal static Kind<long?> Whole(long least = long.MinValue, long most = long.MaxValue, string range = "") => (reader, value, path) =>
    {
        if (value.ValueKind == JsonValueKind.Number && value.TryGetInt64(out long number) && number >= least && number <= most)
        {
            return number;
        }

        reader.Wrong(path, "a whole number" + range, value);
        return null;
    };

    /// <summary>A number in the range and unit of a setting.</summary>
    /// <param name="setting">The setting.</param>
    /// <param name="zeroIsDefault">Whether 0 means the default.</param>
    internal static Kind<object> Number(Setting setting, bool zeroIsDefault = false) => (reader, value, path) =>
    {
        decimal number = 0;
        bool isNumber = value.ValueKind == JsonValueKind.Number
            ? value.TryGetDecimal(out number)
            : value.ValueKind == JsonValueKind.String && reader.VariableOf(path) is not null && decimal.TryParse(value.GetString(), NumberStyles.Float, CultureInfo.InvariantCulture, out number);
        if (isNumber && number == 0 && zeroIsDefault)
        {
            return null;
        }

        (decimal least, decimal most) = setting.NumberRange();
        if (isNumber && number >= least && number <= most && (!setting.IsWhole || number == decimal.Truncate(number)))
        {
            return setting.FromNumber(number);
        }

        reader.Wrong(path, string.Create(CultureInfo.InvariantCulture, $"a {(setting.IsWhole ? "whole number" : "number")} from {least} to {most}{(zeroIsDefault ? ", or 0 for the default" : "")}"), value);
        return null;
    };

    /// <summary>A list of strings.</summary>
    /// <param name="most">Maximum number of items.</param>
    /// <param name="kind">The kind of the list, for messages.</param>
    /// <param name="item">The kind of each item, for messages.</param>
    internal static Kind<List<string>> Texts(int most = MaxItems, string kind = "a list of texts", string item = "a text") =>
        List(TextItem(item), most, kind);

    /// <summary>A list of objects.</summary>
    /// <param name="fields">The fields of each object.</param>
    /// <param name="create">Creates an object.</param>
    /// <param name="most">Maximum number of items.</param>
    /// <param name="members">The members of each object, for messages.</param>
    internal static Kind<List<T>> Objects<T>(Fields<T> fields, Func<T> create, int most = int.MaxValue, string members = "") =>
        List(
            (reader, value, path) =>
            {
                T made = create();
                reader.Read(value, path, fields, made, "an object" + members);
                return made;
            },
            most,
            "a list of objects" + members);

    /// <summary>An object.</summary>
    internal static Kind<T> Object<T>(Fields<T> fields)
        where T : class, new() => (reader, value, path) =>
    {
        T made = new();
        reader.Read(value, path, fields, made);
        return value.ValueKind == JsonValueKind.Object ? made : null;
    };

    /// <summary>Treats an empty string as absent.</summary>
    internal static Kind<string> OrEmpty(this Kind<string> kind) => (reader, value, path) => kind(reader, value, path) is { Length: > 0 } text ? text : null;

    /// <summary>Checks a value. Each fault has a suffix of the path, and a sentence without subject and full stop.</summary>
    internal static Kind<T> Check<T>(this Kind<T> kind, Func<T, IEnumerable<(string Suffix, string Message)>> find) => (reader, value, path) =>
    {
        T? read = kind(reader, value, path);
        foreach ((string suffix, string message) in read is null ? [] : find(read))
        {
            reader.Fault(path + suffix, message);
        }

        return read;
    };

    /// <summary>A list.</summary>
    private static Kind<List<T>> List<T>(Kind<T> item, int most, string kind) => (reader, value, path) =>
    {
        if (value.ValueKind != JsonValueKind.Array)
        {
            reader.Wrong(path, kind, value);
            return null;
        }

        if (value.GetArrayLength() > most)
        {
            reader.Fault(path, $"has {value.GetArrayLength()} entries; at most {most} are allowed");
            return null;
        }

        List<T> items = new(value.GetArrayLength());
        foreach (JsonElement element in value.EnumerateArray())
        {
            items.Add(item(reader, element, StrictReader.Item(path, items.Count))!);
        }

        return items;
    };

    private static Kind<string> TextItem(string kind)
    {
        Kind<string> text = Text();
        return (reader, value, path) =>
        {
            if (value.ValueKind != JsonValueKind.String)
            {
                reader.Wrong(path, kind, value);
            }

            // The placeholder for an invalid item causes no second fault.
            return value.ValueKind == JsonValueKind.String && text(reader, value, path) is { } read ? read : "?=";
        };
    }
}
