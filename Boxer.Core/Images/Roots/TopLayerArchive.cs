using System.Formats.Tar;

namespace Boxer.Images.Roots;

/// <summary>Packs the top layer of flattened roots as an archive, so that the same extractor unpacks it as the layers of images.</summary>
internal static class TopLayerArchive
{
    /// <summary>Packs a directory. Equal content gives equal bytes, so that the digest identifies it.</summary>
    /// <param name="directory">The directory; <see langword="null"/>: an empty archive.</param>
    public static byte[] Pack(string? directory)
    {
        using var archive = new MemoryStream();
        using (var writer = new TarWriter(archive, TarEntryFormat.Ustar, leaveOpen: true))
        {
            if (directory is not null)
            {
                Add(writer, new DirectoryInfo(directory), "");
            }
        }

        return archive.ToArray();
    }

    private static void Add(TarWriter writer, DirectoryInfo directory, string prefix)
    {
        foreach (FileSystemInfo info in directory.EnumerateFileSystemInfos().OrderBy(info => info.Name, StringComparer.Ordinal))
        {
            string name = prefix + info.Name;
            bool isDirectory = info is DirectoryInfo && info.LinkTarget is null;
            TarEntryType type = info.LinkTarget is not null ? TarEntryType.SymbolicLink : isDirectory ? TarEntryType.Directory : TarEntryType.RegularFile;
            var entry = new UstarTarEntry(type, name) { ModificationTime = DateTimeOffset.UnixEpoch, Mode = info.UnixFileMode };
            if (info.LinkTarget is { } target)
            {
                entry.LinkName = target;
                writer.WriteEntry(entry);
            }
            else if (isDirectory)
            {
                writer.WriteEntry(entry);
                Add(writer, (DirectoryInfo)info, name + "/");
            }
            else
            {
                using FileStream content = File.OpenRead(info.FullName);
                entry.DataStream = content;
                writer.WriteEntry(entry);
            }
        }
    }
}
