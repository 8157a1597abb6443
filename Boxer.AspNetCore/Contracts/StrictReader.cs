using System.Globalization;
using System.Text.Json;
using Boxer.Validation;

namespace Boxer.AspNetCore.Contracts;

/// <summary>
/// Common part of the readers of requests and of the configuration: every fault is found in one pass and has its JSON name and the remedy, unknown
/// names are faults, and numbers have the range of their row in <see cref="SettingTable"/>.
/// </summary>
/// <param name="table">The settings that there are.</param>
/// <param name="mostFaults">Maximum number of faults; further ones are counted as one.</param>
internal abstract class StrictReader(SettingTable table, int mostFaults)
{
    private const int MaxShown = 60;
    private readonly List<string> _faults = [];

    /// <summary>The settings that there are.</summary>
    protected SettingTable Table => table;

    /// <summary>Everything that is wrong, as sentences.</summary>
    protected IReadOnlyList<string> Faults => _faults;

    /// <summary>Adds a fault: a sentence without its subject and its full stop.</summary>
    protected void Fault(string field, string message) => AddFault($"{field}: {message}.");

    /// <summary>Adds a whole sentence.</summary>
    protected void AddFault(string fault)
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

    /// <summary>Adds a fault for a name that is not known, with the nearest one. A limit with a misspelt name would otherwise not be enforced.</summary>
    /// <param name="prefix">The path of its object, with a dot at its end, or empty.</param>
    /// <param name="name">The name.</param>
    /// <param name="known">The names that there are.</param>
    /// <param name="message">Says that it is none of them.</param>
    protected void RefuseUnless(string prefix, string name, IReadOnlyCollection<string> known, string message)
    {
        if (!known.Contains(name, StringComparer.Ordinal))
        {
            string remedy = NearestName.Find(name, known) is { } nearest ? $"did you mean {nearest}?" : $"remove it or use one of {string.Join(", ", known)}.";
            AddFault($"{prefix}{Clip(name)}: {message}; {remedy}");
        }
    }

    /// <summary>Makes the value of a setting from a number, or adds a fault.</summary>
    /// <param name="setting">The setting.</param>
    /// <param name="number">The number; <see langword="null"/>: there is something else.</param>
    /// <param name="field">The path of the number.</param>
    /// <param name="found">Shows what is there.</param>
    /// <param name="orElse">Further values that are allowed, in words.</param>
    protected object? ToValue(Setting setting, decimal? number, string field, Func<string> found, string orElse = "")
    {
        (decimal least, decimal most) = setting.NumberRange();
        if (number is { } value && value >= least && value <= most && (!setting.IsWhole || value == decimal.Truncate(value)))
        {
            return setting.FromNumber(value);
        }

        string kind = setting.IsWhole ? "whole number" : "number";
        Fault(field, string.Create(CultureInfo.InvariantCulture, $"must be a {kind} from {least} to {most}{orElse}, not {found()}"));
        return null;
    }

    /// <summary>Gets a text that is one of some, or adds a fault.</summary>
    protected string? Choose(string? text, IReadOnlyList<string> choices, string field, Func<string> found)
    {
        if (text is not null && !choices.Contains(text, StringComparer.Ordinal))
        {
            Fault(field, $"must be {string.Join(", ", choices.SkipLast(1))} or {choices[^1]}, not {found()}");
            return null;
        }

        return text;
    }

    /// <summary>Shows a value in a message, shortened.</summary>
    protected static string Show(JsonElement element) =>
        element.ValueKind switch
        {
            JsonValueKind.Object => "an object",
            JsonValueKind.Array => "a list",
            _ => Clip(element.GetRawText()),
        };

    /// <summary>Shortens a text.</summary>
    protected static string Clip(string text) => text.Length > MaxShown ? text[..MaxShown] + "..." : text;
}
