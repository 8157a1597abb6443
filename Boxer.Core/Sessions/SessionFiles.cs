using System.Runtime.CompilerServices;
using Boxer.Runtime.Kept;
using Boxer.Validation;

namespace Boxer.Sessions;

/// <summary>The files of one session, through its file workers.</summary>
/// <param name="parts">The session.</param>
/// <param name="calls">Runs operations on the sandbox.</param>
/// <param name="workers">The file workers.</param>
internal sealed class SessionFiles(SessionParts parts, SessionCalls calls, SessionWorkers workers) : ISandboxFiles
{
    private const int MaxWatches = 16;
    private const UnixFileMode Permissions = (UnixFileMode)0x1FF; // 0777
    private int _watches;

    /// <inheritdoc/>
    public Task<Stream> OpenReadAsync(string path, CancellationToken cancellationToken = default) =>
        OpenAsync(path, (worker, target, token) => worker.OpenReadAsync(target, token), cancellationToken);

    /// <inheritdoc/>
    public Task<Stream> ReadArchiveAsync(string path, CancellationToken cancellationToken = default) =>
        OpenAsync(path, (worker, target, token) => worker.ReadArchiveAsync(target, parts.Options.MaxArchiveBytes, token), cancellationToken);

    /// <inheritdoc/>
    public Task WriteAsync(string path, Stream content, UnixFileMode? mode = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(content);
        SessionPaths.ValidateMode(mode);
        return ChangeAsync(
            path,
            async (worker, target, write, token) =>
            {
                var limited = new LimitedContent(content, bytes => write.Take(bytes));
                await ReadingAsync(limited, "Content", () => worker.WriteAsync(target, limited, (uint?)mode, token)).ConfigureAwait(false);
            },
            cancellationToken);
    }

    /// <inheritdoc/>
    public Task WriteArchiveAsync(string path, Stream tar, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(tar);
        long most = parts.Options.MaxArchiveBytes;
        return ChangeAsync(
            path,
            async (worker, target, write, token) =>
            {
                long left = most;
                var limited = new LimitedContent(tar, bytes =>
                {
                    if ((left -= bytes) < 0)
                    {
                        throw new InvalidSandboxRequestException("Tar", $"must have at most {most} bytes.");
                    }
                });
                await ReadingAsync(limited, "Tar", () => worker.WriteArchiveAsync(target, limited, most, write.Take, token)).ConfigureAwait(false);
            },
            cancellationToken);
    }

    /// <inheritdoc/>
    public Task<SandboxFileInfo?> StatAsync(string path, CancellationToken cancellationToken = default) => CallAsync(
        path,
        async (worker, target, token) => await worker.StatAsync(target, token).ConfigureAwait(false) is { } file ? Describe(file, path) : null,
        cancellationToken);

    /// <inheritdoc/>
    public Task<SandboxFileList> ListAsync(string path, int depth = 1, CancellationToken cancellationToken = default)
    {
        SessionPaths.ValidateDepth(depth);
        return CallAsync(
            path,
            async (worker, target, token) =>
            {
                (IReadOnlyList<GuestFile> entries, bool isIncomplete) =
                    await worker.ListAsync(target, depth, parts.Options.MaxListEntries, token).ConfigureAwait(false);
                return new SandboxFileList([.. entries.Select(entry => Describe(entry, entry.Path))]) { IsIncomplete = isIncomplete };
            },
            cancellationToken);
    }

    /// <inheritdoc/>
    public Task MakeDirectoryAsync(string path, CancellationToken cancellationToken = default) =>
        ChangeAsync(path, (worker, target, _, token) => worker.MakeDirectoryAsync(target, token), cancellationToken);

    /// <inheritdoc/>
    public Task MoveAsync(string path, string newPath, CancellationToken cancellationToken = default)
    {
        string to = SessionFileErrors.Resolve(newPath, parts.Guest.WorkingDirectory, "NewPath");

        // A directory of the image is copied up as a whole.
        return ChangeAsync(path, (worker, target, _, token) => worker.MoveAsync(target, to, token), cancellationToken);
    }

    /// <inheritdoc/>
    public Task RemoveAsync(string path, CancellationToken cancellationToken = default) => CallAsync(
        path,
        async (worker, target, token) =>
        {
            await worker.RemoveAsync(target, token).ConfigureAwait(false);
            return true;
        },
        cancellationToken);

    /// <inheritdoc/>
    public IAsyncEnumerable<SandboxFileChange> WatchAsync(string path, CancellationToken cancellationToken = default) =>
        WatchCoreAsync(path, SessionFileErrors.Resolve(path, parts.Guest.WorkingDirectory, "Path"), cancellationToken);

