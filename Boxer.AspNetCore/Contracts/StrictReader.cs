using System.Globalization;
using System.Text.Json;
using Boxer.Validation;

namespace Boxer.AspNetCore.Contracts;

/// <summary>
/// Walks objects of JSON by their <see cref="Fields{TOwner}"/>: bodies of requests and the configuration. Every fault is found in one pass and has its
/// JSON name and the remedy; unknown names are faults.
/// </summary>
/// <param name="unknown">Says that a name is not one of those that there are.</param>
/// <param name="mostFaults">Maximum number of faults; further ones are counted as one.</param>
/// <param name="nullIsAbsent">Whether a field that is <see langword="null"/> is as one that is not there; otherwise it is a value like others.</param>
/// <param name="variables">The environment variables that values come from, by path: their values are text, whatever is wanted.</param>
internal sealed class StrictReader(string unknown, int mostFaults = int.MaxValue, bool nullIsAbsent = false, IReadOnlyDictionary<string, string>? variables = null)
{
    private const int MaxShown = 60;
    private readonly List<string> _faults = [];

    /// <summary>Everything that is wrong, as sentences.</summary>
    public IReadOnlyList<string> Faults => _faults;

    /// <summary>Reads the fields of an object.</summary>
    /// <param name="value">The object.</param>
    /// <param name="path">Its path; empty: it is the whole document.</param>
    /// <param name="fields">The fields that there are.</param>
    /// <param name="owner">Gets their values.</param>
    /// <param name="kind">The kind that is expected, in words.</param>
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
                RefuseUnknown(prefix, property.Name, fields);
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
                Fault(prefix + field.Name, $"cannot be there together with {other}; {field.Remedy}");
            }

            field.Read(this, owner, member, prefix + field.Name);
        }
    }

    /// <summary>Whether an object has a field.</summary>
    public bool Has(JsonElement parent, string name, out JsonElement value) =>
        parent.TryGetProperty(name, out value) && (!nullIsAbsent || value.ValueKind != JsonValueKind.Null);

    /// <summary>The environment variable that a value comes from.</summary>
    public string? VariableOf(string path) => variables?.GetValueOrDefault(Plain(path));

    /// <summary>A path as variables have it, where the index of an item is a name like others.</summary>
    public static string Plain(string path) => path.Replace('[', '.').Replace("]", "", StringComparison.Ordinal);

    /// <summary>Adds a fault: something else must be there.</summary>
    public void Wrong(string path, string kind, JsonElement found) => Fault(path, $"must be {kind}, not {Show(found)}{From(path)}");

    /// <summary>Adds a fault: a sentence without its subject and its full stop.</summary>
    public void Fault(string path, string message) => Fault($"{path}: {message}.");

    /// <summary>Adds a whole sentence.</summary>
    public void Fault(string fault)
    {
        // A list with a million wrong items needs no answer with a million sentences.
        if (_faults.Count < mostFaults)
        {
            _faults.Add(fault);
        }
        else if (_faults.Count == mostFaults)
        {
            _faults.Add("There is more that is wrong.");
        }
    }

    /// <summary>The path of an item of a list.</summary>
    public static string Item(string path, int index) => string.Create(CultureInfo.InvariantCulture, $"{path}[{index}]");

    /// <summary>Shows a text in a message, shortened.</summary>
    public static string Quote(string text) => '"' + Clip(text) + '"';

    /// <summary>Shortens a text.</summary>
    public static string Clip(string text) => text.Length > MaxShown ? text[..MaxShown] + "..." : text;

    /// <summary>Shows a value in a message, shortened.</summary>
    public static string Show(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        _ => Clip(value.GetRawText()),
    };

    // A limit with a misspelt name would otherwise not be enforced.
    private void RefuseUnknown<TOwner>(string prefix, string name, Fields<TOwner> fields)
    {
        string remedy = NearestName.Find(name, fields.Listed) is { } nearest ? $"did you mean {nearest}?" : $"remove it or use one of {string.Join(", ", fields.Listed)}.";
        Fault($"{prefix}{Clip(name)}: {unknown}{From(prefix + name)}; {remedy}");
    }

    private string From(string path) => VariableOf(path) is { } variable ? $" (environment variable {variable})" : "";
}
