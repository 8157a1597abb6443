using Boxer.Diagnostics;
using Boxer.Runtime.Kept;
using Microsoft.Extensions.Logging;

namespace Boxer.Sessions;

/// <summary>
/// Holds one session to its disk limit: the changed files of the root and the tmpfs together. gVisor limits only the tmpfs, so the use is read after each
/// write of the file operations, and each second while the sandbox is awake. Over the limit, running commands are ended and writes are refused; removing
/// files helps. Within a second, commands can go over the limit as far as the memory limit lets them. Thread-safe.
/// </summary>
internal sealed class SessionDisk : IDisposable
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);
    private readonly string _id;
    private readonly IKeptSandbox _sandbox;
    private readonly long _maxBytes;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly Lock _lock = new();
    private readonly ITimer _timer;
    private Func<bool>? _isAwake;
    private CancellationTokenSource _full = new();
    private bool _isReading;

    // Only for the log.
    private volatile bool _isOver;
    private bool _isDisposed;

    /// <param name="id">The identifier of the session.</param>
    /// <param name="sandbox">The sandbox.</param>
    /// <param name="maxBytes">The disk limit, in bytes.</param>
    /// <param name="time">The time.</param>
    /// <param name="logger">The log.</param>
    internal SessionDisk(string id, IKeptSandbox sandbox, long maxBytes, TimeProvider time, ILogger logger)
    {
        _id = id;
        _sandbox = sandbox;
        _maxBytes = maxBytes;
        _time = time;
        _logger = logger;
        _timer = time.CreateTimer(_ => OnTimer(), null, Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan);
    }

    /// <summary>Cancelled when the session is next found over its limit. Commands that start later get another token.</summary>
    internal CancellationToken Full
    {
        get
        {
            lock (_lock)
            {
                return _full.Token;
            }
        }
    }

    /// <summary>Starts the checks of each second.</summary>
    /// <param name="isAwake">Whether the sandbox is awake. A frozen one writes nothing, and is left alone.</param>
    internal void Start(Func<bool> isAwake)
    {
        _isAwake = isAwake;
        _timer.Change(Interval, Interval);
    }

    /// <summary>Reads how many bytes can still be written.</summary>
    /// <param name="path">The path to write, as the caller gave it.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="SandboxFileException">None can.</exception>
    /// <exception cref="KeptSandboxEndedException">The sandbox has ended.</exception>
    internal async Task<long> ReadFreeAsync(string path, CancellationToken cancellationToken)
    {
        long free = await CheckAsync(cancellationToken).ConfigureAwait(false);
        return free > 0 ? free : throw NoSpace(path);
    }

    /// <summary>Reads the use, and ends the running commands if it is over the limit.</summary>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <returns>The free bytes; negative if it is over the limit.</returns>
    /// <exception cref="KeptSandboxEndedException">The sandbox has ended.</exception>
    internal async Task<long> CheckAsync(CancellationToken cancellationToken)
    {
        GuestUsage usage = await _sandbox.ReadUsageAsync(cancellationToken).ConfigureAwait(false);
        long free = _maxBytes - usage.DiskBytes;
        if (free < 0)
        {
            EndCommands();
        }
        else
        {
            _isOver = false;
        }

        return free;
    }

    /// <summary>Creates the exception for writes over the limit.</summary>
    /// <param name="path">The path, as the caller gave it.</param>
    internal static SandboxFileException NoSpace(string path) => new(path, SandboxFileError.NoSpace);

    /// <summary>Stops the checks.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _isDisposed = true;
        }

        _timer.Dispose();
    }

    private void EndCommands()
    {
        CancellationTokenSource full;
        lock (_lock)
        {
            (full, _full) = (_full, new CancellationTokenSource());
        }

        if (!_isOver)
        {
            _isOver = true;
            Log.SessionDiskFull(_logger, _id);
        }

        _ = LoggedCancellation.CancelAsync(full, _logger);
    }

    private void OnTimer()
    {
        if (_isAwake?.Invoke() != true)
        {
            return;
        }

        lock (_lock)
        {
            if (_isReading || _isDisposed)
            {
                return;
            }

            _isReading = true;
        }

        _ = CheckOnceAsync();
    }

    private async Task CheckOnceAsync()
    {
        try
        {
            using var deadline = new CancellationTokenSource(Patience, _time);
            await CheckAsync(deadline.Token).ConfigureAwait(false);
        }
        catch (Exception exception) when (exception is IOException or OperationCanceledException or ObjectDisposedException)
        {
            // The sandbox has ended, or was frozen meanwhile. The next check tries again.
        }
        finally
        {
            lock (_lock)
            {
                _isReading = false;
            }
        }
    }
}
