using Boxer.Linux;
using Boxer.Native;
using Boxer.Tests.Support;

namespace Boxer.Tests.Core.Linux;

/// <summary>The clean-up ends only processes of the runtime, although any process can have the directory of an instance as an argument.</summary>
public sealed class ProcessTableTests : IDisposable
{
    private const int Nobody = 65534;
    private readonly ScratchDirectory _scratch = new();

    public ProcessTableTests()
    {
        // Stands for the runtime. Another user can execute it too.
        File.Copy("/bin/sh", Program);
        File.SetUnixFileMode(_scratch.Path, (UnixFileMode)0x1ED);
        File.SetUnixFileMode(Program, (UnixFileMode)0x1ED);
    }

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    private string Program => _scratch["runtime"];

    private string Argument => $"--root={_scratch["base/0123abcd"]}/s/x/state";

    [Fact]
    public async Task EndRuntimeAsync_ends_own_processes_of_the_program_and_no_others()
    {
        Assert.SkipUnless(Unistd.geteuid() == 0, "Needs root, to be two users.");
        using var own = new Stranger(Argument, shell: Program);
        using var elsewhere = new Stranger("--root=" + _scratch["base/0123abcdef/state"], shell: Program);
        using var otherProgram = new Stranger(Argument);
        using var otherUser = new Stranger(Argument, Nobody);
        using var otherUserOfTheProgram = new Stranger(Argument, Nobody, Program);

        await ProcessTable.EndRuntimeAsync(_scratch["base/0123abcd"], Programs, TimeProvider.System);

        await Until.IsSoAsync(() => !own.IsAlive, 30);
        Assert.All([elsewhere, otherProgram, otherUser, otherUserOfTheProgram], stranger => Assert.True(stranger.IsAlive));
    }

    [Fact]
    public async Task EndRuntimeAsync_ignores_processes_that_end_meanwhile()
    {
        System.Diagnostics.Process[] brief = [.. Enumerable.Range(0, 20).Select(_ => HostProgram.Start(Program, "-c", ":", "sh", Argument))];

        Exception? fault = await Record.ExceptionAsync(() => ProcessTable.EndRuntimeAsync(_scratch["base/0123abcd"], Programs, TimeProvider.System));

        Assert.Null(fault);
        foreach (System.Diagnostics.Process process in brief)
        {
            // The process has ended, by itself or killed.
            await process.WaitForExitAsync(Cancel);
            Assert.Contains(process.ExitCode, (int[])[0, 128 + Signal.SIGKILL]);
            process.Dispose();
        }
    }

    public void Dispose() => _scratch.Dispose();

    private HashSet<FileIdentity> Programs => [FileIdentity.Of(Program)!.Value];
}
