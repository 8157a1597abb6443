using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Linux.Faults;

/// <summary>A runtime that fails, dies or lies under a session: that session alone ends, typed, and nothing of it is left.</summary>
[Collection(Sandboxes.Name)]
public sealed class SessionFaultTests(PythonImage image)
{
    private static readonly (string Name, string Program, string Fault)[] Lies =
    [
        ("an older version", "ready(3); silence()", "speaks protocol version 3"),
        ("gone before the opening", "ready()", "ended before it was open"),
        ("half a frame", "ready(); until(5); s.sendall(b'\\x10\\0\\0')", "ended before it was open"),
        ("started like a run", "ready(); until(5); started(); silence()", "PID 1 sent InitStarted"),
        ("ended before it opened", "ready(); until(5); ended(); silence()", "PID 1 sent InitEnded"),
        ("a frame of 2 GiB", "ready(); until(5); s.sendall(struct.pack('<IHH', 1 << 31, 0x800e, 1)); silence()", "announced a frame of"),
        ("a fault", "ready(); until(5); send(11, struct.pack('<I', 5) + text('bad luck')); silence()", "bad luck (errno 5)"),
    ];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("runsc")]
    [InlineData("runsc-sandbox")]
    [InlineData("runsc-gofer")]
    public async Task A_kill_ends_the_session_whatever_it_does(string kind)
    {
        image.Require();
        await using FaultyRuntime faulty = await FaultyRuntime.StartAsync(image.Options(), Cancel);
        foreach (string state in (string[])["running", "with a process", "frozen", "paused"])
        {
            await using IOwnedSandboxSession session = await OpenAsync(faulty);
            string sandbox = Assert.Single(Own(faulty));
            Task<SandboxResult>? exec = null;
            ISandboxProcess? process = null;
            switch (state)
            {
                case "running":
                    exec = session.ExecAsync("sh", "-c", "echo printed; touch /tmp/up; sleep 1000");
                    await Until.IsSoAsync(async () => await session.Files.StatAsync("/tmp/up", Cancel) is not null, 60);
                    break;
                case "with a process":
                    process = await session.StartAsync("sleep", "1000");
                    break;
                case "frozen":
                    await FreezesAsync(session, sandbox);
                    break;
                default:
                    await session.PauseAsync(Cancel);
                    break;
            }

            await Until.IsSoAsync(() => OwnTraces.FindProcess(sandbox, kind) is { } found && Signal.kill(found, Signal.SIGKILL) == 0, 60);
            if (state == "paused")
            {
                // It thaws the sandbox, and can see that it has died.
                Exception? fault = await Record.ExceptionAsync(() => session.ResumeAsync(Cancel));
                Assert.True(fault is null or SandboxSessionEndedException { End: SandboxSessionEnd.SandboxDied }, $"{kind} {state}: {fault}");
            }

            // Linux kills a frozen process when it is thawed, which a call does.
            for (int call = 0; session.End is null && (state is "frozen" or "paused"); call++)
            {
                Assert.True(call <= 1_000, $"{kind} {state}: the session still serves calls. {string.Join(", ", SandboxCgroups.Describe(sandbox))}");
                await Record.ExceptionAsync(() => session.ExecAsync("true"));
            }

            await WaitAsync(() => session.End is not null, $"{kind} {state}: the session ends", sandbox);
            Assert.True(session.End == SandboxSessionEnd.SandboxDied, $"{kind} {state}: {session.End}");
            Assert.True(exec is null || await exec is { Termination.Kind: TerminationKind.SandboxDied, StandardOutput: "printed\n" }, $"{kind} {state}");
            Assert.True(process is null || (await process.WaitAsync(Cancel)).Termination.Kind == TerminationKind.SandboxDied, $"{kind} {state}");
            Assert.Equal(SandboxSessionEnd.SandboxDied, (await Assert.ThrowsAsync<SandboxSessionEndedException>(() => session.ExecAsync("true"))).End);
            await WaitAsync(() => Own(faulty).Length == 0, $"{kind} {state}: its runtime ends", sandbox);
        }
    }

    [Fact]
    public async Task A_runtime_that_fails_at_boot_refuses_one_session_with_a_typed_failure()
    {
        image.Require();
        await using FaultyRuntime faulty = await FaultyRuntime.StartAsync(image.Options(), Cancel);
        faulty.Runsc.Do("echo 'panic: no luck' >&2; exit 3");
        SandboxRuntimeException fault = await Assert.ThrowsAsync<SandboxRuntimeException>(() => OpenAsync(faulty));
        faulty.Runsc.Do("");
        await using IOwnedSandboxSession session = await OpenAsync(faulty);

        Assert.Contains("ended while it booted (exit code 3)", fault.Message, StringComparison.Ordinal);
        Assert.Same(session, Assert.Single(await faulty.Runner.ListAsync(cancellationToken: Cancel)));
        Assert.Equal("well\n", (await session.ExecAsync("echo", "well")).StandardOutput);
    }

    [Fact]
    public async Task A_lie_before_the_session_is_open_is_a_typed_failure()
    {
        image.Require();
        await using FaultyRuntime faulty = await FaultyRuntime.StartAsync(image.Options(), Cancel);
        foreach ((string name, string program, string message) in Lies)
        {
            faulty.Runsc.Lie(program);
            Exception? fault = await Record.ExceptionAsync(() => OpenAsync(faulty));
            Assert.True(fault is SandboxRuntimeException && fault.Message.Contains(message, StringComparison.Ordinal), $"{name}: {fault}");
        }

        Assert.Empty(await faulty.Runner.ListAsync(cancellationToken: Cancel));
    }

    // A machine with much to do may not freeze it in time, and is asked again after the next call.
    private static async Task FreezesAsync(IOwnedSandboxSession session, string sandbox)
    {
        const int LooksBetweenCalls = 1_500;
        int looks = 0;
        await Until.IsSoAsync(
            async () =>
            {
                if (++looks % LooksBetweenCalls == 0)
                {
                    await session.ExecAsync("true");
                }

                return SandboxCgroups.IsFrozen(sandbox);
            },
            60);
    }

    // The processes that are left tell why something never comes.
    private static async Task WaitAsync(Func<bool> isSo, string what, string sandbox)
    {
        if (await Record.ExceptionAsync(() => Until.IsSoAsync(isSo, 60, what)) is { } fault)
        {
            Assert.Fail($"{fault.Message} {string.Join(", ", SandboxCgroups.Describe(sandbox))}");
        }
    }

    private static string[] Own(FaultyRuntime faulty) => [.. OwnTraces.Sandboxes().Except(faulty.Neighbours, StringComparer.Ordinal)];

    private static Task<IOwnedSandboxSession> OpenAsync(FaultyRuntime faulty) => faulty.Runner.OpenAsync(new(PythonImage.Name), Cancel);
}
