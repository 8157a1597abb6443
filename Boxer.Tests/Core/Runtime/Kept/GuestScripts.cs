using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;
using Boxer.Tests.Support;
using Microsoft.Extensions.Time.Testing;
using static Boxer.Tests.Core.Runtime.Init.InitFrames;
using static Boxer.Tests.Core.Runtime.Kept.ScriptedGuest;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>Steps and checks that tests of kept sandboxes share, with the test as PID 1.</summary>
internal static class GuestScripts
{
    internal static readonly byte[] NoUsage = [.. U64(0), .. U64(0), .. U64(0)];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    internal static Task<ExecOutcome> ExecAsync(ScriptedGuest guest, ExecPlan plan) => guest.Sandbox.ExecAsync(plan, () => { }, (_, _) => { }, Cancel);

    /// <summary>Executes a command, reports its start, and waits until the sandbox knows it: from then on its clocks run.</summary>
    internal static async Task<(Task<ExecOutcome> Running, uint Id)> StartExecAsync(ScriptedGuest guest, ExecPlan plan)
    {
        var started = new TaskCompletionSource();
        Task<ExecOutcome> running = guest.Sandbox.ExecAsync(plan, started.SetResult, (_, _) => { }, Cancel);
        Frame exec = await guest.ReadAsync(InitFrameType.Exec);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(exec.Id), U32(2));
        await started.Task;
        return (running, exec.Id);
    }

    internal static FileStream Open(ScriptedGuest guest, FileAccess access) => new(guest.TakeDescriptor(), access);

    internal static Task EndAsync(ScriptedGuest guest, uint id, int? signal = null) => guest.SendAsync(
        InitFrameType.ProcessEnded, U32(id), U32(signal is null ? 0u : 1u), U32((uint)(signal ?? 0)), NoUsage, U32(0), U32(0));

    internal static async Task AssertKilledAsync(ScriptedGuest guest, uint id)
    {
        Frame signal = await guest.ReadAsync(InitFrameType.ProcessSignal);
        Assert.Equal(id, signal.Id);
        Assert.Equal([9, 1], signal.Numbers);
        await EndAsync(guest, id, signal: 9);
    }

    internal static async Task<(SandboxConnection Connection, uint Id)> ConnectAsync(ScriptedGuest guest)
    {
        Task<SandboxConnection> connecting = guest.Sandbox.ConnectAsync(80, Cancel);
        Frame connect = await guest.ReadAsync(InitFrameType.Connect);
        await guest.SendAsync(InitFrameType.Connected, U32(connect.Id));
        return (await connecting, connect.Id);
    }

    internal static async Task AssertUsableAsync(ScriptedGuest guest)
    {
        Task<long> asking = guest.Sandbox.ReadDiskUseAsync(Cancel);
        Frame usage = await guest.ReadAsync(InitFrameType.Usage);
        await guest.SendAsync(InitFrameType.UsageReport, U32(usage.Id), U64(1));
        Assert.Equal(1, await asking);
        Assert.False(guest.Sandbox.Ended.IsCompleted);
    }

    /// <summary>Advances the clock until a task has completed.</summary>
    /// <param name="time">The clock.</param>
    /// <param name="task">The task.</param>
    /// <param name="most">The time to advance at most, so that what begins at the end of the task has its own time; <see langword="null"/>: no bound.</param>
    internal static async Task AdvanceUntilAsync(FakeTimeProvider time, Task task, TimeSpan? most = null)
    {
        var step = TimeSpan.FromSeconds(0.25);
        TimeSpan left = most ?? TimeSpan.MaxValue;
        await Until.IsSoAsync(
            () =>
            {
                if (left >= step)
                {
                    left -= step;
                    time.Advance(step);
                }

                return task.IsCompleted;
            },
            60);
    }
}
