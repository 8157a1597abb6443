using System.Globalization;
using Boxer.Common;

namespace Boxer.AspNetCore.Protection;

/// <summary>
/// Reads the body of a request, and fails with 400 when it exceeds its deadline or stalls. Kestrel's minimum data rate is an average over the
/// whole body: after a fast start it allows hours of silence (test: <c>A_body_that_stalls_is_rejected</c>).
/// </summary>
internal sealed class TimedRequestBody : ForwardStream
{
    /// <summary>Interval of the checks for progress.</summary>
    internal static readonly TimeSpan Period = TimeSpan.FromSeconds(15);

    private const int MinBytesPerPeriod = 3_600;

    private readonly Lock _lock = new();
    private readonly Stream _body;
    private readonly TimeSpan _deadline;
    private readonly TimeProvider _time;
    private readonly Action<int>? _onRead;
    private readonly long _started;
    private readonly CancellationTokenSource _end;
    private readonly ITimer _timer;
    private long _bytes;
    private TimeSpan _waited;
    private long? _waitingSince;
    private string? _fault;

    // The last read that did not complete at once.
    private Task _reading = Task.CompletedTask;

    /// <summary>Starts the deadline and the checks.</summary>
    /// <param name="body">The body that Kestrel provides.</param>
    /// <param name="deadline">Maximum time for the whole body.</param>
    /// <param name="time">The clock.</param>
    /// <param name="onRead">Called with the number of bytes of each read.</param>
    /// <param name="cancellationToken">Cancels all reads; the tokens of single reads are ignored.</param>
    public TimedRequestBody(Stream body, TimeSpan deadline, TimeProvider time, Action<int>? onRead, CancellationToken cancellationToken)
    {
        _body = body;
        _deadline = deadline;
        _time = time;
        _onRead = onRead;
        _started = time.GetTimestamp();
        _end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        _timer = time.CreateTimer(_ => Check(), null, Period, Period);
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        lock (_lock)
        {
            _waitingSince = _time.GetTimestamp();
        }

        int read = 0;
        try
        {
            ValueTask<int> reading = _body.ReadAsync(buffer, _end.Token);
            read = reading.IsCompleted ? await reading : await Remember(reading.AsTask());
        }
        catch (OperationCanceledException) when (_fault is not null)
        {
            throw HttpFaultException.BadRequest(_fault);
        }
        finally
        {
            lock (_lock)
            {
                _waited += _time.GetElapsedTime(_waitingSince.Value);
                _waitingSince = null;
                _bytes += read;
            }
        }

        _onRead?.Invoke(read);
        return read;
    }

    /// <summary>Ends a read that nobody waits for any more. Kestrel cannot drain the body while it is read.</summary>
    public override async ValueTask DisposeAsync()
    {
        await _end.CancelAsync();
        await _reading.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        await base.DisposeAsync();
    }

    protected override void Dispose(bool disposing)
    {
        _timer.Dispose();
        lock (_lock)
        {
            _end.Dispose();
            _fault ??= "the body was released.";
        }

        base.Dispose(disposing);
    }

    private Task<int> Remember(Task<int> reading)
    {
        Volatile.Write(ref _reading, reading);
        return reading;
    }

    private void Check()
    {
        lock (_lock)
        {
            if (_fault is not null)
            {
                return;
            }

            _fault = FindFault();
        }

        try
        {
            if (_fault is not null)
            {
                _end.Cancel();
            }
        }
        catch (ObjectDisposedException)
        {
            // The body was disposed at the same moment.
        }
    }

    private string? FindFault()
    {
        // Only time spent waiting for the client counts, not time that this host spent on the bytes.
        TimeSpan waiting = _waitingSince is { } since ? _time.GetElapsedTime(since) : TimeSpan.Zero;
        bool stalled = _bytes < MinBytesPerPeriod && _waited + waiting >= Period / 2;
        _bytes = 0;
        _waited = -waiting;
        return _time.GetElapsedTime(_started) >= _deadline
            ? string.Create(CultureInfo.InvariantCulture, $"the body did not arrive within {_deadline.TotalSeconds:0} s.")
            : stalled && _waitingSince is not null
            ? string.Create(CultureInfo.InvariantCulture, $"the body arrives too slowly: fewer than {MinBytesPerPeriod} bytes came within {Period.TotalSeconds:0} s.")
            : null;
    }
}
