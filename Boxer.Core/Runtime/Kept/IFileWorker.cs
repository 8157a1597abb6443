namespace Boxer.Runtime.Kept;

/// <summary>
/// File operations in a kept sandbox, with the identity of one user. Paths are clean, absolute and as the guest sees them. <c>/proc</c> and <c>/sys</c> are
/// refused (EACCES), whichever links lead there. All members can be called from any thread. A worker serves one operation at a time: other calls wait, also
/// until an opened stream or a watch is disposed. A cancelled or abandoned operation ends the worker. Failures are <see cref="GuestFileException"/>s, also
/// while a stream is read; after the end of the worker or of its sandbox, <see cref="IOException"/>s.
/// </summary>
internal interface IFileWorker : IAsyncDisposable
{
    /// <summary>Completes when the worker has ended, or cannot be used further. Never fails.</summary>
    Task Ended { get; }

    /// <summary>Opens a regular file for reading. The stream ends where the file ended when it was opened.</summary>
    /// <param name="path">The file. Links are followed. Another kind fails with EISDIR or EOPNOTSUPP.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    Task<Stream> OpenReadAsync(string path, CancellationToken cancellationToken);

    /// <summary>
    /// Writes a whole file, and makes missing parents. Like an editor, it writes an existing file itself, which keeps its owner, its hard links and its mode:
    /// a write that fails or is cancelled leaves the part of the new content that was written.
    /// </summary>
    /// <param name="path">The file. Links are followed.</param>
    /// <param name="content">The content, read to its end.</param>
    /// <param name="mode">Permission bits, others are dropped; <see langword="null"/>: those of an existing file, otherwise 0644.</param>
    /// <param name="cancellationToken">Cancels the write.</param>
    Task WriteAsync(string path, Stream content, uint? mode, CancellationToken cancellationToken);

    /// <summary>Reads what a path is, without following a last link.</summary>
    /// <param name="path">The path.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <returns><see langword="null"/> if nothing is there.</returns>
    Task<GuestFile?> StatAsync(string path, CancellationToken cancellationToken);

    /// <summary>Lists a directory, each directory below it before its entries, in no other order. Names that are not UTF-8 are left out.</summary>
    /// <param name="path">The directory.</param>
    /// <param name="depth">1 for its entries, 2 also for theirs, and so on; at most 64.</param>
    /// <param name="maxEntries">Maximum number of entries.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <returns>Entries, and whether there are more, also because a directory below cannot be read.</returns>
    Task<(IReadOnlyList<GuestFile> Entries, bool IsIncomplete)> ListAsync(string path, int depth, int maxEntries, CancellationToken cancellationToken);

    /// <summary>Makes a directory and its missing parents. An existing one is no failure.</summary>
    /// <param name="path">The directory.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    Task MakeDirectoryAsync(string path, CancellationToken cancellationToken);

    /// <summary>Moves a file or directory (rename(2)).</summary>
    /// <param name="from">The old path.</param>
    /// <param name="to">The new path.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    Task MoveAsync(string from, string to, CancellationToken cancellationToken);

    /// <summary>Removes a file, or a directory with its entries.</summary>
    /// <param name="path">The path.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    Task RemoveAsync(string path, CancellationToken cancellationToken);

    /// <summary>
    /// Reads a file or directory as a tar archive. Sockets, FIFOs, devices and symbolic links out of the directory are left out. An entry that cannot be read,
    /// or whose name is not UTF-8, is a failure. So are more than 10,000 entries and more than 64 levels (EFBIG).
    /// </summary>
    /// <param name="path">The path. Links are followed.</param>
    /// <param name="maxBytes">Maximum length of the archive; a longer one fails while it is read (EFBIG).</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    Task<Stream> ReadArchiveAsync(string path, long maxBytes, CancellationToken cancellationToken);

    /// <summary>
    /// Unpacks a tar archive, plain or compressed with gzip, into a directory, which is made if it is missing. Entries replace files and links, but no
    /// directories, and no link below the directory is followed.
    /// </summary>
    /// <param name="path">The directory. Links are followed.</param>
    /// <param name="archive">The archive, at most 10,000 entries; read to its end and not disposed.</param>
    /// <param name="maxBytes">Maximum number of bytes of the unpacked files.</param>
    /// <param name="onGrowing">Called with the bytes of an unpacked file before they are written. Its exceptions end the write.</param>
    /// <param name="cancellationToken">Cancels the write; unpacked entries stay.</param>
    /// <exception cref="InvalidSandboxRequestException">The archive is rejected, or cannot be read. Entries before the wrong one stay.</exception>
    Task WriteArchiveAsync(string path, Stream archive, long maxBytes, Action<long> onGrowing, CancellationToken cancellationToken);

    /// <summary>
    /// Reports its own start, and changes of a file, or of a directory and what is below it, until the cancellation. At most 1,000 directories of at most 64 levels are watched;
    /// changes in others are lost. The watch ends the worker.
    /// </summary>
    /// <param name="path">The file or directory. Links are followed.</param>
    /// <param name="cancellationToken">Ends the watch.</param>
    IAsyncEnumerable<GuestFileChange> WatchAsync(string path, CancellationToken cancellationToken);
}

/// <summary>A file operation failed in the sandbox.</summary>
/// <param name="path">The path.</param>
/// <param name="errno">The error number.</param>
internal sealed class GuestFileException(string path, int errno) : Exception($"'{path}': errno {errno}")
{
    /// <summary>The path.</summary>
    internal string Path { get; } = path;

    /// <summary>The error number, for example 2 (ENOENT).</summary>
    internal int Errno { get; } = errno;
}

/// <summary>An entry of a directory.</summary>
/// <param name="Path">The path; in a list relative to the listed directory.</param>
/// <param name="Kind">The kind.</param>
/// <param name="Mode">Permission bits.</param>
/// <param name="UserId">Owner.</param>
/// <param name="GroupId">Group.</param>
/// <param name="Size">Size in bytes.</param>
/// <param name="ModifiedAt">Modification time, which the guest can set to any value.</param>
/// <param name="LinkTarget">Target of a symbolic link; otherwise <see langword="null"/>.</param>
internal sealed record GuestFile(
    string Path, GuestFileKind Kind, uint Mode, uint UserId, uint GroupId, long Size, DateTimeOffset ModifiedAt, string? LinkTarget);

/// <summary>Kinds of entries.</summary>
internal enum GuestFileKind
{
    /// <summary>Regular file.</summary>
    File,

    /// <summary>Directory.</summary>
    Directory,

    /// <summary>Symbolic link.</summary>
    SymbolicLink,

    /// <summary>Anything else.</summary>
    Other,
}

/// <summary>A change below a watched directory.</summary>
/// <param name="Kind">The kind.</param>
/// <param name="Path">The path relative to the watched directory; empty with <see cref="GuestFileChangeKind.Overflow"/> and <see cref="GuestFileChangeKind.Started"/>.</param>
internal sealed record GuestFileChange(GuestFileChangeKind Kind, string Path);

/// <summary>Kinds of changes.</summary>
internal enum GuestFileChangeKind
{
    /// <summary>An entry was made, or moved there.</summary>
    Created,

    /// <summary>A file was written, or its attributes changed.</summary>
    Changed,

    /// <summary>An entry was removed, or moved away.</summary>
    Removed,

    /// <summary>Changes were lost.</summary>
    Overflow,

    /// <summary>The watch has begun. The guest does not send it as a change.</summary>
    Started,
}
