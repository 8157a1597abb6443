using Boxer.Common;

namespace Boxer;

/// <summary>Describes a file, directory or link of a session, as it was when it was read.</summary>
public sealed class SandboxFileInfo
{
    /// <summary>Path of the entry: relative to the listed directory in a <see cref="SandboxFileList"/>; otherwise as it was asked for.</summary>
    public required string Path { get; init; }

    /// <summary>
    /// Kind of the entry.
    /// <value>Default <see cref="SandboxFileType.File"/>.</value>
    /// </summary>
    public SandboxFileType Type { get; init; }

    /// <summary>Size of a file in bytes; 0 for other entries.</summary>
    public long Size { get; init; }

    /// <summary>Permission bits.</summary>
    public UnixFileMode Mode { get; init; }

    /// <summary>Modification time as reported by the sandbox. Commands can set any time.</summary>
    public DateTimeOffset ModifiedAt { get; init; }

    /// <summary>Target of a symbolic link; <see langword="null"/> for other entries.</summary>
    public string? LinkTarget { get; init; }

    /// <summary>Returns the path, printable and shortened to 200 characters, and the kind and size.</summary>
    public override string ToString() => $"{UntrustedText.Show(Path)} ({Type}, {Size} bytes)";
}

/// <summary>Kind of an entry of a directory.</summary>
public enum SandboxFileType
{
    /// <summary>A regular file.</summary>
    File,

    /// <summary>A directory.</summary>
    Directory,

    /// <summary>A symbolic link.</summary>
    SymbolicLink,

    /// <summary>A device, a named pipe or a socket.</summary>
    Other,
}

/// <summary>Entries of a directory of a session.</summary>
public sealed class SandboxFileList
{
    /// <summary>Creates a list.</summary>
    /// <param name="entries">The entries.</param>
    public SandboxFileList(IReadOnlyList<SandboxFileInfo> entries)
    {
        ArgumentNullException.ThrowIfNull(entries);
        Entries = entries;
    }

    /// <summary>The entries, each directory before its entries. Paths are relative to the listed directory.</summary>
    public IReadOnlyList<SandboxFileInfo> Entries { get; }

    /// <summary>
    /// Whether entries are missing, because there are more than <see cref="SessionOptions.MaxListEntries"/>, or because a directory below could not
    /// be read.
    /// <value>Default <see langword="false"/>.</value>
    /// </summary>
    public bool IsIncomplete { get; init; }

    /// <summary>Returns the number of entries.</summary>
    public override string ToString() => $"{Entries.Count} entries{(IsIncomplete ? ", incomplete" : "")}";
}

/// <summary>A change of a file or directory that <see cref="ISandboxFiles.WatchAsync"/> reports.</summary>
/// <param name="Kind">Kind of the change.</param>
/// <param name="Path">
/// Path of the entry, relative to the watched directory; empty for the watched entry itself, <see cref="SandboxFileChangeKind.Overflow"/> and
/// <see cref="SandboxFileChangeKind.Started"/>.
/// </param>
public sealed record SandboxFileChange(SandboxFileChangeKind Kind, string Path)
{
    /// <summary>Returns the kind and the path, printable and shortened to 200 characters.</summary>
    public override string ToString() => $"{Kind}: {UntrustedText.Show(Path)}";
}

/// <summary>Kind of a change of a file or directory. Later versions may add kinds.</summary>
public enum SandboxFileChangeKind
{
    /// <summary>The entry was created, or moved into the directory.</summary>
    Created,

    /// <summary>The content or the attributes of the entry changed.</summary>
    Changed,

    /// <summary>The entry was removed, or moved out of the directory.</summary>
    Deleted,

    /// <summary>Changes were lost: more than 1,000 were not read yet, or a directory could not be watched. List the directory again.</summary>
    Overflow,

    /// <summary>The watch has begun: changes from now on are reported. It is always the first.</summary>
    Started,
}
