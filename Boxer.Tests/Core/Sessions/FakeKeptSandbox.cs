using System.Threading.Channels;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;

namespace Boxer.Tests.Core.Sessions;

/// <summary>A kept sandbox that does what a test says. Commands hang until the test ends them, the sandbox is killed or they are cancelled.</summary>
internal sealed class FakeKeptSandbox : IKeptSandbox
{
    private readonly Lock _lock = new();
    private readonly TaskCompletionSource<KeptSandboxEnd> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _ids;
    private bool _isDead;

    public Task<KeptSandboxEnd> Ended => _ended.Task;

    public bool IsFrozen { get; private set; }

    public bool IsKilled { get; private set; }

    public bool IsDisposed { get; private set; }

    public int Freezes { get; private set; }

    /// <summary>Whether a kill has no effect on what is in flight.</summary>
    public bool Hangs { get; set; }

    public Task DisposalBlocks { get; set; } = Task.CompletedTask;

    public Exception? FreezeFault { get; set; }

    public Exception? ThawFault { get; set; }

    public long DiskBytes { get; set; }

    public int UsageReads { get; private set; }

    public List<FakeExec> Execs { get; } = [];

    public List<FakeGuestProcess> Processes { get; } = [];

    public List<FakeFileWorker> Workers { get; } = [];

    public List<FakeConnection> Connections { get; } = [];

    public Exception? ConnectFault { get; set; }

    /// <summary>How a process that is started ends at once.</summary>
    public Termination? StartEnds { get; set; }

    /// <summary>Calls that found the sandbox frozen, which would hang.</summary>
    public int CallsWhileFrozen { get; private set; }

    public async Task<ExecOutcome> ExecAsync(
        ExecPlan plan, Action onStarted, Action<SandboxStream, ReadOnlyMemory<byte>> onOutput, CancellationToken cancellationToken)
    {
        Enter();
        var exec = new FakeExec(plan, onOutput);
        lock (_lock)
        {
            Execs.Add(exec);
        }

        onStarted();
        using CancellationTokenRegistration cancel = cancellationToken.Register(() => exec.Done.TrySetCanceled(cancellationToken));
        using CancellationTokenRegistration disk = plan.DiskFull.Register(() => exec.End(Termination.Limit(TerminationKind.DiskLimit)));
        return await exec.Done.Task;
    }

    public Task<IGuestProcess> StartAsync(ExecPlan plan, CancellationToken cancellationToken)
    {
        Enter();
        var process = new FakeGuestProcess(++_ids, plan);
        Processes.Add(process);
        if (StartEnds is not null)
        {
            process.End(StartEnds);
        }

        return Task.FromResult<IGuestProcess>(process);
    }

    public Task<SandboxConnection> ConnectAsync(int port, CancellationToken cancellationToken)
    {
        Enter();
        if (ConnectFault is not null)
        {
            throw ConnectFault;
        }

        var connection = new FakeConnection();
        Connections.Add(connection);
        return Task.FromResult<SandboxConnection>(connection);
    }

    public Task<IFileWorker> OpenFilesAsync(InitIdentity user, CancellationToken cancellationToken)
    {
        Enter();
        var worker = new FakeFileWorker(user);
        Workers.Add(worker);
        return Task.FromResult<IFileWorker>(worker);
    }

    public Task<GuestUsage> ReadUsageAsync(CancellationToken cancellationToken)
    {
        Enter();
        UsageReads++;
        return Task.FromResult(new GuestUsage(DiskBytes, 0));
    }

    public bool CanFreeze { get; init; } = true;

    public void Freeze()
    {
        if (FreezeFault is not null)
        {
            throw FreezeFault;
        }

        IsFrozen = true;
        Freezes++;
    }

    public void Thaw()
    {
        if (ThawFault is not null)
        {
            throw ThawFault;
        }

        IsFrozen = false;
    }

    public void Kill()
    {
        IsKilled = true;
        if (!Hangs)
        {
            Die(KeptSandboxEnd.Died);
        }
    }

