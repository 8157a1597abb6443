using Boxer.Common;
using Boxer.Validation;

namespace Boxer.Tests.Core.Validation;

public sealed class CommandValidatorTests
{
    private static readonly ResourceLimits OfSession = LimitDefaults.Values with { CpuTime = TimeSpan.FromSeconds(20) };
    private static readonly ResourceLimits Most = new() { WallClock = TimeSpan.FromMinutes(10), CpuTime = TimeSpan.FromMinutes(5), OpenFiles = 1_024 };

    public static TheoryData<string, Action<SandboxCommand>, string, string> Faults => new()
    {
        { "no command", command => command.Command.Clear(), "Command", "must have at least one entry: the program to run." },
        { "empty program", command => command.Command[0] = "", "Command[0]", "must not be empty: it is the program to run." },
        { "NUL in an argument", command => command.Command.Add("a\0b"), "Command[1]", "must not contain a NUL character." },
        { "variable with =", command => command.Environment["a=b"] = "c", "Environment[a=b]", "must have a name that is not empty and has no '='." },
        { "empty directory", command => command.WorkingDirectory = "", "WorkingDirectory", "must not be empty; '.' is the session's working directory." },
        { "directory with ..", command => command.WorkingDirectory = "../other", "WorkingDirectory", "must not contain '..'." },
        { "user", command => command.User = "1:2:3", "User", "must be a name or a uid, alone or followed by ':' and a group, such as 1000 or nobody:nogroup." },
        { "no limits", command => command.Limits = null!, "Limits", "must not be null." },
        { "processors", command => command.Limits.CpuCores = 1, "Limits.CpuCores", "is a limit of the whole session; set it when the session is opened." },
        { "memory out of its range", command => command.Limits.MemoryBytes = -1, "Limits.MemoryBytes", "is a limit of the whole session; set it when the session is opened." },
        { "disk", command => command.Limits.DiskBytes = ByteSize.MiB, "Limits.DiskBytes", "is a limit of the whole session; set it when the session is opened." },
        { "size of output files", command => command.Limits.OutputFilesBytes = 1, "Limits.OutputFilesBytes", "is a limit of the whole session; set it when the session is opened." },
        { "number of output files", command => command.Limits.OutputFilesCount = 1, "Limits.OutputFilesCount", "is a limit of the whole session; set it when the session is opened." },
        { "no time", command => command.Limits.WallClock = TimeSpan.Zero, "Limits.WallClock", "is 0 s, but must be from 1 ms to 24 h." },
        { "time above the maximum", command => command.Limits.WallClock = TimeSpan.FromHours(1), "Limits.WallClock", "is 1 h, but at most 10 min are allowed here." },
        { "processor time above the maximum", command => command.Limits.CpuTime = TimeSpan.FromHours(1), "Limits.CpuTime", "is 1 h, but at most 5 min are allowed here." },
        { "open files above the maximum", command => command.Limits.OpenFiles = 1_025, "Limits.OpenFiles", "is 1025, but at most 1024 descriptors are allowed here." },
        { "more processes than the session", command => command.Limits.Pids = 65, "Limits.Pids", "is 65, but the session has 64; lower it, or open a session with more." },
        { "no processes", command => command.Limits.Pids = 0, "Limits.Pids", "is 0, but must be from 1 to 32768 processes." },
    };

    public static TheoryData<string, Action<SandboxCommand>, string, string> FaultsOfExecs => new()
    {
        { "large stdin", command => command.StandardInput = new byte[(256 << 20) + 1], "StandardInput", "must have at most 268435456 bytes; put more into a file." },
        { "two inputs", command => (command.StandardInput, command.StandardInputStream) = (new byte[1], Stream.Null), "StandardInputStream", "cannot be set together with StandardInput; leave one of them." },
        { "negative grace", command => command.StopGrace = TimeSpan.FromSeconds(-1), "StopGrace", "must be from 0 to 60 s." },
        { "grace beyond the wall clock", command => (command.StopGrace, command.Limits.WallClock) = (TimeSpan.FromSeconds(1), TimeSpan.FromMinutes(10)), "StopGrace", "and Limits.WallClock together must be at most 600 s, as MaxLimits.WallClock says; lower one of them." },
        { "terminal", command => command.Terminal = new(80, 24), "Terminal", "is for processes only; start the command as a process." },
    };

