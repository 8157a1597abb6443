using System.Formats.Tar;

namespace Boxer.Testing;

/// <summary>Converts parts of a fake session's files to tar archives and back.</summary>
internal static class FakeArchives
{
    internal static byte[] Pack(FakeFileTree tree, string path)
    {
        using MemoryStream archive = new();
        using (TarWriter writer = new(archive, TarEntryFormat.Pax, leaveOpen: true))
        {
            SandboxFileInfo root = tree.Stat(path) ?? throw new SandboxFileException(path, SandboxFileError.NotFound);
            string directory = path.TrimEnd('/');
            if (root.Type != SandboxFileType.Directory)
            {
                Add(writer, directory[(directory.LastIndexOf('/') + 1)..], root, () => tree.Read(path));
            }
            else
            {
                foreach (SandboxFileInfo entry in tree.List(path, int.MaxValue).Entries)
                {
                    Add(writer, entry.Path, entry, () => tree.Read($"{path}/{entry.Path}"));
                }
            }
        }

        return archive.ToArray();
    }

    internal static void Unpack(FakeFileTree tree, string path, byte[] archive)
    {
        tree.MakeDirectory(path);
        using TarReader reader = new(new MemoryStream(archive));
        while (reader.GetNextEntry(copyData: true) is { } entry)
        {
            string name = $"{path}/{entry.Name}";
            switch (entry.EntryType)
            {
                case TarEntryType.Directory:
                    tree.MakeDirectory(name);
                    break;
                case TarEntryType.SymbolicLink:
                    tree.Link(name, entry.LinkName);
                    break;
                case TarEntryType.RegularFile or TarEntryType.V7RegularFile:
                    using (MemoryStream content = new())
                    {
                        entry.DataStream?.CopyTo(content);
                        tree.Write(name, content.ToArray(), entry.Mode);
                    }

                    break;
                default:
                    throw new InvalidSandboxRequestException("Tar", $"has an entry of type {entry.EntryType}, which the fake does not support.");
            }
        }
    }

    private static void Add(TarWriter writer, string name, SandboxFileInfo info, Func<byte[]> read)
    {
        PaxTarEntry entry = info.Type switch
        {
            SandboxFileType.Directory => new(TarEntryType.Directory, name),
            SandboxFileType.SymbolicLink => new(TarEntryType.SymbolicLink, name) { LinkName = info.LinkTarget! },
            _ => new(TarEntryType.RegularFile, name) { DataStream = new MemoryStream(read(), writable: false) },
        };
        entry.Mode = info.Mode;
        entry.ModificationTime = info.ModifiedAt;
        writer.WriteEntry(entry);
    }
}
