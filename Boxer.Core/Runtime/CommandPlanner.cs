using System.Text;
using Boxer.Common;
using Boxer.Images;
using Boxer.Linux;
using Boxer.Networking;
using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;
using Boxer.Validation;

namespace Boxer.Runtime;

/// <summary>Creates the plan of a command from the request, the image and the network.</summary>
internal static class CommandPlanner
{
    /// <summary>The directory whose files are returned.</summary>
    internal const string OutputDirectory = "/output";
    private const string DefaultUser = "65534";
    private const string DefaultHome = "/home/boxer";
    private const string NoHomeOfAnybody = "/nonexistent";
    private const string DefaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    private const string TerminalType = "xterm";

    /// <summary>Host name of every sandbox.</summary>
    internal const string Hostname = "sandbox";

    private const uint SharedMode = 0x3FF; // 01777
    private const uint PrivateMode = 0x1C0; // 0700
    private const uint PublicMode = 0x1ED; // 0755

    // gVisor counts a process for the user that created it. PID 1 creates the command's first process as itself, or as user 0 for user 0.
    // Without this the limit would be off by one: higher for other users, lower for user 0, for whom PID 1 itself counts too.
    private const int FirstProcess = 1;
    private const int InitAsRoot = 1;

    // Not usable as $HOME: a tmpfs here would shadow a system mount, or be shadowed by one.
    private static readonly string[] NoHome = ["/tmp", OutputDirectory];

    /// <summary>Finds the user of the command in the image's own passwd and group.</summary>
    /// <param name="wanted">The user of the request; <see langword="null"/>: the image's.</param>
    /// <param name="config">The image's configuration.</param>
    /// <param name="accounts">The image's accounts.</param>
    /// <exception cref="InvalidSandboxRequestException">
    /// The image does not know the user, the user is PID 1's, or it is user 0 with a group that the user namespace does not have.
    /// </exception>
    internal static ImageUser ResolveUser(UserName? wanted, ImageConfig config, ImageAccounts accounts)
    {
        string name = wanted?.Text ?? (config.User.Length > 0 ? config.User : DefaultUser);
        ImageUser user = wanted is null ? ImageUsers.Resolve(accounts, name) : ImageUsers.Resolve(accounts, wanted);
        if (user.Uid == InitProtocol.ReservedId || user.Gid == InitProtocol.ReservedId || user.Groups.Contains(InitProtocol.ReservedId))
        {
            throw new InvalidSandboxRequestException("User", $"'{name}' has the id {InitProtocol.ReservedId}, which is reserved for the sandbox's own PID 1; use another user.");
        }

        if (user.Uid != 0)
        {
            return user;
        }

        // Supplementary groups of the image that user 0 cannot have are left out.
        return user.Gid < InitProtocol.MappedIds
            ? user with { Groups = [.. user.Groups.Where(group => group < InitProtocol.MappedIds)] }
            : throw new InvalidSandboxRequestException("User", $"'{name}' is user 0 in group {user.Gid}; user 0 has ids up to {InitProtocol.MappedIds - 1} only. Give another group, such as 0:0.");
    }

    /// <summary>Creates the plan.</summary>
    /// <param name="request">The request.</param>
    /// <param name="config">The image's configuration.</param>
    /// <param name="accounts">The image's accounts.</param>
    /// <param name="user">The user of the command.</param>
    /// <param name="network">The files of the network.</param>
    /// <param name="platform">The gVisor platform.</param>
    /// <param name="countsCpu">Whether the processor time of sandboxes is counted; otherwise the command's process gets an rlimit.</param>
    /// <exception cref="InvalidSandboxRequestException">The configuration of the image cannot be used.</exception>
    internal static CommandPlan Build(
        CheckedRequest request, ImageConfig config, ImageAccounts accounts, ImageUser user, GuestNetwork network, string platform, bool countsCpu)
    {
        ResourceLimits limits = request.Limits;
        InitStart start = Start(request, config, accounts, user, network, countsCpu);
        var cgroup = new CgroupLimits(limits.CpuCores!.Value, start.MemoryBytes, HostTasks.Limit(limits.Pids!.Value, platform, Processors.Count));
        return new CommandPlan(
            start,
            request.Files,
            request.Workspace,
            request.StandardInput,
            request.StandardInputStream,
            limits,
            cgroup,
            request.OutputFiles,
            request.StopGrace,
            StopSignal.Parse(config.StopSignal))
        {
            Frame = Encode(start),
            KeepsPrinted = request.KeepStandardOutput,
        };
    }

    /// <summary>Rounds up to whole pages: the kernel counts pages, and would round down.</summary>
    /// <param name="bytes">The number of bytes.</param>
    internal static long ToPages(long bytes) => (bytes + System.Environment.SystemPageSize - 1) / System.Environment.SystemPageSize * System.Environment.SystemPageSize;

    /// <summary>Gets the variables that a command with a terminal has, unless the request or the image sets them.</summary>
    /// <param name="terminal">The terminal; <see langword="null"/>: none.</param>
    /// <param name="environment">The other variables.</param>
    internal static IEnumerable<string> TerminalVariables(SandboxTerminal? terminal, IEnumerable<KeyValuePair<string, string>> environment) =>
        terminal is null || environment.Any(variable => variable.Key == "TERM") ? [] : ["TERM=" + TerminalType];

