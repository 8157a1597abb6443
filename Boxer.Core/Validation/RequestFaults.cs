using Boxer.Common;

namespace Boxer.Validation;

/// <summary>Collects the faults of a request.</summary>
internal sealed class RequestFaults : List<SandboxFault>
{
    internal const string NoNul = "must not contain a NUL character.";
    internal const string NoUnicode = "must be valid Unicode: it has half of a surrogate pair.";
    private const int MaxShown = 100;

    /// <summary>Adds a fault.</summary>
    /// <param name="field">The invalid property.</param>
    /// <param name="message">Description of the fault and its remedy, as a sentence without its subject.</param>
    internal void Add(string field, string message) => Add(new SandboxFault(field, message));

    /// <summary>Adds a fault if a value is not in a range.</summary>
    internal void AddIfOutOfRange(string field, long value, long least, long most, string unit)
    {
        if (value < least || value > most)
        {
            Add(field, $"must be from {least} to {most} {unit}.");
        }
    }

    /// <summary>Adds the faults of a text that the command receives.</summary>
    /// <param name="field">The property that has the text.</param>
    /// <param name="text">The text.</param>
    /// <param name="bytes">Its length in UTF-8.</param>
    /// <param name="maxBytes">The maximum length in UTF-8.</param>
    internal void AddFaultsOfText(string field, string text, int bytes, int maxBytes)
    {
        if (text.Contains('\0', StringComparison.Ordinal))
        {
            Add(field, NoNul);
        }

        // Half of a surrogate pair would reach the command as U+FFFD, silently changed.
        if (!CleanPath.IsUnicode(text))
        {
            Add(field, NoUnicode);
        }

        if (bytes > maxBytes)
        {
            Add(field, $"must have at most {maxBytes} bytes.");
        }
    }

    /// <summary>Returns a text of the request for a message, at most 100 characters of it.</summary>
    internal static string Shorten(string? text) => text is null ? "" : text.Length <= MaxShown ? text : string.Concat(text.AsSpan(0, MaxShown), "...");
}
