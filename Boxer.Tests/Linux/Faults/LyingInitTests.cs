using Boxer.Hosting;
using Boxer.Network;
using Boxer.Tests.Support;
using Microsoft.Extensions.Time.Testing;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux.Faults;

/// <summary>A PID 1 that lies: each run ends in bounded time with its output, and other runs do not notice.</summary>
[Collection(Sandboxes.Name)]
public sealed class LyingInitTests(PythonImage image)
{
    // Before the start only our own program can have spoken; afterwards it is the guest's doing. After GO the command may have started.
    private static readonly (string Name, string Program, string Fault, bool IsRetrySafe)[] BeforeTheStart =
    [
        ("another version", "ready(3); silence()", "speaks protocol version 3", true),
        ("started before it is ready", "started(); silence()", "booted with something else", true),
        ("ready twice", "ready(); ready(); silence()", "PID 1 sent InitReady", false),
        ("ended before it started", "go(); ended(); silence()", "PID 1 sent InitEnded", false),
        ("outputs before it started", "go(); directory('a'); silence()", "PID 1 sent InitOutputDirectory", false),
        ("gone after ready", "ready()", "ended before the command ran", true),
        ("half a frame", "go(); s.sendall(b'\\x10\\0\\0')", "ended before the command ran", false),
        ("a frame of 2 GiB", "go(); s.sendall(struct.pack('<IHH', 1 << 31, 0x8002, 1)); silence()", "announced a frame of", false),
        ("a fault", "go(); send(11, struct.pack('<I', 5) + text('bad luck')); silence()", "bad luck (errno 5)", false),
    ];

    private static readonly (string Name, string Program, TerminationKind End, bool IsIncomplete)[] AfterTheStart =
    [
        ("started twice", "started(); silence()", TerminationKind.SandboxDied, true),
        ("half a frame", "s.sendall(b'\\x10\\0\\0')", TerminationKind.SandboxDied, true),
        ("a frame of an unknown type", "send(0x77); silence()", TerminationKind.SandboxDied, true),
        ("a fault", "send(11, struct.pack('<I', 5) + text('bad luck')); silence()", TerminationKind.SandboxDied, true),
        ("done before it ended", "done(); silence()", TerminationKind.SandboxDied, true),
        ("silence", "silence()", TerminationKind.WallClockLimit, true),
        ("one byte a second", "\nfor b in struct.pack('<IHH', 60000, 0x8005, 2) + bytes(60000): s.sendall(bytes([b])); time.sleep(1)", TerminationKind.WallClockLimit, true),
        ("a path that leads out", "ended(); file('../evil', 1); send(8, b'x'); done()", TerminationKind.Exited, true),
        ("an absolute path", "ended(); file('/evil', 1); send(8, b'x'); done()", TerminationKind.Exited, true),
        ("a size of 4 EiB", "ended(); file('a', 1 << 62); send(8, b'x'); done()", TerminationKind.Exited, true),
        ("a time long before and one long after", "ended(); send(7, struct.pack('<IQqI', 0, 0, -1 << 63, 0) + text('a'), 2); send(7, struct.pack('<IQqI', 0, 0, (1 << 63) - 1, 999999999) + text('b'), 2); done()", TerminationKind.Exited, false),
        ("a time of too many nanoseconds", "ended(); send(7, struct.pack('<IQqI', 0, 0, 0, 1000000000) + text('a'), 2); done()", TerminationKind.Exited, true),
        ("more than its size", "ended(); file('a', 1); send(8, b'xx'); done()", TerminationKind.Exited, true),
        ("a path twice", "ended(); directory('a'); directory('a'); done()", TerminationKind.Exited, true),
        ("a flood of directories", "ended()\nfor i in range(100000): directory('d%d' % i)", TerminationKind.Exited, true),
        ("gone among the outputs", "ended(); directory('a')", TerminationKind.Exited, true),
        ("frames after the last", "ended(); done(); ended(); started(); silence()", TerminationKind.Exited, false),
        ("a link among the outputs", "ended(); link('a', 'b'); done()", TerminationKind.Exited, true),
    ];

