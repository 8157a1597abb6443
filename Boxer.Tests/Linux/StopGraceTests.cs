using System.Text;
using Boxer.Hosting;
using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux;

/// <summary>A command with a StopGrace is asked to end first, and its output is delivered.</summary>
[Collection(Sandboxes.Name)]
public sealed class StopGraceTests(SharedRunner shared, PythonImage image)
{
    private const string SaysBye = "trap 'echo bye; exit 3' TERM; echo hi; while :; do sleep 0.1; done";

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("0", 0, "hi\n")]
    [InlineData("0", 20, "hi\nbye\n")]
    [InlineData("65534", 20, "hi\nbye\n")]
    public async Task StopGrace_lets_the_command_end_by_itself_at_its_WallClock_limit(string user, int graceSeconds, string expected)
    {
        SandboxResult result = await RunAsync(SaysBye, graceSeconds, user);

        Assert.Equal((TerminationKind.WallClockLimit, expected), (result.Termination.Kind, result.StandardOutput));
        Assert.True(result.Timings.Run < TimeSpan.FromSeconds(15), result.Timings.ToString());
    }

    [Fact]
    public async Task Every_process_of_the_group_gets_the_stop_signal()
    {
        SandboxResult result = await RunAsync("""
            trap 'echo shell' TERM
            python3 -c 'import signal, sys, time; signal.signal(15, lambda *_: (print("python"), sys.exit())); print("hi", flush=True); time.sleep(1000)'
            echo after
            """, wallClockSeconds: 5);

        Assert.Equal((TerminationKind.WallClockLimit, "hi\npython\nshell\nafter\n"), (result.Termination.Kind, result.StandardOutput));
    }

    [Fact]
    public async Task A_command_that_does_not_end_is_killed_after_its_StopGrace()
    {
        SandboxResult result = await RunAsync("trap 'echo no' TERM; echo hi; while :; do sleep 0.1; done", graceSeconds: 2);

        Assert.Equal((TerminationKind.WallClockLimit, "hi\nno\n"), (result.Termination.Kind, result.StandardOutput));
        Assert.InRange(result.Timings.Run, TimeSpan.FromSeconds(4.9), TimeSpan.FromSeconds(15));
    }

    [Fact]
    public async Task Other_limits_are_enforced_during_the_StopGrace()
    {
        SandboxResult flood = await RunAsync("trap 'exec yes' TERM; while :; do sleep 0.1; done", graceSeconds: 60);
        SandboxResult memory = await RunAsync("trap 'exec python3 -c \"x = bytes(1) * (1 << 30)\"' TERM; while :; do sleep 0.1; done", graceSeconds: 60);

        Assert.Equal((TerminationKind.WallClockLimit, 1 << 20), (flood.Termination.Kind, flood.StandardOutputBytes.Length));
        Assert.Equal(TerminationKind.MemoryLimit, memory.Termination.Kind);
        Assert.All((SandboxResult[])[flood, memory], result => Assert.True(result.Timings.Run < TimeSpan.FromSeconds(30), result.Timings.ToString()));
    }

    [Fact]
    public async Task A_command_that_is_killed_for_another_limit_gets_no_stop_signal()
    {
        SandboxRequest request = Shell("trap 'echo asked >&2' TERM; exec 3>&2; yes & wait");
        (request.StopGrace, request.Limits.StandardOutputBytes) = (TimeSpan.FromSeconds(20), 1 << 20);

        SandboxResult result = await shared.Runner.RunAsync(request, Cancel);

        Assert.Equal((TerminationKind.OutputLimit, ""), (result.Termination.Kind, result.StandardError));
        Assert.True(result.Timings.Run < TimeSpan.FromSeconds(15), result.Timings.ToString());
    }

    [Theory]
    [InlineData(true, "hi\nbye\n")]
    [InlineData(false, "hi\n")]
    public async Task A_cancelled_run_has_its_StopGrace_and_a_disposed_runner_kills_it(bool cancels, string expected)
    {
        using var source = CancellationTokenSource.CreateLinkedTokenSource(Cancel);
        await using SandboxRunner runner = SandboxRunnerFactory.Create(shared.Options);
        SandboxRequest request = Shell(SaysBye);
        request.StopGrace = TimeSpan.FromSeconds(30);
        var said = new StringBuilder();
        ValueTask disposal = default;
        Exception? end = await Record.ExceptionAsync(async () =>
        {
            await foreach (SandboxEvent item in runner.StreamAsync(request, source.Token))
            {
                // The shell reports its children on standard error.
                if (item is SandboxDataReceived { Stream: SandboxStream.StandardOutput } output)
                {
                    said.Append(Encoding.UTF8.GetString(output.Data.Span));
                    if (cancels)
                    {
                        await source.CancelAsync();
                    }
                    else
                    {
                        disposal = runner.DisposeAsync();
                    }
                }
            }
        });
        await disposal;

        Assert.Equal(expected, said.ToString());
        Assert.True(cancels ? end is OperationCanceledException : end is SandboxRuntimeException, end?.ToString());
    }

    [Fact]
    public async Task The_stop_signal_is_that_of_the_image()
    {
        image.Require();
        Assert.SkipUnless(HostProgram.Exists("umoci"), "Needs umoci in PATH.");
        string layout = Directory.CreateTempSubdirectory("boxer-stop-").FullName;
        try
        {
            await HostProgram.RunAsync("sh", "-ec", $"""
                cp -r {Environment.GetEnvironmentVariable(PythonImage.LayoutVariable)}/. {layout}
                umoci config --image {layout}:latest --config.stopsignal SIGUSR2
                skopeo copy --quiet --dest-tls-verify=false oci:{layout}:latest docker://{new Uri(image.Url).Authority}/library/stops:latest
                """);
            var request = new SandboxRequest("stops", "sh", "-c", "trap 'echo other' TERM; trap 'echo named; exit' USR2; echo hi; while :; do sleep 0.1; done")
            {
                StopGrace = TimeSpan.FromSeconds(20),
                Limits = new() { WallClock = TimeSpan.FromSeconds(3) },
            };

            Assert.Equal("hi\nnamed\n", (await shared.Runner.RunAsync(request, Cancel)).StandardOutput);
        }
        finally
        {
            Directory.Delete(layout, recursive: true);
        }
    }

    [Theory]
    [InlineData(-1, "must be from 0 to 60 s.")]
    [InlineData(61, "must be from 0 to 60 s.")]
    [InlineData(2, "and Limits.WallClock together must be at most 5 s, as MaxLimits.WallClock says; lower one of them.")]
    public async Task A_StopGrace_out_of_range_is_rejected(int seconds, string message)
    {
        BoxerOptions options = shared.Options;
        (options.MaxLimits.WallClock, options.DefaultLimits.WallClock) = (TimeSpan.FromSeconds(5), TimeSpan.FromSeconds(4));
        await using SandboxRunner runner = SandboxRunnerFactory.Create(options);
        SandboxRequest request = Shell("true");
        request.StopGrace = TimeSpan.FromSeconds(seconds);

        InvalidSandboxRequestException exception = await Assert.ThrowsAsync<InvalidSandboxRequestException>(() => runner.RunAsync(request, Cancel));

        Assert.Contains(new SandboxFault("StopGrace", message), exception.Faults);
    }

    // The wall clock is long enough for the command to set its trap on a busy machine.
    private Task<SandboxResult> RunAsync(string script, int graceSeconds = 20, string user = "65534", int wallClockSeconds = 3)
    {
        SandboxRequest request = Shell(script);
        request.User = user;
        request.StopGrace = TimeSpan.FromSeconds(graceSeconds);
        request.Limits = new() { WallClock = TimeSpan.FromSeconds(wallClockSeconds), StandardOutputBytes = 1 << 20 };
        return shared.Runner.RunAsync(request, Cancel);
    }
}
