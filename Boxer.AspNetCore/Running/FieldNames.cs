using System.Globalization;
using System.Text.RegularExpressions;
using Boxer.AspNetCore.Configuration;
using Boxer.Validation;

namespace Boxer.AspNetCore.Running;

/// <summary>Turns the names of properties in messages of Boxer into those of the HTTP request, or of the configuration, by <see cref="SettingTable"/>.</summary>
internal static partial class FieldNames
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
    };

    // Lists of BoxerHttpOptions, which have no row.
    private static readonly Dictionary<string, string> HttpLists = new(StringComparer.Ordinal)
    {
        [nameof(BoxerHttpOptions.ApiKeys)] = HostKeys.ApiKeys,
        [nameof(BoxerHttpOptions.HostNames)] = HostKeys.HostNames,
    };

    /// <summary>Notes how many of a request's files are uploads: those after them are its inputs.</summary>
    public static void NoteUploads(HttpContext context, int uploads) => context.Items[typeof(FieldNames)] = uploads;

    /// <summary>All faults of a request as one text.</summary>
    public static string OfRequest(InvalidSandboxRequestException exception, HttpContext context) =>
        string.Join(" ", exception.Faults.Select(fault => $"{OfRequestField(fault.Field, context.Items[typeof(FieldNames)] as int?)}: {OfRequestMessage(fault.Message)}"));

    /// <summary>One fault of the options as a line.</summary>
    public static string OfOptions(string failure) =>
        Property().Replace(failure.Replace("BoxerOptions.", "", StringComparison.Ordinal), property => OfOption(property.Value) ?? property.Value);

    /// <summary>Names the options in a sentence about this machine.</summary>
    public static string OfMachine(string message) => Option().Replace(message, property => OfOption(property.Value) ?? property.Value);

    /// <summary>One property of <see cref="ResourceLimits"/>.</summary>
    public static string OfLimit(string property) =>
        SettingTable.BuiltIn.Limits.FirstOrDefault(limit => limit.Name == property) is { } limit ? KeyOf(limit) : property;

    /// <summary>The key of a path such as <c>DefaultLimits.MemoryBytes</c> or <c>Registries[0].Name</c>.</summary>
    /// <returns>The key, or <see langword="null"/> if it is no option.</returns>
    private static string? OfOption(string path)
    {
        string[] names = path.Split('.');
        return HttpLists.TryGetValue(NameOf(names[0]), out string? list) ? list + names[0][NameOf(names[0]).Length..]
            : OfPath(names, [.. SettingTable.BuiltIn.Options, .. HostKeys.Http]);
    }

    private static string? OfPath(IEnumerable<string> names, IReadOnlyList<Setting> settings)
    {
        List<string> keys = [];
        foreach (string name in names)
        {
            if (settings.FirstOrDefault(known => known.Name == NameOf(name)) is not { } setting)
            {
                return null;
            }

            if (setting.HttpKey is null && settings == SettingTable.BuiltIn.Limits)
            {
                // A limit of the whole host: its key is at the top.
                keys.Clear();
            }

            keys.Add(KeyOf(setting) + name[setting.Name.Length..]);
            settings = setting.Members(SettingTable.BuiltIn);
        }

        return string.Join('.', keys);
    }

    private static string OfRequestMessage(string message) => Property().Replace(message, property => property.Value.Contains('.', StringComparison.Ordinal)
        ? (property.Value.StartsWith("Limits.", StringComparison.Ordinal) ? OfRequestPath(property.Value) : OfOption(property.Value)) ?? property.Value
        : property.Value);

    private static string? OfRequestPath(string path)
    {
        string[] names = path.Split('.');
        string? members = names[0] switch
        {
            "Limits" => OfPath(names[1..], SettingTable.BuiltIn.Limits),
            "Egress" => OfPath(names[1..], SettingTable.BuiltIn.Egress),
            _ => null,
        };
        return members is null ? null
            : names[0] == "Limits" && SettingTable.BuiltIn.Limits.Any(limit => limit.HttpKey is null && limit.HostKey == members) ? members
            : $"{RequestFields[names[0]]}.{members}";
    }

    private static string OfRequestField(string field, int? uploads)
    {
        if ((OfWorkspace(field) ?? OfRequestPath(field)) is { } known)
        {
            return known;
        }

        if (FileNumber().Match(field) is { Success: true } file && int.Parse(file.Groups["number"].ValueSpan, CultureInfo.InvariantCulture) - uploads is >= 0 and var input)
        {
            return $"inputs[{input}]{(file.Groups["path"].Success ? ".path" : "")}";
        }

        string name = field;
        string head = new([.. field.TakeWhile(char.IsAsciiLetter)]);
        if (RequestFields.TryGetValue(head, out string? mapped))
        {
            name = mapped + field[head.Length..];
            name = name.StartsWith("workspace.", StringComparison.Ordinal) ? name.ToLowerInvariant() : name;
        }

        // A file has no members in the request: it is its path.
        return name.StartsWith("files[", StringComparison.Ordinal) ? name.Replace("].Path", "]", StringComparison.Ordinal) : name;
    }

    // The inputs of a workspace are its files, its uploads, and its archive, in this order; an upload may be a directory of many.
    private static string? OfWorkspace(string field) =>
        WorkspaceInput().Match(field) is not { Success: true } match ? null
        : match.Groups["input"].Value switch
        {
            "0" => $"workspace.files{match.Groups["file"].Value}{(match.Groups["path"].Success ? ".path" : "")}",
            "1" => "workspace.uploads",
            _ => "workspace.archive",
        };

    private static string NameOf(string part) => part.Split('[')[0];

    private static string KeyOf(Setting setting) => setting.HttpKey ?? setting.HostKey ?? setting.Name;

    [GeneratedRegex(@"[A-Z][A-Za-z0-9]*(?:\[\d+\]|\.[A-Z][A-Za-z0-9]*)*", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 1_000)]
    private static partial Regex Property();

    [GeneratedRegex(@"^Workspace\.Inputs\[(?<input>\d+)\](?:\.Files(?<file>\[\d+\])?(?<path>\.Path)?)?$", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1_000)]
    private static partial Regex WorkspaceInput();

    [GeneratedRegex(@"^Files\[(?<number>\d+)\](?<path>\.Path)?$", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture, matchTimeoutMilliseconds: 1_000)]
    private static partial Regex FileNumber();

    // Not what is a part of a path, and no word that sentences begin with.
    [GeneratedRegex("(?<![/A-Za-z0-9._-])(?:[A-Z][a-z]+(?:[A-Z][a-z0-9]*)+|Home)(?![/A-Za-z0-9])", RegexOptions.CultureInvariant, matchTimeoutMilliseconds: 1_000)]
    private static partial Regex Option();
}
