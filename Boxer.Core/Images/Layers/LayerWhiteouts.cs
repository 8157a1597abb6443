using System.Runtime.InteropServices;
using Boxer.Linux;
using Boxer.Native;
using Microsoft.Win32.SafeHandles;

namespace Boxer.Images.Layers;

/// <summary>Unpacks the whiteouts of one layer: entries <c>.wh.NAME</c> and <c>.wh..wh..opq</c> (OCI image spec, layer.md).</summary>
/// <param name="options">How the layer is unpacked.</param>
/// <param name="directories">The layer's directories.</param>
/// <param name="record">The entries that the layer has written.</param>
internal sealed class LayerWhiteouts(LayerExtractionOptions options, LayerDirectories directories, LayerRecord record)
{
    private const int MaxPruneDepth = 256;

    private static ReadOnlySpan<byte> Prefix => ".wh."u8;

    private static ReadOnlySpan<byte> ReservedPrefix => ".wh..wh."u8;

    private static ReadOnlySpan<byte> Opaque => ".wh..wh..opq\0"u8;

    private bool IsApplied => options.Whiteouts == WhiteoutFormat.Applied;

    /// <summary>Gets whether a name is that of a whiteout.</summary>
    /// <param name="name">The name.</param>
    public static bool IsWhiteout(byte[] name) => name.AsSpan().StartsWith(Prefix);

    /// <summary>Gets whether any part of a path is the name of a whiteout.</summary>
    /// <param name="parts">Parts of the path.</param>
    public static bool HasWhiteout(ReadOnlySpan<byte[]> parts)
    {
        foreach (byte[] part in parts)
        {
            if (IsWhiteout(part))
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>Gets whether a name is reserved (OCI image spec, layer.md): that of a file that aufs kept beside the files of an image.</summary>
    /// <param name="name">The name.</param>
    public static bool IsReserved(byte[] name) => name.AsSpan().StartsWith(ReservedPrefix) && !name.AsSpan().SequenceEqual(Opaque);

    /// <summary>Unpacks a whiteout.</summary>
    /// <param name="parents">Parts of the path of its directory.</param>
    /// <param name="name">Its name.</param>
    /// <exception cref="InvalidDataException">The whiteout is malformed.</exception>
    public void Write(ReadOnlySpan<byte[]> parents, byte[] name)
    {
        byte[] hidden = name[Prefix.Length..];
        if (hidden.AsSpan().SequenceEqual("\0"u8) || hidden.AsSpan().SequenceEqual(".\0"u8) || hidden.AsSpan().SequenceEqual("..\0"u8))
        {
            throw new InvalidDataException("a whiteout names no entry");
        }

        if (HidesNothing(parents))
        {
            return;
        }

        ParentDirectory parent = directories.OpenParent(parents);
        if (name.AsSpan().SequenceEqual(Opaque))
        {
            HideAll(parent);
        }
        else if (IsApplied)
        {
            Remove(parent, hidden);
        }
        else
        {
            Hide(parent, hidden);
        }
    }

    // With applied whiteouts the directory may be missing. And the layer may have a file or a link in its place: some tools then also list the entries
    // that were in the directory (umoci repack).
    private bool HidesNothing(ReadOnlySpan<byte[]> parents)
    {
        byte[] path = LayerPath.Join(parents);
        using SafeFileHandle directory = directories.OpenInRoot(path);
        if (!directory.IsInvalid)
        {
            return false;
        }

        if (IsApplied || Marshal.GetLastPInvokeError() != Errno.ENOENT)
        {
            return true;
        }

        using SafeFileHandle plain = directories.OpenInRoot(path, Fcntl.RESOLVE_NO_SYMLINKS);
        return plain.IsInvalid && Marshal.GetLastPInvokeError() != Errno.ENOENT;
    }

    private void HideAll(ParentDirectory directory)
    {
        if (IsApplied)
        {
            Prune(directory.Handle, directory.Inode, 0);
            directories.CloseParent();
        }
        else
        {
            OpaqueDirectory.Mark(directory.Handle);
        }
    }

    private void Remove(ParentDirectory parent, byte[] hidden)
    {
        if (LayerDirectories.Find(parent.Handle, hidden) is not { } existing)
        {
            return;
        }

        if (!record.HasEntry(parent.Inode, hidden))
        {
            directories.Clear(parent, hidden);
        }
        else if (existing is { Type: SysStat.S_IFDIR })
        {
            using SafeFileHandle directory = DirectoryHandle.Open(parent.Handle, hidden);
            Prune(directory, LayerDirectories.Inode(directory), 1);
            directories.CloseParent();
        }
    }

    private void Hide(ParentDirectory parent, byte[] hidden)
    {
        if (LayerDirectories.Find(parent.Handle, hidden) is not { } existing)
        {
            Check.Result(SysStat.mknodat(parent.Handle, hidden, SysStat.S_IFCHR, 0), "mknod");
        }
        else if (existing is { Type: SysStat.S_IFDIR })
        {
            // The layer has created the directory anew: its entries of lower layers are hidden.
            using SafeFileHandle directory = DirectoryHandle.Open(parent.Handle, hidden);
            OpaqueDirectory.Mark(directory);
            record.RemoveImplied(existing.stx_ino);
        }
    }

    /// <summary>Removes the entries of lower layers in a directory.</summary>
    private void Prune(SafeFileHandle directory, ulong inode, int depth)
    {
        if (depth > MaxPruneDepth)
        {
            throw new InvalidDataException($"an opaque directory has more than {MaxPruneDepth} levels of directories below it");
        }

        if (!record.TryAddPruned(inode))
        {
            return;
        }

        using SafeFileHandle listed = DirectoryHandle.Open(directory, ".\0"u8);
        foreach (byte[] child in Dirent.ReadNames(listed))
        {
            if (!record.HasEntry(inode, child))
            {
                TreeRemover.Remove(directory, child, record.RemoveDirectory);
            }
            else if (LayerDirectories.Find(directory, child) is { Type: SysStat.S_IFDIR })
            {
                using SafeFileHandle below = DirectoryHandle.Open(directory, child);
                Prune(below, LayerDirectories.Inode(below), depth + 1);
            }
        }
    }
}
