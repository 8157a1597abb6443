using System.Collections.Frozen;
using System.Globalization;
using System.Text;
using Boxer.AspNetCore.Configuration;
using Boxer.Validation;

namespace Boxer.AspNetCore.Running;

/// <summary>
/// Translates names of properties in faults to the names of the HTTP request and of the configuration. The path of a fault is mapped member by member;
/// <see cref="SettingTable"/> has the names of limits and options. Faults of requests list the fields that they mention. Faults of options and of this
/// machine are plain sentences, in which whole paths of properties are replaced.
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
        ["Labels"] = "labels",
        ["IdleTimeout"] = "idle_timeout_secs",
        ["Lifetime"] = "lifetime_secs",
        ["Terminal"] = "terminal",
        ["Columns"] = "cols",
        ["Rows"] = "rows",
        ["Depth"] = "depth",
        ["Mode"] = "mode",
        ["NewPath"] = "to",
        ["Tar"] = "body",
    };

    // Options of the endpoints that are not in the table.
    private static readonly Dictionary<string, string> HttpOptions = new(StringComparer.Ordinal)
    {
        [nameof(BoxerHttpOptions.FilesDirectory)] = "home",
        [nameof(BoxerHttpOptions.ApiKeys)] = HostKeys.ApiKeys,
        [nameof(BoxerHttpOptions.HostNames)] = HostKeys.HostNames,
    };

    private static readonly FrozenDictionary<string, string> OptionPaths = FindPaths(HttpOptions, [.. SettingTable.BuiltIn.Options, .. HostKeys.Http]);
    private static readonly FrozenDictionary<string, string> RequestPaths = FindPaths(
        RequestFields.Append(new("MaxLimits", "max_limits")).ToDictionary(StringComparer.Ordinal), [], ("Limits", SettingTable.BuiltIn.Limits), ("MaxLimits", SettingTable.BuiltIn.Limits), ("Egress", SettingTable.BuiltIn.Egress));

    /// <summary>Sets the number of uploads among the files of a request. The files after them are its inputs.</summary>
    public static void SetUploadCount(HttpContext context, int uploads) => context.Items[typeof(FieldNames)] = uploads;

    /// <summary>Gets all faults of a request as one text.</summary>
    public static string OfRequest(InvalidSandboxRequestException exception, HttpContext context)
    {
        int? uploads = context.Items[typeof(FieldNames)] as int?;
        return string.Join(" ", exception.Faults.Select(fault => $"{OfRequestField(fault.Field, uploads)}: {fault.FormatMessage(field => OfRequestField(field, uploads))}"));
    }

    /// <summary>Gets a fault of the options, which has its path before a colon.</summary>
    public static string OfOptions(string failure)
    {
        int colon = failure.IndexOf(": ", StringComparison.Ordinal);
        return colon < 0 ? InSentence(failure) : OfOption(failure[..colon]) + InSentence(failure[colon..]);
    }

    /// <summary>Gets a sentence about this machine, which may mention options.</summary>
    public static string OfMachine(string message) => InSentence(message);

    /// <summary>Gets the name of a property of <see cref="ResourceLimits"/>.</summary>
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
                // A limit of the whole host has a name without the names of its parents.
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

            // In the request a file is only its path.
            case [{ Name: "Files", Number: not null } file, { Name: "Path" }]:
                return $"files{file.Index}";

            // The inputs of a workspace are its files, its uploads and its archive, in this order. An upload may be a directory of many files.
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

    /// <summary>Replaces whole paths of properties. A single name is replaced only if it cannot be an English word.</summary>
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

            // A dot at the end belongs to the sentence.
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

    // A slash too: names in paths of this host are not replaced.
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
                // The name of an environment variable or of a label may contain brackets.
                int close = name is "Environment" or "Labels" ? path.LastIndexOf(']') : path.IndexOf(']', end);
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
                // A limit that requests cannot set applies to the whole host.
                bool isLimit = all == SettingTable.BuiltIn.Limits;
                string key = isLimit && setting.HttpKey is null ? setting.HostKey! : keyPrefix + (setting.HttpKey ?? setting.HostKey);
                paths[prefix + setting.Name] = key;
                AddAll(setting.Members(SettingTable.BuiltIn), $"{prefix}{setting.Name}.", key + ".");
            }
        }
    }

    /// <summary>A member of a path.</summary>
    /// <param name="Name">The name.</param>
    /// <param name="Index">The index in brackets, or empty.</param>
    private sealed record Step(string Name, string Index)
    {
        public int? Number => Index.Length > 2 && int.TryParse(Index[1..^1], NumberStyles.None, CultureInfo.InvariantCulture, out int number) ? number : null;
    }
}
