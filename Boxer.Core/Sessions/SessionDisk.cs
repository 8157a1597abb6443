using Boxer.Diagnostics;
using Boxer.Runtime.Kept;
using Microsoft.Extensions.Logging;

namespace Boxer.Sessions;

/// <summary>
/// Holds one session to its disk limit: the changed files of the root and the tmpfs together. gVisor limits only the tmpfs, so the use is read after each
/// write of the file operations, and each second while the sandbox is awake. Over the limit, running commands are ended and writes are refused; removing
/// files helps. Within a second, commands can go over the limit as far as the memory limit lets them. A process that left its session is no part of a
/// command: a sandbox that uses more and more in spite of that is killed. Thread-safe.
/// </summary>
internal sealed class SessionDisk : IDisposable
{
    /// <summary>Number of checks that find the use over the limit, and higher than before, after which the sandbox is killed.</summary>
    internal const int MaxGrowths = 10;

    // Bytes of one write that may be on their way in the socket to its worker.
    private const long MaxUnwritten = 512 << 10;
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);
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

    // Parallel writes share what is left. Bytes that were taken since the last reading are not in its result.
    private readonly HashSet<Write> _writes = [];
    private long _left;
    private long _taken;
    private long _lowestFree;
    private int _growths;

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

    /// <summary>Begins a write.</summary>
    /// <param name="path">The path to write, as the caller gave it.</param>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <exception cref="SandboxFileException">There is no free space.</exception>
    /// <exception cref="KeptSandboxEndedException">The sandbox has ended.</exception>
    internal async Task<Write> BeginWriteAsync(string path, CancellationToken cancellationToken)
    {
        await CheckAsync(cancellationToken).ConfigureAwait(false);
        lock (_lock)
        {
            if (_left <= 0)
            {
                throw NoSpace(path);
            }

            var write = new Write(this, path);
            _writes.Add(write);
            return write;
        }
    }

    /// <summary>Reads the use, and ends the running commands if it is over the limit.</summary>
    /// <param name="cancellationToken">Cancels the operation.</param>
    /// <returns>The free bytes; negative if it is over the limit.</returns>
    /// <exception cref="KeptSandboxEndedException">The sandbox has ended.</exception>
    internal async Task<long> CheckAsync(CancellationToken cancellationToken)
    {
        long takenBefore;
        lock (_lock)
        {
            takenBefore = _taken;
        }

        long free = _maxBytes - await _sandbox.ReadDiskUseAsync(cancellationToken).ConfigureAwait(false);
        lock (_lock)
        {
            _left = free - (_taken - takenBefore) - _writes.Sum(write => write.CountUnwritten());
        }

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

    /// <summary>Stops the checks.</summary>
    public void Dispose()
    {
        lock (_lock)
        {
            _isDisposed = true;
        }

        _timer.Dispose();
    }

    private static SandboxFileException NoSpace(string path) => new(path, SandboxFileError.NoSpace);

    // The commands are ended, so others write. A use that stays as it is can be that of files which wait to be removed.
    private void EndWriters(long free)
    {
        if (free >= 0)
        {
            (_lowestFree, _growths) = (0, 0);
        }
        else if (free < _lowestFree)
        {
            _lowestFree = free;
            if (++_growths == MaxGrowths)
            {
                Log.SessionDiskExceeded(_logger, _id);
                _sandbox.Kill();
            }
        }
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
            EndWriters(await CheckAsync(CancellationToken.None).ConfigureAwait(false));
        }
        catch (Exception exception) when (exception is IOException or ObjectDisposedException)
        {
            // The sandbox has ended.
        }
        finally
        {
            lock (_lock)
            {
                _isReading = false;
            }
        }
    }

    /// <summary>A write that is in progress until it is disposed.</summary>
    /// <param name="disk">The limit.</param>
    /// <param name="path">The path to write, as the caller gave it.</param>
    internal sealed class Write(SessionDisk disk, string path) : IDisposable
    {
        private long _taken;

        // Bytes that it had taken at a time, and those at the time before, which its worker has written since.
        private long _marked;
        private long _settled;
        private long _markedAt = disk._time.GetTimestamp();

        /// <summary>Takes bytes from what is left.</summary>
        /// <param name="bytes">The number of bytes.</param>
        /// <exception cref="SandboxFileException">Fewer are left.</exception>
        internal void Take(long bytes)
        {
            lock (disk._lock)
            {
                // The end of a content takes nothing, also if what was taken is counted twice for a moment.
                if (bytes > Math.Max(disk._left, 0))
                {
                    throw NoSpace(path);
                }

                disk._left -= bytes;
                disk._taken += bytes;
                _taken += bytes;
            }
        }

        /// <summary>
        /// Counts the bytes that may be on their way, so that the use does not show them. Called under the lock at each reading. A slow write reserves
        /// little: a worker takes less than a second for what is in its socket.
        /// </summary>
        internal long CountUnwritten()
        {
            long now = disk._time.GetTimestamp();
            if (disk._time.GetElapsedTime(_markedAt, now) >= Interval)
            {
                (_settled, _marked, _markedAt) = (_marked, _taken, now);
            }

            return Math.Min(_taken - _settled, MaxUnwritten);
        }

        /// <inheritdoc/>
        public void Dispose()
        {
            lock (disk._lock)
            {
                disk._writes.Remove(this);
            }
        }
    }
}
