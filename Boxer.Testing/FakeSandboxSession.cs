using System.Security.Cryptography;
using Boxer.Networking;

namespace Boxer.Testing;

/// <summary>A session of <see cref="FakeSandboxSessions"/>.</summary>
public sealed class FakeSandboxSession : IOwnedSandboxSession
{
    private readonly Lock _lock = new();
    private readonly FakeSandboxSessions _owner;
    private readonly TimeProvider _time;
    private readonly CancellationTokenSource _ended = new();
    private readonly List<SandboxCommand> _commands = [];
    private readonly List<FakeSandboxProcess> _processes = [];
    private readonly Dictionary<int, Func<SandboxConnection, Task>> _listeners = [];
    private int _calls;
    private int _lastProcess;
    private bool _isPaused;
    private SandboxSessionEnd? _end;
    private TimeSpan _idleTimeout;
    private TimeSpan _lifetime;
    private DateTimeOffset _idleSince;

    internal FakeSandboxSession(FakeSandboxSessions owner, SandboxSessionRequest request, TimeProvider time)
    {
        _owner = owner;
        _time = time;
        Request = request;
        Labels = request.Labels.AsReadOnly();
        CreatedAt = _idleSince = time.GetUtcNow();
        _idleTimeout = request.IdleTimeout ?? TimeSpan.FromMinutes(5);
        _lifetime = request.Lifetime ?? TimeSpan.FromHours(1);
        Tree = new FakeFileTree(request.WorkingDirectory ?? request.Workspace?.Path ?? "/", time);
        Files = new FakeSandboxFiles(this);
    }

    /// <summary>A copy of the request that opened the session.</summary>
    public SandboxSessionRequest Request { get; }

    /// <summary>Copies of the commands so far, of <see cref="ExecAsync"/>, <see cref="StreamAsync"/> and <see cref="StartAsync"/>, in their order.</summary>
    public IReadOnlyList<SandboxCommand> Commands
    {
        get
        {
            lock (_lock)
            {
                return [.. _commands];
            }
        }
    }

    /// <summary>The report that <see cref="ReadNetworkAsync"/> returns. Default: <see cref="NetworkReport.None"/>.</summary>
    public NetworkReport Network { get; set; } = NetworkReport.None;

