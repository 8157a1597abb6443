using System.Runtime.InteropServices;

namespace Boxer.Native;

/// <summary>stdio.h.</summary>
internal static partial class Stdio
{
    [LibraryImport("libc", SetLastError = true, StringMarshalling = StringMarshalling.Utf8)]
    public static partial int rename(string oldpath, string newpath);
}
