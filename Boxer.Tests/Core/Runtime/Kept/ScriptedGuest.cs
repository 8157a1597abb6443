using System.Buffers.Binary;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using Boxer.Native;
using Boxer.Processes;
using Boxer.Runtime;
using Boxer.Runtime.Cgroups;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Win32.SafeHandles;
using static Boxer.Tests.Core.Runtime.Init.InitFrames;

namespace Boxer.Tests.Core.Runtime.Kept;

/// <summary>A PID 1 whose every word the test chooses, on a real socketpair, and the kept sandbox in front of it.</summary>
internal sealed partial class ScriptedGuest : IAsyncDisposable
{
    internal static readonly TimeSpan OpenPatience = TimeSpan.FromSeconds(20);
    private readonly string _directory = Directory.CreateTempSubdirectory("boxer-kept-").FullName;
    private readonly DescriptorPoller _poller = new();
    private readonly TimeProvider _time;
    private readonly SandboxResources _resources;
    private readonly Socket _socket;
    private readonly Queue<SafeFileHandle> _descriptors = new();

    internal ScriptedGuest(TimeProvider? time = null)
    {
        _time = time ?? TimeProvider.System;
        (Socket ours, SafeFileHandle theirs) = SocketPair.Create();
        _socket = new Socket(new SafeSocketHandle(theirs.DangerousGetHandle(), ownsHandle: true));
        theirs.SetHandleAsInvalid();
        _resources = new SandboxResources(_directory, new RuntimePrograms(_directory), _time, NullLogger.Instance, CancellationToken.None) { Init = new InitChannel(ours) };
    }

    /// <summary>A frame of the host.</summary>
    /// <param name="Type">The type.</param>
    /// <param name="Payload">The payload.</param>
    internal sealed record Frame(InitFrameType Type, byte[] Payload)
    {
        /// <summary>The first number, which is the id or the tag.</summary>
        internal uint Id => BinaryPrimitives.ReadUInt32LittleEndian(Payload);

        /// <summary>The fields after the id, as numbers.</summary>
        internal IEnumerable<uint> Numbers => Payload.Skip(4).Chunk(4).Select(number => BinaryPrimitives.ReadUInt32LittleEndian(number));
    }

    internal static OpenPlan Plan => new(
        Start() with { Tmpfs = [new("/tmp", 0x3FF, 0, 0)] },
        [],
        null,
        new ResourceLimits { MemoryBytes = 1 << 28, Pids = 64, DiskBytes = 1 << 20 },
        new CgroupLimits(1, 1 << 28, 100));

    internal KeptSandbox Sandbox { get; private set; } = null!;

    /// <summary>Sum of the credits so far, by id and stream.</summary>
    internal Dictionary<(uint Id, uint Stream), long> Credits { get; } = [];

    private static CancellationToken Cancel => TestContext.Current.CancellationToken;

    internal static async Task<ScriptedGuest> OpenAsync(TimeProvider? time = null)
    {
        var guest = new ScriptedGuest(time);
        await guest.OpenAsync(async () =>
        {
            await guest.ReadAsync(InitFrameType.Open);
            await guest.ReadAsync(InitFrameType.Go);
            await guest.SendAsync(InitFrameType.Opened);
        });
        return guest;
    }

    internal static ExecPlan Command(params string[] arguments) => new() { Arguments = arguments, User = new(65534, 65534, []) };

    /// <summary>Opens the sandbox while the script answers.</summary>
    internal async Task OpenAsync(Func<Task> script, OpenPlan? plan = null, CancellationToken? cancellationToken = null)
    {
        await SendAsync(InitFrameType.Ready, U32(InitProtocol.Version));
        await _resources.Init!.ReadReadyAsync(Cancel);
        Task<KeptSandbox> opening = KeptSandbox.OpenAsync(_resources, plan ?? Plan, _poller, _time, OpenPatience, cancellationToken ?? Cancel);
        await script();
        Sandbox = await opening;
    }

