using System.Text;
using Boxer.Common;
using Boxer.Runtime.Init;

namespace Boxer.Validation;

/// <summary>Checks and parses the parts of a request that describe its command.</summary>
internal static class CommandChecks
{
    private const int MaxArgumentBytes = 128 << 10;
    private const int MaxArgumentsBytes = 2 << 20;
    private const int MaxArguments = 32_768;

    /// <summary>Checks the program and its arguments.</summary>
    internal static void CheckCommand(SandboxRequest request, RequestFaults faults)
    {
        if (request.Command.Count == 0)
        {
            if (request.UseImageCommand)
            {
                return;
            }

            faults.Add("Command", "must have at least one entry: the program to run.");
            return;
        }

        if (request.Command.Count > MaxArguments)
        {
            faults.Add("Command", $"must have at most {MaxArguments} entries.");
            return;
        }

        long total = 0;
        for (int i = 0; i < request.Command.Count; i++)
        {
            string? argument = request.Command[i];
            if (argument is null)
            {
                faults.Add($"Command[{i}]", "must not be null.");
                continue;
            }

            int bytes = Encoding.UTF8.GetByteCount(argument);
            total += bytes + 1;
            faults.AddFaultsOfText($"Command[{i}]", argument, bytes, MaxArgumentBytes);
        }

        if (request.Command[0] is "" && !request.UseImageCommand)
        {
            faults.Add("Command[0]", "must not be empty: it is the program to run.");
        }

        if (total > MaxArgumentsBytes)
        {
            faults.Add("Command", $"must have at most {MaxArgumentsBytes} bytes altogether; put more into a file or standard input.");
        }
    }

    /// <summary>Checks the environment variables.</summary>
    internal static void CheckEnvironment(IDictionary<string, string> environment, RequestFaults faults)
    {
        if (environment.Count > MaxArguments)
        {
            faults.Add("Environment", $"must have at most {MaxArguments} entries.");
            return;
        }

        long total = 0;
        foreach ((string name, string? value) in environment)
        {
            string field = $"Environment[{RequestFaults.Shorten(name)}]";
            if (name.Length == 0 || name.Contains('=', StringComparison.Ordinal))
            {
                faults.Add(field, "must have a name that is not empty and has no '='.");
            }

            if (value is null)
            {
                faults.Add(field, "must not be null.");
                continue;
            }

            int bytes = Encoding.UTF8.GetByteCount(name) + Encoding.UTF8.GetByteCount(value) + 1;
            total += bytes;
            faults.AddFaultsOfText(field, name + value, bytes, MaxArgumentBytes);
        }

        if (total > MaxArgumentsBytes / 2)
        {
            faults.Add("Environment", $"must have at most {MaxArgumentsBytes / 2} bytes altogether; put more into a file.");
        }
    }

    /// <summary>Parses the directory that the command starts in.</summary>
    /// <returns><see langword="null"/> for a missing or invalid one.</returns>
    internal static CleanPath? ParseWorkingDirectory(string? text, RequestFaults faults)
    {
        const string Field = "WorkingDirectory";
        if (text is null)
        {
            return null;
        }

        PathFaults found = CleanPath.TryNormalize(text, out CleanPath path);
        AddIf(PathFaults.Empty | PathFaults.WrongKind, "must be an absolute path such as /work.");
        AddIf(PathFaults.Nul, RequestFaults.NoNul);
        AddIf(PathFaults.NotUnicode, RequestFaults.NoUnicode);
        AddIf(PathFaults.TooLong, $"must have at most {CleanPath.MaxBytes} bytes.");
        AddIf(PathFaults.DotDot, "must not contain '..'.");
        if (!found.HasFlag(PathFaults.TooLong))
        {
            AddIf(PathFaults.LongName, $"must have at most {CleanPath.MaxNameBytes} bytes between slashes.");
        }

        return found == PathFaults.None ? path : null;

        void AddIf(PathFaults kind, string message)
        {
            if ((found & kind) != PathFaults.None)
            {
                faults.Add(Field, message);
            }
        }
    }

    /// <summary>Parses the user of the command.</summary>
    /// <returns><see langword="null"/> for a missing or malformed one.</returns>
    internal static UserName? ParseUser(string? text, RequestFaults faults)
    {
        if (text is null)
        {
            return null;
        }

        UserName? user = UserName.TryParse(text, out IReadOnlyList<(UserFault Fault, string Part)> found);
        foreach ((UserFault fault, string part) in found)
        {
            faults.Add("User", fault switch
            {
                UserFault.Malformed => "must be a name or a uid, alone or followed by ':' and a group, such as 1000 or nobody:nogroup.",
                UserFault.Nul => RequestFaults.NoNul,
                UserFault.NotUnicode => RequestFaults.NoUnicode,
                UserFault.TooLong => $"must have at most {UserName.MaxBytes} bytes.",
                UserFault.IdTooLarge => $"{RequestFaults.Shorten(part)} is not an id: ids go from 0 to {UserName.MaxId}.",
                _ => "must not be negative: ids go from 0 upwards.",
            });
        }

        if (user is not null && (user.Uid == InitProtocol.ReservedId || user.Gid == InitProtocol.ReservedId))
        {
            faults.Add("User", $"{InitProtocol.ReservedId} is reserved for the sandbox's own PID 1; use another id.");
        }

        return user;
    }
}
