using Boxer.Common;

namespace Boxer.Validation;

/// <summary>Use of a command in a session.</summary>
internal enum CommandUse
{
    /// <summary>A foreground command: ExecAsync or StreamAsync.</summary>
    Exec,

    /// <summary>A process: StartAsync.</summary>
    Process,
}

/// <summary>Parses a command for a session and finds all its faults before it reaches the sandbox.</summary>
/// <param name="maxLimits">Highest value that a request may set for each limit; <see langword="null"/> for no bound.</param>
internal sealed class CommandValidator(ResourceLimits maxLimits)
{

    /// <summary>The limits that a command has for itself. The others are those of the sandbox.</summary>
    private static readonly string[] OwnLimits =
        [nameof(ResourceLimits.WallClock), nameof(ResourceLimits.CpuTime), nameof(ResourceLimits.StandardOutputBytes), nameof(ResourceLimits.OpenFiles), nameof(ResourceLimits.Pids)];

    /// <summary>Parses a command.</summary>
    /// <param name="command">The command. The result uses its lists, so nothing else may change them.</param>
    /// <param name="session">The limits of the session.</param>
    /// <param name="workingDirectory">The working directory of the session.</param>
    /// <param name="use">Use of the command.</param>
    /// <exception cref="InvalidSandboxRequestException">The command is invalid; all faults are listed.</exception>
    internal CheckedCommand Validate(SandboxCommand command, ResourceLimits session, CleanPath workingDirectory, CommandUse use)
    {
        var faults = new RequestFaults();
        CommandChecks.CheckCommand(command.Command, usesImageCommand: false, faults);
        CommandChecks.CheckEnvironment(command.Environment, faults);
        CleanPath? directory = command.WorkingDirectory is { } path ? SessionPaths.TryResolve(path, workingDirectory, "WorkingDirectory", faults) : workingDirectory;
        UserName? user = CommandChecks.ParseUser(command.User, faults);
        ResourceLimits limits = Fill(command.Limits ?? new(), session, use);
        CheckLimits(command.Limits, session, faults);
        CheckUse(command, limits, use, faults);
        if (faults.Count > 0)
        {
            throw new InvalidSandboxRequestException(faults);
        }

        return new CheckedCommand
        {
            Command = command.Command.AsReadOnly(),
            Environment = command.Environment.AsReadOnly(),
            WorkingDirectory = directory!.Value,
            User = user,
            Limits = limits,
            StandardInput = command.StandardInput,
            StandardInputStream = command.StandardInputStream,
            MergeStandardError = command.MergeStandardError,
            KeepStandardOutput = command.KeepStandardOutput,
            StopGrace = command.StopGrace,
            Terminal = command.Terminal,
        };
    }

    /// <summary>Checks the size of a terminal.</summary>
    /// <param name="terminal">The size.</param>
    /// <exception cref="InvalidSandboxRequestException">The size is out of range; all faults are listed.</exception>
    internal static void ValidateTerminal(SandboxTerminal terminal)
    {
        var faults = new RequestFaults();
        CommandChecks.CheckTerminal(terminal, "", faults);
        if (faults.Count > 0)
        {
            throw new InvalidSandboxRequestException(faults);
        }
    }

    // The session's lifetime bounds a process, so that a server does not end at the wall clock of commands. The operator's maximum of processor time holds for
    // it, because it would not hold for anything else otherwise.
    private ResourceLimits Fill(ResourceLimits own, ResourceLimits session, CommandUse use) => session with
    {
        WallClock = own.WallClock ?? (use == CommandUse.Exec ? session.WallClock : null),
        CpuTime = own.CpuTime ?? (use == CommandUse.Exec ? session.CpuTime : maxLimits.CpuTime),
        StandardOutputBytes = own.StandardOutputBytes ?? session.StandardOutputBytes,
        OpenFiles = own.OpenFiles ?? session.OpenFiles,
        Pids = own.Pids ?? session.Pids,
    };

    private void CheckLimits(ResourceLimits? own, ResourceLimits session, RequestFaults faults)
    {
        if (own is null)
        {
            faults.Add("Limits", "must not be null.");
            return;
        }

        SandboxFault[] found =
        [
            .. SettingTable.BuiltIn.Limits.Where(limit => !OwnLimits.Contains(limit.Name) && limit.Get(own) is not null)
                .Select(limit => new SandboxFault($"Limits.{limit.Name}", "is a limit of the whole session; set it when the session is opened.")),
        ];
        found = [.. found, .. LimitsValidator.Validate(own, "Limits").ExceptBy(found.Select(fault => fault.Field), fault => fault.Field)];
        found = [.. found, .. LimitsValidator.FindAbove(own, maxLimits, "Limits").ExceptBy(found.Select(fault => fault.Field), fault => fault.Field)];
        faults.AddRange(found);

        // The pids cgroup of the sandbox is sized for the session's limit.
        if (own.Pids > session.Pids && !found.Any(fault => fault.Field == "Limits.Pids"))
        {
            faults.Add("Limits.Pids", $"is {own.Pids}, but the session has {session.Pids}; lower it, or open a session with more.");
        }
    }

    private void CheckUse(SandboxCommand command, ResourceLimits limits, CommandUse use, RequestFaults faults)
    {
        if (use == CommandUse.Exec)
        {
            CommandChecks.CheckStandardInput(command.StandardInput, command.StandardInputStream, faults);
            CommandChecks.CheckStopGrace(command.StopGrace, limits.WallClock, maxLimits.WallClock, faults);
            if (command.Terminal is not null)
            {
                faults.Add("Terminal", "is for processes only; start the command as a process.");
            }

            return;
        }

        CommandChecks.CheckTerminal(command.Terminal, "Terminal.", faults);
        AddIf(command.StandardInput.Length > 0, "StandardInput", "is not for processes; write to the input of the process.");
        AddIf(command.StandardInputStream is not null, "StandardInputStream", "is not for processes; write to the input of the process.");
        AddIf(!command.KeepStandardOutput, "KeepStandardOutput", "is not for processes, which keep the last part of their output.");
        AddIf(command.StopGrace != TimeSpan.Zero, "StopGrace", "is not for processes; send a signal to the process.");
        AddIf(command.Limits?.StandardOutputBytes is not null, "Limits.StandardOutputBytes", "is not for processes, which keep the last part of their output.");

        void AddIf(bool isFault, string field, string message)
        {
            if (isFault)
            {
                faults.Add(field, message);
            }
        }
    }
}
