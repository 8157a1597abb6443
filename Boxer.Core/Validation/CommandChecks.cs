using System.Globalization;
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
    private const int MaxStdinBytes = 256 << 20;
    private static readonly TimeSpan MaxStopGrace = TimeSpan.FromSeconds(60);

    /// <summary>Checks the program and its arguments.</summary>
    /// <param name="command">The program and its arguments.</param>
    /// <param name="usesImageCommand">Whether the image's own command comes before it, or replaces an empty one.</param>
    /// <param name="faults">Receives the faults.</param>
    internal static void CheckCommand(IList<string> command, bool usesImageCommand, RequestFaults faults)
    {
        if (command.Count == 0)
        {
            if (usesImageCommand)
            {
                return;
            }

            faults.Add("Command", "must have at least one entry: the program to run.");
            return;
        }

        if (command.Count > MaxArguments)
        {
            faults.Add("Command", $"must have at most {MaxArguments} entries.");
            return;
        }

        long total = 0;
        for (int i = 0; i < command.Count; i++)
        {
            string? argument = command[i];
            if (argument is null)
            {
                faults.Add($"Command[{i}]", "must not be null.");
                continue;
            }

            int bytes = Encoding.UTF8.GetByteCount(argument);
            total += bytes + 1;
            faults.AddFaultsOfText($"Command[{i}]", argument, bytes, MaxArgumentBytes);
        }

        if (command[0] is "" && !usesImageCommand)
        {
            faults.Add("Command[0]", "must not be empty: it is the program to run.");
        }

        if (total > MaxArgumentsBytes)
        {
            faults.Add("Command", $"must have at most {MaxArgumentsBytes} bytes altogether; put more into a file or standard input.");
        }
    }

    /// <summary>Checks the standard input.</summary>
    internal static void CheckStandardInput(ReadOnlyMemory<byte> input, Stream? stream, RequestFaults faults)
    {
        if (stream is not null && input.Length > 0)
        {
            faults.Add(new SandboxFault("StandardInputStream", "cannot be set together with {0}; leave one of them.", ["StandardInput"]));
        }
        else if (stream is { CanRead: false })
        {
            faults.Add("StandardInputStream", "cannot be read from.");
        }

        if (input.Length > MaxStdinBytes)
        {
            faults.Add("StandardInput", $"must have at most {MaxStdinBytes} bytes; put more into a file.");
        }
    }

    /// <summary>Checks the time that the command gets to stop.</summary>
    /// <param name="grace">The time.</param>
    /// <param name="wallClock">The wall-clock limit of the command.</param>
    /// <param name="maxWallClock">Highest wall-clock limit that a request may set; <see langword="null"/> for no bound.</param>
    /// <param name="faults">Receives the faults.</param>
    internal static void CheckStopGrace(TimeSpan grace, TimeSpan? wallClock, TimeSpan? maxWallClock, RequestFaults faults)
    {
        if (grace < TimeSpan.Zero || grace > MaxStopGrace)
        {
            faults.Add("StopGrace", $"must be from 0 to {MaxStopGrace.TotalSeconds:0} s.");
        }

        if (grace > TimeSpan.Zero && maxWallClock is { } most && wallClock <= most && wallClock + grace > most)
        {
            string format = string.Create(CultureInfo.InvariantCulture, $"and {{0}} together must be at most {most.TotalSeconds:0.###} s, as {{1}} says; lower one of them.");
            faults.Add(new SandboxFault("StopGrace", format, ["Limits.WallClock", "MaxLimits.WallClock"]));
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
    internal static CleanPath? ParseWorkingDirectory(string? text, RequestFaults faults) =>
        text is null ? null : ParseAbsolutePath(text, "WorkingDirectory", faults);

    /// <summary>Parses an absolute path of the sandbox.</summary>
    /// <returns><see langword="null"/> for an invalid one.</returns>
    internal static CleanPath? ParseAbsolutePath(string text, string field, RequestFaults faults)
    {
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
                faults.Add(field, message);
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

    /// <summary>Checks the size of a terminal.</summary>
    /// <param name="terminal">The terminal; <see langword="null"/>: none.</param>
    /// <param name="prefix">The property with a dot; empty if the terminal is the whole value.</param>
    /// <param name="faults">Receives the faults.</param>
    internal static void CheckTerminal(SandboxTerminal? terminal, string prefix, RequestFaults faults)
    {
        const int MaxSize = 65_535;
        if (terminal is not null)
        {
            faults.AddIfOutOfRange(prefix + nameof(terminal.Columns), terminal.Columns, 1, MaxSize, "columns");
            faults.AddIfOutOfRange(prefix + nameof(terminal.Rows), terminal.Rows, 1, MaxSize, "rows");
        }
    }
}
