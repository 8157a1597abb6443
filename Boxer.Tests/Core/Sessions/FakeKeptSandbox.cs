using System.Text;
using Boxer.Runtime.Init;
using Boxer.Runtime.Kept;

namespace Boxer.Tests.Core.Sessions;

/// <summary>A kept sandbox that does what a test says. Commands hang until the test ends them, the sandbox is killed or they are cancelled.</summary>
internal sealed class FakeKeptSandbox : IKeptSandbox
{
    private readonly Lock _lock = new();
    private readonly TaskCompletionSource<KeptSandboxEnd> _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly List<FakeExec> _execs = [];
    private readonly List<FakeGuestProcess> _processes = [];
    private int _ids;
    private KeptSandboxEnd? _death;

    public Task<KeptSandboxEnd> Ended => _ended.Task;

    public bool IsFrozen { get; private set; }

    public bool IsKilled { get; private set; }

    public bool IsDisposed { get; private set; }

    public int Freezes { get; private set; }

    public int FreezeAttempts { get; private set; }

    public int Thaws { get; private set; }

    /// <summary>Whether a kill has no effect on what is in flight.</summary>
    public bool Hangs { get; set; }

    /// <summary>Whether commands go on after the death until the test ends them: their output is still read.</summary>
    public bool DrainsSlowly { get; set; }

    public Task DisposalBlocks { get; set; } = Task.CompletedTask;

    public Exception? FreezeFault { get; set; }

    /// <summary>Number of attempts to freeze it that find something still moving.</summary>
    public int FreezeDelays { get; set; }

    public Exception? ThawFault { get; set; }

    public long DiskBytes { get; set; }

    public int UsageReads { get; private set; }

    public IReadOnlyList<FakeExec> Execs => Copy(_execs);

    public IReadOnlyList<FakeGuestProcess> Processes => Copy(_processes);

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
        Begin(_execs, exec);
        onStarted();
        using CancellationTokenRegistration cancel = cancellationToken.Register(() =>
        {
            if (!DrainsSlowly)
            {
                exec.Done.TrySetCanceled(cancellationToken);
            }
        });
        using CancellationTokenRegistration disk = plan.DiskFull.Register(() => exec.End(Termination.Limit(TerminationKind.DiskLimit)));
        return await exec.Done.Task;
    }

    public Task<IGuestProcess> StartAsync(ExecPlan plan, CancellationToken cancellationToken)
    {
        Enter();
        var process = new FakeGuestProcess(Interlocked.Increment(ref _ids), plan);
        Begin(_processes, process);
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

    public Task<long> ReadDiskUseAsync(CancellationToken cancellationToken)
    {
        Enter();
        UsageReads++;
        return Task.FromResult(DiskBytes);
    }

    public bool CanFreeze { get; init; } = true;

    public bool TryFreeze()
    {
        if (FreezeFault is not null)
        {
            throw FreezeFault;
        }

        FreezeAttempts++;
        if (FreezeDelays > 0)
        {
            FreezeDelays--;
            return false;
        }

        IsFrozen = true;
        Freezes++;
        return true;
    }

    public void Thaw()
    {
        if (ThawFault is not null)
        {
            throw ThawFault;
        }

        IsFrozen = false;
        Thaws++;
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
        TerminationKind kind = end == KeptSandboxEnd.MemoryLimit ? TerminationKind.MemoryLimit : TerminationKind.SandboxDied;
        Termination termination = kind == TerminationKind.MemoryLimit ? Termination.Limit(kind) : Termination.SandboxDied();
        lock (_lock)
        {
            if (_death is not null)
            {
                return;
            }

            _death = end;
            if (!DrainsSlowly)
            {
                _execs.ForEach(exec => exec.End(termination));
            }

            _processes.ForEach(process => process.End(termination));
        }

        _ended.TrySetResult(end);
    }

    public async ValueTask DisposeAsync()
    {
        IsDisposed = true;
        Kill();
        await DisposalBlocks;
    }

    // Nothing begins after the death, whose end nobody would tell.
    private void Begin<T>(List<T> begun, T item)
    {
        lock (_lock)
        {
            if (_death is { } end)
            {
                throw new KeptSandboxEndedException(end);
            }

            begun.Add(item);
        }
    }

    private T[] Copy<T>(List<T> begun)
    {
        lock (_lock)
        {
            return [.. begun];
        }
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
        _stdout.AddRange(Encoding.UTF8.GetBytes(text));
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
