using System.Collections.Frozen;
using System.Globalization;
using System.Text;
using Boxer.AspNetCore.Configuration;
using Boxer.Validation;

namespace Boxer.AspNetCore.Running;

/// <summary>
/// Names properties of requests and options as the HTTP request and the configuration do. The path of a fault is mapped member by member; limits and
/// options have their names in <see cref="SettingTable"/>. Faults of requests list the fields that they name; those of options and of this machine are
/// only sentences, in which the path of a property is replaced where it is written as a whole.
/// </summary>
internal static class FieldNames
{
    private static readonly Dictionary<string, string> RequestFields = new(StringComparer.Ordinal)
    {
        ["Image"] = "image",
        ["Command"] = "cmd",
        ["Environment"] = "env",
        ["WorkingDirectory"] = "cwd",
        ["User"] = "user",
        ["Network"] = "network",
        ["Egress"] = "egress",
        ["PullPolicy"] = "pull",
        ["StandardInput"] = "stdin",
        ["StandardInputStream"] = "stdin",
        ["MergeStandardError"] = "merge_stderr",
        ["StopGrace"] = "stop_grace_ms",
        ["Files"] = "files",
        ["Workspace"] = "workspace",
        ["OutputFiles"] = "outputs",
        ["Path"] = "path",
        ["Limits"] = "limits",
        ["Uploads"] = "uploads",
        ["Archive"] = "archive",
    };

    // Options of the endpoints that have no row.
    private static readonly Dictionary<string, string> HttpOptions = new(StringComparer.Ordinal)
    {
        [nameof(BoxerHttpOptions.FilesDirectory)] = "home",
        [nameof(BoxerHttpOptions.ApiKeys)] = HostKeys.ApiKeys,
        [nameof(BoxerHttpOptions.HostNames)] = HostKeys.HostNames,
    };

    private static readonly FrozenDictionary<string, string> OptionPaths = FindPaths(HttpOptions, [.. SettingTable.BuiltIn.Options, .. HostKeys.Http]);
    private static readonly FrozenDictionary<string, string> RequestPaths = FindPaths(
        RequestFields.Append(new("MaxLimits", "max_limits")).ToDictionary(StringComparer.Ordinal), [], ("Limits", SettingTable.BuiltIn.Limits), ("MaxLimits", SettingTable.BuiltIn.Limits), ("Egress", SettingTable.BuiltIn.Egress));

    /// <summary>Notes how many of a request's files are uploads: those after them are its inputs.</summary>
    public static void NoteUploads(HttpContext context, int uploads) => context.Items[typeof(FieldNames)] = uploads;

    /// <summary>All faults of a request as one text.</summary>
    public static string OfRequest(InvalidSandboxRequestException exception, HttpContext context)
    {
        int? uploads = context.Items[typeof(FieldNames)] as int?;
        return string.Join(" ", exception.Faults.Select(fault => $"{OfRequestField(fault.Field, uploads)}: {fault.FormatMessage(field => OfRequestField(field, uploads))}"));
    }

    /// <summary>One fault of the options, its path before a colon, as a line.</summary>
    public static string OfOptions(string failure)
    {
        int colon = failure.IndexOf(": ", StringComparison.Ordinal);
        return colon < 0 ? InSentence(failure) : OfOption(failure[..colon]) + InSentence(failure[colon..]);
    }

    /// <summary>A sentence about this machine, which may name options.</summary>
    public static string OfMachine(string message) => InSentence(message);

    /// <summary>One property of <see cref="ResourceLimits"/>.</summary>
    public static string OfLimit(string property) =>
        SettingTable.BuiltIn.Limits.FirstOrDefault(setting => setting.Name == property) is { } limit ? limit.HttpKey ?? limit.HostKey ?? property : property;

    private static string OfOption(string path)
    {
        string name = path.StartsWith("BoxerOptions.", StringComparison.Ordinal) ? path["BoxerOptions.".Length..] : path;
        string mapped = "";
        string known = "";
        foreach (Step step in Split(name))
        {
            known = known.Length == 0 ? step.Name : $"{known}.{step.Name}";
            if (OptionPaths.TryGetValue(known, out string? key))
            {
                // Limits of the whole host have a name without those of the objects around them.
                mapped = key.Contains('.', StringComparison.Ordinal) ? $"{mapped}.{key[(key.LastIndexOf('.') + 1)..]}" : key;
            }
            else
            {
                mapped += (mapped.Length == 0 ? "" : ".") + step.Name;
            }

            mapped += step.Index;
        }

        return mapped;
    }

