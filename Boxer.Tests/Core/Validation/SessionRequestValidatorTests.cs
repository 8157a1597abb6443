using Boxer.Network;
using Boxer.Networking;
using Boxer.Validation;

namespace Boxer.Tests.Core.Validation;

public sealed class SessionRequestValidatorTests
{
    private const long MostMemory = 4_096 * ByteSize.MiB;
    private static readonly Dictionary<string, INetworkMode> Modes = new(StringComparer.Ordinal) { ["none"] = new NoneNetworkMode(), ["other"] = new NoneNetworkMode() };

    public static TheoryData<string, Action<SandboxSessionRequest>, string, string> Faults => new()
    {
        { "network", request => request.Network = "bridge", "Network", "'bridge' is not a network mode; use one of: none." },
        { "network that is not allowed", request => request.Network = "other", "Network", "'other' is not allowed here; use one of: none." },
        { "egress without a network", request => request.Egress = new() { Deny = ["a.example"] }, "Egress", "is not supported by the network mode 'none'; leave it out, or use 'sandbox'." },
        { "variable with =", request => request.Environment["a=b"] = "c", "Environment[a=b]", "must have a name that is not empty and has no '='." },
        { "relative directory", request => request.WorkingDirectory = "work", "WorkingDirectory", "must be an absolute path such as /work." },
        { "user", request => request.User = "", "User", "must be a name or a uid, alone or followed by ':' and a group, such as 1000 or nobody:nogroup." },
        { "reserved user", request => request.User = "2147483392", "User", "2147483392 is reserved for the sandbox's own PID 1; use another id." },
        { "long key", request => request.FairnessKey = new string('k', 1_025), "FairnessKey", "must have at most 1024 characters." },
        { "no limits", request => request.Limits = null!, "Limits", "must not be null." },
        { "no memory", request => request.Limits.MemoryBytes = 0, "Limits.MemoryBytes", "is 0 bytes, but must be from 32 MiB to 1 TiB." },
        { "more memory than sessions have", request => request.Limits.MemoryBytes = MostMemory + 1, "Limits.MemoryBytes", "must be at most 4 GiB, which is all that this host gives to sessions." },
        { "more memory than sessions of a key have", request => (request.FairnessKey, request.Limits.MemoryBytes) = ("a", (MostMemory / 2) + 1), "Limits.MemoryBytes", "must be at most 2 GiB, which is all that this host gives to the sessions of one key." },
        { "more processors than there are", request => request.Limits.CpuCores = 5, "Limits.CpuCores", "is 5, but this machine has 4 processors; ask for at most 4." },
        { "more than the maximum", request => request.Limits.WallClock = TimeSpan.FromHours(2), "Limits.WallClock", "is 2 h, but at most 1 h are allowed here." },
        { "size of output files", request => request.Limits.OutputFilesBytes = 1, "Limits.OutputFilesBytes", "must not be set: a session collects no output files." },
        { "number of output files", request => request.Limits.OutputFilesCount = 1, "Limits.OutputFilesCount", "must not be set: a session collects no output files." },
        { "null file", request => request.Files.Add(null!), "Files[0]", "must not be null." },
        { "reserved file", request => request.Files.Add(SandboxFile.FromText("proc/a", "")), "Files[0].Path", "'proc/a' is under 'proc/', which is reserved; choose another directory." },
        { "file in the workspace", request => { request.Workspace = new(); request.Files.Add(SandboxFile.FromText("workspace/a", "")); }, "Files[0].Path", "'workspace/a' is in the workspace; add it to the workspace's inputs." },
        { "workspace in a reserved directory", request => request.Workspace = new() { Path = "/output/w" }, "Workspace.Path", "'/output/w' is '/output' or below it, which is reserved; choose another directory." },
        { "changes of the workspace", request => request.Workspace = new() { MaxChangesBytes = 1 }, "Workspace.MaxChangesBytes", "must be 0: a session returns no changes; read the workspace with Files.ReadArchiveAsync." },
        { "many labels", request => AddLabels(request, 17), "Labels", "must have at most 16 entries." },
        { "label without a name", request => request.Labels[""] = "a", "Labels[]", "must have a name of 1 to 64 bytes." },
        { "label with a long name", request => request.Labels[new string('ä', 33)] = "a", $"Labels[{new string('ä', 33)}]", "must have a name of 1 to 64 bytes." },
        { "long label", request => request.Labels["a"] = new string('ä', 129), "Labels[a]", "must have at most 256 bytes." },
        { "null label", request => request.Labels["a"] = null!, "Labels[a]", "must not be null." },
        { "line break in a label", request => request.Labels["a"] = "b\nc", "Labels[a]", "must not contain control characters." },
        { "NUL in the name of a label", request => request.Labels["a\0"] = "b", "Labels[a\0]", "must not contain control characters." },
        { "half a surrogate pair in a label", request => request.Labels["a"] = "\ud800", "Labels[a]", "must be valid Unicode: it has half of a surrogate pair." },
        { "no idle timeout", request => request.IdleTimeout = TimeSpan.Zero, "IdleTimeout", "is 0 s, but must be from 1 s to 48 h." },
        { "endless idle timeout", request => request.IdleTimeout = Timeout.InfiniteTimeSpan, "IdleTimeout", "is -1 ms, but must be from 1 s to 48 h." },
        { "idle timeout above the maximum", request => request.IdleTimeout = TimeSpan.FromHours(49), "IdleTimeout", "is 49 h, but must be from 1 s to 48 h." },
        { "lifetime above the maximum", request => request.Lifetime = TimeSpan.MaxValue, "Lifetime", "is 922337203685.4775807 s, but must be from 1 s to 48 h." },
        { "negative time before the freeze", request => request.FreezeAfter = TimeSpan.FromSeconds(-1), "FreezeAfter", "is -1 s, but must be from 0 s to 168 h, or null for never." },
        { "long time before the freeze", request => request.FreezeAfter = TimeSpan.FromDays(8), "FreezeAfter", "is 192 h, but must be from 0 s to 168 h, or null for never." },
    };