    private async IAsyncEnumerable<SandboxFileChange> WatchCoreAsync(string path, string target, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        using IDisposable stream = parts.Life.Begin(isStream: true);
        if (Interlocked.Increment(ref _watches) > MaxWatches)
        {
            Interlocked.Decrement(ref _watches);
            throw new SandboxCapacityException($"{MaxWatches} watches are open in this session: end one, or try again later.");
        }

        try
        {
            // Ends with the session too: an enumerator cannot be disposed while it waits.
            using var either = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, parts.Life.Ending);
            using SessionWorkers.Lease lease = await calls.WithinAsync(workers.GetAsync, cancellationToken).ConfigureAwait(false);
            IAsyncEnumerator<GuestFileChange> changes = lease.Worker.WatchAsync(target, either.Token).GetAsyncEnumerator(either.Token);
            await using ConfiguredAsyncDisposable disposed = changes.ConfigureAwait(false);
            while (await calls.TranslateAsync(() => TranslateAsync(path, () => changes.MoveNextAsync().AsTask()), cancellationToken).ConfigureAwait(false))
            {
                yield return new SandboxFileChange(Kind(changes.Current.Kind), changes.Current.Path);
            }
        }
        finally
        {
            Interlocked.Decrement(ref _watches);
        }
    }

    private async Task<Stream> OpenAsync(string path, Func<IFileWorker, string, CancellationToken, Task<Stream>> open, CancellationToken cancellationToken)
    {
        string target = SessionFileErrors.Resolve(path, parts.Guest.WorkingDirectory, "Path");
        return await calls.RunAsync<Stream>(
            async token =>
            {
                IDisposable stream = parts.Life.Begin(isStream: true);
                SessionWorkers.Lease? lease = null;
                try
                {
                    lease = await workers.GetAsync(token).ConfigureAwait(false);
                    return new SessionStream(await TranslateAsync(path, () => open(lease.Worker, target, token)).ConfigureAwait(false), path, lease, stream);
                }
                catch
                {
                    lease?.Dispose();
                    stream.Dispose();
                    throw;
                }
            },
            cancellationToken).ConfigureAwait(false);
    }

    private Task<T> CallAsync<T>(string path, Func<IFileWorker, string, CancellationToken, Task<T>> operation, CancellationToken cancellationToken)
    {
        string target = SessionFileErrors.Resolve(path, parts.Guest.WorkingDirectory, "Path");
        return calls.RunAsync(
            async token =>
            {
                using SessionWorkers.Lease lease = await workers.GetAsync(token).ConfigureAwait(false);
                return await TranslateAsync(path, () => operation(lease.Worker, target, token)).ConfigureAwait(false);
            },
            cancellationToken);
    }

    // An operation that takes disk space.
    private Task<bool> ChangeAsync(string path, Func<IFileWorker, string, SessionDisk.Write, CancellationToken, Task> operation, CancellationToken cancellationToken) => CallAsync(
        path,
        async (worker, target, token) =>
        {
            using SessionDisk.Write write = await parts.Disk.BeginWriteAsync(path, token).ConfigureAwait(false);
            await operation(worker, target, write, token).ConfigureAwait(false);
            await parts.Disk.CheckAsync(token).ConfigureAwait(false);
            return true;
        },
        cancellationToken);

    private static async Task<T> TranslateAsync<T>(string path, Func<Task<T>> operation)
    {
        try
        {
            return await operation().ConfigureAwait(false);
        }
        catch (GuestFileException exception)
        {
            throw SessionFileErrors.Translate(path, exception);
        }
    }

    // The worker may wrap or replace the exception of a content.
    private static async Task ReadingAsync(LimitedContent content, string field, Func<Task> operation)
    {
        try
        {
            await operation().ConfigureAwait(false);
        }
        catch (Exception exception) when (content.Fault is { } fault)
        {
            throw fault as SandboxException ?? new InvalidSandboxRequestException(field, "cannot be read.", fault.Message, exception);
        }
    }

    private static SandboxFileInfo Describe(GuestFile file, string path) => new()
    {
        Path = path,
        Type = file.Kind switch
        {
            GuestFileKind.File => SandboxFileType.File,
            GuestFileKind.Directory => SandboxFileType.Directory,
            GuestFileKind.SymbolicLink => SandboxFileType.SymbolicLink,
            _ => SandboxFileType.Other,
        },
        Size = file.Kind == GuestFileKind.File ? file.Size : 0,
        Mode = (UnixFileMode)file.Mode & Permissions,
        ModifiedAt = file.ModifiedAt,
        LinkTarget = file.LinkTarget,
    };

    private static SandboxFileChangeKind Kind(GuestFileChangeKind kind) => kind switch
    {
        GuestFileChangeKind.Created => SandboxFileChangeKind.Created,
        GuestFileChangeKind.Removed => SandboxFileChangeKind.Deleted,
        GuestFileChangeKind.Overflow => SandboxFileChangeKind.Overflow,
        GuestFileChangeKind.Started => SandboxFileChangeKind.Started,
        _ => SandboxFileChangeKind.Changed,
    };
}
