using System.Globalization;
using Boxer.AspNetCore.Endpoints;
using Microsoft.Extensions.Options;

namespace Boxer.AspNetCore.Sessions;

/// <summary>
/// POST /sessions/{id}/processes/{pid}/stdin: writes the body as fast as the process reads. A request that takes too long fails with the number of bytes
/// that were written, so that its client can send the rest again.
/// </summary>
internal static class ProcessInputEndpoint
{
    /// <summary>Maximum time for which a process takes no piece of the body. The sandbox reports bytes as taken in parts of 32 KiB.</summary>
    internal static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    // A cancelled write of this size has written nothing.
    private const int PieceBytes = 16 << 10;

    public static void MapProcessInput(this IEndpointRouteBuilder routes) => routes
        .MapPost("/sessions/{id}/processes/{pid}/stdin", (Delegate)WriteAsync)
        .Describe("writeInput", ProcessesEndpoint.Tag, "Writes the body to the standard input or the terminal of a process, as fast as it reads. Requests take turns.")
        .WithDescription(
            "If input waits and the process takes less than 32 KiB in 60 s, or the whole request takes longer than an upload may, the status is 409 and written is the number of bytes that "
            + "were written: send the rest again. It is also 409, with the state paused, if the session is paused meanwhile. A body that arrives too slowly is refused with 400, also with written.")
        .Accepts<IFormFile>("application/octet-stream", "*/*")
        .Produces<PidBody>()
        .ProducesSessionErrors(400, 409, 413, 429);

    private static async Task WriteAsync(HttpContext context)
    {
        IServiceProvider services = context.RequestServices;
        ISandboxSession session = await services.GetRequiredService<SessionLookup>().FindAsync(context);
        ISandboxProcess process = SessionLookup.FindLivingProcess(context, session);
        RequestQuery query = new(context);
        bool end = query.Flag("end");
        await query.CheckRunningAsync(session);
        long most = services.GetRequiredService<IOptions<BoxerHttpOptions>>().Value.MaxUploadBytes;
        RequestSizeLimit.Set(context, most, $"the body has more than {most} bytes; send it in several requests.");
        RequestBodies bodies = services.GetRequiredService<RequestBodies>();
        using RequestBodyLease lease = bodies.Reserve(context);
        using CancellationTokenSource stop =
            CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted, services.GetRequiredService<GracefulShutdown>().GraceOver);
        using InputCopy copy = new(session, process, bodies.UploadTimeOf(most), services.GetRequiredService<TimeProvider>(), stop.Token);
        await copy.RunAsync(services.GetRequiredService<ProcessInputs>(), token => bodies.OpenUpload(context, most, token), end);
        await ProcessesEndpoint.WritePidAsync(context, process);
    }

    /// <summary>Copies one body to a process, within its time.</summary>
    private sealed class InputCopy : IDisposable
    {
        private readonly ISandboxSession _session;
        private readonly ISandboxProcess _process;
        private readonly TimeSpan _most;
        private readonly CancellationToken _stop;
        private readonly CancellationTokenSource _late;
        private readonly CancellationTokenSource _stalled;
        private readonly CancellationTokenSource _any;
        private long _written;

        /// <summary>Starts the time.</summary>
        public InputCopy(ISandboxSession session, ISandboxProcess process, TimeSpan most, TimeProvider time, CancellationToken stop)
        {
            _session = session;
            _process = process;
            _most = most;
            _stop = stop;
            _late = new CancellationTokenSource(most, time);
            _stalled = new CancellationTokenSource(Timeout.InfiniteTimeSpan, time);
            _any = CancellationTokenSource.CreateLinkedTokenSource(stop, _late.Token, _stalled.Token);
        }

        public async Task RunAsync(ProcessInputs turns, Func<CancellationToken, TimedRequestBody> open, bool end)
        {
            try
            {
                using IDisposable turn = await turns.WaitAsync(_session, _process, _any.Token);
                await using TimedRequestBody body = open(_any.Token);
                await CopyAsync(body);
                if (end)
                {
                    await _process.Input.DisposeAsync();
                }
            }
            catch (OperationCanceledException) when (!_stop.IsCancellationRequested && _any.IsCancellationRequested)
            {
                if (_session.State == SandboxSessionState.Paused)
                {
                    // The process could take nothing.
                    throw PausedFault();
                }

                string reason = _stalled.IsCancellationRequested
                    ? string.Create(CultureInfo.InvariantCulture, $"the process took less than 32 KiB of its input in {Patience.TotalSeconds:0} s.")
                    : string.Create(CultureInfo.InvariantCulture, $"the body could not be written within {_most.TotalSeconds:0} s.");
                throw Fault(StatusCodes.Status409Conflict, reason);
            }
            catch (SandboxSessionPausedException)
            {
                // A pause does not wait for input, and takes effect between two pieces.
                throw PausedFault();
            }
            catch (HttpFaultException fault) when (fault.Status == StatusCodes.Status400BadRequest)
            {
                // The body arrived too slowly.
                throw Fault(fault.Status, fault.Message);
            }
            catch (BadHttpRequestException fault) when (fault.StatusCode == StatusCodes.Status413PayloadTooLarge)
            {
                throw Fault(fault.StatusCode, "the body is too large.");
            }
        }

        public void Dispose()
        {
            _any.Dispose();
            _stalled.Dispose();
            _late.Dispose();
        }

        private async Task CopyAsync(TimedRequestBody body)
        {
            byte[] buffer = new byte[PieceBytes];
            int read;
            while ((read = await body.ReadAsync(buffer, _any.Token)) > 0)
            {
                _stalled.CancelAfter(Patience);
                await WriteAsync(buffer.AsMemory(0, read));
                _stalled.CancelAfter(Timeout.InfiniteTimeSpan);
                _written += read;
            }
        }

        private async Task WriteAsync(ReadOnlyMemory<byte> piece)
        {
            try
            {
                await _process.Input.WriteAsync(piece, _any.Token);
                await _process.Input.FlushAsync(_any.Token);
            }
            catch (Exception exception) when (exception is IOException or ObjectDisposedException or NotSupportedException)
            {
                throw _session.End is { } ended ? new SandboxSessionEndedException(_session.Id, ended)
                    : _process.End is not null ? SessionLookup.ProcessEnded()
                    : new HttpFaultException(StatusCodes.Status409Conflict, "the standard input of the process is closed.");
            }
        }

        private HttpFaultException PausedFault() =>
            Fault(StatusCodes.Status409Conflict, ErrorResponses.PausedSession, SessionNames.Of(SandboxSessionState.Paused));

        private HttpFaultException Fault(int status, string reason, string? state = null) => new(
            status, string.Create(CultureInfo.InvariantCulture, $"{reason} {_written} bytes of the body were written; send the rest again."))
        {
            Written = _written,
            State = state,
        };
    }
}