    public void Die(KeptSandboxEnd end)
    {
        lock (_lock)
        {
            if (_isDead)
            {
                return;
            }

            _isDead = true;
        }

        TerminationKind kind = end == KeptSandboxEnd.MemoryLimit ? TerminationKind.MemoryLimit : TerminationKind.SandboxDied;
        Termination termination = kind == TerminationKind.MemoryLimit ? Termination.Limit(kind) : Termination.SandboxDied();
        lock (_lock)
        {
            Execs.ForEach(exec => exec.End(termination));
        }

        Processes.ForEach(process => process.End(termination));
        _ended.TrySetResult(end);
    }

    public async ValueTask DisposeAsync()
    {
        IsDisposed = true;
        Kill();
        await DisposalBlocks;
    }

    private void Enter()
    {
        if (_ended.Task.IsCompleted)
        {
            throw new KeptSandboxEndedException(_ended.Task.Result);
        }

        CallsWhileFrozen += IsFrozen ? 1 : 0;
    }
}

/// <summary>A command in flight.</summary>
internal sealed class FakeExec(ExecPlan plan, Action<SandboxStream, ReadOnlyMemory<byte>> onOutput)
{
    private readonly List<byte> _stdout = [];

    public ExecPlan Plan => plan;

    public TaskCompletionSource<ExecOutcome> Done { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public void Print(string text)
    {
        int before = _stdout.Count;
        _stdout.AddRange(System.Text.Encoding.UTF8.GetBytes(text));
        onOutput(SandboxStream.StandardOutput, _stdout.ToArray().AsMemory(before));
    }

    public void End(Termination? termination = null, int leftBehind = 0) => Done.TrySetResult(new ExecOutcome(
        new ExecEnd(termination ?? Termination.Exited(0), new SandboxUsage(), leftBehind),
        _stdout.ToArray(),
        default,
        DateTimeOffset.UnixEpoch,
        TimeSpan.FromMilliseconds(5),
        TimeSpan.Zero));
}

/// <summary>A started process.</summary>
internal sealed class FakeGuestProcess(int id, ExecPlan plan) : IGuestProcess
{
    private readonly Channel<GuestOutput> _output = Channel.CreateUnbounded<GuestOutput>();
    private readonly TaskCompletionSource<ExecEnd> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public int Id => id;

    public ExecPlan Plan => plan;

    public Stream Input { get; } = new MemoryStream();

    public Task<ExecEnd> Ended => _ended.Task;

    public List<(int Signal, bool WholeSession)> Signals { get; } = [];

    public List<SandboxTerminal> Sizes { get; } = [];

    public bool IsKilled { get; private set; }

    public IAsyncEnumerable<GuestOutput> ReadAllAsync(CancellationToken cancellationToken) => _output.Reader.ReadAllAsync(cancellationToken);

    public Task SignalAsync(int signal, bool wholeSession, CancellationToken cancellationToken)
    {
        Signals.Add((signal, wholeSession));
        return Task.CompletedTask;
    }

    public Task ResizeAsync(SandboxTerminal size, CancellationToken cancellationToken)
    {
        Sizes.Add(size);
        return Task.CompletedTask;
    }

    public Task KillAsync(CancellationToken cancellationToken)
    {
        IsKilled = true;
        End(Termination.Signaled(9));
        return Task.CompletedTask;
    }

    public void Print(string text, SandboxStream stream = SandboxStream.StandardOutput) =>
        _output.Writer.TryWrite(new GuestOutput(stream, System.Text.Encoding.UTF8.GetBytes(text)));

    public void End(Termination termination)
    {
        _output.Writer.TryComplete();
        _ended.TrySetResult(new ExecEnd(termination, new SandboxUsage(), 0));
    }
}

/// <summary>A connection that reads nothing.</summary>
internal sealed class FakeConnection : SandboxConnection
{
    public bool IsDisposed { get; private set; }

    public override ValueTask CloseWriteAsync(CancellationToken cancellationToken = default) => ValueTask.CompletedTask;

    public override void Flush()
    {
    }

    public override int Read(byte[] buffer, int offset, int count) => 0;

    public override void Write(byte[] buffer, int offset, int count)
    {
    }

    protected override void Dispose(bool disposing)
    {
        IsDisposed = true;
        base.Dispose(disposing);
    }
}

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
        string path, [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken cancellationToken)
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
