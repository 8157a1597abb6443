using System.Globalization;
using Boxer.Common;

namespace Boxer.AspNetCore.Protection;

/// <summary>
/// The body of a request, given up when it is late or when hardly anything of it comes. The server's own least rate is an average since
/// the body began: after a fast start it allows hours of silence, and <c>A_body_that_falls_silent_is_given_up</c> never ends with it alone.
/// </summary>
internal sealed class TimedRequestBody : ForwardStream
{
    /// <summary>How often it is looked whether something came.</summary>
    internal static readonly TimeSpan Period = TimeSpan.FromSeconds(15);

    private const int LeastBytes = 3_600;

    private readonly Lock _lock = new();
    private readonly Stream _body;
    private readonly TimeSpan _deadline;
    private readonly TimeProvider _time;
    private readonly Action<int>? _onRead;
    private readonly long _began;
    private readonly CancellationTokenSource _end;
    private readonly ITimer _timer;
    private long _bytes;
    private TimeSpan _waited;
    private long? _waitsSince;
    private string? _fault;

    /// <param name="body">The body as the server has it.</param>
    /// <param name="deadline">How long the whole may take.</param>
    /// <param name="time">The clock.</param>
    /// <param name="onRead">Is told how many bytes came.</param>
    /// <param name="cancellationToken">Gives up; those of single reads are not looked at.</param>
    public TimedRequestBody(Stream body, TimeSpan deadline, TimeProvider time, Action<int>? onRead, CancellationToken cancellationToken)
    {
        _body = body;
        _deadline = deadline;
        _time = time;
        _onRead = onRead;
        _began = time.GetTimestamp();
        _end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        _timer = time.CreateTimer(_ => Look(), null, Period, Period);
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        lock (_lock)
        {
            _waitsSince = _time.GetTimestamp();
        }

        int read = 0;
        try
        {
            read = await _body.ReadAsync(buffer, _end.Token);
        }
        catch (OperationCanceledException) when (_fault is not null)
        {
            throw HttpFaultException.BadRequest(_fault);
        }
        finally
        {
            lock (_lock)
            {
                _waited += _time.GetElapsedTime(_waitsSince.Value);
                _waitsSince = null;
                _bytes += read;
            }
        }

        _onRead?.Invoke(read);
        return read;
    }

    protected override void Dispose(bool disposing)
    {
        _timer.Dispose();
        lock (_lock)
        {
            _end.Dispose();
            _fault ??= "the body was let go of.";
        }

        base.Dispose(disposing);
    }

    private void Look()
    {
        lock (_lock)
        {
            if (_fault is not null)
            {
                return;
            }

            TimeSpan waits = _waitsSince is { } since ? _time.GetElapsedTime(since) : TimeSpan.Zero;

            // Where this host was busy with what it had, the client is not to blame.
            bool slow = _bytes < LeastBytes && _waited + waits >= Period / 2;
            _bytes = 0;
            _waited = -waits;
            if (_time.GetElapsedTime(_began) >= _deadline)
            {
                _fault = string.Create(CultureInfo.InvariantCulture, $"the body did not arrive within {_deadline.TotalSeconds:0} s.");
            }
            else if (slow && _waitsSince is not null)
            {
                _fault = string.Create(CultureInfo.InvariantCulture, $"the body arrives too slowly: fewer than {LeastBytes} bytes came within {Period.TotalSeconds:0} s.");
            }
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
            // It was let go of at this moment.
        }
    }
}
