using Boxer.Admission;
using Boxer.Common;
using Boxer.Diagnostics;
using Boxer.Images;
using Boxer.Network;
using Boxer.Networking;
using Boxer.Runtime;
using Boxer.Runtime.Kept;
using Boxer.Sessions;
using Boxer.Tests.Support;
using Boxer.Validation;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Time.Testing;

namespace Boxer.Tests.Core.Sessions;

/// <summary>A session over a <see cref="FakeKeptSandbox"/> with a fake clock.</summary>
internal sealed class OpenSession : IAsyncDisposable
{
    private readonly ScratchDirectory _home = new();
    private readonly CancellationTokenSource _disposing = new();
    private readonly BackgroundTasks _background = new();
    private readonly BoxerMetrics _metrics = new(() => (0, 0));

    public OpenSession(Func<CheckedSession, CheckedSession>? change = null, SessionOptions? options = null, INetworkAttachment? network = null, int processors = 2, bool canFreeze = true)
    {
        Sandbox = new() { CanFreeze = canFreeze };
        CheckedSession request = (change ?? (same => same))(DefaultRequest());
        Admission = new AdmissionQueue(
            new AdmissionBounds { Running = 4, MemoryBytes = 1 << 30, Processors = processors, Waiting = 10, Timeout = TimeSpan.FromMinutes(1) }, Time);
        Table = new SessionTable(_home.Path, Time, NullLogger.Instance);
        var held = new CleanupStack();
        held.Defer(() =>
        {
            IsCleanedUp = true;
            return Task.CompletedTask;
        });
        held.Push(Sandbox);
        AdmissionQueue.Ticket ticket = held.Push(Admission.EnterSession(request.FairnessKey));
        Session = new SessionFactory
        {
            Services = Services(options ?? new SessionOptions()),
            Id = SessionIds.Create(),
            Image = "image",
            ImageDigest = "sha256:0",
            Request = request,
            Guest = Guest,
            Sandbox = Sandbox,
            Network = network ?? new NoAttachment(),
            Ticket = ticket,
            Place = Bounds.Enter(null, 1),
            Held = held,
        }.Create();
    }

    public FakeTimeProvider Time { get; } = new(new DateTimeOffset(2026, 1, 1, 0, 0, 0, TimeSpan.Zero));

    public FakeKeptSandbox Sandbox { get; }

    public AdmissionQueue Admission { get; }

    public SessionTable Table { get; }

    /// <summary>Bounds of one session.</summary>
    public SessionBounds Bounds { get; } = new(1, 1, () => TimeSpan.Zero);

    public Session Session { get; }

    public bool IsCleanedUp { get; private set; }

    public static SessionGuest Guest { get; } = new()
    {
        Config = new ImageConfig(),
        Accounts = new ImageAccounts("/nonexistent"),
        User = new ImageUser(1_000, 1_000, [], null, null),
        Environment = new Dictionary<string, string> { ["PATH"] = "/bin", ["HOME"] = "/home/boxer" },
        WorkingDirectory = Path("/work"),
    };

    public static CheckedSession DefaultRequest() => new()
    {
        Image = ImageReference.Parse("python:3"),
        PullPolicy = PullPolicy.Missing,
        Network = new NoneNetworkMode(),
        Egress = NetworkPolicy.Combine(CheckedEgress.Public, null, false),
        Limits = LimitsValidator.Fill(new ResourceLimits { DiskBytes = 1_000 }, LimitDefaults.Values),
        IdleTimeout = TimeSpan.FromMinutes(5),
        Lifetime = TimeSpan.FromHours(1),
        FreezeAfter = TimeSpan.FromSeconds(1),
    };

    public static CleanPath Path(string text)
    {
        Assert.Equal(PathFaults.None, CleanPath.TryParse(text, PathKind.Absolute, out CleanPath path));
        return path;
    }

    /// <summary>Begins a command, and waits until it is in the sandbox.</summary>
    public async Task<(Task<SandboxResult> Result, FakeExec Exec)> ExecAsync(CancellationToken cancellationToken = default)
    {
        int before = Sandbox.Execs.Count;
        Task<SandboxResult> result = Session.ExecAsync(new SandboxCommand("program"), cancellationToken);
        await Until.IsSoAsync(() => Sandbox.Execs.Count > before || result.IsCompleted, 30);
        return (result, Sandbox.Execs.Count > before ? Sandbox.Execs[^1] : null!);
    }

    /// <summary>Starts a process.</summary>
    public async Task<(ISandboxProcess Process, FakeGuestProcess Guest)> StartAsync()
    {
        ISandboxProcess process = await Session.StartAsync(new SandboxCommand("server"), TestContext.Current.CancellationToken);
        return (process, Sandbox.Processes[^1]);
    }

    /// <summary>Runs a command to its end.</summary>
    public async Task<SandboxResult> CallAsync()
    {
        (Task<SandboxResult> result, FakeExec exec) = await ExecAsync();
        exec?.End();
        return await result;
    }

    /// <summary>Disposes the runner.</summary>
    public async Task StopRunnerAsync()
    {
        await _disposing.CancelAsync();
        await _background.WhenAllAsync();
    }

    public async ValueTask DisposeAsync()
    {
        Sandbox.Hangs = false;
        await StopRunnerAsync();
        Table.Dispose();
        _metrics.Dispose();
        _home.Dispose();
        _disposing.Dispose();
    }

    private SessionServices Services(SessionOptions options) => new()
    {
        Options = options,
        Requests = new SessionRequestValidator(new Dictionary<string, INetworkMode>(), [], LimitDefaults.Values, new ResourceLimits(), 1 << 30, 2) { Options = options },
        Commands = new CommandValidator(new ResourceLimits()),
        Table = Table,
        Metrics = _metrics,
        Background = _background,
        Logger = NullLogger.Instance,
        Time = Time,
        Disposing = _disposing.Token,
    };

    private sealed class NoAttachment : INetworkAttachment
    {
        public NetworkConfiguration Runtime { get; } = new(NetworkStack.None);

        public Task<GuestNetwork> ApplyAsync(NetworkPolicy policy, CancellationToken cancellationToken) => throw new NotSupportedException();

        public ValueTask DisposeAsync() => ValueTask.CompletedTask;
    }
}
