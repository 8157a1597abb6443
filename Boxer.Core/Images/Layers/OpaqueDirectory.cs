using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Images.Layers;

/// <summary>The overlayfs mark of a directory that hides everything lower layers have in it (<c>trusted.overlay.opaque</c>).</summary>
internal static class OpaqueDirectory
{
    private const string Attribute = "trusted.overlay.opaque";

    /// <summary>Marks a directory as opaque.</summary>
    /// <param name="directory">The directory.</param>
    /// <exception cref="NativeException">The attribute cannot be set.</exception>
    public static void Mark(SafeFileHandle directory) => Check.Result(SysXattr.fsetxattr(directory, Attribute, "y"u8, 1, 0), "setxattr");

    /// <summary>Gets whether a directory is marked as opaque.</summary>
    /// <param name="path">The directory's path.</param>
    public static bool IsMarked(string path)
    {
        using SafeFileHandle handle = DirectoryHandle.Open(path);
        return IsMarked(handle);
    }

    /// <summary>Gets whether a directory is marked as opaque.</summary>
    /// <param name="directory">The directory.</param>
    public static bool IsMarked(SafeFileHandle directory)
    {
        Span<byte> value = stackalloc byte[1];
        return SysXattr.fgetxattr(directory, Attribute, value, 1) == 1 && value[0] == (byte)'y';
    }
}
