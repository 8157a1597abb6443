using System.Net.Sockets;
using System.Runtime.CompilerServices;
using Boxer.Processes;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;
using Microsoft.Extensions.Time.Testing;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>A worker that says nothing, as one that the guest has stopped.</summary>
public sealed class FileWorkerSilenceTests : IDisposable
{
    private readonly FakeTimeProvider _time = new();
    private readonly CommandClock _clock;
    private readonly Socket _guest;
    private readonly FileWorker _worker;

    public FileWorkerSilenceTests()
    {
        (Socket ours, SafeFileHandle theirs) = SocketPair.Create();
        _guest = new Socket(new SafeSocketHandle(theirs.DangerousGetHandle(), ownsHandle: true));
        theirs.SetHandleAsInvalid();
        _clock = new CommandClock(_time);
        _worker = new FileWorker(ours, new TaskCompletionSource().Task, _clock, _time);
    }

    public static TheoryData<string> Operations => ["stat", "list", "remove", "write", "write without reading", "read", "archive", "in a frame"];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _guest.Dispose();

    [Theory]
    [MemberData(nameof(Operations))]
    public async Task An_operation_ends_and_so_does_the_worker(string operation)
    {
        Task running = RunAsync(operation);
        await GuestScripts.AdvanceUntilAsync(_time, running);

        IOException fault = await Assert.ThrowsAsync<IOException>(() => running);
        Assert.Contains("did not answer in time", fault.Message, StringComparison.Ordinal);
        await _worker.Ended;
        await Assert.ThrowsAsync<IOException>(() => _worker.StatAsync("/b", Token));
    }

    [Fact]
    public async Task Neither_a_slow_reader_nor_a_slow_content_nor_a_watch_nor_a_frozen_sandbox_ends_it()
    {
        _guest.Send([.. Frame(InitFrameType.FilesOpened, 3, 0, 0, 0, 0, 0, 0, 0), .. Frame(InitFrameType.FilesData, 1, 2, 3), .. Frame(InitFrameType.FilesDone)]);
        await using (Stream stream = await _worker.OpenReadAsync("/a", Token))
        {
            _time.Advance(TimeSpan.FromHours(1));
            Assert.Equal(3, await stream.ReadAsync(new byte[10], Token));
            _time.Advance(TimeSpan.FromHours(1));
            Assert.Equal(0, await stream.ReadAsync(new byte[10], Token));
        }

        var content = new SlowStream();
        Task writing = _worker.WriteAsync("/a", content, null, Token);
        _time.Advance(TimeSpan.FromHours(1));
        content.End.SetResult();
        _guest.Send(Frame(InitFrameType.FilesDone));
        await writing;
        _clock.Stop();
        Task<GuestFile?> asking = _worker.StatAsync("/a", Token);
        _time.Advance(TimeSpan.FromHours(1));
        Assert.False(asking.IsCompleted);
        _clock.Continue();
        _guest.Send(Frame(InitFrameType.FilesFailed, 2, 0, 0, 0, 0, 0, 0, 0, 0));
        Assert.Null(await asking);

        _guest.Send(Frame(InitFrameType.FilesOpened, 0, 0, 0, 0, 0, 0, 0, 0));
        await using IAsyncEnumerator<GuestFileChange> changes = _worker.WatchAsync("/a", Token).GetAsyncEnumerator(Token);
        Assert.True(await changes.MoveNextAsync());
        Assert.Equal(GuestFileChangeKind.Started, changes.Current.Kind);
        ValueTask<bool> moving = changes.MoveNextAsync();
        _time.Advance(TimeSpan.FromHours(1));
        _guest.Send(Frame(InitFrameType.FilesChange, 2, 0, 0, 0, 0, 0, 0, 0, 0));
        Assert.True(await moving);
        Assert.False(_worker.Ended.IsCompleted);
    }

    private async Task RunAsync(string operation)
    {
        switch (operation)
        {
            case "stat":
                await _worker.StatAsync("/a", Token);
                break;
            case "list":
                _guest.Send(Frame(InitFrameType.FilesIncomplete));
                await _worker.ListAsync("/a", 1, 1, Token);
                break;
            case "remove":
                await _worker.RemoveAsync("/a", Token);
                break;
            case "write":
                await _worker.WriteAsync("/a", new MemoryStream(new byte[10]), null, Token);
                break;
            case "write without reading":
                await _worker.WriteAsync("/a", new MemoryStream(new byte[8 << 20]), null, Token);
                break;
            case "read":
                _guest.Send(Frame(InitFrameType.FilesOpened, 3, 0, 0, 0, 0, 0, 0, 0));
                await using (Stream stream = await _worker.OpenReadAsync("/a", Token))
                {
                    await stream.CopyToAsync(Stream.Null, Token);
                }

                break;
            case "archive":
                await using (ConfiguredAsyncDisposable archive = (await _worker.ReadArchiveAsync("/a", 1 << 20, Token)).ConfigureAwait(false))
                {
                }

                break;
            default:
                _guest.Send([9, 0, 0, 0]);
                await _worker.StatAsync("/a", Token);
                break;
        }
    }

    private static byte[] Frame(InitFrameType type, params byte[] payload)
    {
        byte[] frame = new byte[InitProtocol.HeaderSize];
        InitProtocol.WriteHeader(frame, type, payload.Length);
        return [.. frame, .. payload];
    }

    private sealed class SlowStream : MemoryStream
    {
        public TaskCompletionSource End { get; } = new();

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            await End.Task;
            return 0;
        }
    }
}
