using System.Text;
using Boxer.Hosting;
using Boxer.Network;
using Boxer.Networking;
using Boxer.Validation;

namespace Boxer.Tests.Core.Validation;

public sealed class RequestValidatorTests
{
    private const long MostMemory = 4_096 * ByteSize.MiB;
    private const int Processors = 4;
    private static readonly Dictionary<string, INetworkMode> Modes = new(StringComparer.Ordinal) { ["none"] = new NoneNetworkMode(), ["other"] = new NoneNetworkMode() };

    public static TheoryData<string, Action<SandboxRequest>, string, string> Faults => new()
    {
        { "no command", request => request.Command.Clear(), "Command", "must have at least one entry: the program to run." },
        { "empty program", request => request.Command[0] = "", "Command[0]", "must not be empty: it is the program to run." },
        { "NUL in an argument", request => request.Command.Add("a\0b"), "Command[1]", "must not contain a NUL character." },
        { "null argument", request => request.Command.Add(null!), "Command[1]", "must not be null." },
        { "half a surrogate pair", request => request.Command.Add("\ud800"), "Command[1]", "must be valid Unicode: it has half of a surrogate pair." },
        { "long argument", request => request.Command.Add(new string('a', (128 << 10) + 1)), "Command[1]", "must have at most 131072 bytes." },
        { "many arguments", request => Repeat(32_768, () => request.Command.Add("a")), "Command", "must have at most 32768 entries." },
        { "large arguments", request => Repeat(17, () => request.Command.Add(new string('a', 128 << 10))), "Command", "must have at most 2097152 bytes altogether; put more into a file or standard input." },
        { "variable without a name", request => request.Environment[""] = "a", "Environment[]", "must have a name that is not empty and has no '='." },
        { "variable with =", request => request.Environment["a=b"] = "c", "Environment[a=b]", "must have a name that is not empty and has no '='." },
        { "NUL in a variable", request => request.Environment["A"] = "\0", "Environment[A]", "must not contain a NUL character." },
        { "null variable", request => request.Environment["A"] = null!, "Environment[A]", "must not be null." },
        { "surrogate in a variable", request => request.Environment["A"] = "x\udfff", "Environment[A]", "must be valid Unicode: it has half of a surrogate pair." },
        { "large environment", request => Repeat(9, i => request.Environment["A" + i] = new string('a', 127 << 10)), "Environment", "must have at most 1048576 bytes altogether; put more into a file." },
        { "relative directory", request => request.WorkingDirectory = "work", "WorkingDirectory", "must be an absolute path such as /work." },
        { "empty directory", request => request.WorkingDirectory = "", "WorkingDirectory", "must be an absolute path such as /work." },
        { "directory with ..", request => request.WorkingDirectory = "/a/../b", "WorkingDirectory", "must not contain '..'." },
        { "long directory", request => request.WorkingDirectory = "/" + new string('a', 4_095), "WorkingDirectory", "must have at most 4095 bytes." },
        { "long name in a directory", request => request.WorkingDirectory = "/" + new string('a', 256), "WorkingDirectory", "must have at most 255 bytes between slashes." },
        { "NUL in a directory", request => request.WorkingDirectory = "/\0", "WorkingDirectory", "must not contain a NUL character." },
        { "empty user", request => request.User = "", "User", "must be a name or a uid, alone or followed by ':' and a group, such as 1000 or nobody:nogroup." },
        { "user without group", request => request.User = "1000:", "User", "must be a name or a uid, alone or followed by ':' and a group, such as 1000 or nobody:nogroup." },
        { "three parts", request => request.User = "1:2:3", "User", "must be a name or a uid, alone or followed by ':' and a group, such as 1000 or nobody:nogroup." },
        { "uid out of range", request => request.User = "4294967296", "User", "4294967296 is not an id: ids go from 0 to 2147483647." },
        { "gid out of range", request => request.User = "0:2147483648", "User", "2147483648 is not an id: ids go from 0 to 2147483647." },
        { "negative uid", request => request.User = "-1", "User", "must not be negative: ids go from 0 upwards." },
        { "reserved uid", request => request.User = "2147483392", "User", "2147483392 is reserved for the sandbox's own PID 1; use another id." },
        { "reserved gid", request => request.User = "1000:2147483392", "User", "2147483392 is reserved for the sandbox's own PID 1; use another id." },
        { "NUL in user", request => request.User = "a\0", "User", "must not contain a NUL character." },
        { "long user", request => request.User = new string('a', 256), "User", "must have at most 255 bytes." },
        { "no network", request => request.Network = null!, "Network", "'' is not a network mode; use one of: none." },
        { "unknown network", request => request.Network = "bridge", "Network", "'bridge' is not a network mode; use one of: none." },
        { "network in other case", request => request.Network = "None", "Network", "'None' is not a network mode; use one of: none." },
        { "forbidden network", request => request.Network = "other", "Network", "'other' is not allowed here; use one of: none." },
        { "null limits", request => request.Limits = null!, "Limits", "must not be null." },
        { "null outputs", request => request.OutputFiles = null!, "OutputFiles", "must not be null." },
        { "workspace at /", request => Workspace(request).Path = "/", "Workspace.Path", "must be an absolute path below '/', such as /workspace, of valid Unicode without NUL." },
        { "relative workspace", request => Workspace(request).Path = "work", "Workspace.Path", "must be an absolute path below '/', such as /workspace, of valid Unicode without NUL." },
        { "NUL in a workspace", request => Workspace(request).Path = "/a\0b", "Workspace.Path", "must be an absolute path below '/', such as /workspace, of valid Unicode without NUL." },
        { "null workspace path", request => Workspace(request).Path = null!, "Workspace.Path", "must be an absolute path below '/', such as /workspace, of valid Unicode without NUL." },
        { "workspace with ..", request => Workspace(request).Path = "/a/../proc", "Workspace.Path", "'/a/../proc' must be clean: no '..', '.', or empty names, at most 255 bytes between slashes and 4095 in all." },
        { "workspace with / at the end", request => Workspace(request).Path = "/a/", "Workspace.Path", "'/a/' must be clean: no '..', '.', or empty names, at most 255 bytes between slashes and 4095 in all." },
        { "workspace in /proc", request => Workspace(request).Path = "/proc", "Workspace.Path", "'/proc' is '/proc' or below it, which is reserved; choose another directory." },
        { "workspace below /output", request => Workspace(request).Path = "/output/a", "Workspace.Path", "'/output/a' is '/output' or below it, which is reserved; choose another directory." },
        { "workspace in PID 1's directory", request => Workspace(request).Path = "/.boxer/x", "Workspace.Path", "'/.boxer/x' is '/.boxer' or below it, which is reserved; choose another directory." },
        { "null input", request => Workspace(request).Inputs.Add(null!), "Workspace.Inputs[0]", "must not be null." },
        { "path of a file in a workspace", request => Workspace(request).Inputs.Add(SandboxInput.FromFiles(SandboxFile.FromText("/a", ""))), "Workspace.Inputs[0].Files[0].Path", "'/a' must be relative: it appears at the workspace and that path." },
        { "a file of a workspace twice", request => Workspace(request).Inputs.Add(SandboxInput.FromFiles(SandboxFile.FromText("output", ""), SandboxFile.FromText("output", ""))), "Workspace.Inputs[0].Files[1].Path", "'output' is listed twice." },
        { "no bytes in a workspace", request => Workspace(request).MaxBytes = 0, "Workspace.MaxBytes", "must be from 1 to 68719476736 bytes." },
        { "too many entries in a workspace", request => Workspace(request).MaxEntries = 100_001, "Workspace.MaxEntries", "must be from 1 to 100000 entries." },
        { "file in the workspace", request => { Workspace(request).Path = "/w"; request.Files.Clear(); Add(request, "w/a"); }, "Files[0].Path", "'w/a' is in the workspace; add it to the workspace's inputs." },
        { "file in place of the workspace", request => { Workspace(request).Path = "/w"; request.Files.Clear(); Add(request, "w"); }, "Files[0].Path", "'w' is in the workspace; add it to the workspace's inputs." },
        { "too many changes", request => Workspace(request).MaxChangesBytes = (1 << 30) + 1L, "Workspace.MaxChangesBytes", "must be from 0 to 1073741824 bytes." },
        { "null file", request => request.Files.Add(null!), "Files[0]", "must not be null." },
        { "empty path", request => Add(request, ""), "Files[0].Path", "must not be empty." },
        { "absolute path", request => Add(request, "/etc/passwd"), "Files[0].Path", "'/etc/passwd' must be relative: it appears at '/' and that path." },
        { "path with ..", request => Add(request, "a/../b"), "Files[0].Path", "'a/../b' must be clean: no '..', '.', or empty names between slashes." },
        { "path that is ..", request => Add(request, ".."), "Files[0].Path", "'..' must be clean: no '..', '.', or empty names between slashes." },
        { "path with .", request => Add(request, "./a"), "Files[0].Path", "'./a' must be clean: no '..', '.', or empty names between slashes." },
        { "path with //", request => Add(request, "a//b"), "Files[0].Path", "'a//b' must be clean: no '..', '.', or empty names between slashes." },
        { "path with / at the end", request => Add(request, "a/"), "Files[0].Path", "'a/' must be clean: no '..', '.', or empty names between slashes." },
        { "NUL in a path", request => Add(request, "a\0b"), "Files[0].Path", "must not contain a NUL character." },
        { "surrogate in a path", request => Add(request, "\ud83d"), "Files[0].Path", "must be valid Unicode: it has half of a surrogate pair." },
        { "long path", request => Add(request, string.Join('/', Enumerable.Repeat(new string('a', 200), 21))), "Files[0].Path", "must have at most 4094 bytes, and 255 between slashes." },
        { "long name", request => Add(request, new string('ä', 128)), "Files[0].Path", "must have at most 4094 bytes, and 255 between slashes." },
        { "output", request => Add(request, "output/x"), "Files[0].Path", "'output/x' is under 'output/', which is reserved; choose another directory." },
        { "output itself", request => Add(request, "output"), "Files[0].Path", "'output' is under 'output/', which is reserved; choose another directory." },
        { "proc", request => Add(request, "proc/self"), "Files[0].Path", "'proc/self' is under 'proc/', which is reserved; choose another directory." },
        { "PID 1's own directory", request => Add(request, ".boxer/init"), "Files[0].Path", "'.boxer/init' is under '.boxer/', which is reserved; choose another directory." },
        { "twice", request => Add(request, "a/b", "a/b"), "Files[1].Path", "'a/b' is listed twice." },
        { "file and directory", request => Add(request, "a", "a/b"), "Files", "'a' is both a file and the directory of another file." },
        { "many files", request => Add(request, [.. Enumerable.Range(0, 10_001).Select(i => "f" + i)]), "Files", "must have at most 10000 entries; pack them into an archive." },
        { "large stdin", request => request.StandardInput = new byte[(256 << 20) + 1], "StandardInput", "must have at most 268435456 bytes; put more into a file." },
        { "outputs to a relative directory", request => request.OutputFiles = OutputFilePolicy.ToDirectory("out"), "OutputFiles", "must be an absolute path of this host." },
        { "outputs to what is there", request => request.OutputFiles = OutputFilePolicy.ToDirectory("/etc"), "OutputFiles", "must be a directory that does not exist yet." },
        { "outputs to nowhere", request => request.OutputFiles = OutputFilePolicy.ToDirectory("/nowhere/out"), "OutputFiles", "must be a directory whose parent exists." },
        { "outputs that fit no array", request => request.Limits.OutputFilesBytes = 3L << 30, "Limits.OutputFilesBytes", "must be at most 2147483591 where OutputFiles are kept in memory; name a directory for more." },
        { "more memory than there is", request => request.Limits.MemoryBytes = MostMemory + 1, "Limits.MemoryBytes", "must be at most 4 GiB, which is all that this host gives to sandboxes." },
        { "more processors than there are", request => request.Limits.CpuCores = 4.5, "Limits.CpuCores", "is 4.5, but this machine has 4 processors; ask for at most 4." },
        { "cpu not a number", request => request.Limits.CpuCores = double.NaN, "Limits.CpuCores", "is NaN, but must be from 0.01 to 1024 cores." },
        { "endless cpu", request => request.Limits.CpuCores = double.PositiveInfinity, "Limits.CpuCores", "is Infinity, but must be from 0.01 to 1024 cores." },
        { "negative memory", request => request.Limits.MemoryBytes = -1, "Limits.MemoryBytes", "is -1 byte, but must be from 32 MiB to 1 TiB." },
        { "negative pids", request => request.Limits.Pids = -5, "Limits.Pids", "is -5, but must be from 1 to 32768 processes." },
        { "negative time", request => request.Limits.WallClock = TimeSpan.FromSeconds(-1), "Limits.WallClock", "is -1 s, but must be from 1 ms to 24 h." },
        { "no processor time", request => request.Limits.CpuTime = TimeSpan.Zero, "Limits.CpuTime", "is 0 s, but must be from 10 ms to 24 h." },
        { "endless time", request => request.Limits.WallClock = Timeout.InfiniteTimeSpan, "Limits.WallClock", "is -1 ms, but must be from 1 ms to 24 h." },
    };