    private static string OfRequestField(string field, int? uploads)
    {
        Step[] steps = [.. Split(field)];
        switch (steps)
        {
            case [{ Name: "Limits" or "MaxLimits" or "Egress" } group, var member]:
                return RequestPaths.GetValueOrDefault($"{group.Name}.{member.Name}", $"{RequestPaths[group.Name]}.{member.Name}") + member.Index;
            case [{ Name: "Files", Number: { } number }, ..] when number - uploads is >= 0 and var input:
                return string.Create(CultureInfo.InvariantCulture, $"inputs[{input}]{(steps.Length > 1 ? ".path" : "")}");

            // A file has no members in the request: it is its path.
            case [{ Name: "Files", Number: not null } file, { Name: "Path" }]:
                return $"files{file.Index}";

            // The inputs of a workspace are its files, its uploads, and its archive, in this order; an upload may be a directory of many.
            case [{ Name: "Workspace" }, { Name: "Inputs", Number: 0 }, .. var rest]:
                return $"workspace.files{(rest.Length > 0 ? rest[0].Index : "")}{(rest.Length > 1 ? ".path" : "")}";
            case [{ Name: "Workspace" }, { Name: "Inputs", Number: 1 }, ..]:
                return "workspace.uploads";
            case [{ Name: "Workspace" }, { Name: "Inputs", Number: not null }, ..]:
                return "workspace.archive";
            default:
                return string.Join('.', steps.Select(step => RequestFields.GetValueOrDefault(step.Name, step.Name) + step.Index));
        }
    }

    /// <summary>Replaces paths of properties that are written as a whole. One name alone is replaced only where it is no English word.</summary>
    private static string InSentence(string sentence)
    {
        StringBuilder named = new();
        for (int at = 0; at < sentence.Length;)
        {
            int end = at;
            while (end < sentence.Length && IsOfPath(sentence[end]))
            {
                end++;
            }

            // A dot at the end is that of the sentence.
            int length = sentence[at..end].TrimEnd('.').Length;
            string word = sentence.Substring(at, length);
            named.Append(length > 0 && IsProperty(word) && OptionPaths.TryGetValue(word.Replace("BoxerOptions.", "", StringComparison.Ordinal), out string? key) ? key : word);
            at += length;
            if (at < sentence.Length)
            {
                named.Append(sentence[at++]);
            }
        }

        return named.ToString();
    }

    // Not a part of a path of this host either.
    private static bool IsOfPath(char c) => char.IsAsciiLetterOrDigit(c) || c is '.' or '_' or '-' or '/';

    private static bool IsProperty(string word) => word == "Home" || word.Skip(1).Any(char.IsAsciiLetterUpper);

    private static IEnumerable<Step> Split(string path)
    {
        for (int at = 0; at < path.Length;)
        {
            int end = path.AsSpan(at).IndexOfAny('.', '[') is >= 0 and var found ? at + found : path.Length;
            string name = path[at..end];
            string index = "";
            if (end < path.Length && path[end] == '[')
            {
                // A variable's name, which is what is in brackets once, may have any character.
                int close = name == "Environment" ? path.LastIndexOf(']') : path.IndexOf(']', end);
                close = close < 0 ? path.Length - 1 : close;
                index = path[end..(close + 1)];
                end = close + 1;
            }

            yield return new(name, index);
            at = end + 1;
        }
    }

    private static FrozenDictionary<string, string> FindPaths(
        Dictionary<string, string> names, IReadOnlyList<Setting> settings, params (string Name, IReadOnlyList<Setting> Members)[] groups)
    {
        Dictionary<string, string> paths = new(names, StringComparer.Ordinal);
        AddAll(settings, "", "");
        foreach ((string name, IReadOnlyList<Setting> members) in groups)
        {
            AddAll(members, name + ".", names[name] + ".");
        }

        return paths.ToFrozenDictionary(StringComparer.Ordinal);

        void AddAll(IReadOnlyList<Setting> all, string prefix, string keyPrefix)
        {
            foreach (Setting setting in all)
            {
                // A limit that requests cannot set is one of the whole host.
                bool isLimit = all == SettingTable.BuiltIn.Limits;
                string key = isLimit && setting.HttpKey is null ? setting.HostKey! : keyPrefix + (setting.HttpKey ?? setting.HostKey);
                paths[prefix + setting.Name] = key;
                AddAll(setting.Members(SettingTable.BuiltIn), $"{prefix}{setting.Name}.", key + ".");
            }
        }
    }

    /// <summary>A member of a path.</summary>
    /// <param name="Name">Its name.</param>
    /// <param name="Index">The index in brackets, or empty.</param>
    private sealed record Step(string Name, string Index)
    {
        public int? Number => Index.Length > 2 && int.TryParse(Index[1..^1], NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : null;
    }
}
