using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Running;

/// <summary>Ends running work when the application stops: commands are asked to end within the grace period, and killed after it.</summary>
internal sealed class GracefulShutdown : IDisposable
{
    /// <summary>Time after the grace period in which responses are written and sandboxes destroyed.</summary>
    internal static readonly TimeSpan CleanUpTime = TimeSpan.FromSeconds(15);

    private readonly CancellationTokenSource _graceOver = new();
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

    /// <summary>Cancelled when the application begins to stop. No new work is accepted then.</summary>
    public CancellationToken Stopping { get; }

    /// <summary>Cancelled when the grace period is over.</summary>
    public CancellationToken GraceOver => _graceOver.Token;

    /// <summary>Creates the cancellation of one run.</summary>
    /// <param name="stopGrace">The run's own grace period. The command is asked to end this much before the application's grace period is over.</param>
    /// <param name="aborted">Cancelled when the client disconnects.</param>
    public RunCancellation CreateCancellation(TimeSpan stopGrace, CancellationToken aborted)
    {
        TimeSpan left = Volatile.Read(ref _stopped) is > 0 and var stopped ? _grace - _time.GetElapsedTime(stopped) : _grace;
        return new(this, stopGrace < left ? left - stopGrace : TimeSpan.Zero, _time, aborted);
    }

    public void Dispose()
    {
        _registration.Dispose();
        _timer?.Dispose();
        _graceOver.Dispose();
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
            _graceOver.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // All work has ended, and the application with it.
            return;
        }

        // Disposing the runner kills commands that did not end when they were asked to.
        if (_runner is IAsyncDisposable disposable)
        {
            _ = disposable.DisposeAsync().AsTask();
        }
    }
}

/// <summary>The cancellation of one run: by its client, or by the application that stops.</summary>
internal sealed class RunCancellation : IDisposable
{
    private readonly CancellationTokenSource _stopped;
    private readonly CancellationTokenRegistration _registration;
    private readonly CancellationTokenSource _any;

    /// <summary>Links the causes.</summary>
    /// <param name="shutdown">The shutdown of the application.</param>
    /// <param name="delay">Time that the run may continue after the application begins to stop.</param>
    /// <param name="time">The clock.</param>
    /// <param name="aborted">Cancelled when the client disconnects.</param>
    public RunCancellation(GracefulShutdown shutdown, TimeSpan delay, TimeProvider time, CancellationToken aborted)
    {
        _stopped = new CancellationTokenSource(Timeout.InfiniteTimeSpan, time);
        _registration = shutdown.Stopping.UnsafeRegister(_ => _stopped.CancelAfter(delay), null);
        _any = CancellationTokenSource.CreateLinkedTokenSource(aborted, shutdown.GraceOver, _stopped.Token);
    }

    public CancellationToken Token => _any.Token;

    public void Dispose()
    {
        _registration.Dispose();
        _any.Dispose();
        _stopped.Dispose();
    }
}