    public static TheoryData<string, Action<SandboxRequest>> Edges => new()
    {
        { "all Unicode", request => request.Command.Add("äöü \U0001F600 \u0001") },
        { "no value", request => request.Environment["EMPTY"] = "" },
        { "root directory", request => request.WorkingDirectory = "/" },
        { "deep directory", request => request.WorkingDirectory = "/" + string.Join('/', Enumerable.Repeat("a", 1_000)) },
        { "user by name and group", request => request.User = "nobody:nogroup" },
        { "highest uid", request => request.User = "2147483647:2147483647" },
        { "longest name", request => Add(request, new string('a', 255)) },
        { "dots in names", request => Add(request, "..a/b...", ".hidden") },
        { "siblings with one prefix", request => Add(request, "a", "ab/c", "b/a") },
        { "all the memory", request => request.Limits.MemoryBytes = MostMemory },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public void Validate_reports_each_fault_with_its_field_and_remedy(string what, Action<SandboxRequest> spoil, string field, string message)
    {
        SandboxRequest request = Good();
        spoil(request);

        SandboxFault fault = Assert.Single(Validate(request));

        Assert.Equal((what, field, message), (what, fault.Field, fault.Message));
    }

    [Theory]
    [MemberData(nameof(Edges))]
    public void Validate_accepts_values_at_the_edge(string what, Action<SandboxRequest> change)
    {
        SandboxRequest request = Good();
        change(request);

        Assert.True(Validate(request).Count == 0, what);
    }

    [Theory]
    [InlineData("")]
    [InlineData("library/UPPER")]
    [InlineData("a b")]
    [InlineData("image:")]
    [InlineData("image@sha256:12")]
    public void Validate_rejects_an_invalid_image_reference(string image)
    {
        SandboxFault fault = Assert.Single(Validate(new SandboxRequest(image, "true")));

        Assert.Equal("Image", fault.Field);
        Assert.NotEqual("", fault.Message);
    }

    [Theory]
    [InlineData(nameof(ResourceLimits.CpuCores), 0.01, Processors, 0.001)]
    [InlineData(nameof(ResourceLimits.MemoryBytes), 32 * ByteSize.MiB, MostMemory, 1)]
    [InlineData(nameof(ResourceLimits.Pids), 1, 32_768, 1)]
    [InlineData(nameof(ResourceLimits.WallClock), 0.001, 86_400, 0.001)]
    [InlineData(nameof(ResourceLimits.CpuTime), 0.01, 86_400, 0.001)]
    [InlineData(nameof(ResourceLimits.OpenFiles), 8, 1 << 20, 1)]
    [InlineData(nameof(ResourceLimits.DiskBytes), ByteSize.MiB, ByteSize.TiB, 1)]
    [InlineData(nameof(ResourceLimits.StandardOutputBytes), 1, 1 << 30, 1)]
    [InlineData(nameof(ResourceLimits.OutputFilesCount), 1, 1_000_000, 1)]
    public void Validate_enforces_both_ends_of_the_range_of_each_limit(string limit, double least, double most, double step)
    {
        Assert.Empty(Validate(With(least)));
        Assert.Empty(Validate(With(most)));
        Assert.Equal("Limits." + limit, Assert.Single(Validate(With(least - step))).Field);
        Assert.Equal("Limits." + limit, Assert.Single(Validate(With(most + step))).Field);

        SandboxRequest With(double value)
        {
            SandboxRequest request = Good();
            var property = typeof(ResourceLimits).GetProperty(limit)!;
            Type type = Nullable.GetUnderlyingType(property.PropertyType)!;
            property.SetValue(request.Limits, type == typeof(TimeSpan) ? TimeSpan.FromSeconds(value) : Convert.ChangeType(value, type, null));
            return request;
        }
    }

    [Fact]
    public void Validate_CpuTime_null_becomes_the_default_else_the_maximum()
    {
        TimeSpan? Of(TimeSpan? asked, TimeSpan? byDefault, TimeSpan? most)
        {
            SandboxRequest request = Good();
            request.Limits.CpuTime = asked;
            ResourceLimits defaults = LimitsValidator.Fill(new() { CpuTime = byDefault }, LimitDefaults.Values);
            return new RequestValidator(Modes, ["none"], defaults, new() { CpuTime = most }, MostMemory, Processors).Validate(request).Limits.CpuTime;
        }

        TimeSpan one = TimeSpan.FromSeconds(1);
        Assert.Null(Of(null, null, null));
        Assert.Equal(2 * one, Of(null, 2 * one, 3 * one));
        Assert.Equal(3 * one, Of(null, null, 3 * one));
        Assert.Equal(one, Of(one, 2 * one, 3 * one));
        Assert.Equal(
            "Limits.CpuTime: is 4 s, but at most 3 s are allowed here.",
            Assert.Throws<InvalidSandboxRequestException>(() => Of(4 * one, 2 * one, 3 * one)).Message);
    }

    [Fact]
    public void Validate_accepts_large_output_files_in_a_directory()
    {
        SandboxRequest request = Good();
        request.OutputFiles = OutputFilePolicy.ToDirectory(Path.Join(Path.GetTempPath(), Guid.NewGuid().ToString("N")));
        request.Limits.OutputFilesBytes = 64L << 30;
        Assert.Empty(Validate(request));

        request.Limits.OutputFilesBytes++;
        Assert.Equal("Limits.OutputFilesBytes", Assert.Single(Validate(request)).Field);
    }

    [Fact]
    public void Validate_reports_all_faults_at_once()
    {
        var request = new SandboxRequest("a b", "")
        {
            Network = "bridge",
            User = "-1",
            WorkingDirectory = "x",
            Environment = { ["="] = "" },
            Limits = new() { Pids = 0, MemoryBytes = 1 * ByteSize.MiB },
            Files = { SandboxFile.FromText("/a", ""), SandboxFile.FromText("output/b", "") },
        };

        Assert.Equal(
            ["Command[0]", "Environment[=]", "Files[0].Path", "Files[1].Path", "Image", "Limits.MemoryBytes", "Limits.Pids", "Network", "User", "WorkingDirectory"],
            Validate(request).Select(fault => fault.Field).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Arguments_and_environment_at_their_limits_fit_into_the_frame_for_PID_1()
    {
        SandboxRequest request = Good();
        Repeat(16, () => request.Command.Add(new string('a', (128 << 10) - 100)));
        Repeat(8, i => request.Environment["A" + i] = new string('a', (128 << 10) - 100));
        Assert.Empty(Validate(request));

        var start = new Boxer.Runtime.Init.InitStart
        {
            Arguments = [.. request.Command],
            Environment = [.. request.Environment.Select(variable => variable.Key + "=" + variable.Value)],
            UserId = 0,
            GroupId = 0,
            MemoryBytes = 1 << 28,
            CpuQuota = 100_000,
        };
        Assert.NotEmpty(Boxer.Runtime.Init.InitEncoder.EncodeStart(start));
    }

    [Fact]
    public async Task RunAsync_starts_nothing_for_an_invalid_request()
    {
        string home = Path.Join(Path.GetTempPath(), "boxer-never-" + Guid.NewGuid().ToString("N"));
        await using SandboxRunner runner = SandboxRunnerFactory.Create(new BoxerOptions { Home = home, RunscPath = "/nowhere/runsc" });

        await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => runner.RunAsync(new SandboxRequest("image"), TestContext.Current.CancellationToken));

        Assert.False(Directory.Exists(home));
    }

    private static IReadOnlyList<SandboxFault> Validate(SandboxRequest request)
    {
        try
        {
            new RequestValidator(Modes, ["none"], LimitDefaults.Values, new(), MostMemory, Processors).Validate(request);
            return [];
        }
        catch (InvalidSandboxRequestException exception)
        {
            Assert.All(exception.Faults, fault => Assert.Contains(fault.Message, exception.Message, StringComparison.Ordinal));
            return exception.Faults;
        }
    }

    private static SandboxRequest Good() => new("python:3.12-slim", "true");

    private static SandboxWorkspace Workspace(SandboxRequest request) => request.Workspace = new();

    private static void Add(SandboxRequest request, params string[] paths)
    {
        foreach (string path in paths)
        {
            request.Files.Add(SandboxFile.FromBytes(path, Encoding.UTF8.GetBytes("x")));
        }
    }

    private static void Repeat(int count, Action action) => Repeat(count, _ => action());

    private static void Repeat(int count, Action<int> action)
    {
        for (int i = 0; i < count; i++)
        {
            action(i);
        }
    }
}
