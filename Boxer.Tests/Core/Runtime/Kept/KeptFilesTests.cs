using System.Net.Sockets;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;
using Microsoft.Extensions.Time.Testing;
using Microsoft.Win32.SafeHandles;
using static Boxer.Tests.Core.Runtime.Init.InitFrames;
using static Boxer.Tests.Core.Runtime.Kept.GuestScripts;
using static Boxer.Tests.Core.Runtime.Kept.ScriptedGuest;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>File workers and reports of a kept sandbox, with the test as PID 1.</summary>
public sealed class KeptFilesTests
{
    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    [Fact]
    public async Task OpenFilesAsync_sends_a_socket_and_ends_with_the_sandbox()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<IFileWorker> opening = guest.Sandbox.OpenFilesAsync(new(65534, 65534, []), Cancel);
        Frame files = await guest.ReadAsync(InitFrameType.Files);
        Assert.Equal(1, guest.Descriptors);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(files.Id), U32(2));
        IFileWorker worker = await opening;
        Task<GuestFile?> asking = worker.StatAsync("/a", Cancel);
        await AssertUsableAsync(guest);
        Assert.False(asking.IsCompleted);
        guest.Sandbox.Kill();
        await Assert.ThrowsAnyAsync<IOException>(() => asking);
        await worker.Ended;
    }

    [Fact]
    public async Task OpenFilesAsync_that_fails_or_is_cancelled_closes_the_socket()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<IFileWorker> opening = guest.Sandbox.OpenFilesAsync(new(65534, 65534, []), Cancel);
        Frame files = await guest.ReadAsync(InitFrameType.Files);
        await guest.SendAsync(InitFrameType.ProcessNotStarted, U32(files.Id), U32(1), U32(12));
        await Assert.ThrowsAsync<IOException>(() => opening);

        using var cancellation = new CancellationTokenSource();
        opening = guest.Sandbox.OpenFilesAsync(new(65534, 65534, []), cancellation.Token);
        files = await guest.ReadAsync(InitFrameType.Files);
        await cancellation.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => opening);
        Assert.Equal([9, 1], (await guest.ReadAsync(InitFrameType.ProcessSignal)).Numbers);
        while (guest.Descriptors > 0)
        {
            SafeFileHandle descriptor = guest.TakeDescriptor();
            using var socket = new Socket(new SafeSocketHandle(descriptor.DangerousGetHandle(), ownsHandle: true));
            descriptor.SetHandleAsInvalid();
            Assert.Equal(0, await socket.ReceiveAsync(new byte[1], Cancel));
        }

        await guest.SendAsync(InitFrameType.ProcessStarted, U32(files.Id), U32(2));
        await EndAsync(guest, files.Id);
        await AssertUsableAsync(guest);
    }

    [Fact]
    public async Task ReadDiskUseAsync_is_newer_than_its_call_and_shares_requests()
    {
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync();
        Task<long> first = guest.Sandbox.ReadDiskUseAsync(Cancel);
        Frame asked = await guest.ReadAsync(InitFrameType.Usage);
        Task<long> second = guest.Sandbox.ReadDiskUseAsync(Cancel);
        Task<long> third = guest.Sandbox.ReadDiskUseAsync(Cancel);
        await guest.SendAsync(InitFrameType.UsageReport, U32(asked.Id), U64(100));
        Assert.Equal(100, await first);
        asked = await guest.ReadAsync(InitFrameType.Usage);
        await guest.SendAsync(InitFrameType.UsageReport, U32(asked.Id), U64(200));
        Assert.Equal(200, await second);
        Assert.Equal(200, await third);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task OpenFilesAsync_kills_a_worker_that_does_not_start_and_a_sandbox_that_does_not_obey(bool obeys)
    {
        var time = new FakeTimeProvider();
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync(time);
        Task<IFileWorker> opening = guest.Sandbox.OpenFilesAsync(new(65534, 65534, []), Cancel);
        Frame files = await guest.ReadAsync(InitFrameType.Files);
        await AdvanceUntilAsync(time, opening, KeptSandbox.AnswerPatience);
        await Assert.ThrowsAsync<IOException>(() => opening);
        await AssertWorkerIsKilledAsync(guest, time, files.Id, () => obeys ? guest.SendAsync(InitFrameType.ProcessNotStarted, U32(files.Id), U32(5), U32(4)) : Task.CompletedTask, obeys);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_worker_that_was_stopped_is_killed_when_its_operation_is_over(bool obeys)
    {
        var time = new FakeTimeProvider();
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync(time);
        (IFileWorker worker, uint id) = await OpenFilesAsync(guest);
        Task<GuestFile?> asking = worker.StatAsync("/a", Cancel);
        await AssertUsableAsync(guest);
        Assert.False(asking.IsCompleted);
        await AdvanceUntilAsync(time, asking, FileChannel.Patience);
        IOException fault = await Assert.ThrowsAsync<IOException>(() => asking);
        Assert.Contains("did not answer", fault.Message, StringComparison.Ordinal);
        await worker.Ended;
        await AssertWorkerIsKilledAsync(guest, time, id, () => obeys ? EndAsync(guest, id, signal: 9) : Task.CompletedTask, obeys);
    }

    [Fact]
    public async Task ReadDiskUseAsync_kills_a_sandbox_that_does_not_answer_but_not_while_it_is_frozen()
    {
        var time = new FakeTimeProvider();
        await using ScriptedGuest guest = await ScriptedGuest.OpenAsync(time);
        Task<long> asking = guest.Sandbox.ReadDiskUseAsync(Cancel);
        await guest.ReadAsync(InitFrameType.Usage);
        Assert.True(guest.Sandbox.TryFreeze());
        time.Advance(TimeSpan.FromDays(1));
        Assert.False(guest.Sandbox.Ended.IsCompleted);
        guest.Sandbox.Thaw();
        await AdvanceUntilAsync(time, asking);
        await Assert.ThrowsAsync<KeptSandboxEndedException>(() => asking);
        Assert.Equal(KeptSandboxEnd.Died, await guest.Sandbox.Ended);
    }

    private static async Task<(IFileWorker Worker, uint Id)> OpenFilesAsync(ScriptedGuest guest)
    {
        Task<IFileWorker> opening = guest.Sandbox.OpenFilesAsync(new(65534, 65534, []), Cancel);
        Frame files = await guest.ReadAsync(InitFrameType.Files);
        await guest.SendAsync(InitFrameType.ProcessStarted, U32(files.Id), U32(2));
        return (await opening, files.Id);
    }

    private static async Task AssertWorkerIsKilledAsync(ScriptedGuest guest, FakeTimeProvider time, uint id, Func<Task> obey, bool obeys)
    {
        Task<Frame> signalling = guest.ReadAsync(InitFrameType.ProcessSignal);
        await AdvanceUntilAsync(time, signalling, TimeSpan.FromSeconds(2));
        Frame signal = await signalling;
        Assert.Equal((id, 9u, 1u), (signal.Id, signal.Numbers.First(), signal.Numbers.Last()));
        await obey();
        if (obeys)
        {
            await AssertUsableAsync(guest);
        }
        else
        {
            await AdvanceUntilAsync(time, guest.Sandbox.Ended);
        }
    }
}