    private static InitStart Start(
        CheckedRequest request, ImageConfig config, ImageAccounts accounts, ImageUser user, GuestNetwork network, bool countsCpu)
    {
        ResourceLimits limits = request.Limits;
        List<KeyValuePair<string, string>> environment = Environment(request, config, accounts, user, out string home, out bool hasOwnHome);
        return new InitStart
        {
            Arguments = Arguments(request, config),
            Environment = [.. environment.Select(variable => variable.Key + "=" + variable.Value), .. TerminalVariables(request.Terminal, environment)],
            WorkingDirectory = WorkingDirectory(request, config),
            UserId = user.Uid,
            GroupId = user.Gid,
            SupplementaryGroups = user.Groups,
            Capabilities = CapabilitiesOf(user),
            ResourceLimits =
            [
                .. Limits(user, limits.Pids!.Value, limits.OpenFiles!.Value),
                .. countsCpu || limits.CpuTime is not { } cpuTime ? (InitResourceLimit[])[] : [CpuTime(cpuTime)],
            ],
            Hostname = Hostname,
            Tmpfs = Mounts(request.Workspace, user, home),
            TmpfsBytes = ToPages(limits.DiskBytes!.Value),
            TextFiles = TextFiles(network, accounts, user, home, hasOwnHome),
            Outputs = Outputs(request.OutputFiles, limits.OutputFilesBytes!.Value, limits.OutputFilesCount!.Value),
            ChangeBytes = Math.Min(request.Workspace?.MaxChangesBytes ?? 0, limits.OutputFilesBytes.Value),
            ChangeEntries = request.Workspace is { MaxChangesBytes: > 0, MaxEntries: var entries } ? entries : 0,
            MergeOutput = request.MergeStandardError,
            Terminal = request.Terminal,
            MemoryBytes = ToPages(limits.MemoryBytes!.Value),
            CpuQuota = (int)CgroupV1.Quota(limits.CpuCores!.Value, Cgroup.PeriodMicroseconds),
        };
    }

    /// <summary>Finds the directory that commands start in.</summary>
    /// <param name="request">The request.</param>
    /// <param name="config">The image's configuration.</param>
    internal static string WorkingDirectory(CheckedSandbox request, ImageConfig config) =>
        (request.WorkingDirectory ?? request.Workspace?.Path)?.Text ?? Clean(config.WorkingDir) ?? "/";

    /// <summary>Returns the capabilities of a user.</summary>
    /// <param name="user">The user.</param>
    internal static InitCapabilities CapabilitiesOf(ImageUser user) => user.Uid == 0 ? InitCapabilities.All : InitCapabilities.None;

    /// <summary>Creates the limits of setrlimit(2) of every command.</summary>
    /// <param name="user">The user.</param>
    /// <param name="pids">Maximum number of processes and threads of the user.</param>
    /// <param name="openFiles">Maximum number of open descriptors of a process.</param>
    internal static InitResourceLimit[] Limits(ImageUser user, int pids, int openFiles) =>
    [
        Both(InitResource.Processes, pids + (user.Uid == 0 ? InitAsRoot : -FirstProcess)),
        Both(InitResource.OpenFiles, openFiles),
        Both(InitResource.Core, 0),
    ];

    /// <summary>Creates the small files of /etc.</summary>
    /// <param name="network">The files of the network.</param>
    /// <param name="accounts">The image's accounts.</param>
    /// <param name="user">The user.</param>
    /// <param name="home">The home of the user.</param>
    /// <param name="hasOwnHome">Whether the image's passwd has that home.</param>
    internal static InitTextFile[] TextFiles(GuestNetwork network, ImageAccounts accounts, ImageUser user, string home, bool hasOwnHome) =>
    [
        new("/etc/hostname", Encoding.UTF8.GetBytes(Hostname + "\n")),
        new("/etc/hosts", Encoding.UTF8.GetBytes(network.Hosts)),
        new("/etc/resolv.conf", Encoding.UTF8.GetBytes(network.ResolvConf)),
        .. GuestAccounts.Write(accounts, user, home, replacesHome: !hasOwnHome),
    ];

    /// <summary>Creates the list of directories: those of the tmpfs, $HOME and the workspace.</summary>
    /// <param name="workspace">The workspace, or <see langword="null"/>.</param>
    /// <param name="user">The user.</param>
    /// <param name="home">The home of the user.</param>
    internal static List<InitTmpfs> Mounts(CheckedWorkspace? workspace, ImageUser user, string home)
    {
        List<InitTmpfs> mounts =
        [
            new("/tmp", SharedMode, 0, 0),
            new("/dev/shm", SharedMode, 0, 0),
            new(OutputDirectory, SharedMode, 0, 0),
        ];
        if (Clean(home) is { } directory && IsMountableHome(directory))
        {
            mounts.Add(new InitTmpfs(directory, PrivateMode, user.Uid, user.Gid, InitTmpfsKind.UnlessUsed));
        }

        if (workspace is not null)
        {
            // A home at or below the workspace is part of the workspace: a mount of its own would cover the inputs. Parents are mounted before their children.
            mounts.RemoveAll(mount => (mount.Path + "/").StartsWith(workspace.Path.Text + "/", StringComparison.Ordinal));
            mounts.Add(new InitTmpfs(workspace.Path.Text, PublicMode, user.Uid, user.Gid, InitTmpfsKind.Workspace));
            mounts.Sort((one, other) => string.CompareOrdinal(one.Path, other.Path));
        }

        return mounts;
    }