    private static readonly (string Name, string Program, bool IsIncomplete)[] OfTheWorkspace =
    [
        ("nothing", "done(); done()", false),
        ("a link out", "done(); link('a', '../b'); done()", true),
        ("a path that leads out", "done(); file('../evil', 1); send(8, b'x'); done()", true),
        ("a size of 4 EiB", "done(); file('a', 1 << 62); send(8, b'x'); done()", true),
        ("more than its size", "done(); file('a', 1); send(8, b'xx'); done()", true),
        ("a path twice", "done(); link('a', 'b'); file('a', 0); done()", true),
        ("a flood of links", "done()\nfor i in range(100000): link('d%d' % i, 'b')", true),
        ("data of no file", "done(); send(8, b'x'); done()", true),
        ("a file that is cut short", "done(); file('a', 2); send(8, b'x'); send(9, struct.pack('<IQ', 6, 1)); done()", true),
        ("gone among the changes", "done(); file('a', 2)", true),
        ("gone before the changes", "", true),
        ("frames after the last", "done(); done(); ended(); started(); silence()", false),
    ];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_lie_before_the_command_started_is_a_typed_failure()
    {
        image.Require();
        await using FaultyRuntime faulty = await FaultyRuntime.StartAsync(image.Options(), Cancel);
        foreach ((string name, string program, string message, bool isRetrySafe) in BeforeTheStart)
        {
            faulty.Runsc.Lie(program);
            Exception? fault = await Record.ExceptionAsync(() => faulty.Runner.RunAsync(Command("true"), Cancel));
            Assert.True(fault is SandboxRuntimeException { IsRetrySafe: var safe } && safe == isRetrySafe && fault.Message.Contains(message, StringComparison.Ordinal), $"{name}: {fault}");
        }
    }

    [Theory]
    [InlineData(5, "pass")]
    [InlineData(1, "started()")]
    public async Task A_pooled_sandbox_whose_command_may_have_started_is_not_replaced(int lastFrame, string last)
    {
        image.Require();
        string[] log = [Path.GetTempFileName(), Path.GetTempFileName()];
        try
        {
            BoxerOptions options = image.Options();
            options.Pool.Enabled = true;

            using var runsc = new StandInRunsc();
            options.RunscPath = runsc.Path;
            await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
            await runner.StartAsync(Cancel);

            // The warm-up of a pooled sandbox works; it is frozen after the answer. Each end leaves the number of warm-ups before it.
            runsc.Lie($$"""
                ready()
                warmups = 0
                while True:
                    length, kind, _ = struct.unpack("<IHH", read(8))
                    read(length)
                    if kind == 14:
                        probed(1)
                    if kind == 8:
                        warmups += 1
                        open("{{log[0]}}", "a").write(".")
                        send(12, struct.pack("<II", 0, 0))
                    if kind == {{lastFrame}}:
                        open("{{log[1]}}", "a").write(str(warmups))
                        {{last}}
                        break
                """);
            string commands = "";
            while (!commands.Contains('1', StringComparison.Ordinal))
            {
                Assert.InRange(commands.Length, 0, 20);
                SandboxResult? result = null;
                Exception? fault = await Record.ExceptionAsync(async () => result = await runner.RunAsync(Command("true"), Cancel));

                Assert.True(result is { Termination.Kind: TerminationKind.SandboxDied } || fault is SandboxRuntimeException { IsRetrySafe: false }, $"{result} {fault}");
                int before = commands.Length;
                commands = await File.ReadAllTextAsync(log[1], Cancel);
                Assert.Equal(before + 1, commands.Length);

                // The pool boots a sandbox after the first run.
                await Until.IsSoAsync(() => new FileInfo(log[0]).Length > 0, 30);
            }
        }
        finally
        {
            Array.ForEach(log, File.Delete);
        }
    }

