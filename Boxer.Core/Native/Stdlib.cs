using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>stdlib.h.</summary>
internal static unsafe partial class Stdlib
{
    /// <summary>realpath(3).</summary>
    /// <param name="path">Trusted path.</param>
    /// <returns>The path without symbolic links. If the path does not exist, its absolute form.</returns>
    public static string RealPath(string path)
    {
        byte* resolved = realpath(path, null);
        if (resolved is null)
        {
            return Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        }

        try
        {
            return Marshal.PtrToStringUTF8((nint)resolved)!;
        }
        finally
        {
            NativeMemory.Free(resolved);
        }
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial byte* realpath(string path, byte* resolved);
}