    // Outputs that are dropped are only counted: with a limit of 0 bytes PID 1 reports their number.
    private static InitOutputs Outputs(OutputFilePolicy outputs, long bytes, int count) =>
        new(OutputDirectory, outputs.Collects ? Math.Min(outputs.MaxBytes ?? bytes, bytes) : 0, Math.Min(outputs.MaxFiles ?? count, count));

    private static IReadOnlyList<string> Arguments(CheckedRequest request, ImageConfig image)
    {
        if (!request.UseImageCommand)
        {
            return request.Command;
        }

        IReadOnlyList<string> arguments = [.. image.Entrypoint, .. request.Command.Count > 0 ? request.Command : image.Cmd];
        return arguments is [{ Length: > 0 }, ..]
            ? arguments
            : throw new InvalidSandboxRequestException("Command", "is empty, and the image has neither an Entrypoint nor a Cmd; name a program.");
    }

    /// <summary>Creates the environment of a command, and finds the home of its user.</summary>
    /// <param name="request">The request.</param>
    /// <param name="config">The image's configuration.</param>
    /// <param name="accounts">The image's accounts.</param>
    /// <param name="user">The user.</param>
    /// <param name="home">The value of $HOME.</param>
    /// <param name="hasOwnHome">Whether the image's passwd has a usable home for the user.</param>
    internal static List<KeyValuePair<string, string>> Environment(
        CheckedSandbox request, ImageConfig config, ImageAccounts accounts, ImageUser user, out string home, out bool hasOwnHome)
    {
        var variables = new Dictionary<string, string>(StringComparer.Ordinal) { ["PATH"] = DefaultPath, ["HOSTNAME"] = Hostname };
        foreach (string variable in config.Env)
        {
            int equals = variable.IndexOf('=', StringComparison.Ordinal);
            if (equals > 0 && !variable.Contains('\0', StringComparison.Ordinal))
            {
                variables[variable[..equals]] = variable[(equals + 1)..];
            }
        }

        string? own = user.Uid == 0 ? user.Home
            : user.Home is { } fromPasswd && IsMountableHome(fromPasswd) && fromPasswd != NoHomeOfAnybody && !accounts.IsOfOthers(fromPasswd, user.Uid) ? fromPasswd
            : null;
        hasOwnHome = own is not null;
        home = request.Environment.TryGetValue("HOME", out string? wanted) ? wanted
            : variables.TryGetValue("HOME", out string? fromImage) && IsMountableHome(fromImage) && !accounts.IsOfOthers(fromImage, user.Uid) ? fromImage
            : own ?? (user.Uid == 0 ? "/root" : DefaultHome);
        variables["HOME"] = home;
        if (!variables.ContainsKey("LANG") && !variables.ContainsKey("LC_ALL"))
        {
            variables["LANG"] = "C.UTF-8";
        }

        // The directory where pip and others install the programs of a user without root.
        variables["PATH"] += $":{home.TrimEnd('/')}/.local/bin";
        foreach ((string name, string value) in request.Environment)
        {
            variables[name] = value;
        }

        return [.. variables];
    }

    // Removes dots, doubled slashes and a slash at the end. Text that is no absolute path has no clean form.
    private static string? Clean(string path) =>
        path.StartsWith('/') && !path.Contains('\0', StringComparison.Ordinal) ? Path.TrimEndingDirectorySeparator(Path.GetFullPath(path)) : null;

    // The request was validated before, so that a value that does not fit comes from the image.
    private static byte[] Encode(InitStart start)
    {
        try
        {
            return InitEncoder.EncodeStart(start);
        }
        catch (ArgumentException exception)
        {
            throw new InvalidSandboxRequestException("Image", $"its configuration cannot be used: {exception.Message}");
        }
    }

    private static bool IsMountableHome(string path) =>
        CleanPath.TryParse(path.TrimEnd('/'), PathKind.Absolute, out CleanPath home) == PathFaults.None
        && !NoHome.Contains(home.Text, StringComparer.Ordinal)
        && home.FirstName is not ("proc" or "sys" or "dev" or ".boxer");

    // RLIMIT_CPU counts whole seconds. The last second is for a program that catches SIGXCPU.
    private static InitResourceLimit CpuTime(TimeSpan limit)
    {
        var seconds = (ulong)Math.Ceiling(limit.TotalSeconds);
        return new InitResourceLimit(InitResource.Cpu, seconds, seconds + 1);
    }

    private static InitResourceLimit Both(InitResource resource, int value) => new(resource, (ulong)value, (ulong)value);
}
