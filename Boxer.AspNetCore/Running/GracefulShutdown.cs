using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Running;

/// <summary>Ends running work when the host was told to stop and the grace is over.</summary>
internal sealed class GracefulShutdown : IDisposable
{
    /// <summary>Time that the end of work may take beyond its grace: answers are written and sandboxes destroyed.</summary>
    internal static readonly TimeSpan CleanUpTime = TimeSpan.FromSeconds(15);

    private readonly CancellationTokenSource _end = new();
    private readonly CancellationTokenRegistration _registration;
    private readonly TimeProvider _time;
    private readonly TimeSpan _grace;
    private readonly ISandboxRunner _runner;
    private readonly ILogger _logger;
    private ITimer? _timer;
    private long _stopped;

    public GracefulShutdown(IHostApplicationLifetime application, IOptions<BoxerHttpOptions> options, ISandboxRunner runner, TimeProvider time, ILogger<GracefulShutdown> logger)
    {
        _time = time;
        _grace = options.Value.StopGrace;
        _runner = runner;
        _logger = logger;
        Stopping = application.ApplicationStopping;
        _registration = Stopping.Register(StartGrace);
    }

    /// <summary>The host was told to stop: it takes no new work.</summary>
    public CancellationToken Stopping { get; }

    /// <summary>The grace is over: what still runs is to end.</summary>
    public CancellationToken End => _end.Token;

    /// <summary>Makes the token that ends a run.</summary>
    /// <param name="stopGrace">How long the command has for its end: it is asked that much before this host's own grace is over.</param>
    /// <param name="aborted">Cancelled when the client is gone.</param>
    public RunCancellation BeginRun(TimeSpan stopGrace, CancellationToken aborted)
    {
        TimeSpan left = Volatile.Read(ref _stopped) is > 0 and var stopped ? _grace - _time.GetElapsedTime(stopped) : _grace;
        return new(this, stopGrace < left ? left - stopGrace : TimeSpan.Zero, _time, aborted);
    }

    public void Dispose()
    {
        _registration.Dispose();
        _timer?.Dispose();
        _end.Dispose();
    }

    private void StartGrace()
    {
        Volatile.Write(ref _stopped, _time.GetTimestamp());
        HttpLog.Stopping(_logger, _grace.TotalSeconds);
        _timer = _time.CreateTimer(_ => EndWork(), null, _grace, Timeout.InfiniteTimeSpan);
    }

    private void EndWork()
    {
        HttpLog.GraceOver(_logger);
        try
        {
            _end.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // Everything ended by itself and the host is gone.
            return;
        }

        // Kills those that were asked to end, and have not.
        if (_runner is IAsyncDisposable disposable)
        {
            _ = disposable.DisposeAsync().AsTask();
        }
    }
}

/// <summary>What ends one run from outside.</summary>
internal sealed class RunCancellation : IDisposable
{
    private readonly CancellationTokenSource _asked;
    private readonly CancellationTokenRegistration _registration;
    private readonly CancellationTokenSource _any;

    /// <param name="lifetime">The lifetime of the host.</param>
    /// <param name="delay">How long the run may go on after the host was told to stop.</param>
    /// <param name="time">The clock.</param>
    /// <param name="aborted">Cancelled when the client is gone.</param>
    public RunCancellation(GracefulShutdown lifetime, TimeSpan delay, TimeProvider time, CancellationToken aborted)
    {
        _asked = new CancellationTokenSource(Timeout.InfiniteTimeSpan, time);
        _registration = lifetime.Stopping.UnsafeRegister(_ => _asked.CancelAfter(delay), null);
        _any = CancellationTokenSource.CreateLinkedTokenSource(aborted, lifetime.End, _asked.Token);
    }

    public CancellationToken Token => _any.Token;

    public void Dispose()
    {
        _registration.Dispose();
        _any.Dispose();
        _asked.Dispose();
    }
}