    internal async Task SendAsync(InitFrameType type, params byte[][] fields)
    {
        byte[] payload = [.. fields.SelectMany(field => field)];
        byte[] frame = new byte[InitProtocol.HeaderSize];
        InitProtocol.WriteHeader(frame, type, payload.Length);
        for (ReadOnlyMemory<byte> rest = (byte[])[.. frame, .. payload]; rest.Length > 0;)
        {
            rest = rest[await _socket.SendAsync(rest, SocketFlags.None, Cancel)..];
        }
    }

    internal Task SendRawAsync(byte[] bytes) => _socket.SendAsync(bytes, SocketFlags.None, Cancel).AsTask();

    /// <summary>Reads the next frame, which must have the type. Credits are only added up.</summary>
    internal async Task<Frame> ReadAsync(InitFrameType expected)
    {
        Frame frame;
        while ((frame = await ReadAnyAsync()).Type == InitFrameType.Credit && expected != InitFrameType.Credit)
        {
        }

        Assert.Equal(expected, frame.Type);
        return frame;
    }

    /// <summary>Takes the three descriptors of the last EXEC, or the one of FILES.</summary>
    internal SafeFileHandle TakeDescriptor() => _descriptors.Dequeue();

    internal int Descriptors => _descriptors.Count;

    internal void Die() => _socket.Dispose();

    public async ValueTask DisposeAsync()
    {
        if (Sandbox is not null)
        {
            await Sandbox.DisposeAsync();
        }

        while (_descriptors.TryDequeue(out SafeFileHandle? descriptor))
        {
            descriptor.Dispose();
        }

        await _resources.DisposeAsync();
        _socket.Dispose();
        _poller.Dispose();
    }

    internal async Task<Frame> ReadAnyAsync()
    {
        byte[] header = await ReadBytesAsync(InitProtocol.HeaderSize);
        byte[] payload = await ReadBytesAsync(BinaryPrimitives.ReadInt32LittleEndian(header));
        var frame = new Frame((InitFrameType)BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(4)), payload);
        if (frame.Type == InitFrameType.Credit)
        {
            uint[] numbers = [.. frame.Numbers];
            Credits[(frame.Id, numbers[0])] = Credits.GetValueOrDefault((frame.Id, numbers[0])) + numbers[1];
        }

        return frame;
    }

    private async Task<byte[]> ReadBytesAsync(int count)
    {
        byte[] bytes = new byte[count];
        for (int read = 0; read < count;)
        {
            int received = Receive(bytes.AsSpan(read));
            if (received == 0)
            {
                throw new EndOfStreamException("The host closed the socket.");
            }

            if (received < 0)
            {
                await Task.Delay(1, Cancel);
            }

            read += Math.Max(received, 0);
        }

        return bytes;
    }

    /// <returns>Number of bytes, 0 at the end, -1 if there is nothing.</returns>
    private unsafe int Receive(Span<byte> bytes)
    {
        const int SizeOfHeader = 16;
        byte* control = stackalloc byte[64];
        fixed (byte* pointer = bytes)
        {
            nint* content = stackalloc nint[2] { (nint)pointer, bytes.Length };
            var message = new Message { Content = content, ContentCount = 1, Control = control, ControlLength = 64 };
            nint received = recvmsg(_socket.SafeHandle, &message, SysSocket.MSG_DONTWAIT | 0x40000000 /* MSG_CMSG_CLOEXEC */);
            int descriptors = received > 0 && message.ControlLength >= SizeOfHeader ? ((int)*(nint*)control - SizeOfHeader) / sizeof(int) : 0;
            for (int i = 0; i < descriptors; i++)
            {
                _descriptors.Enqueue(new SafeFileHandle(((int*)(control + SizeOfHeader))[i], ownsHandle: true));
            }

            return (int)received;
        }
    }

    [LibraryImport("libc", SetLastError = true)]
    private static unsafe partial nint recvmsg(SafeHandle sockfd, Message* msg, int flags);

    [StructLayout(LayoutKind.Sequential)]
    private unsafe struct Message
    {
        public void* Name;
        public uint NameLength;
        public void* Content;
        public nuint ContentCount;
        public void* Control;
        public nuint ControlLength;
        public int Flags;
    }
}
