namespace Boxer;

/// <summary>
/// The files of a session. Every operation acts as the session's user and has its rights. Relative paths start at the session's working directory.
/// <c>/proc</c> and <c>/sys</c> are refused. Names and contents are as untrusted as the commands of the session. Members are safe for concurrent
/// use.
/// </summary>
/// <remarks>
/// A path has at most 4,095 bytes in UTF-8, 255 between slashes, no NUL and no <c>..</c>; an invalid one throws <see cref="InvalidSandboxRequestException"/>.
/// Failures in the sandbox throw <see cref="SandboxFileException"/>. Calls on a session that ended throw <see cref="SandboxSessionEndedException"/>,
/// and on a paused one <see cref="SandboxSessionPausedException"/>.
/// </remarks>
public interface ISandboxFiles
{
    /// <summary>Opens a regular file for reading. The session is not idle while the stream is open.</summary>
    /// <param name="path">Path of the file. Symbolic links are followed inside the sandbox.</param>
    /// <param name="cancellationToken">Cancels the opening.</param>
    /// <returns>The content. Dispose it. It has no length, and can be read once. Reading throws <see cref="IOException"/> if the session ended.</returns>
    /// <exception cref="SandboxFileException">The file does not exist, is not a regular file, or may not be read.</exception>
    Task<Stream> OpenReadAsync(string path, CancellationToken cancellationToken = default);

    /// <summary>
    /// Writes a file, and creates missing directories of its path. An existing file is written itself, as by an editor: it keeps its owner and its hard
    /// links. A write that fails or is cancelled leaves the part of the new content that was written.
    /// </summary>
    /// <param name="path">Path of the file. Symbolic links are followed inside the sandbox.</param>
    /// <param name="content">The content; read to its end and not disposed.</param>
    /// <param name="mode">Permission bits of the file; <see langword="null"/>: 0644 for a new file, unchanged for an existing one.</param>
    /// <param name="cancellationToken">Cancels the write; the part that was written stays.</param>
    /// <exception cref="SandboxFileException">The file cannot be written, or the disk limit of the session is reached.</exception>
    Task WriteAsync(string path, Stream content, UnixFileMode? mode = null, CancellationToken cancellationToken = default);

    /// <summary>Describes a file, directory or link.</summary>
    /// <param name="path">Path of the entry. A symbolic link as its last component is described itself.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <returns>The description; <see langword="null"/> if nothing exists at the path.</returns>
    /// <exception cref="SandboxFileException">A directory of the path may not be searched.</exception>
    Task<SandboxFileInfo?> StatAsync(string path, CancellationToken cancellationToken = default);

    /// <summary>Lists a directory. Symbolic links are listed and not followed.</summary>
    /// <param name="path">Path of the directory.</param>
    /// <param name="depth">Number of levels; 1 (the default) lists the directory's own entries; at most 64.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <returns>The entries, at most <see cref="SessionOptions.MaxListEntries"/>, each directory before its entries.</returns>
    /// <exception cref="InvalidSandboxRequestException">The path or the depth is invalid.</exception>
    /// <exception cref="SandboxFileException">The directory does not exist or may not be read.</exception>
    Task<SandboxFileList> ListAsync(string path, int depth = 1, CancellationToken cancellationToken = default);

    /// <summary>Creates a directory with mode 0755, and missing directories of its path. An existing directory is left as it is.</summary>
    /// <param name="path">Path of the directory.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="SandboxFileException">The directory cannot be created.</exception>
    Task MakeDirectoryAsync(string path, CancellationToken cancellationToken = default);

    /// <summary>Moves a file, directory or link, as rename(2) does. An existing file at the destination is replaced.</summary>
    /// <param name="path">Path of the entry.</param>
    /// <param name="newPath">The new path. Its directory must exist, on the same file system.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="SandboxFileException">The entry does not exist, or cannot be moved there.</exception>
    Task MoveAsync(string path, string newPath, CancellationToken cancellationToken = default);

    /// <summary>Removes a file or link, or a directory with everything in it.</summary>
    /// <param name="path">Path of the entry. Symbolic links are not followed.</param>
    /// <param name="cancellationToken">Cancels the operation; part of a directory may have been removed.</param>
    /// <exception cref="SandboxFileException">The entry does not exist, or cannot be removed.</exception>
    Task RemoveAsync(string path, CancellationToken cancellationToken = default);

    /// <summary>
    /// Reads a directory or a file as a tar archive, without sockets, named pipes, devices, and symbolic links out of the directory. The archive is
    /// untrusted: unpack it into an empty directory.
    /// </summary>
    /// <param name="path">Path of the directory or file. Names in the archive are relative to it.</param>
    /// <param name="cancellationToken">Cancels the opening.</param>
    /// <returns>
    /// The archive. Dispose it. Reading throws <see cref="SandboxFileException"/> if an entry cannot be read, and with
    /// <see cref="SandboxFileError.TooLarge"/> after <see cref="SessionOptions.MaxArchiveBytes"/>, 10,000 entries or 64 levels; and
    /// <see cref="IOException"/> if the session ended.
    /// </returns>
    /// <exception cref="SandboxFileException">The entry does not exist or may not be read.</exception>
    Task<Stream> ReadArchiveAsync(string path, CancellationToken cancellationToken = default);

    /// <summary>
    /// Unpacks a tar archive into a directory, which is created if it does not exist. Files belong to the session's user. Absolute names, names with
    /// <c>..</c>, and links out of the directory are refused. Entries replace files and links. No link below the directory is followed.
    /// </summary>
    /// <param name="path">Path of the directory.</param>
    /// <param name="tar">
    /// The archive, plain or compressed with gzip; read to its end and not disposed. At most <see cref="SessionOptions.MaxArchiveBytes"/>, also of its
    /// unpacked files, and 10,000 entries.
    /// </param>
    /// <param name="cancellationToken">Cancels the operation; part of the archive may have been unpacked.</param>
    /// <exception cref="InvalidSandboxRequestException">The archive is invalid or too large. Part of it may have been unpacked.</exception>
    /// <exception cref="SandboxFileException">An entry cannot be written, or the disk limit of the session is reached.</exception>
    Task WriteArchiveAsync(string path, Stream tar, CancellationToken cancellationToken = default);

    /// <summary>
    /// Yields changes of a file, or of a directory and what is below it, until the enumeration is left. The first item is
    /// <see cref="SandboxFileChangeKind.Started"/>: list the directory then, and no change is missed. At most 1,000 directories of at most 64 levels are
    /// watched; changes in others are lost. The session is not idle while a watch is open; at most 16 can be.
    /// </summary>
    /// <param name="path">Path of the directory or file.</param>
    /// <param name="cancellationToken">Ends the watch.</param>
    /// <exception cref="SandboxFileException">Nothing exists at the path, it may not be read, or this runsc cannot watch it.</exception>
    /// <exception cref="SandboxCapacityException">16 watches are open in this session.</exception>
    IAsyncEnumerable<SandboxFileChange> WatchAsync(string path, CancellationToken cancellationToken = default);
}