    public static TheoryData<string, Action<SandboxCommand>, string, string> FaultsOfProcesses => new()
    {
        { "stdin", command => command.StandardInput = new byte[1], "StandardInput", "is not for processes; write to the input of the process." },
        { "stream as stdin", command => command.StandardInputStream = Stream.Null, "StandardInputStream", "is not for processes; write to the input of the process." },
        { "no output", command => command.KeepStandardOutput = false, "KeepStandardOutput", "is not for processes, which keep the last part of their output." },
        { "grace", command => command.StopGrace = TimeSpan.FromSeconds(1), "StopGrace", "is not for processes; send a signal to the process." },
        { "output limit", command => command.Limits.StandardOutputBytes = 1, "Limits.StandardOutputBytes", "is not for processes, which keep the last part of their output." },
        { "no columns", command => command.Terminal = new(0, 24), "Terminal.Columns", "must be from 1 to 65535 columns." },
        { "many rows", command => command.Terminal = new(80, 65_536), "Terminal.Rows", "must be from 1 to 65535 rows." },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public void Validate_reports_each_fault_with_its_field_and_remedy(string what, Action<SandboxCommand> spoil, string field, string message)
    {
        Check(what, spoil, field, message, CommandUse.Exec);
        Check(what, spoil, field, message, CommandUse.Process);
    }

    [Theory]
    [MemberData(nameof(FaultsOfExecs))]
    public void Validate_reports_each_fault_of_a_foreground_command(string what, Action<SandboxCommand> spoil, string field, string message) =>
        Check(what, spoil, field, message, CommandUse.Exec);

    [Theory]
    [MemberData(nameof(FaultsOfProcesses))]
    public void Validate_reports_each_fault_of_a_process(string what, Action<SandboxCommand> spoil, string field, string message) =>
        Check(what, spoil, field, message, CommandUse.Process);

    [Fact]
    public void Validate_reports_all_faults_at_once()
    {
        var command = new SandboxCommand("")
        {
            Environment = { ["="] = "" },
            WorkingDirectory = "..",
            User = "-1",
            Limits = new() { Pids = 0, CpuCores = 1 },
            Terminal = new(0, 0),
            StopGrace = TimeSpan.FromDays(1),
        };

        Assert.Equal(
            ["Command[0]", "Environment[=]", "Limits.CpuCores", "Limits.Pids", "StopGrace", "Terminal.Columns", "Terminal.Rows", "User", "WorkingDirectory"],
            Assert.Throws<InvalidSandboxRequestException>(() => Validate(command, CommandUse.Process)).Faults.Select(fault => fault.Field).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Validate_fills_the_limits_of_a_foreground_command_from_the_session()
    {
        ResourceLimits filled = Validate(new SandboxCommand("true") { Limits = new() { OpenFiles = 16 } }, CommandUse.Exec).Limits;

        Assert.Equal(OfSession with { OpenFiles = 16 }, filled);
    }

    [Fact]
    public void Validate_gives_a_process_no_wall_clock_and_the_maximum_of_processor_time()
    {
        Assert.Equal(OfSession with { WallClock = null, CpuTime = Most.CpuTime }, Validate(new SandboxCommand("true"), CommandUse.Process).Limits);

        ResourceLimits own = Validate(new SandboxCommand("true") { Limits = new() { WallClock = TimeSpan.FromSeconds(1), CpuTime = TimeSpan.FromSeconds(2) } }, CommandUse.Process).Limits;

        Assert.Equal((TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(2)), (own.WallClock, own.CpuTime));
    }

    [Fact]
    public void Validate_keeps_the_values_of_the_command()
    {
        var input = new MemoryStream();

        CheckedCommand parsed = Validate(
            new SandboxCommand("a", "b") { Environment = { ["A"] = "b" }, WorkingDirectory = "x/./y", User = "7:8", StandardInputStream = input, MergeStandardError = true, KeepStandardOutput = false, StopGrace = TimeSpan.FromSeconds(1) },
            CommandUse.Exec);
        CheckedCommand process = Validate(new SandboxCommand("sh") { Terminal = new(80, 24) }, CommandUse.Process);

        Assert.Equal(["a", "b"], parsed.Command);
        Assert.Equal(("b", "/work/x/y", 7u, input), (parsed.Environment["A"], parsed.WorkingDirectory.Text, parsed.User!.Uid, parsed.StandardInputStream));
        Assert.Equal((true, false, TimeSpan.FromSeconds(1), null), (parsed.MergeStandardError, parsed.KeepStandardOutput, parsed.StopGrace, parsed.Terminal));
        Assert.Equal(("/work", null, new SandboxTerminal(80, 24)), (process.WorkingDirectory.Text, process.User, process.Terminal));
    }

    [Theory]
    [InlineData("a.txt", "/work/a.txt")]
    [InlineData(".", "/work")]
    [InlineData("./a//b/", "/work/a/b")]
    [InlineData("/etc/../etc", null)]
    [InlineData("/etc/passwd", "/etc/passwd")]
    [InlineData("/", "/")]
    [InlineData("", null)]
    [InlineData("a/../../b", null)]
    [InlineData("a\0b", null)]
    [InlineData("..a", "/work/..a")]
    public void SessionPaths_Resolve_starts_at_the_working_directory(string path, string? expected)
    {
        CleanPath.TryNormalize("/work", out CleanPath directory);
        if (expected is null)
        {
            Assert.Equal("Path", Assert.Single(Assert.Throws<InvalidSandboxRequestException>(() => SessionPaths.Resolve(path, directory)).Faults).Field);
        }
        else
        {
            Assert.Equal(expected, SessionPaths.Resolve(path, directory).Text);
        }
    }

    [Fact]
    public void SessionPaths_Resolve_counts_the_bytes_of_the_whole_path()
    {
        string directory = "/" + string.Join('/', Enumerable.Repeat(new string('d', 200), 20));
        CleanPath.TryNormalize(directory, out CleanPath start);
        string longest = new('a', CleanPath.MaxBytes - directory.Length - 1);

        Assert.Equal(CleanPath.MaxBytes, SessionPaths.Resolve(longest, start).Text.Length);
        Assert.Equal("NewPath: must have at most 4095 bytes.", Assert.Throws<InvalidSandboxRequestException>(() => SessionPaths.Resolve(longest + "a", start, "NewPath")).Message);
        Assert.Equal($"Path: {RequestFaults.NoUnicode}", Assert.Throws<InvalidSandboxRequestException>(() => SessionPaths.Resolve("\ud800", start)).Message);
        Assert.Equal("a", Path.GetFileName(SessionPaths.Resolve("a", CleanPath.Root).Text));
        Assert.Equal("Path: must have at most 255 bytes between slashes.", Assert.Throws<InvalidSandboxRequestException>(() => SessionPaths.Resolve(new string('a', 256), CleanPath.Root)).Message);
    }

    [Fact]
    public void SessionPaths_checks_modes_and_depths()
    {
        SessionPaths.ValidateMode(null);
        SessionPaths.ValidateMode(UnixFileMode.None);
        SessionPaths.ValidateMode((UnixFileMode)511);
        Assert.Equal("Mode", Assert.Single(Assert.Throws<InvalidSandboxRequestException>(() => SessionPaths.ValidateMode(UnixFileMode.SetUser | UnixFileMode.UserRead)).Faults).Field);
        Assert.Equal("Mode", Assert.Single(Assert.Throws<InvalidSandboxRequestException>(() => SessionPaths.ValidateMode((UnixFileMode)(-1))).Faults).Field);

        SessionPaths.ValidateDepth(1);
        SessionPaths.ValidateDepth(64);
        Assert.Equal("Depth: must be from 1 to 64 levels.", Assert.Throws<InvalidSandboxRequestException>(() => SessionPaths.ValidateDepth(0)).Message);
        Assert.Equal("Depth: must be from 1 to 64 levels.", Assert.Throws<InvalidSandboxRequestException>(() => SessionPaths.ValidateDepth(65)).Message);
    }

    [Fact]
    public void ValidateTerminal_checks_the_size()
    {
        CommandValidator.ValidateTerminal(new(1, 65_535));
        Assert.Equal(["Columns", "Rows"], Assert.Throws<InvalidSandboxRequestException>(() => CommandValidator.ValidateTerminal(new(0, 65_536))).Faults.Select(fault => fault.Field));
    }

    private static void Check(string what, Action<SandboxCommand> spoil, string field, string message, CommandUse use)
    {
        var command = new SandboxCommand("true");
        spoil(command);

        SandboxFault fault = Assert.Single(Assert.Throws<InvalidSandboxRequestException>(() => Validate(command, use)).Faults);

        Assert.Equal((what, field, message), (what, fault.Field, fault.Message));
    }

    private static CheckedCommand Validate(SandboxCommand command, CommandUse use)
    {
        CleanPath.TryNormalize("/work", out CleanPath directory);
        return new CommandValidator(Most).Validate(command, OfSession, directory, use);
    }
}
