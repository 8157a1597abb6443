using System.Collections.Concurrent;
using System.IO.Pipelines;
using System.Runtime.CompilerServices;
using System.Text;
using Boxer.Networking;

namespace Boxer.Tests.HttpHost;

/// <summary>Sessions that the test controls, behind the real host.</summary>
internal sealed class ScriptedSessions : ISandboxSessions
{
    private readonly ConcurrentDictionary<string, ScriptedSession> _sessions = new(StringComparer.Ordinal);
    private readonly ConcurrentQueue<SandboxSessionRequest> _requests = new();

    /// <summary>Called before a session opens.</summary>
    public Func<SandboxSessionRequest, CancellationToken, Task> BeforeOpen { get; set; } = (_, _) => Task.CompletedTask;

    public IReadOnlyCollection<SandboxSessionRequest> Requests => _requests;

    public IReadOnlyCollection<ScriptedSession> All => [.. _sessions.Values];

    public ScriptedSession this[string id] => _sessions[id];

    public async Task<IOwnedSandboxSession> OpenAsync(SandboxSessionRequest request, CancellationToken cancellationToken = default)
    {
        _requests.Enqueue(request);
        await BeforeOpen(request, cancellationToken);
        return Add(new ScriptedSession(request.FairnessKey)
        {
            Labels = new Dictionary<string, string>(request.Labels, StringComparer.Ordinal),
            IdleTimeout = request.IdleTimeout ?? TimeSpan.FromMinutes(5),
            Lifetime = request.Lifetime ?? TimeSpan.FromHours(1),
        });
    }

    public ScriptedSession Add(ScriptedSession session)
    {
        _sessions[session.Id] = session;
        return session;
    }

    public ValueTask<ISandboxSession?> FindAsync(string id, CancellationToken cancellationToken = default) => new(_sessions.GetValueOrDefault(id));

    public ValueTask<IReadOnlyList<ISandboxSession>> ListAsync(string? fairnessKey = null, CancellationToken cancellationToken = default) =>
        new([.. _sessions.Values.Where(session => session.End is null && (fairnessKey is null || session.FairnessKey == fairnessKey)).OrderBy(session => session.CreatedAt)]);
}

/// <summary>A session that the test controls.</summary>
internal sealed class ScriptedSession(string? fairnessKey) : IOwnedSandboxSession
{
    private readonly ConcurrentQueue<SandboxCommand> _commands = new();
    private readonly ConcurrentQueue<ScriptedProcess> _processes = new();
    private readonly CancellationTokenSource _ended = new();

    /// <summary>The behaviour of every foreground command.</summary>
    public Func<SandboxCommand, CancellationToken, IAsyncEnumerable<SandboxEvent>> Script { get; set; } = (_, _) => ScriptedRunner.Events(ScriptedRunner.Result());

    /// <summary>The behaviour of every connection.</summary>
    public Func<int, Task<SandboxConnection>> Connect { get; set; } = port => throw new SandboxConnectionException(port);

    /// <summary>End that the next process has from its start on.</summary>
    public SandboxProcessEnd? EndOfNext { get; set; }

    /// <summary>Completes when a pause need not wait any longer; completed by default.</summary>
    public Task CallsEnded { get; set; } = Task.CompletedTask;

    /// <summary>Number of pauses that have begun.</summary>
    public int Pauses { get; private set; }

    /// <summary>The network of the session; null if it cannot be read.</summary>
    public NetworkReport? Network { get; set; } = NetworkReport.None;

    public IReadOnlyCollection<SandboxCommand> Commands => _commands;

    public IReadOnlyList<ScriptedProcess> Started => [.. _processes];

    public ScriptedFiles Stored => field ??= new ScriptedFiles(this);

    /// <summary>Cancelled at the end.</summary>
    public CancellationToken Ended => _ended.Token;

    public string Id { get; } = Guid.NewGuid().ToString("N")[..24];

    public string ImageDigest => "sha256:0123";

    public string? FairnessKey => fairnessKey;

    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();

    public SandboxSessionState State => End is not null ? SandboxSessionState.Ended : IsPaused ? SandboxSessionState.Paused : SandboxSessionState.Idle;

    public bool IsPaused { get; set; }

    public SandboxSessionEnd? End { get; private set; }

    public DateTimeOffset CreatedAt { get; } = TimeProvider.System.GetUtcNow();

    public DateTimeOffset? ExpiresAt => State == SandboxSessionState.Idle ? CreatedAt + IdleTimeout : null;

    public TimeSpan IdleTimeout { get; set; } = TimeSpan.FromMinutes(5);

    public TimeSpan Lifetime { get; set; } = TimeSpan.FromHours(1);

    public ISandboxFiles Files => Stored;

    public IReadOnlyList<ISandboxProcess> Processes => Started;

