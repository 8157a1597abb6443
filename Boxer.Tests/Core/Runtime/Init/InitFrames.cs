using System.Buffers.Binary;
using System.Text;
using Boxer.Runtime.Init;

namespace Boxer.Tests.Core.Runtime.Init;

/// <summary>Runs and fields of frames for tests.</summary>
internal static class InitFrames
{
    internal static InitStart Start(params string[] arguments) => new() { Arguments = arguments, UserId = 65534, GroupId = 65534, MemoryBytes = 1 << 28, CpuQuota = 100_000 };

    internal static byte[] Text(string value) => [.. U32((uint)Encoding.UTF8.GetByteCount(value)), .. Encoding.UTF8.GetBytes(value), 0];

    internal static byte[] U32(uint value)
    {
        byte[] bytes = new byte[4];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return bytes;
    }

    internal static byte[] U64(ulong value)
    {
        byte[] bytes = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return bytes;
    }
}
