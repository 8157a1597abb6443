using System.Runtime.CompilerServices;
using System.Text;
using Boxer.Networking;

namespace Boxer.Tests.Samples;

/// <summary>Sessions with one session, whose processes are shells that print what they are written, and their size when it changes.</summary>
internal sealed class FakeShell : ISandboxSessions, IOwnedSandboxSession, ISandboxProcess
{
    internal const string SessionId = "a1b2c3d4e5f6g7h8i9j0k1l2m3";
    private readonly Lock _lock = new();
    private readonly List<SandboxProcessEvent> _history = [];
    private TaskCompletionSource _added = new(TaskCreationOptions.RunContinuationsAsynchronously);

    internal FakeShell() => Input = new Keys(this);

    internal int Opened { get; private set; }

    internal bool IsClosed { get; private set; }

    internal SandboxCommand? Started { get; private set; }

    string ISandboxSession.Id => SessionId;

    string ISandboxSession.ImageDigest => "sha256:0";

    string? ISandboxSession.FairnessKey => null;

    IReadOnlyDictionary<string, string> ISandboxSession.Labels { get; } = new Dictionary<string, string>(StringComparer.Ordinal);

    SandboxSessionState ISandboxSession.State => SandboxSessionState.Running;

    SandboxSessionEnd? ISandboxSession.End => null;

    DateTimeOffset ISandboxSession.CreatedAt => default;

    DateTimeOffset? ISandboxSession.ExpiresAt => null;

    TimeSpan ISandboxSession.IdleTimeout => default;

    TimeSpan ISandboxSession.Lifetime => default;

    ISandboxFiles ISandboxSession.Files => throw new NotSupportedException();

    IReadOnlyList<ISandboxProcess> ISandboxSession.Processes => [this];

    int ISandboxProcess.Id => 1;

    IReadOnlyList<string> ISandboxProcess.Command => [.. Started!.Command];

    bool ISandboxProcess.IsTerminal => true;

    DateTimeOffset ISandboxProcess.StartedAt => default;

    public SandboxProcessEnd? End { get; private set; }

    public Stream Input { get; }

    public Task<IOwnedSandboxSession> OpenAsync(SandboxSessionRequest request, CancellationToken cancellationToken = default)
    {
        Opened++;
        return request.Image == "missing" ? throw new ImageNotFoundException("There is no such image.") : Task.FromResult<IOwnedSandboxSession>(this);
    }

    public ValueTask<ISandboxSession?> FindAsync(string id, CancellationToken cancellationToken = default) => new(id == SessionId ? this : null);

    public ValueTask<IReadOnlyList<ISandboxSession>> ListAsync(string? fairnessKey = null, CancellationToken cancellationToken = default) => throw new NotSupportedException();

    public Task<SandboxResult> ExecAsync(SandboxCommand command, CancellationToken cancellationToken = default) => throw new NotSupportedException();

    public IAsyncEnumerable<SandboxEvent> StreamAsync(SandboxCommand command, CancellationToken cancellationToken = default) => throw new NotSupportedException();

    public Task<ISandboxProcess> StartAsync(SandboxCommand command, CancellationToken cancellationToken = default)
    {
        Started = command;
        Print($"size {command.Terminal}\n");
        return Task.FromResult<ISandboxProcess>(this);
    }

    public Task<SandboxConnection> ConnectAsync(int port, CancellationToken cancellationToken = default) => throw new NotSupportedException();

    Task<NetworkReport> ISandboxSession.ReadNetworkAsync(CancellationToken cancellationToken) => throw new NotSupportedException();

    public Task PauseAsync(CancellationToken cancellationToken = default) => throw new NotSupportedException();

    public Task ResumeAsync(CancellationToken cancellationToken = default) => throw new NotSupportedException();

    public Task ExtendAsync(TimeSpan? idleTimeout = null, TimeSpan? lifetime = null, CancellationToken cancellationToken = default) => throw new NotSupportedException();

    public Task CloseAsync(CancellationToken cancellationToken = default)
    {
        IsClosed = true;
        return Task.CompletedTask;
    }

    public async IAsyncEnumerable<SandboxProcessEvent> EventsAsync(long fromOffset = 0, [EnumeratorCancellation] CancellationToken cancellationToken = default)
    {
        for (int next = 0; ;)
        {
            Task added;
            SandboxProcessEvent[] items;
            lock (_lock)
            {
                items = [.. _history.Skip(next)];
                added = _added.Task;
            }

            foreach (SandboxProcessEvent item in items)
            {
                yield return item;
                if (item is SandboxProcessEnded)
                {
                    yield break;
                }
            }

            next += items.Length;
            await added.WaitAsync(cancellationToken);
        }
    }

    public Task SignalAsync(int signal, CancellationToken cancellationToken = default) => throw new NotSupportedException();

    public Task ResizeAsync(SandboxTerminal size, CancellationToken cancellationToken = default)
    {
        Print($"size {size}\n");
        return Task.CompletedTask;
    }

    public Task<SandboxProcessEnd> WaitAsync(CancellationToken cancellationToken = default) => throw new NotSupportedException();

    public ValueTask DisposeAsync() => default;

    private void Print(string text) => Add(new SandboxProcessOutput(0, SandboxStream.StandardOutput, text));

    private void Add(SandboxProcessEvent item)
    {
        lock (_lock)
        {
            _history.Add(item);
            _added.SetResult();
            _added = new(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }

    private void Take(string text)
    {
        Print(text);
        if (text == "exit")
        {
            End = new(Termination.Exited(3));
            Add(new SandboxProcessEnded(End));
        }
    }

    private sealed class Keys(FakeShell shell) : MemoryStream
    {
        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            shell.Take(Encoding.UTF8.GetString(buffer.Span));
            return default;
        }
    }
}