    public void EndBy(SandboxSessionEnd end)
    {
        End = end;
        _ended.Cancel();
        foreach (ScriptedProcess process in Started)
        {
            process.Finish(new SandboxProcessEnd(end == SandboxSessionEnd.MemoryLimit ? Termination.Limit(TerminationKind.MemoryLimit) : Termination.SandboxDied("The session ended.")));
        }
    }

    public void Check()
    {
        if (End is { } end)
        {
            throw new SandboxSessionEndedException(Id, end);
        }

        if (IsPaused)
        {
            throw new SandboxSessionPausedException(Id);
        }
    }

    public Task<NetworkReport> ReadNetworkAsync(CancellationToken cancellationToken = default) =>
        Network is null ? Task.FromException<NetworkReport>(new SandboxRuntimeException("nft failed")) : Task.FromResult(Network);

    public async Task<SandboxResult> ExecAsync(SandboxCommand command, CancellationToken cancellationToken = default)
    {
        await foreach (SandboxEvent item in StreamAsync(command, cancellationToken))
        {
            if (item is SandboxEnded { Result: var result })
            {
                return result;
            }
        }

        throw new InvalidOperationException("The script has no end.");
    }

    public async IAsyncEnumerable<SandboxEvent> StreamAsync(SandboxCommand command, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        Check();
        _commands.Enqueue(command);
        using CancellationTokenSource any = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, Ended);
        await using IAsyncEnumerator<SandboxEvent> events = Script(command, any.Token).GetAsyncEnumerator(any.Token);
        while (true)
        {
            try
            {
                if (!await events.MoveNextAsync())
                {
                    yield break;
                }
            }
            catch (OperationCanceledException) when (End is not null)
            {
                throw new SandboxSessionEndedException(Id, End.Value);
            }

            yield return events.Current;
        }
    }

    public Task<ISandboxProcess> StartAsync(SandboxCommand command, CancellationToken cancellationToken = default)
    {
        Check();
        _commands.Enqueue(command);
        ScriptedProcess process = new(this, _processes.Count + 1, [.. command.Command], command.Terminal is not null);
        if (EndOfNext is { } end)
        {
            process.Finish(end);
        }

        _processes.Enqueue(process);
        return Task.FromResult<ISandboxProcess>(process);
    }

    public Task<SandboxConnection> ConnectAsync(int port, CancellationToken cancellationToken = default)
    {
        Check();
        return Connect(port);
    }

    public async Task PauseAsync(CancellationToken cancellationToken = default)
    {
        Pauses++;
        await CallsEnded.WaitAsync(cancellationToken);
        IsPaused = true;
    }

    public Task ResumeAsync(CancellationToken cancellationToken = default)
    {
        IsPaused = false;
        return Task.CompletedTask;
    }

    public Task ExtendAsync(TimeSpan? idleTimeout = null, TimeSpan? lifetime = null, CancellationToken cancellationToken = default)
    {
        IdleTimeout = idleTimeout ?? IdleTimeout;
        Lifetime = lifetime ?? Lifetime;
        return Task.CompletedTask;
    }

    public Task CloseAsync(CancellationToken cancellationToken = default)
    {
        EndBy(SandboxSessionEnd.Closed);
        return Task.CompletedTask;
    }

    public ValueTask DisposeAsync() => new(CloseAsync());
}

/// <summary>A process that the test controls.</summary>
internal sealed class ScriptedProcess(ScriptedSession session, int id, IReadOnlyList<string> command, bool isTerminal) : ISandboxProcess
{
    private readonly Lock _lock = new();
    private readonly List<SandboxProcessOutput> _history = [];
    private readonly ScriptedInput _input = new(session);
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private long _offset;
    private int _readers;

    /// <summary>Number of open enumerations of events.</summary>
    public int Readers => _readers;

    public int Id => id;

    public IReadOnlyList<string> Command => command;

    public bool IsTerminal => isTerminal;

    public DateTimeOffset StartedAt { get; } = TimeProvider.System.GetUtcNow();

    public SandboxProcessEnd? End { get; private set; }

    public Stream Input => _input;

    public ScriptedInput Written => _input;

    public ConcurrentQueue<int> Signals { get; } = new();

    public SandboxTerminal? Size { get; private set; }

    /// <summary>Thrown by readers that have read everything.</summary>
    public Exception? Fault { get; private set; }

    public void Print(string text, SandboxStream stream = SandboxStream.StandardOutput) => Print(Encoding.UTF8.GetBytes(text), stream);

    public void Print(byte[] bytes, SandboxStream stream = SandboxStream.StandardOutput) => Change(() =>
    {
        _history.Add(new SandboxProcessOutput(_offset, stream, bytes));
        _offset += bytes.Length;
    });

