namespace Boxer.Runtime.Kept;

/// <summary>
/// File operations in a kept sandbox, with the identity of one user. Paths are absolute and as the guest sees them. All members can be called from any
/// thread and at the same time. Failures are <see cref="GuestFileException"/>s; after the end of the worker or of its sandbox, <see cref="IOException"/>s.
/// </summary>
internal interface IFileWorker : IAsyncDisposable
{
    /// <summary>Completes when the worker has ended. Never fails.</summary>
    Task Ended { get; }

    /// <summary>Opens a file for reading.</summary>
    /// <param name="path">The file.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    Task<Stream> OpenReadAsync(string path, CancellationToken cancellationToken);

    /// <summary>Writes a whole file, and makes missing parents. Readers see the old content or the new one.</summary>
    /// <param name="path">The file.</param>
    /// <param name="content">The content, read to its end.</param>
    /// <param name="mode">Permission bits; <see langword="null"/>: those of an existing file, otherwise 0644.</param>
    /// <param name="cancellationToken">Cancels the write; the old content stays.</param>
    Task WriteAsync(string path, Stream content, uint? mode, CancellationToken cancellationToken);

    /// <summary>Reads what a path is, without following a last link.</summary>
    /// <param name="path">The path.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <returns><see langword="null"/> if nothing is there.</returns>
    Task<GuestFile?> StatAsync(string path, CancellationToken cancellationToken);

    /// <summary>Lists a directory.</summary>
    /// <param name="path">The directory.</param>
    /// <param name="depth">1 for its entries, 2 also for theirs, and so on; at most 64.</param>
    /// <param name="maxEntries">Maximum number of entries.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    /// <returns>Entries, and whether there are more.</returns>
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

    /// <summary>Reads a file or directory as a tar archive.</summary>
    /// <param name="path">The path.</param>
    /// <param name="maxBytes">Maximum length of the archive; a longer one fails.</param>
    /// <param name="cancellationToken">Cancels the wait.</param>
    Task<Stream> ReadArchiveAsync(string path, long maxBytes, CancellationToken cancellationToken);

    /// <summary>Unpacks a tar archive into a directory, which is made if it is missing.</summary>
    /// <param name="path">The directory.</param>
    /// <param name="archive">The archive, read to its end.</param>
    /// <param name="cancellationToken">Cancels the write; unpacked entries stay.</param>
    Task WriteArchiveAsync(string path, Stream archive, CancellationToken cancellationToken);

    /// <summary>Reports changes below a directory until the cancellation.</summary>
    /// <param name="path">The directory.</param>
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
/// <param name="Path">The path relative to the watched directory; empty with <see cref="GuestFileChangeKind.Overflow"/>.</param>
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
}
