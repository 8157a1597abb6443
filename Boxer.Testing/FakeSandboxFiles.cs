using System.Runtime.CompilerServices;

namespace Boxer.Testing;

/// <summary>The files of a <see cref="FakeSandboxSession"/>. Each operation is a call on the session.</summary>
internal sealed class FakeSandboxFiles(FakeSandboxSession session) : ISandboxFiles
{
    public Task<Stream> OpenReadAsync(string path, CancellationToken cancellationToken = default) =>
        Call<Stream>(() => new MemoryStream(session.Tree.Read(path), writable: false), cancellationToken);

    public async Task WriteAsync(string path, Stream content, UnixFileMode? mode = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(content);
        using IDisposable call = session.Enter();
        using MemoryStream read = new();
        await content.CopyToAsync(read, cancellationToken).ConfigureAwait(false);
        session.Tree.Write(path, read.ToArray(), mode);
    }

    public Task<SandboxFileInfo?> StatAsync(string path, CancellationToken cancellationToken = default) => Call(() => session.Tree.Stat(path), cancellationToken);

    public Task<SandboxFileList> ListAsync(string path, int depth = 1, CancellationToken cancellationToken = default) =>
        Call(() => session.Tree.List(path, depth), cancellationToken);

    public Task MakeDirectoryAsync(string path, CancellationToken cancellationToken = default) => Call(() => session.Tree.MakeDirectory(path), cancellationToken);

    public Task MoveAsync(string path, string newPath, CancellationToken cancellationToken = default) =>
        Call(() => session.Tree.Move(path, newPath), cancellationToken);

    public Task RemoveAsync(string path, CancellationToken cancellationToken = default) => Call(() => session.Tree.Remove(path), cancellationToken);

    public Task<Stream> ReadArchiveAsync(string path, CancellationToken cancellationToken = default) =>
        Call<Stream>(() => new MemoryStream(FakeArchives.Pack(session.Tree, path), writable: false), cancellationToken);

    public async Task WriteArchiveAsync(string path, Stream tar, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(tar);
        using IDisposable call = session.Enter();
        using MemoryStream read = new();
        await tar.CopyToAsync(read, cancellationToken).ConfigureAwait(false);
        FakeArchives.Unpack(session.Tree, path, read.ToArray());
    }

    public async IAsyncEnumerable<SandboxFileChange> WatchAsync(string path, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        using IDisposable call = session.Enter();
        using FakeFileTree.Watch watch = session.Tree.StartWatch(path);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, session.Ended);
        yield return new SandboxFileChange(SandboxFileChangeKind.Started, "");
        while (true)
        {
            SandboxFileChange change;
            try
            {
                change = await watch.Changes.ReadAsync(linked.Token).ConfigureAwait(false);
            }
            catch (OperationCanceledException) when (session.Ended.IsCancellationRequested)
            {
                throw session.EndedException();
            }

            yield return change;
        }
    }

    private Task<bool> Call(Action action, CancellationToken cancellationToken) => Call(
        () =>
        {
            action();
            return true;
        },
        cancellationToken);

    private Task<T> Call<T>(Func<T> action, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        using IDisposable call = session.Enter();
        return Task.FromResult(action());
    }
}