    /// <summary>Drops the history.</summary>
    public void Forget() => Change(_history.Clear);

    public void Break(Exception fault) => Change(() => Fault = fault);

    public void Finish(SandboxProcessEnd end) => Change(() => End ??= end);

    public async IAsyncEnumerable<SandboxProcessEvent> EventsAsync(long fromOffset = 0, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        session.Check();
        Interlocked.Increment(ref _readers);
        try
        {
            long at = fromOffset;
            while (true)
            {
                (List<SandboxProcessOutput> next, Task changed, SandboxProcessEnd? end, Exception? fault) = Read(at);
                foreach (SandboxProcessOutput output in next)
                {
                    int skip = (int)Math.Max(0, at - output.Offset);
                    at = output.EndOffset;
                    yield return new SandboxProcessOutput(output.Offset + skip, output.Stream, output.Data[skip..]);
                }

                if (fault is not null)
                {
                    throw fault;
                }

                if (end is not null)
                {
                    yield return new SandboxProcessEnded(end);
                    yield break;
                }

                await changed.WaitAsync(cancellationToken);
            }
        }
        finally
        {
            Interlocked.Decrement(ref _readers);
        }
    }

    private (List<SandboxProcessOutput> Next, Task Changed, SandboxProcessEnd? End, Exception? Fault) Read(long at)
    {
        lock (_lock)
        {
            return ([.. _history.Where(output => output.EndOffset > at)], _changed.Task, End, Fault);
        }
    }

    public Task SignalAsync(int signal, CancellationToken cancellationToken = default)
    {
        session.Check();
        Signals.Enqueue(signal);
        return Task.CompletedTask;
    }

    public Task ResizeAsync(SandboxTerminal size, CancellationToken cancellationToken = default)
    {
        session.Check();
        Size = size;
        return Task.CompletedTask;
    }

    public async Task<SandboxProcessEnd> WaitAsync(CancellationToken cancellationToken = default)
    {
        await foreach (SandboxProcessEvent item in EventsAsync(0, cancellationToken))
        {
            if (item is SandboxProcessEnded { End: var end })
            {
                return end;
            }
        }

        throw new InvalidOperationException("The process has no end.");
    }

    public ValueTask DisposeAsync()
    {
        Finish(new SandboxProcessEnd(Termination.Signaled(9)));
        return default;
    }

    private void Change(Action change)
    {
        TaskCompletionSource changed;
        lock (_lock)
        {
            change();
            changed = _changed;
            _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        changed.SetResult();
    }
}

/// <summary>Standard input that the test reads.</summary>
internal sealed class ScriptedInput(ScriptedSession session) : Stream
{
    private readonly Lock _lock = new();
    private readonly MemoryStream _bytes = new();
    private int _writes;

    /// <summary>Completes when the process takes bytes; completed by default.</summary>
    public Task Ready { get; set; } = Task.CompletedTask;

    public bool IsClosed { get; private set; }

    /// <summary>Number of writes that began.</summary>
    public int Writes => Volatile.Read(ref _writes);

    public byte[] Bytes
    {
        get
        {
            lock (_lock)
            {
                return _bytes.ToArray();
            }
        }
    }

    public override bool CanRead => false;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position { get => throw new NotSupportedException(); set => throw new NotSupportedException(); }

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        session.Check();
        Interlocked.Increment(ref _writes);
        await Ready.WaitAsync(cancellationToken);
        lock (_lock)
        {
            if (IsClosed)
            {
                throw new IOException("closed");
            }

            _bytes.Write(buffer.Span);
        }
    }

    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public override ValueTask DisposeAsync()
    {
        IsClosed = true;
        return base.DisposeAsync();
    }

    public override void Flush() => throw new NotSupportedException();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();
}

/// <summary>A connection whose other end the test holds.</summary>
internal sealed class ScriptedConnection : SandboxConnection
{
    private readonly Pipe _toHost = new();
    private readonly Pipe _toSandbox = new();
    private readonly Stream _reader;
    private readonly Stream _writer;

    public ScriptedConnection()
    {
        _reader = _toHost.Reader.AsStream();
        _writer = _toSandbox.Writer.AsStream();
    }

    /// <summary>Bytes from the host.</summary>
    public Stream Received => field ??= _toSandbox.Reader.AsStream();

    public bool IsDisposed { get; private set; }

    /// <summary>Whether a write of the host waits until bytes are read here.</summary>
    public bool IsFull { get; private set; }

    /// <summary>Sends bytes to the host.</summary>
    public Task SendAsync(byte[] bytes) => _toHost.Writer.WriteAsync(bytes).AsTask();

    /// <summary>Closes the direction to the host.</summary>
    public void Finish(Exception? fault = null) => _toHost.Writer.Complete(fault);

