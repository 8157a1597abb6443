using Boxer.Common;
using Boxer.Images;
using Boxer.Linux;
using Boxer.Networking;
using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;
using Boxer.Validation;

namespace Boxer.Runtime.Kept;

/// <summary>The parts of a session that its commands start from.</summary>
internal sealed record SessionGuest
{
    /// <summary>The image's configuration.</summary>
    internal required ImageConfig Config { get; init; }

    /// <summary>The image's accounts.</summary>
    internal required ImageAccounts Accounts { get; init; }

    /// <summary>The user of the session.</summary>
    internal required ImageUser User { get; init; }

    /// <summary>The environment of the session: the image's variables and the request's.</summary>
    internal required IReadOnlyDictionary<string, string> Environment { get; init; }

    /// <summary>The directory that commands start in.</summary>
    internal required CleanPath WorkingDirectory { get; init; }

    /// <summary>Whether <see cref="WorkingDirectory"/> is the user's home because nothing else is given. Other users cannot enter it.</summary>
    internal bool StartsAtHome { get; init; }

    /// <summary>The identity of the session's user.</summary>
    internal InitIdentity Identity => SessionPlanner.IdentityOf(User);
}

/// <summary>Creates the plans of sessions: of the opening, and of each command.</summary>
internal static class SessionPlanner
{
    // Docker's home of users that the image does not know.
    private const string HomeOfStrangers = "/";

    /// <summary>Creates the state that the commands of a session start from.</summary>
    /// <param name="session">The request.</param>
    /// <param name="config">The image's configuration.</param>
    /// <param name="accounts">The image's accounts.</param>
    /// <param name="user">The user.</param>
    /// <exception cref="InvalidSandboxRequestException">The image's configuration cannot be used.</exception>
    internal static SessionGuest GuestOf(CheckedSession session, ImageConfig config, ImageAccounts accounts, ImageUser user)
    {
        var environment = new Dictionary<string, string>(CommandPlanner.Environment(session, config, accounts, user, out string home, out _), StringComparer.Ordinal);

        // The root belongs to user 0: without a directory of its own, a session of another user could not write a relative path.
        bool isAtHome = session.WorkingDirectory is null && session.Workspace is null && config.WorkingDir is ("" or "/")
            && CommandPlanner.Mounts(null, user, home).Any(mount => mount.Kind == InitTmpfsKind.UnlessUsed);
        string directory = isAtHome ? home : CommandPlanner.WorkingDirectory(session, config);
        return new SessionGuest
        {
            Config = config,
            Accounts = accounts,
            User = user,
            Environment = environment,
            StartsAtHome = isAtHome,
            WorkingDirectory = CleanPath.TryNormalize(directory, out CleanPath clean) == PathFaults.None
                ? clean
                : throw new InvalidSandboxRequestException("Image", "its WorkingDir cannot be used; give a working directory."),
        };
    }

    /// <summary>Creates the plan of the opening.</summary>
    /// <param name="session">The request.</param>
    /// <param name="guest">The state that the commands start from.</param>
    /// <param name="network">The files of the network.</param>
    /// <param name="platform">The gVisor platform.</param>
    internal static OpenPlan BuildOpening(CheckedSession session, SessionGuest guest, GuestNetwork network, string platform)
    {
        ResourceLimits limits = session.Limits;
        ImageUser user = guest.User;
        CommandPlanner.Environment(session, guest.Config, guest.Accounts, user, out string home, out bool hasOwnHome);
        var start = new InitStart
        {
            Arguments = [],
            WorkingDirectory = guest.WorkingDirectory.Text,
            UserId = user.Uid,
            GroupId = user.Gid,
            SupplementaryGroups = user.Groups,
            Capabilities = CommandPlanner.CapabilitiesOf(user),
            Hostname = CommandPlanner.Hostname,
            Tmpfs = CommandPlanner.Mounts(session.Workspace, user, home),
            TmpfsBytes = CommandPlanner.ToPages(limits.DiskBytes!.Value),
            TextFiles = CommandPlanner.TextFiles(network, guest.Accounts, user, home, hasOwnHome),
            MemoryBytes = CommandPlanner.ToPages(limits.MemoryBytes!.Value),
            CpuQuota = (int)CgroupV1.Quota(limits.CpuCores!.Value, Cgroup.PeriodMicroseconds),
        };
        var cgroup = new CgroupLimits(limits.CpuCores!.Value, start.MemoryBytes, HostTasks.Limit(limits.Pids!.Value, platform, Processors.Count));
        return new OpenPlan(start, session.Files, session.Workspace, limits, cgroup);
    }

    /// <summary>Creates the plan of a command. Nothing of another command is in it.</summary>
    /// <param name="guest">The state that the commands start from.</param>
    /// <param name="command">The command, with its limits filled in.</param>
    /// <exception cref="InvalidSandboxRequestException">The image does not know the user.</exception>
    internal static ExecPlan BuildCommand(SessionGuest guest, CheckedCommand command)
    {
        ImageUser user = command.User is null ? guest.User : CommandPlanner.ResolveUser(command.User, guest.Config, guest.Accounts);
        ResourceLimits limits = command.Limits;
        return new ExecPlan
        {
            Arguments = command.Command,
            Environment = Environment(guest, command, user),
            WorkingDirectory = WorkingDirectory(guest, command, user),
            User = IdentityOf(user),
            ResourceLimits = CommandPlanner.Limits(user, limits.Pids!.Value, limits.OpenFiles!.Value),
            Stdin = command.StandardInput,
            StdinStream = command.StandardInputStream,
            MergeOutput = command.MergeStandardError,
            KeepsOutput = command.KeepStandardOutput,
            OutputLimit = limits.StandardOutputBytes ?? long.MaxValue,
            WallClock = limits.WallClock,
            CpuTime = limits.CpuTime,
            StopGrace = command.StopGrace,
            StopSignal = StopSignal.Parse(guest.Config.StopSignal),
            Terminal = command.Terminal,
        };
    }

    /// <summary>Returns the identity of a user.</summary>
    /// <param name="user">The user.</param>
    internal static InitIdentity IdentityOf(ImageUser user) => new(user.Uid, user.Gid, user.Groups, CommandPlanner.CapabilitiesOf(user));

    // User 0 can enter every directory.
    private static string WorkingDirectory(SessionGuest guest, CheckedCommand command, ImageUser user) =>
        guest.StartsAtHome && user.Uid != guest.User.Uid && user.Uid != 0 && command.WorkingDirectory == guest.WorkingDirectory ? "/" : command.WorkingDirectory.Text;

    private static string[] Environment(SessionGuest guest, CheckedCommand command, ImageUser user)
    {
        var variables = new Dictionary<string, string>(guest.Environment, StringComparer.Ordinal);
        if (user.Uid != guest.User.Uid)
        {
            variables["HOME"] = user.Home ?? HomeOfStrangers;
        }

        foreach ((string name, string value) in command.Environment)
        {
            variables[name] = value;
        }

        return [.. variables.Select(variable => variable.Key + "=" + variable.Value), .. CommandPlanner.TerminalVariables(command.Terminal, variables)];
    }
}