    public static TheoryData<string, Action<SandboxSessionRequest>> Edges => new()
    {
        { "all the memory, without a key", request => request.Limits.MemoryBytes = MostMemory },
        { "all the memory, with an empty key", request => (request.FairnessKey, request.Limits.MemoryBytes) = ("", MostMemory) },
        { "all the memory of a key", request => (request.FairnessKey, request.Limits.MemoryBytes) = ("a", MostMemory / 2) },
        { "most labels", request => AddLabels(request, 16) },
        { "longest label", request => request.Labels[new string('ä', 32)] = new string('ä', 128) },
        { "empty label", request => request.Labels["a"] = "" },
        { "shortest times", request => request.IdleTimeout = request.Lifetime = TimeSpan.FromSeconds(1) },
        { "longest times", request => request.IdleTimeout = request.Lifetime = TimeSpan.FromHours(48) },
        { "frozen at once", request => request.FreezeAfter = TimeSpan.Zero },
        { "frozen late", request => request.FreezeAfter = TimeSpan.FromDays(7) },
        { "never frozen", request => request.FreezeAfter = null },
        { "a workspace", request => request.Workspace = new() { Inputs = { SandboxInput.FromFiles(SandboxFile.FromText("a", "")) } } },
    };

    [Theory]
    [MemberData(nameof(Faults))]
    public void Validate_reports_each_fault_with_its_field_and_remedy(string what, Action<SandboxSessionRequest> spoil, string field, string message)
    {
        SandboxSessionRequest request = Good();
        spoil(request);

        SandboxFault fault = Assert.Single(Assert.Throws<InvalidSandboxRequestException>(() => Validator().Validate(request)).Faults);

        Assert.Equal((what, field, message), (what, fault.Field, fault.Message));
    }

    [Theory]
    [MemberData(nameof(Edges))]
    public void Validate_accepts_values_at_the_edge(string what, Action<SandboxSessionRequest> change)
    {
        SandboxSessionRequest request = Good();
        change(request);

        Assert.True(Validator().Validate(request) is not null, what);
    }