    /// <inheritdoc/>
    public string Id { get; } = Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(16));

    /// <inheritdoc/>
    public string ImageDigest { get; } = $"sha256:{new string('0', 64)}";

    /// <inheritdoc/>
    public string? FairnessKey => Request.FairnessKey;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> Labels { get; }

    /// <inheritdoc/>
    public SandboxSessionState State
    {
        get
        {
            lock (_lock)
            {
                return _end is not null ? SandboxSessionState.Ended
                    : _isPaused ? SandboxSessionState.Paused
                    : _calls > 0 || _processes.Any(process => process.End is null) ? SandboxSessionState.Running
                    : SandboxSessionState.Idle;
            }
        }
    }

    /// <inheritdoc/>
    public SandboxSessionEnd? End
    {
        get
        {
            lock (_lock)
            {
                return _end;
            }
        }
    }

    /// <inheritdoc/>
    public DateTimeOffset CreatedAt { get; }

    /// <summary>The earlier of the idle timeout and the lifetime. The session does not end by itself then; see <see cref="EndWith"/>.</summary>
    public DateTimeOffset? ExpiresAt
    {
        get
        {
            lock (_lock)
            {
                DateTimeOffset idle = (_calls > 0 ? _time.GetUtcNow() : _idleSince) + _idleTimeout, all = CreatedAt + _lifetime;
                return _end is not null || _isPaused ? null : idle < all ? idle : all;
            }
        }
    }

    /// <inheritdoc/>
    public TimeSpan IdleTimeout
    {
        get
        {
            lock (_lock)
            {
                return _idleTimeout;
            }
        }
    }

    /// <inheritdoc/>
    public TimeSpan Lifetime
    {
        get
        {
            lock (_lock)
            {
                return _lifetime;
            }
        }
    }

    /// <summary>The files of the session, in memory. They belong to one user, so that nothing is denied.</summary>
    public ISandboxFiles Files { get; }

    /// <summary>The processes of <see cref="StartAsync"/>, including ended ones; each is a <see cref="FakeSandboxProcess"/>.</summary>
    public IReadOnlyList<ISandboxProcess> Processes
    {
        get
        {
            lock (_lock)
            {
                return [.. _processes];
            }
        }
    }

    internal FakeFileTree Tree { get; }

    /// <summary>Cancelled when the session ends.</summary>
    internal CancellationToken Ended => _ended.Token;

    /// <summary>
    /// Ends the session, as a timeout or a limit does: calls in progress and later ones throw <see cref="SandboxSessionEndedException"/>, and living
    /// processes end as <see cref="TerminationKind.SandboxDied"/>. Does nothing if it has ended.
    /// </summary>
    /// <param name="end">Reason of the end.</param>
    public void EndWith(SandboxSessionEnd end)
    {
        FakeSandboxProcess[] processes;
        lock (_lock)
        {
            if (_end is not null)
            {
                return;
            }

            _end = end;
            processes = [.. _processes];
        }

        foreach (FakeSandboxProcess process in processes)
        {
            process.EndWith(new SandboxProcessEnd(Termination.SandboxDied()));
        }

        _ended.Cancel();
    }

    /// <summary>Lets <see cref="ConnectAsync"/> connect to a port.</summary>
    /// <param name="port">The port.</param>
    /// <param name="serve">Gets the sandbox's end of each connection; the connection is closed when its task completes.</param>
    public void Listen(int port, Func<SandboxConnection, Task> serve)
    {
        ArgumentNullException.ThrowIfNull(serve);
        lock (_lock)
        {
            _listeners[port] = serve;
        }
    }

    /// <summary>Returns the result of the matching answer of the <see cref="FakeSandboxSessions"/>.</summary>
    /// <param name="command">The command.</param>
    /// <param name="cancellationToken">Passed to the answer; also ends the wait for it.</param>
    /// <exception cref="InvalidOperationException">No answer matches.</exception>
    /// <exception cref="SandboxSessionEndedException">The session ended, before or during the call.</exception>
    /// <exception cref="SandboxSessionPausedException">The session is paused.</exception>
    public async Task<SandboxResult> ExecAsync(SandboxCommand command, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(command);
        SandboxCommand copy = new(command);
        using IDisposable call = Enter();
        return FakeExecution.ForCaller(copy, await FakeExecution.RunAsync(_owner, this, copy, cancellationToken).ConfigureAwait(false));
    }

    /// <summary>Yields <see cref="SandboxStarted"/>, the output of the matching answer's result, and <see cref="SandboxEnded"/>.</summary>
    /// <param name="command">The command.</param>
    /// <param name="cancellationToken">Passed to the answer; also ends the enumeration.</param>
    /// <exception cref="InvalidOperationException">No answer matches; thrown when the enumeration starts, as all exceptions are.</exception>
    public IAsyncEnumerable<SandboxEvent> StreamAsync(SandboxCommand command, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(command);
        return FakeExecution.StreamAsync(_owner, this, new SandboxCommand(command), cancellationToken);
    }

    /// <summary>Starts a process that lives until the test ends it. It gets the matching answer of <see cref="FakeCommandAnswer.Starts"/>.</summary>
    /// <param name="command">The command.</param>
    /// <param name="cancellationToken">Cancels the start.</param>
    /// <returns>A <see cref="FakeSandboxProcess"/>.</returns>
    /// <exception cref="SandboxSessionEndedException">The session ended.</exception>
    /// <exception cref="SandboxSessionPausedException">The session is paused.</exception>
    public Task<ISandboxProcess> StartAsync(SandboxCommand command, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(command);
        cancellationToken.ThrowIfCancellationRequested();
        SandboxCommand copy = new(command);
        using IDisposable call = Enter();
        Record(copy);
        var process = new FakeSandboxProcess(Interlocked.Increment(ref _lastProcess), copy, _time.GetUtcNow());
        FakeExecution.Start(_owner, this, process);
        lock (_lock)
        {
            ThrowIfUnusable();
            _processes.Add(process);
        }

        return Task.FromResult<ISandboxProcess>(process);
    }

    /// <summary>Connects to a port of <see cref="Listen"/>.</summary>
    /// <param name="port">The port.</param>
    /// <param name="cancellationToken">Cancels the attempt.</param>
    /// <exception cref="SandboxConnectionException">The test set no listener for the port.</exception>
    public Task<SandboxConnection> ConnectAsync(int port, CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        Enter().Dispose();
        Func<SandboxConnection, Task>? serve;
        lock (_lock)
        {
            _ = _listeners.TryGetValue(port, out serve);
        }

        return serve is null
            ? Task.FromException<SandboxConnection>(new SandboxConnectionException(port) { Image = Request.Image })
            : Task.FromResult<SandboxConnection>(MemoryConnection.Open(serve));
    }

    /// <inheritdoc/>
    public async Task<NetworkReport> ReadNetworkAsync(CancellationToken cancellationToken = default)
    {
        await Change(() => { }, cancellationToken).ConfigureAwait(false);
        return Network;
    }

    /// <inheritdoc/>
    public Task PauseAsync(CancellationToken cancellationToken = default) => Change(() => _isPaused = true, cancellationToken);

    /// <inheritdoc/>
    public Task ResumeAsync(CancellationToken cancellationToken = default) => Change(() => _isPaused = false, cancellationToken);

    /// <inheritdoc/>
    public Task ExtendAsync(TimeSpan? idleTimeout = null, TimeSpan? lifetime = null, CancellationToken cancellationToken = default) =>
        Change(() => (_idleTimeout, _lifetime) = (idleTimeout ?? _idleTimeout, lifetime ?? _lifetime), cancellationToken);

    /// <summary>Ends the session as <see cref="SandboxSessionEnd.Closed"/>.</summary>
    /// <param name="cancellationToken">Has no effect.</param>
    public Task CloseAsync(CancellationToken cancellationToken = default)
    {
        EndWith(SandboxSessionEnd.Closed);
        return Task.CompletedTask;
    }

    /// <summary>Ends the session as <see cref="SandboxSessionEnd.Closed"/>.</summary>
    public ValueTask DisposeAsync()
    {
        EndWith(SandboxSessionEnd.Closed);
        return ValueTask.CompletedTask;
    }

    /// <summary>Counts a call until the result is disposed.</summary>
    internal IDisposable Enter()
    {
        lock (_lock)
        {
            ThrowIfUnusable();
            _calls++;
            return new Call(this);
        }
    }

    internal void Record(SandboxCommand command)
    {
        lock (_lock)
        {
            _commands.Add(command);
        }
    }

    internal SandboxSessionEndedException EndedException() => new(Id, End!.Value) { Image = Request.Image };

    private Task Change(Action change, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        lock (_lock)
        {
            if (_end is not null)
            {
                throw EndedException();
            }

            change();
        }

        return Task.CompletedTask;
    }

    private void ThrowIfUnusable()
    {
        if (_end is not null)
        {
            throw EndedException();
        }

        if (_isPaused)
        {
            throw new SandboxSessionPausedException(Id) { Image = Request.Image };
        }
    }

    private sealed class Call(FakeSandboxSession session) : IDisposable
    {
        private int _isDisposed;

        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isDisposed, 1) != 0)
            {
                return;
            }

            lock (session._lock)
            {
                session._calls--;
                session._idleSince = session._time.GetUtcNow();
            }
        }
    }
}
