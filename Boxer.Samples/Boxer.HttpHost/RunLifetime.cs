using Boxer.HttpHost.Settings;

namespace Boxer.HttpHost;

/// <summary>Ends running work when the host was told to stop and the grace is over.</summary>
internal sealed class RunLifetime : IDisposable
{
    private readonly CancellationTokenSource _end = new();
    private readonly CancellationTokenRegistration _registration;
    private readonly TimeProvider _time;
    private readonly TimeSpan _grace;
    private readonly ILogger _logger;
    private ITimer? _timer;

    public RunLifetime(IHostApplicationLifetime application, HostSettings settings, TimeProvider time, ILogger<RunLifetime> logger)
    {
        _time = time;
        _grace = settings.StopGrace;
        _logger = logger;
        Stopping = application.ApplicationStopping;
        _registration = Stopping.Register(StartGrace);
    }

    /// <summary>The host was told to stop: it takes no new work.</summary>
    public CancellationToken Stopping { get; }

    /// <summary>The grace is over: what still runs is to end.</summary>
    public CancellationToken End => _end.Token;

    public void Dispose()
    {
        _registration.Dispose();
        _timer?.Dispose();
        _end.Dispose();
    }

    private void StartGrace()
    {
        HostLog.Stopping(_logger, _grace.TotalSeconds);
        _timer = _time.CreateTimer(_ => EndWork(), null, _grace, Timeout.InfiniteTimeSpan);
    }

    private void EndWork()
    {
        HostLog.GraceOver(_logger);
        try
        {
            _end.Cancel();
        }
        catch (ObjectDisposedException)
        {
            // Everything ended by itself and the host is gone.
        }
    }
}
