using System.Runtime.CompilerServices;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Networking;
using Boxer.Running;
using Boxer.Validation;

namespace Boxer.Sessions;

/// <summary>An open session, and the same object after its end.</summary>
internal sealed class Session : IOwnedSandboxSession
{
    private readonly SessionParts _parts;
    private readonly SessionCalls _calls;
    private readonly SessionProcesses _processes;
    private readonly SessionConnections _connections;
    private readonly SessionEnds _ends;
    private readonly BackgroundTasks _background;

    /// <param name="parts">The parts that the calls need.</param>
    /// <param name="workers">The file workers.</param>
    /// <param name="ends">Ends the session.</param>
    /// <param name="background">Tracks operations that the runner waits for when it is disposed.</param>
    internal Session(SessionParts parts, SessionWorkers workers, SessionEnds ends, BackgroundTasks background)
    {
        _parts = parts;
        _ends = ends;
        _background = background;
        _calls = new SessionCalls(parts);
        _processes = new SessionProcesses(parts, _calls, background);
        _connections = new SessionConnections(parts, _calls);
        Files = new SessionFiles(parts, _calls, workers);
    }

    /// <inheritdoc/>
    public string Id => _parts.Id;

    /// <inheritdoc/>
    public string ImageDigest => _parts.ImageDigest;

    /// <inheritdoc/>
    public string? FairnessKey => _parts.Request.FairnessKey;

    /// <inheritdoc/>
    public IReadOnlyDictionary<string, string> Labels => _parts.Request.Labels;

    /// <inheritdoc/>
    public SandboxSessionState State => _parts.Life.State;

    /// <inheritdoc/>
    public SandboxSessionEnd? End => _parts.Life.End;

    /// <inheritdoc/>
    public DateTimeOffset CreatedAt => _parts.Life.CreatedAt;

    /// <inheritdoc/>
    public DateTimeOffset? ExpiresAt => _parts.Life.ExpiresAt;

    /// <inheritdoc/>
    public TimeSpan IdleTimeout => _parts.Life.Limits.Idle;

    /// <inheritdoc/>
    public TimeSpan Lifetime => _parts.Life.Limits.Life;

    /// <inheritdoc/>
    public ISandboxFiles Files { get; }

    /// <inheritdoc/>
    public IReadOnlyList<ISandboxProcess> Processes => _processes.List();

    /// <summary>The session as it is remembered after its end.</summary>
    internal RememberedSession Remembered => new(Id, FairnessKey, ImageDigest, CreatedAt)
    {
        End = End,
        EndedAt = _parts.Life.EndedAt,
    };

    /// <inheritdoc/>
    public async Task<SandboxResult> ExecAsync(SandboxCommand command, CancellationToken cancellationToken = default)
    {
        SandboxResult? result = null;
        await foreach (SandboxEvent item in StreamAsync(command, cancellationToken).ConfigureAwait(false))
        {
            if (item is SandboxEnded ended)
            {
                result = ended.Result;
            }
        }

        return result!;
    }

    /// <inheritdoc/>
    public IAsyncEnumerable<SandboxEvent> StreamAsync(SandboxCommand command, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(command);
        return StreamCoreAsync(new SandboxCommand(command), cancellationToken);
    }

    /// <inheritdoc/>
    public Task<ISandboxProcess> StartAsync(SandboxCommand command, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(command);
        return StartCoreAsync(new SandboxCommand(command), cancellationToken);
    }

    /// <inheritdoc/>
    public Task<SandboxConnection> ConnectAsync(int port, CancellationToken cancellationToken = default) => _connections.ConnectAsync(port, cancellationToken);

    /// <inheritdoc/>
    public Task<NetworkReport> ReadNetworkAsync(CancellationToken cancellationToken = default) => _calls.ReadNetworkAsync(cancellationToken);

    /// <inheritdoc/>
    public Task PauseAsync(CancellationToken cancellationToken = default) => _parts.Life.PauseAsync(cancellationToken);

    /// <inheritdoc/>
    public Task ResumeAsync(CancellationToken cancellationToken = default) => DoAsync(_parts.Life.Resume, cancellationToken);

    /// <inheritdoc/>
    public Task ExtendAsync(TimeSpan? idleTimeout = null, TimeSpan? lifetime = null, CancellationToken cancellationToken = default) =>
        DoAsync(
            () =>
            {
                _parts.Requests.ValidateTimes(idleTimeout, lifetime);
                _parts.Life.Extend(idleTimeout, lifetime);
            },
            cancellationToken);

    /// <inheritdoc/>
    public Task CloseAsync(CancellationToken cancellationToken = default)
    {
        _parts.Life.TryEnd(SandboxSessionEnd.Closed);
        return _ends.CallsEnded.WaitAsync(cancellationToken);
    }

    /// <inheritdoc/>
    public async ValueTask DisposeAsync() => await CloseAsync().ConfigureAwait(false);

    private static async Task DoAsync(Action action, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        await Task.CompletedTask.ConfigureAwait(false);
        action();
    }

    private async Task<ISandboxProcess> StartCoreAsync(SandboxCommand command, CancellationToken cancellationToken)
    {
        CheckedCommand request = _parts.Commands.Validate(command, _parts.Request.Limits, _parts.Guest.WorkingDirectory, CommandUse.Process);
        return await _processes.StartAsync(request, cancellationToken).ConfigureAwait(false);
    }

    private async IAsyncEnumerable<SandboxEvent> StreamCoreAsync(SandboxCommand command, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        CheckedCommand request = _parts.Commands.Validate(command, _parts.Request.Limits, _parts.Guest.WorkingDirectory, CommandUse.Exec);
        var events = new RunEvents(request.KeepStandardOutput);
        using var left = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        Task exec = _background.RunAsync(() => SessionExec.ExecuteAsync(_parts, _calls, request, events, left.Token, cancellationToken));
        try
        {
            await foreach (SandboxEvent item in events.ReadAllAsync().ConfigureAwait(false))
            {
                yield return item;
            }
        }
        finally
        {
            await LoggedCancellation.CancelAsync(left, _parts.Logger).ConfigureAwait(false);
            await exec.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }
}