    [Fact]
    public void Validate_reports_all_faults_at_once()
    {
        var request = new SandboxSessionRequest("a b")
        {
            Network = "bridge",
            User = "-1",
            WorkingDirectory = "x",
            IdleTimeout = TimeSpan.Zero,
            Lifetime = TimeSpan.Zero,
            FreezeAfter = TimeSpan.MinValue,
            Environment = { ["="] = "" },
            Labels = { ["a"] = "\n" },
            Limits = new() { Pids = 0, OutputFilesCount = 0 },
            Files = { SandboxFile.FromText("/a", "") },
        };

        Assert.Equal(
            ["Environment[=]", "Files[0].Path", "FreezeAfter", "IdleTimeout", "Image", "Labels[a]", "Lifetime", "Limits.OutputFilesCount", "Limits.OutputFilesCount", "Limits.Pids", "Network", "User", "WorkingDirectory"],
            Assert.Throws<InvalidSandboxRequestException>(() => Validator().Validate(request)).Faults.Select(fault => fault.Field).Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Validate_takes_missing_times_from_the_options_and_missing_limits_from_the_defaults()
    {
        CheckedSession session = Validator().Validate(Good());

        Assert.Equal((TimeSpan.FromMinutes(3), TimeSpan.FromHours(5), TimeSpan.FromSeconds(1), false), (session.IdleTimeout, session.Lifetime, session.FreezeAfter, session.KeepAliveWhileRunning));
        Assert.Equal((256 * ByteSize.MiB, TimeSpan.FromSeconds(30)), (session.Limits.MemoryBytes, session.Limits.WallClock));
    }

    [Fact]
    public void Validate_keeps_the_values_of_the_request()
    {
        CheckedSession session = Validator().Validate(new SandboxSessionRequest("python:3.12-slim")
        {
            PullPolicy = Boxer.Images.PullPolicy.Always,
            Environment = { ["A"] = "b" },
            WorkingDirectory = "/w//x/",
            User = "1000",
            FairnessKey = "k",
            Limits = new() { Pids = 7 },
            Workspace = new() { Path = "/w" },
            Labels = { ["l"] = "m" },
            IdleTimeout = TimeSpan.FromSeconds(2),
            Lifetime = TimeSpan.FromSeconds(3),
            FreezeAfter = null,
            KeepAliveWhileRunning = true,
        });

        Assert.Equal(("docker.io/library/python:3.12-slim", Boxer.Images.PullPolicy.Always, "none", "/w/x", 1000u), (session.Image.ToString(), session.PullPolicy, session.Network.Name, session.WorkingDirectory!.Value.Text, session.User!.Uid));
        Assert.Equal(("b", "k", 7, "/w", "m"), (session.Environment["A"], session.FairnessKey, session.Limits.Pids, session.Workspace!.Path.Text, session.Labels["l"]));
        Assert.Equal((TimeSpan.FromSeconds(2), TimeSpan.FromSeconds(3), null, true), (session.IdleTimeout, session.Lifetime, session.FreezeAfter, session.KeepAliveWhileRunning));
    }

    [Fact]
    public void ValidateTimes_reports_all_faults_and_accepts_missing_times()
    {
        Validator().ValidateTimes(null, null);
        Validator().ValidateTimes(TimeSpan.FromSeconds(1), TimeSpan.FromHours(48));

        InvalidSandboxRequestException thrown = Assert.Throws<InvalidSandboxRequestException>(() => Validator().ValidateTimes(TimeSpan.Zero, TimeSpan.FromHours(49)));

        Assert.Equal(["IdleTimeout", "Lifetime"], thrown.Faults.Select(fault => fault.Field));
    }

    [Fact]
    public void CheckedOptions_divides_the_memory_of_the_runner()
    {
        (long All, long OfKey) Of(Action<BoxerOptions> change)
        {
            var options = new BoxerOptions { MaxMemoryBytes = 1_088 * ByteSize.MiB, PullMemoryBytes = 64 * ByteSize.MiB };
            change(options);
            CheckedOptions parsed = CheckedOptions.Check(options, [new NoneNetworkMode()]);
            return (parsed.SessionMemoryBytes / ByteSize.MiB, parsed.SessionMemoryBytesPerKey / ByteSize.MiB);
        }

        Assert.Equal((512, 256), Of(_ => { }));
        Assert.Equal((800, 400), Of(options => options.Sessions.MaxMemoryBytes = 800 * ByteSize.MiB));
        Assert.Equal((512, 512), Of(options => options.Sessions.MaxMemoryBytesPerKey = ByteSize.GiB));
        Assert.Equal((1_024, 512), Of(options => options.Sessions.MaxMemoryBytes = 1_088 * ByteSize.MiB));
    }

    private static SandboxSessionRequest Good() => new("python:3.12-slim");

    private static SessionRequestValidator Validator() => new(Modes, ["none"], LimitDefaults.Values, new() { WallClock = TimeSpan.FromHours(1) }, MostMemory, 4)
    {
        MaxMemoryBytesPerKey = MostMemory / 2,
        Options = new() { IdleTimeout = TimeSpan.FromMinutes(3), Lifetime = TimeSpan.FromHours(5), MaxLifetime = TimeSpan.FromHours(48) },
    };

    private static void AddLabels(SandboxSessionRequest request, int count)
    {
        for (int i = 0; i < count; i++)
        {
            request.Labels["label" + i] = "x";
        }
    }
}
