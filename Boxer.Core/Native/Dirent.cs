using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Native;

/// <summary>dirent.h, through getdents64(2): names are bytes that need not be UTF-8.</summary>
internal static unsafe partial class Dirent
{
    private const int NameOffset = 19;

    /// <summary>Reads the names in an open directory, each with a NUL at its end, without <c>.</c> and <c>..</c>.</summary>
    /// <param name="directory">Directory, opened for reading; no names may have been read from this handle before.</param>
    /// <exception cref="NativeException">The directory cannot be read.</exception>
    public static List<byte[]> ReadNames(SafeFileHandle directory)
    {
        nint number = RuntimeInformation.ProcessArchitecture == Architecture.X64 ? 217 : 61;
        var names = new List<byte[]>();
        byte[] buffer = ArrayPool<byte>.Shared.Rent(32 * 1024);
        bool held = false;
        directory.DangerousAddRef(ref held);
        try
        {
            fixed (byte* pointer = buffer)
            {
                long length;
                while ((length = Check.Result((long)syscall(number, directory.DangerousGetHandle(), pointer, (nuint)buffer.Length), "getdents64")) > 0)
                {
                    for (int offset = 0; offset < length;)
                    {
                        int record = BinaryPrimitives.ReadUInt16LittleEndian(buffer.AsSpan(offset + 16));
                        ReadOnlySpan<byte> name = buffer.AsSpan(offset + NameOffset, record - NameOffset);
                        name = name[..(name.IndexOf((byte)0) + 1)];
                        if (!name.SequenceEqual(".\0"u8) && !name.SequenceEqual("..\0"u8))
                        {
                            names.Add(name.ToArray());
                        }

                        offset += record;
                    }
                }
            }
        }
        finally
        {
            directory.DangerousRelease();
            ArrayPool<byte>.Shared.Return(buffer);
        }

        return names;
    }

    [LibraryImport("libc", SetLastError = true)]
    private static partial nint syscall(nint number, nint fd, byte* buffer, nuint size);
}
