using System.Collections;
using System.Text.Json;
using Boxer.Validation;

namespace Boxer.AspNetCore.Contracts;

/// <summary>The fields of a JSON object, in the order in which they are read. A new field is one more <c>Add</c>.</summary>
/// <typeparam name="TOwner">The object that gets their values.</typeparam>
internal sealed class Fields<TOwner> : IEnumerable<Field<TOwner>>
{
    private readonly List<Field<TOwner>> _fields = [];
    private readonly HashSet<string> _names = new(StringComparer.Ordinal);

    /// <summary>The names that there are.</summary>
    public IReadOnlySet<string> Names => _names;

    /// <summary>The names as messages list them.</summary>
    public IReadOnlyList<string> Listed { get; private set; } = [];

    /// <summary>Adds a field.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="kind">Reads its value.</param>
    /// <param name="set">Takes the value, where there was no fault.</param>
    /// <param name="missing">The fault where it is not there; <see langword="null"/>: it may be absent.</param>
    /// <param name="excludes">A field that cannot be there together with it.</param>
    /// <param name="remedy">The remedy where both are there.</param>
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

    /// <summary>Adds rows of the table of settings.</summary>
    /// <param name="settings">The rows.</param>
    /// <param name="kind">Reads the value of one.</param>
    /// <param name="ownerOf">The object that has the values.</param>
    public Fields<TOwner> Add(IEnumerable<Setting> settings, Func<Setting, Kind<object>> kind, Func<TOwner, object> ownerOf) =>
        settings.Aggregate(this, (fields, setting) => fields.Add(setting.Key, kind(setting), (owner, value) => setting.Set(ownerOf(owner), value)));

    /// <summary>Adds a field that is read in its own way.</summary>
    public Fields<TOwner> Add(Field<TOwner> field)
    {
        _fields.Add(field);
        _names.Add(field.Name);
        Listed = [.. Listed, field.Name];
        return this;
    }

    /// <summary>Lists the names by the alphabet.</summary>
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
/// <param name="Name">Its name.</param>
/// <param name="Read">Reads its value, which has the path, into the object.</param>
internal sealed record Field<TOwner>(string Name, Action<StrictReader, TOwner, JsonElement, string> Read)
{
    public string? Missing { get; init; }

    public string? Excludes { get; init; }

    public string Remedy { get; init; } = "";
}
