using System.Buffers.Binary;
using System.Net.Sockets;
using System.Text;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>A file worker whose every word the test chooses, in front of the host's end.</summary>
public abstract class LyingWorkerTests : IAsyncDisposable
{
    private protected const uint File = 0;
    private protected const uint Directory = 1;
    private protected const uint Link = 2;
    private readonly FakeTimeProvider _time = new();

    private protected LyingWorkerTests()
    {
        string path = Path.Join(System.IO.Directory.CreateTempSubdirectory("boxer-lie-").FullName, "socket");
        using var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        listener.Bind(new UnixDomainSocketEndPoint(path));
        listener.Listen(1);
        Guest = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        Guest.Connect(new UnixDomainSocketEndPoint(path));
        Worker = new FileWorker(listener.Accept(), new TaskCompletionSource().Task, new CommandClock(_time), _time);
        System.IO.Directory.Delete(Path.GetDirectoryName(path)!, recursive: true);
    }

    private protected static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>The end of the guest.</summary>
    private protected Socket Guest { get; }

    /// <summary>The end of the host.</summary>
    private protected FileWorker Worker { get; }

    public async ValueTask DisposeAsync()
    {
        await Worker.DisposeAsync();
        Guest.Dispose();
        GC.SuppressFinalize(this);
    }

    private protected static byte[] Entry(string path, uint kind, long size = 0, string target = "", long seconds = 0) =>
        Frame(InitFrameType.FilesEntry, [.. U32(kind), .. U32(0x1ED), .. U32(1), .. U32(1), .. U64(size), .. U64(seconds), .. U32(0), .. Text(target), .. Text(path)]);

    private protected static byte[] Frame(InitFrameType type, byte[] payload)
    {
        byte[] frame = new byte[InitProtocol.HeaderSize + payload.Length];
        InitProtocol.WriteHeader(frame, type, payload.Length);
        payload.CopyTo(frame, InitProtocol.HeaderSize);
        return frame;
    }

    private protected static byte[] U32(uint value)
    {
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return bytes;
    }

    private protected static byte[] U64(long value)
    {
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(bytes, value);
        return bytes;
    }

    private protected static byte[] Text(string text) => [.. U32((uint)Encoding.UTF8.GetByteCount(text)), .. Encoding.UTF8.GetBytes(text), 0];
}
