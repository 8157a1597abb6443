using System.Runtime.CompilerServices;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;

namespace Boxer.Tests.Core.Sessions;

/// <summary>A file worker over a dictionary.</summary>
internal sealed class FakeFileWorker(InitIdentity user) : IFileWorker
{
    private readonly TaskCompletionSource _ended = new();

    public Task Ended => _ended.Task;

    public InitIdentity User => user;

    public Dictionary<string, byte[]> Files { get; } = [];

    public int? FailsWith { get; set; }

    public TaskCompletionSource? Blocks { get; set; }

    public bool IsDisposed { get; private set; }

    public void End() => _ended.TrySetResult();

    public async Task<Stream> OpenReadAsync(string path, CancellationToken cancellationToken)
    {
        await EnterAsync(path, cancellationToken);
        return new MemoryStream(Files.GetValueOrDefault(path) ?? throw new GuestFileException(path, 2));
    }

    public async Task WriteAsync(string path, Stream content, uint? mode, CancellationToken cancellationToken)
    {
        await EnterAsync(path, cancellationToken);
        var bytes = new MemoryStream();
        await content.CopyToAsync(bytes, cancellationToken);
        Files[path] = bytes.ToArray();
    }

    public async Task<GuestFile?> StatAsync(string path, CancellationToken cancellationToken)
    {
        await EnterAsync(path, cancellationToken);
        return Files.TryGetValue(path, out byte[]? content)
            ? new GuestFile(path, GuestFileKind.File, 0x1A4, 1, 1, content.Length, DateTimeOffset.UnixEpoch, null)
            : null;
    }

    public async Task<(IReadOnlyList<GuestFile> Entries, bool IsIncomplete)> ListAsync(string path, int depth, int maxEntries, CancellationToken cancellationToken)
    {
        await EnterAsync(path, cancellationToken);
        return ([.. Files.Select(file => new GuestFile(file.Key, GuestFileKind.File, 0x1A4, 1, 1, file.Value.Length, DateTimeOffset.UnixEpoch, null))], true);
    }

    public Task MakeDirectoryAsync(string path, CancellationToken cancellationToken) => EnterAsync(path, cancellationToken);

    public Task MoveAsync(string from, string to, CancellationToken cancellationToken) => EnterAsync(from, cancellationToken);

    public Task RemoveAsync(string path, CancellationToken cancellationToken) => EnterAsync(path, cancellationToken);

    public async Task<Stream> ReadArchiveAsync(string path, long maxBytes, CancellationToken cancellationToken)
    {
        await EnterAsync(path, cancellationToken);
        return new MemoryStream();
    }

    public Task WriteArchiveAsync(string path, Stream archive, long maxBytes, Action<long> onGrowing, CancellationToken cancellationToken) =>
        WriteAsync(path, archive, null, cancellationToken);

    public async IAsyncEnumerable<GuestFileChange> WatchAsync(
        string path, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        yield return new GuestFileChange(GuestFileChangeKind.Removed, "gone");
        await Task.Delay(Timeout.Infinite, cancellationToken);
    }

    public ValueTask DisposeAsync()
    {
        IsDisposed = true;
        End();
        return ValueTask.CompletedTask;
    }

    private async Task EnterAsync(string path, CancellationToken cancellationToken)
    {
        if (Blocks is not null)
        {
            await Blocks.Task.WaitAsync(cancellationToken);
        }

        if (FailsWith is { } errno)
        {
            throw new GuestFileException(path, errno);
        }
    }
}