    public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default) => _reader.ReadAsync(buffer, cancellationToken);

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        ValueTask write = _writer.WriteAsync(buffer, cancellationToken);
        IsFull = !write.IsCompleted;
        await write;
        IsFull = false;
    }

    public override ValueTask CloseWriteAsync(CancellationToken cancellationToken = default) => _toSandbox.Writer.CompleteAsync();

    public override Task FlushAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public override void Flush() => throw new NotSupportedException();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        IsDisposed = true;
        _toSandbox.Writer.Complete();
        base.Dispose(disposing);
    }
}

/// <summary>Files in memory.</summary>
internal sealed class ScriptedFiles(ScriptedSession session) : ISandboxFiles
{
    public ConcurrentDictionary<string, byte[]> Contents { get; } = new(StringComparer.Ordinal);

    public ConcurrentDictionary<string, UnixFileMode> Modes { get; } = new(StringComparer.Ordinal);

    /// <summary>Thrown by every operation.</summary>
    public Exception? Fault { get; set; }

    /// <summary>Content of every file and archive instead of <see cref="Contents"/>.</summary>
    public Func<Stream>? Open { get; set; }

    /// <summary>Called at the start of every write.</summary>
    public Action? OnWrite { get; set; }

    public SandboxFileList? Listed { get; set; }

    /// <summary>The behaviour of every watch: by default it ends at once.</summary>
    public Func<string, CancellationToken, IAsyncEnumerable<SandboxFileChange>> Watch { get; set; } =
        (_, _) => new[] { new SandboxFileChange(SandboxFileChangeKind.Started, "") }.ToAsyncEnumerable();

    public (string Path, int Depth) ListedPath { get; private set; }

    public Task<Stream> OpenReadAsync(string path, CancellationToken cancellationToken = default)
    {
        Check();
        return Task.FromResult(Open is not null ? Open()
            : Contents.TryGetValue(path, out byte[]? bytes) ? new MemoryStream(bytes, writable: false)
            : throw new SandboxFileException(path, SandboxFileError.NotFound));
    }

    public async Task WriteAsync(string path, Stream content, UnixFileMode? mode = null, CancellationToken cancellationToken = default)
    {
        Check();
        OnWrite?.Invoke();
        using MemoryStream bytes = new();
        try
        {
            await content.CopyToAsync(bytes, cancellationToken);
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            throw new InvalidSandboxRequestException([new SandboxFault("Content", "The stream failed.")], exception);
        }

        Contents[path] = bytes.ToArray();
        Modes[path] = mode ?? (UnixFileMode)0b110_100_100;
    }

    public Task<SandboxFileInfo?> StatAsync(string path, CancellationToken cancellationToken = default)
    {
        Check();
        return Task.FromResult(Contents.TryGetValue(path, out byte[]? bytes)
            ? new SandboxFileInfo { Path = path, Size = bytes.Length, Mode = Modes.GetValueOrDefault(path), ModifiedAt = DateTimeOffset.UnixEpoch }
            : null);
    }

    public Task<SandboxFileList> ListAsync(string path, int depth = 1, CancellationToken cancellationToken = default)
    {
        Check();
        ListedPath = (path, depth);
        return Task.FromResult(Listed ?? new SandboxFileList([.. Contents.Select(file => new SandboxFileInfo { Path = file.Key, Size = file.Value.Length })]));
    }

    public Task MakeDirectoryAsync(string path, CancellationToken cancellationToken = default)
    {
        Check();
        Contents[path + "/"] = [];
        return Task.CompletedTask;
    }

    public Task MoveAsync(string path, string newPath, CancellationToken cancellationToken = default)
    {
        Check();
        Contents[newPath] = Contents.TryRemove(path, out byte[]? bytes) ? bytes : throw new SandboxFileException(path, SandboxFileError.NotFound);
        return Task.CompletedTask;
    }

    public Task RemoveAsync(string path, CancellationToken cancellationToken = default)
    {
        Check();
        return Contents.TryRemove(path, out _) ? Task.CompletedTask : throw new SandboxFileException(path, SandboxFileError.NotFound);
    }

    public Task<Stream> ReadArchiveAsync(string path, CancellationToken cancellationToken = default) => OpenReadAsync(path, cancellationToken);

    public Task WriteArchiveAsync(string path, Stream tar, CancellationToken cancellationToken = default) => WriteAsync(path, tar, null, cancellationToken);

    public async IAsyncEnumerable<SandboxFileChange> WatchAsync(string path, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        Check();
        await foreach (SandboxFileChange change in Watch(path, cancellationToken).WithCancellation(cancellationToken))
        {
            yield return change;
        }
    }

    private void Check()
    {
        session.Check();
        if (Fault is { } fault)
        {
            throw fault;
        }
    }
}
