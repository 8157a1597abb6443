using Boxer.Native;
using Boxer.Tests.Support;
using static Boxer.Tests.Support.SharedRunner;

namespace Boxer.Tests.Linux.Faults;

/// <summary>A process of a sandbox is killed: that run alone ends, with the right termination and its output.</summary>
[Collection(Sandboxes.Name)]
public sealed class KillTests(PythonImage image)
{
    private static readonly string[] Kinds = ["runsc", "runsc-sandbox", "runsc-gofer"];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_kill_while_a_command_runs_ends_as_SandboxDied()
    {
        image.Require();
        await using FaultyRuntime faulty = await FaultyRuntime.StartAsync(image.Options(), Cancel);
        foreach (string kind in Kinds)
        {
            SandboxResult? result = null;
            await foreach (SandboxEvent item in faulty.Runner.StreamAsync(Shell("echo printed; sleep 1000"), Cancel))
            {
                if (item is SandboxDataReceived)
                {
                    string sandbox = Assert.Single(OwnTraces.Sandboxes().Except(faulty.Neighbours, StringComparer.Ordinal));
                    await WaitAsync(() => Kill(sandbox, kind));
                }
                else if (item is SandboxEnded ended)
                {
                    result = ended.Result;
                }
            }

            Assert.True(result!.Termination.Kind == TerminationKind.SandboxDied, $"{kind}: {result.Termination}");
            Assert.Equal("printed\n", result.StandardOutput);
            await WaitAsync(() => !OwnTraces.Sandboxes().Except(faulty.Neighbours, StringComparer.Ordinal).Any());
        }
    }

    [Fact]
    public async Task A_kill_while_the_sandbox_boots_is_a_typed_failure()
    {
        image.Require();
        await using FaultyRuntime faulty = await FaultyRuntime.StartAsync(image.Options(), Cancel);
        foreach (string kind in Kinds)
        {
            Task<SandboxResult> run = faulty.Runner.RunAsync(Shell("sleep 1000"), Cancel);
            string? sandbox = null;
            await WaitAsync(() => (sandbox = OwnTraces.Sandboxes().Except(faulty.Neighbours, StringComparer.Ordinal).FirstOrDefault()) is not null);
            await WaitAsync(() => Kill(sandbox!, kind));
            Exception? fault = await Record.ExceptionAsync(() => run);
            Termination? end = fault is null ? (await run).Termination : null;

            // The boot may have been faster than the kill.
            Assert.True(fault is SandboxRuntimeException || end?.Kind == TerminationKind.SandboxDied, $"{kind}: {fault} {end}");
            await WaitAsync(() => !OwnTraces.Sandboxes().Except(faulty.Neighbours, StringComparer.Ordinal).Any());
        }
    }

    [Fact]
    public async Task A_kill_while_files_come_out_is_reported_as_incomplete_or_SandboxDied()
    {
        image.Require();
        await using FaultyRuntime faulty = await FaultyRuntime.StartAsync(image.Options(), Cancel);
        foreach (string kind in Kinds)
        {
            string directory = Path.Join(Directory.CreateTempSubdirectory("boxer-kill-").FullName, "files");
            SandboxRequest request = Python("import os\nfor i in range(500): open('/output/%d' % i, 'wb').write(bytes(60000))\nprint('printed')");
            request.OutputFiles = OutputFilePolicy.ToDirectory(directory);
            Task<SandboxResult> run = faulty.Runner.RunAsync(request, Cancel);
            await WaitAsync(() => run.IsCompleted || (Directory.Exists(directory) && Directory.EnumerateFiles(directory).Any()));
            if (OwnTraces.Sandboxes().Except(faulty.Neighbours, StringComparer.Ordinal).FirstOrDefault() is { } sandbox)
            {
                Kill(sandbox, kind);
            }

            SandboxResult result = await run;
            Assert.Equal("printed\n", result.StandardOutput);
            Assert.Equal(TerminationKind.Exited, result.Termination.Kind);
            Assert.True(result.OutputFiles.Count == 500 || result.OutputFilesIncomplete is not null, $"{kind}: {result.OutputFiles.Count} files");
            Directory.Delete(Path.GetDirectoryName(directory)!, recursive: true);
        }
    }

    // Returns whether there was one: a process that is just executing another program may be missed.
    private static bool Kill(string sandbox, string kind) =>
        OwnTraces.FindProcess(sandbox, kind) is { } process && Signal.kill(process, Signal.SIGKILL) == 0;

    private static Task WaitAsync(Func<bool> isSo) => Until.IsSoAsync(isSo, seconds: 60);
}
