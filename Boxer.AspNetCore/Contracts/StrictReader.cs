using System.Globalization;
using System.Text.Json;
using Boxer.Validation;

namespace Boxer.AspNetCore.Contracts;

/// <summary>
/// Reads JSON objects by their <see cref="Fields{TOwner}"/>: request bodies and the configuration. All faults are found in one pass; each has its JSON
/// name and the remedy. Unknown names are faults.
/// </summary>
/// <param name="unknown">The message for an unknown name.</param>
/// <param name="maxFaults">Maximum number of faults; further faults are summarized as one.</param>
/// <param name="nullIsAbsent">Whether a <see langword="null"/> field counts as absent; otherwise it is a value.</param>
/// <param name="variables">The environment variables that set values, by path. Their values are strings, whatever type is expected.</param>
internal sealed class StrictReader(string unknown, int maxFaults = int.MaxValue, bool nullIsAbsent = false, IReadOnlyDictionary<string, string>? variables = null)
{
    private const int MaxShown = 60;
    private readonly List<string> _faults = [];

    /// <summary>All faults, as sentences.</summary>
    public IReadOnlyList<string> Faults => _faults;

    /// <summary>Reads the fields of an object.</summary>
    /// <param name="value">The object.</param>
    /// <param name="path">The path of the object; empty for the whole document.</param>
    /// <param name="fields">The fields of the object.</param>
    /// <param name="owner">Receives the values.</param>
    /// <param name="kind">The expected kind, for messages.</param>
    public void Read<TOwner>(JsonElement value, string path, Fields<TOwner> fields, TOwner owner, string kind = "an object")
    {
        if (value.ValueKind != JsonValueKind.Object)
        {
            Wrong(path, kind, value);
            return;
        }

        string prefix = path.Length == 0 ? "" : path + ".";
        foreach (JsonProperty property in value.EnumerateObject())
        {
            if (!fields.Names.Contains(property.Name))
            {
                AddUnknown(prefix, property.Name, fields);
            }
        }

        foreach (Field<TOwner> field in fields)
        {
            if (!Has(value, field.Name, out JsonElement member))
            {
                if (field.Missing is { } missing)
                {
                    Fault(prefix + field.Name, missing);
                }

                continue;
            }

            if (field.Excludes is { } other && Has(value, other, out _))
            {
                Fault(prefix + field.Name, $"cannot be combined with {other}; {field.Remedy}");
            }

            field.Read(this, owner, member, prefix + field.Name);
        }
    }

    /// <summary>Whether an object has a field.</summary>
    public bool Has(JsonElement parent, string name, out JsonElement value) =>
        parent.TryGetProperty(name, out value) && (!nullIsAbsent || value.ValueKind != JsonValueKind.Null);

    /// <summary>Gets the environment variable that set a value.</summary>
    public string? VariableOf(string path) => variables?.GetValueOrDefault(Plain(path));

    /// <summary>Gets a path in the form of variables, in which an index is a name.</summary>
    public static string Plain(string path) => path.Replace('[', '.').Replace("]", "", StringComparison.Ordinal);

    /// <summary>Adds a fault about a value of the wrong kind.</summary>
    public void Wrong(string path, string kind, JsonElement found) => Fault(path, $"must be {kind}, not {Show(found)}{From(path)}");

    /// <summary>Adds a fault: a sentence without subject and full stop.</summary>
    public void Fault(string path, string message) => Fault($"{path}: {message}.");

    /// <summary>Adds a fault: a whole sentence.</summary>
    public void Fault(string fault)
    {
        // A list with a million invalid items must not produce a million sentences.
        if (_faults.Count < maxFaults)
        {
            _faults.Add(fault);
        }
        else if (_faults.Count == maxFaults)
        {
            _faults.Add("There are further faults.");
        }
    }

    /// <summary>Gets the path of a list item.</summary>
    public static string Item(string path, int index) => string.Create(CultureInfo.InvariantCulture, $"{path}[{index}]");

    /// <summary>Quotes a text for a message, shortened.</summary>
    public static string Quote(string text) => '"' + Clip(text) + '"';

    /// <summary>Shortens a text.</summary>
    public static string Clip(string text) => text.Length > MaxShown ? text[..MaxShown] + "..." : text;

    /// <summary>Formats a value for a message, shortened.</summary>
    public static string Show(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        _ => Clip(value.GetRawText()),
    };

    // A misspelt limit must not be ignored silently.
    private void AddUnknown<TOwner>(string prefix, string name, Fields<TOwner> fields)
    {
        string remedy = NearestName.Find(name, fields.Listed) is { } nearest ? $"did you mean {nearest}?" : $"remove it or use one of {string.Join(", ", fields.Listed)}.";
        Fault($"{prefix}{Clip(name)}: {unknown}{From(prefix + name)}; {remedy}");
    }

    private string From(string path) => VariableOf(path) is { } variable ? $" (environment variable {variable})" : "";
}