    [Fact]
    public async Task A_lie_after_the_start_ends_the_run_and_keeps_its_output()
    {
        image.Require();
        await using FaultyRuntime faulty = await FaultyRuntime.StartAsync(image.Options(), Cancel);
        string outputs = Directory.CreateTempSubdirectory("boxer-lies-").FullName;
        try
        {
            foreach ((string name, string program, TerminationKind end, bool isIncomplete) in AfterTheStart)
            {
                faulty.Runsc.Lie($"go(); started(); os.write(1, b'printed')\n{program}");
                string directory = Path.Join(outputs, Guid.NewGuid().ToString("N"));
                SandboxRequest request = Command("true");
                request.OutputFiles = OutputFilePolicy.ToDirectory(directory);
                request.Limits.WallClock = TimeSpan.FromSeconds(4);
                SandboxResult result = await faulty.Runner.RunAsync(request, Cancel);
                Assert.True((result.Termination.Kind, result.StandardOutput) == (end, "printed"), $"{name}: {result.Termination.Kind}, '{result.StandardOutput}'");

                // A run that never came to its outputs reports them as missing in another way.
                Assert.True(end != TerminationKind.Exited || isIncomplete == result.OutputFilesIncomplete is not null, $"{name}: {result.OutputFilesIncomplete}");
                Assert.Empty(Directory.EnumerateFiles(outputs, "evil", SearchOption.AllDirectories));
            }
        }
        finally
        {
            Directory.Delete(outputs, recursive: true);
        }
    }

    [Fact]
    public async Task Lies_about_a_workspace_become_at_most_a_part_of_an_archive()
    {
        image.Require();
        await using FaultyRuntime faulty = await FaultyRuntime.StartAsync(image.Options(), Cancel);
        foreach ((string name, string program, bool isIncomplete) in OfTheWorkspace)
        {
            faulty.Runsc.Lie($"go(); started(); os.write(1, b'printed'); ended(); {program}");
            SandboxRequest request = Command("true");
            request.Limits.WallClock = TimeSpan.FromSeconds(4);
            request.Workspace = new() { MaxChangesBytes = 1_000, MaxEntries = 100 };
            SandboxResult result = await faulty.Runner.RunAsync(request, Cancel);
            Assert.True((result.Termination.Kind, result.StandardOutput) == (TerminationKind.Exited, "printed"), $"{name}: {result.Termination.Kind}, '{result.StandardOutput}'");
            Assert.True(isIncomplete == result.WorkspaceIncomplete is not null, $"{name}: {result.WorkspaceIncomplete}");
            Assert.InRange(result.WorkspaceChanges.Length, 0, 1 << 20);
        }
    }

    [Fact]
    public async Task Silence_among_the_outputs_does_not_hold_up_the_run()
    {
        image.Require();
        var time = new FakeTimeProvider();
        using var runsc = new StandInRunsc();
        BoxerOptions options = image.Options();
        options.RunscPath = runsc.Path;
        string outputs = Directory.CreateTempSubdirectory("boxer-lies-").FullName;
        try
        {
            var runner = new SandboxRunner(options, [new NoneNetworkMode()], time: time);
            await using var disposal = new DisposedByClock(runner, time);
            await runner.StartAsync(Cancel);
            runsc.Lie("go(); started(); os.write(1, b'printed'); ended(); directory('a'); silence()");
            string directory = Path.Join(outputs, "files");
            SandboxRequest request = Command("true");
            request.OutputFiles = OutputFilePolicy.ToDirectory(directory);
            Task<SandboxResult> run = runner.RunAsync(request, Cancel);
            while (!run.IsCompleted)
            {
                // Only the events after them take time.
                time.Advance(Directory.Exists(Path.Join(directory, "a")) ? TimeSpan.FromSeconds(1) : TimeSpan.Zero);
                await Task.Delay(20, Cancel);
            }

            SandboxResult result = await run;
            Assert.Equal((TerminationKind.Exited, "printed"), (result.Termination.Kind, result.StandardOutput));
            Assert.NotNull(result.OutputFilesIncomplete);
        }
        finally
        {
            Directory.Delete(outputs, recursive: true);
        }
    }
}
