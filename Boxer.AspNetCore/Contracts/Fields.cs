using System.Collections;
using System.Text.Json;
using Boxer.Validation;

namespace Boxer.AspNetCore.Contracts;

/// <summary>The fields of a JSON object, in reading order. A new field needs one more <c>Add</c>.</summary>
/// <typeparam name="TOwner">The object that receives the values.</typeparam>
internal sealed class Fields<TOwner> : IEnumerable<Field<TOwner>>
{
    private readonly List<Field<TOwner>> _fields = [];
    private readonly HashSet<string> _names = new(StringComparer.Ordinal);

    /// <summary>All names.</summary>
    public IReadOnlySet<string> Names => _names;

    /// <summary>The names in the order in which messages list them.</summary>
    public IReadOnlyList<string> Listed { get; private set; } = [];

    /// <summary>Adds a field.</summary>
    /// <param name="name">Name of the field.</param>
    /// <param name="kind">Reads the value.</param>
    /// <param name="set">Sets the value; not called for an invalid value.</param>
    /// <param name="missing">The message if the field is missing; <see langword="null"/> if it is optional.</param>
    /// <param name="excludes">A field that excludes this one.</param>
    /// <param name="remedy">The remedy if both are present.</param>
    public Fields<TOwner> Add<T>(string name, Kind<T> kind, Action<TOwner, T> set, string? missing = null, string? excludes = null, string remedy = "leave one of them")
    {
        return Add(new Field<TOwner>(name, Read) { Missing = missing, Excludes = excludes, Remedy = remedy });

        void Read(StrictReader reader, TOwner owner, JsonElement value, string path)
        {
            if (kind(reader, value, path) is { } read)
            {
                set(owner, read);
            }
        }
    }

    /// <summary>Adds a field for each of some settings.</summary>
    /// <param name="settings">The settings.</param>
    /// <param name="kind">Gets the reader for a setting.</param>
    /// <param name="ownerOf">Gets the object that has the property of the setting.</param>
    public Fields<TOwner> Add(IEnumerable<Setting> settings, Func<Setting, Kind<object>> kind, Func<TOwner, object> ownerOf) =>
        settings.Aggregate(this, (fields, setting) => fields.Add(setting.Key, kind(setting), (owner, value) => setting.Set(ownerOf(owner), value)));

    /// <summary>Adds names that other requests have and this one rejects. Messages do not list them.</summary>
    /// <param name="names">The names.</param>
    /// <param name="message">The fault and its remedy.</param>
    public Fields<TOwner> Refuse(IEnumerable<string> names, string message) => names.Aggregate(this, (fields, name) => fields.Refuse(name, message));

    /// <summary>Adds a name that other requests have and this one rejects. Messages do not list it.</summary>
    /// <param name="name">The name.</param>
    /// <param name="message">The fault and its remedy.</param>
    public Fields<TOwner> Refuse(string name, string message)
    {
        _fields.Add(new(name, (reader, _, _, path) => reader.Fault(path, message)));
        _names.Add(name);
        return this;
    }

    /// <summary>Adds a field with its own reader.</summary>
    public Fields<TOwner> Add(Field<TOwner> field)
    {
        _fields.Add(field);
        _names.Add(field.Name);
        Listed = [.. Listed, field.Name];
        return this;
    }

    /// <summary>Sorts the names in messages alphabetically.</summary>
    public Fields<TOwner> Sorted()
    {
        Listed = [.. Listed.Order(StringComparer.Ordinal)];
        return this;
    }

    /// <inheritdoc/>
    public IEnumerator<Field<TOwner>> GetEnumerator() => _fields.GetEnumerator();

    /// <inheritdoc/>
    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}

/// <summary>A field of a JSON object.</summary>
/// <param name="Name">Name of the field.</param>
/// <param name="Read">Reads the value at a path into the object.</param>
internal sealed record Field<TOwner>(string Name, Action<StrictReader, TOwner, JsonElement, string> Read)
{
    public string? Missing { get; init; }

    public string? Excludes { get; init; }

    public string Remedy { get; init; } = "";
}
