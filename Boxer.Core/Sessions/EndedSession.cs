using Boxer.Networking;

namespace Boxer.Sessions;

/// <summary>A session that ended, as it is remembered: it says how, and every call on it fails.</summary>
/// <param name="session">The session.</param>
internal sealed class EndedSession(RememberedSession session) : ISandboxSession
{
    /// <inheritdoc/>
    public string Id => session.Id;

    /// <inheritdoc/>
    public string ImageDigest => session.ImageDigest;

    /// <inheritdoc/>
    public string? FairnessKey => session.Key;

    /// <summary>Always empty: labels are not remembered.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; } = new Dictionary<string, string>();

    /// <inheritdoc/>
    public SandboxSessionState State => SandboxSessionState.Ended;

    /// <inheritdoc/>
    public SandboxSessionEnd? End => session.End;

    /// <inheritdoc/>
    public DateTimeOffset CreatedAt => session.CreatedAt;

    /// <inheritdoc/>
    public DateTimeOffset? ExpiresAt => null;

    /// <inheritdoc/>
    public TimeSpan IdleTimeout => TimeSpan.Zero;

    /// <inheritdoc/>
    public TimeSpan Lifetime => TimeSpan.Zero;

    /// <inheritdoc/>
    public ISandboxFiles Files => new EndedFiles(Ended);

    /// <inheritdoc/>
    public IReadOnlyList<ISandboxProcess> Processes => [];

    /// <inheritdoc/>
    public Task<SandboxResult> ExecAsync(SandboxCommand command, CancellationToken cancellationToken = default) => Task.FromException<SandboxResult>(Ended());

    /// <inheritdoc/>
    public IAsyncEnumerable<SandboxEvent> StreamAsync(SandboxCommand command, CancellationToken cancellationToken = default) => throw Ended();

    /// <inheritdoc/>
    public Task<ISandboxProcess> StartAsync(SandboxCommand command, CancellationToken cancellationToken = default) => Task.FromException<ISandboxProcess>(Ended());

    /// <inheritdoc/>
    public Task<SandboxConnection> ConnectAsync(int port, CancellationToken cancellationToken = default) => Task.FromException<SandboxConnection>(Ended());

    /// <inheritdoc/>
    public Task<NetworkReport> ReadNetworkAsync(CancellationToken cancellationToken = default) => Task.FromException<NetworkReport>(Ended());

    /// <inheritdoc/>
    public Task PauseAsync(CancellationToken cancellationToken = default) => Task.FromException(Ended());

    /// <inheritdoc/>
    public Task ResumeAsync(CancellationToken cancellationToken = default) => Task.FromException(Ended());

    /// <inheritdoc/>
    public Task ExtendAsync(TimeSpan? idleTimeout = null, TimeSpan? lifetime = null, CancellationToken cancellationToken = default) => Task.FromException(Ended());

    /// <inheritdoc/>
    public Task CloseAsync(CancellationToken cancellationToken = default) => Task.CompletedTask;

    private SandboxSessionEndedException Ended() => new(session.Id, session.End!.Value) { IsRetrySafe = true };

    /// <summary>Its files, which are gone.</summary>
    private sealed class EndedFiles(Func<Exception> ended) : ISandboxFiles
    {
        public Task<Stream> OpenReadAsync(string path, CancellationToken cancellationToken = default) => Task.FromException<Stream>(ended());

        public Task WriteAsync(string path, Stream content, UnixFileMode? mode = null, CancellationToken cancellationToken = default) => Task.FromException(ended());

        public Task<SandboxFileInfo?> StatAsync(string path, CancellationToken cancellationToken = default) => Task.FromException<SandboxFileInfo?>(ended());

        public Task<SandboxFileList> ListAsync(string path, int depth = 1, CancellationToken cancellationToken = default) => Task.FromException<SandboxFileList>(ended());

        public Task MakeDirectoryAsync(string path, CancellationToken cancellationToken = default) => Task.FromException(ended());

        public Task MoveAsync(string path, string newPath, CancellationToken cancellationToken = default) => Task.FromException(ended());

        public Task RemoveAsync(string path, CancellationToken cancellationToken = default) => Task.FromException(ended());

        public Task<Stream> ReadArchiveAsync(string path, CancellationToken cancellationToken = default) => Task.FromException<Stream>(ended());

        public Task WriteArchiveAsync(string path, Stream tar, CancellationToken cancellationToken = default) => Task.FromException(ended());

        public IAsyncEnumerable<SandboxFileChange> WatchAsync(string path, CancellationToken cancellationToken = default) => throw ended();
    }
}
