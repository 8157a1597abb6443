using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Native;

/// <summary>stdio.h.</summary>
internal static partial class Stdio
{
    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int rename(string oldpath, string newpath);

    /// <summary>renameat(2). Paths end with NUL.</summary>
    [LibraryImport("libc", SetLastError = true)]
    public static partial int renameat(SafeFileHandle olddirfd, ReadOnlySpan<byte> oldpath, SafeFileHandle newdirfd, ReadOnlySpan<byte> newpath);
}
