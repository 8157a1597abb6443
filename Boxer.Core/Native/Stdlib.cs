using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>stdlib.h.</summary>
internal static unsafe partial class Stdlib
{
    /// <summary>realpath(3).</summary>
    /// <param name="path">A path of this process's own.</param>
    /// <returns>The path without symbolic links; as it is, in full, where there is nothing at it.</returns>
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
