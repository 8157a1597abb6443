using System.Buffers;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Threading.Channels;
using Boxer.Common;
using Boxer.Inputs;
using Boxer.Native;
using Boxer.Runtime.Init;
using Boxer.Validation;

namespace Boxer.Runtime.Kept;

/// <summary>
/// A file worker on its socket. It serves one operation at a time; further calls wait, also until an opened stream is disposed. An operation that is cancelled
/// or abandoned ends the worker, and so does a worker that violates its protocol: it is the guest, and everything that it says can be a lie.
/// </summary>
internal sealed class FileWorker : IFileWorker
{
    /// <summary>Maximum number of entries of an archive, in both directions.</summary>
    internal const int MaxArchiveEntries = 10_000;

    /// <summary>Maximum number of changes that a watch keeps for its reader.</summary>
    internal const int MaxChanges = 1_000;

    /// <summary>Maximum number of characters of the paths of these changes.</summary>
    internal const int MaxChangeText = 256 << 10;

    // It says nothing before it has removed everything.
    private static readonly TimeSpan RemovalPatience = TimeSpan.FromMinutes(5);
    private readonly FileChannel _channel;
    private readonly TimeProvider _time;
    private readonly SemaphoreSlim _turns = new(1, 1);
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <param name="socket">Host's end of the worker's socket. The worker disposes it.</param>
    /// <param name="ended">Completes when the process has ended.</param>
    /// <param name="clock">The clock of the sandbox.</param>
    /// <param name="time">The time, for entries of archives without a time.</param>
    internal FileWorker(Socket socket, Task ended, CommandClock clock, TimeProvider time)
    {
        _channel = new FileChannel(socket, clock, Close);
        _time = time;

        // The socket stays open: it may have an answer that was not read yet.
        _ = ended.ContinueWith(_ => _ended.TrySetResult(), CancellationToken.None, TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
    }

    /// <inheritdoc/>
    public Task Ended => _ended.Task;

    /// <inheritdoc/>
    public async Task<Stream> OpenReadAsync(string path, CancellationToken cancellationToken)
    {
        (FileTurn turn, FileAnswer answer) = await OpenAsync(FileRequest.Encode(InitFrameType.FilesRead, path), path, cancellationToken).ConfigureAwait(false);
        if (answer is FileOpened opened)
        {
            return new FileReadStream(_channel, opened.Size, path, turn);
        }

        turn.Dispose();
        throw FileChannel.Violation("it opened no file.");
    }

    /// <inheritdoc/>
    public async Task WriteAsync(string path, Stream content, uint? mode, CancellationToken cancellationToken)
    {
        byte[] request = FileRequest.Write(path, mode);
        using FileTurn turn = await TakeTurnAsync(cancellationToken).ConfigureAwait(false);
        await _channel.SendAsync(request, cancellationToken).ConfigureAwait(false);
        await SendAsync(turn, path, answer => SendContentAsync(content, answer, cancellationToken), cancellationToken).ConfigureAwait(false);
    }

    /// <inheritdoc/>
    public async Task<GuestFile?> StatAsync(string path, CancellationToken cancellationToken)
    {
        try
        {
            (FileTurn turn, FileAnswer answer) = await OpenAsync(FileRequest.Encode(InitFrameType.FilesStat, path), path, cancellationToken).ConfigureAwait(false);
            using (turn)
            {
                GuestFile file = answer is FileEntry { File.Path.Length: 0 } entry ? entry.File : throw FileChannel.Violation("it described nothing.");
                turn.Complete(await _channel.ReadAsync(cancellationToken).ConfigureAwait(false), path);
                return file with { Path = path };
            }
        }
        catch (GuestFileException exception) when (exception.Errno is Errno.ENOENT or Errno.ENOTDIR)
        {
            return null;
        }
    }

    /// <inheritdoc/>
    public async Task<(IReadOnlyList<GuestFile> Entries, bool IsIncomplete)> ListAsync(string path, int depth, int maxEntries, CancellationToken cancellationToken)
    {
        byte[] request = FileRequest.List(path, depth, maxEntries);
        using FileTurn turn = await TakeTurnAsync(cancellationToken).ConfigureAwait(false);
        await _channel.SendAsync(request, cancellationToken).ConfigureAwait(false);
        var check = new FileEntries(maxEntries, depth);
        List<GuestFile> entries = [];
        FileAnswer answer;
        while ((answer = await _channel.ReadAsync(cancellationToken).ConfigureAwait(false)) is FileEntry { File: var file })
        {
            bool isTaken = check.Accept(file);
            if (check.IsFull)
            {
                // The rest is not worth its memory. The worker ends with the turn.
                return (entries, true);
            }

            if (isTaken)
            {
                entries.Add(file);
            }
        }

        bool isIncomplete = answer is FileIncomplete;
        turn.Complete(isIncomplete ? await _channel.ReadAsync(cancellationToken).ConfigureAwait(false) : answer, path);
        return (entries, isIncomplete);
    }

    /// <inheritdoc/>
    public Task MakeDirectoryAsync(string path, CancellationToken cancellationToken) =>
        CallAsync(FileRequest.Encode(InitFrameType.FilesMakeDirectory, path), path, cancellationToken);

    /// <inheritdoc/>
    public Task MoveAsync(string from, string to, CancellationToken cancellationToken) => CallAsync(FileRequest.Move(from, to), from, cancellationToken);

    /// <inheritdoc/>
    public Task RemoveAsync(string path, CancellationToken cancellationToken) =>
        CallAsync(FileRequest.Encode(InitFrameType.FilesRemove, path), path, cancellationToken, RemovalPatience);

    /// <inheritdoc/>
    public async Task<Stream> ReadArchiveAsync(string path, long maxBytes, CancellationToken cancellationToken)
    {
        (FileTurn turn, FileAnswer first) = await OpenAsync(FileRequest.ReadTree(path, maxBytes, MaxArchiveEntries), path, cancellationToken).ConfigureAwait(false);
        return new FileArchiveStream(_channel, first, path, maxBytes, MaxArchiveEntries, turn);
    }

    /// <inheritdoc/>
    public async Task WriteArchiveAsync(string path, Stream archive, long maxBytes, Action<long> onGrowing, CancellationToken cancellationToken)
    {
        byte[] request = FileRequest.Encode(InitFrameType.FilesWriteTree, path);
        _ = CleanPath.TryParse(path, PathKind.Absolute, out CleanPath directory);
        var bounds = new CheckedWorkspace(directory, [], maxBytes, MaxArchiveEntries, 0);
        using FileTurn turn = await TakeTurnAsync(cancellationToken).ConfigureAwait(false);
        await _channel.SendAsync(request, cancellationToken).ConfigureAwait(false);
        await SendAsync(turn, path, SendTreeAsync, cancellationToken).ConfigureAwait(false);

        async Task SendTreeAsync(Task<FileAnswer> answer)
        {
            using var sender = new WorkspaceSender(bounds, SendFramesAsync, _time.GetUtcNow(), _ => { }, InitFrameType.FilesTreeParent) { Growing = onGrowing };
            await sender.SendArchiveAsync(archive, "tar", cancellationToken).ConfigureAwait(false);
            await _channel.SendAsync(InitEncoder.EncodeEmpty(InitFrameType.FilesTreeEnd), cancellationToken).ConfigureAwait(false);

            // The sender takes an IOException for one of the archive.
            async Task SendFramesAsync(ReadOnlyMemory<byte> frames, CancellationToken token)
            {
                if (answer.IsCompleted)
                {
                    throw new StoppedException(null);
                }

                try
                {
                    await _channel.SendAsync(frames, token).ConfigureAwait(false);
                }
                catch (IOException exception)
                {
                    throw new StoppedException(exception);
                }
            }
        }
    }

    /// <inheritdoc/>
    public async IAsyncEnumerable<GuestFileChange> WatchAsync(string path, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        (FileTurn turn, FileAnswer answer) = await OpenAsync(FileRequest.Watch(path), path, cancellationToken).ConfigureAwait(false);
        using (turn)
        {
            if (answer is not FileOpened)
            {
                throw FileChannel.Violation("it began no watch.");
            }

            var changes = Channel.CreateBounded<GuestFileChange>(MaxChanges + 1);
            var text = new StrongBox<long>();
            _ = ReadChangesAsync(changes, text);
            yield return new GuestFileChange(GuestFileChangeKind.Started, "");
            await foreach (GuestFileChange change in changes.Reader.ReadAllAsync(cancellationToken).ConfigureAwait(false))
            {
                Interlocked.Add(ref text.Value, -change.Path.Length);
                yield return change;
            }
        }
    }

    /// <inheritdoc/>
    public ValueTask DisposeAsync()
    {
        Close();
        return ValueTask.CompletedTask;
    }

    // The guest's queue of changes has no bound, so they are always read.
    private async Task ReadChangesAsync(Channel<GuestFileChange> changes, StrongBox<long> text)
    {
        bool isLosing = false;
        try
        {
            while (true)
            {
                GuestFileChange change = await _channel.ReadAsync(patience: null, CancellationToken.None).ConfigureAwait(false) is FileChange { Change: var told }
                    ? told
                    : throw FileChannel.Violation("it sent no change.");
                if (changes.Reader.Count < MaxChanges && Interlocked.Read(ref text.Value) + change.Path.Length <= MaxChangeText)
                {
                    Interlocked.Add(ref text.Value, change.Path.Length);
                    isLosing = !changes.Writer.TryWrite(change);
                }
                else if (!isLosing)
                {
                    isLosing = changes.Writer.TryWrite(new GuestFileChange(GuestFileChangeKind.Overflow, ""));
                }
            }
        }
        catch (IOException exception)
        {
            changes.Writer.TryComplete(exception);
        }
    }

    private async Task<FileTurn> TakeTurnAsync(CancellationToken cancellationToken)
    {
        await _turns.WaitAsync(cancellationToken).ConfigureAwait(false);
        return new FileTurn(isUsable =>
        {
            if (!isUsable)
            {
                Close();
            }

            _turns.Release();
        });
    }

    // Sends a request and reads the first answer, which is not a failure.
    private async Task<(FileTurn Turn, FileAnswer Answer)> OpenAsync(byte[] request, string path, CancellationToken cancellationToken)
    {
        FileTurn turn = await TakeTurnAsync(cancellationToken).ConfigureAwait(false);
        try
        {
            await _channel.SendAsync(request, cancellationToken).ConfigureAwait(false);
            FileAnswer answer = await _channel.ReadAsync(cancellationToken).ConfigureAwait(false);
            if (answer is FileFailed)
            {
                turn.Complete(answer, path);
            }

            return (turn, answer);
        }
        catch
        {
            turn.Dispose();
            throw;
        }
    }

    private async Task CallAsync(byte[] request, string path, CancellationToken cancellationToken, TimeSpan? patience = null)
    {
        using FileTurn turn = await TakeTurnAsync(cancellationToken).ConfigureAwait(false);
        await _channel.SendAsync(request, cancellationToken).ConfigureAwait(false);
        turn.Complete(await _channel.ReadAsync(patience ?? FileChannel.Patience, cancellationToken).ConfigureAwait(false), path);
    }

    // Sends content while the answer is read: the worker reports a failure, such as a full disk, before it has everything.
    private async Task SendAsync(FileTurn turn, string path, Func<Task<FileAnswer>, Task> send, CancellationToken cancellationToken)
    {
        Task<FileAnswer> answer = _channel.ReadAsync(patience: null, cancellationToken);
        try
        {
            await send(answer).ConfigureAwait(false);
            turn.Complete(await _channel.ExpectAsync(answer).ConfigureAwait(false), path);
        }
        catch (StoppedException stopped)
        {
            // The worker ignores the content that it has not read yet.
            FileAnswer failed = await _channel.ExpectAsync(answer).ConfigureAwait(false);
            await _channel.SendAsync(InitEncoder.EncodeEmpty(InitFrameType.FilesTreeEnd), cancellationToken).ConfigureAwait(false);
            turn.Complete(failed, path);
            throw FileChannel.Violation("it ended the operation early.", stopped.InnerException);
        }
        catch
        {
            turn.Dispose();
            await ((Task)answer).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            throw;
        }
    }

    private async Task SendContentAsync(Stream content, Task<FileAnswer> answer, CancellationToken cancellationToken)
    {
        byte[] buffer = ArrayPool<byte>.Shared.Rent(InitProtocol.HeaderSize + InitProtocol.MaxPayload);
        try
        {
            Memory<byte> payload = buffer.AsMemory(InitProtocol.HeaderSize, InitProtocol.MaxPayload);
            int read;
            while (!answer.IsCompleted && (read = await content.ReadAsync(payload, cancellationToken).ConfigureAwait(false)) > 0)
            {
                InitProtocol.WriteHeader(buffer, InitFrameType.FileData, read);
                await _channel.SendAsync(buffer.AsMemory(0, InitProtocol.HeaderSize + read), cancellationToken).ConfigureAwait(false);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }

        await _channel.SendAsync(InitEncoder.EncodeEmpty(InitFrameType.FileEnd), cancellationToken).ConfigureAwait(false);
    }

    // The owner of the process kills it: the end of its socket ends a worker, but not one that the guest has stopped or that waits in a call.
    private void Close()
    {
        _channel.Dispose();
        _ended.TrySetResult();
    }

    // The worker has answered before the end of the content, or has ended.
    private sealed class StoppedException(Exception? inner) : Exception("The worker has stopped.", inner);
}
